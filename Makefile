# make demo   install what is missing, build, show the main job
# make test   install what is missing, build, run all tests
# make run    the daemon in the foreground on ./spool
# make help   the rest

VERSION := 0.1.0
B ?= build
PREFIX ?= /usr/local
DESTDIR ?=
LIBEXECDIR ?= $(PREFIX)/libexec
MANDIR ?= $(PREFIX)/share/man

CC := gcc
PKGS := lmdb jansson libsystemd yaml-0.1 nettle
WARN := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes \
        -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef \
        -Wformat=2 -Wvla -Wnull-dereference -Werror
OPT ?= -O2 -g
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DSPOOLD_VERSION='"$(VERSION)"' \
            -DSPOOLD_LIBEXECDIR='"$(LIBEXECDIR)"' -Isrc
CFLAGS_ALL := -std=gnu11 $(OPT) $(WARN) -fno-common -fstack-protector-strong $(SAN) $(CFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS)) -lpthread

FLOORS := base core io
PROGRAMS := spoold spool-worker spoolctl

src_of = $(wildcard src/$(1)/*.c)
obj_of = $(patsubst src/%.c,$(B)/obj/%.o,$(call src_of,$(1)))
ARCHIVES := $(FLOORS:%=$(B)/lib%.a)
# A program links its own floor and what lies below, top floor first.
LINK = -L$(B) -lio -lcore -lbase $(LIBS)
# Tests: one Criterion program per file, tests/unit/FLOOR/NAME.c.
# Tests that let memory run out take the place of malloc, and so do sanitizers.
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%, \
        $(filter-out $(if $(SAN),tests/unit/io/config_memory.c),$(wildcard tests/unit/*/*.c)))

.DELETE_ON_ERROR:
.PHONY: build
build: $(PROGRAMS:%=$(B)/%)

# Other flags make all objects anew; another version or place to be installed
# only those that know of it.
$(B)/flags: export KEPT = $(CC) $(filter-out -DSPOOLD_%,$(CPPFLAGS)) $(CFLAGS_ALL)
$(B)/built-for: export KEPT = $(VERSION) $(LIBEXECDIR)
$(B)/flags $(B)/built-for: always
	@mkdir -p $(@D)
	@printf '%s\n' "$$KEPT" | cmp -s - $@ || printf '%s\n' "$$KEPT" >$@
.PHONY: always
$(patsubst src/%.c,$(B)/obj/%.o,$(shell grep -lE 'SPOOLD_(LIBEXECDIR|VERSION)' src/*/*.c)): \
	$(B)/built-for

$(B)/obj/%.o: src/%.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC    $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define ARCHIVE
$(B)/lib$(1).a: $(call obj_of,$(1))
	@echo "  AR    $$@"
	@rm -f $$@ && $(AR) rcs $$@ $$^
endef
$(foreach f,$(FLOORS),$(eval $(call ARCHIVE,$(f))))

define PROGRAM
$(B)/$(1): $(call obj_of,$(1)) $(ARCHIVES)
	@echo "  LINK  $$@"
	@$$(CC) $$(CFLAGS_ALL) $$(LDFLAGS) -o $$@ $(call obj_of,$(1)) $$(LINK)
endef
$(foreach p,$(PROGRAMS),$(eval $(call PROGRAM,$(p))))

$(B)/unit/%: tests/unit/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	@echo "  TEST  $@"
	@$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS_ALL) -Wno-missing-prototypes -MMD -MP -MF $@.d \
		-o $@ $< $(LDFLAGS) $(LINK) -lcriterion

.PHONY: unit-programs
unit-programs: $(UNIT) $(B)/spool-worker

# What a fresh Debian 12 lacks is installed once, by name.
BUILD_PACKAGES := gcc libc6-dev make pkg-config liblmdb-dev libjansson-dev libsystemd-dev \
                  libyaml-dev uthash-dev nettle-dev
DEMO_PACKAGES := python3
# The doors: servers that are started by tests only, never by their installation.
DOOR_PACKAGES := openssh-server openssh-client rsync samba smbclient vsftpd openssl \
                 nfs-ganesha nfs-ganesha-vfs libnfs13
TEST_PACKAGES := libcriterion-dev sshfs openssh-sftp-server python3 cppcheck clang procps strace \
                 $(DOOR_PACKAGES)

.PHONY: deps demo-deps test-deps
deps:
	@packaging/install-missing $(BUILD_PACKAGES)
demo-deps:
	@packaging/install-missing $(BUILD_PACKAGES) $(DEMO_PACKAGES)
test-deps:
	@packaging/install-missing $(BUILD_PACKAGES) $(TEST_PACKAGES)

.PHONY: demo
demo: demo-deps
	@$(MAKE) --no-print-directory -j2 build
	@SPOOLD_BUILD=$(B) packaging/demo

.PHONY: run
run: deps
	@$(MAKE) --no-print-directory -j2 build
	@$(B)/spoold --init
	@echo "In another terminal:  cp some.csv spool/alice/incoming/ ; $(B)/spoolctl status --watch"
	@exec $(B)/spoold

.PHONY: test
test: test-deps
	@tests/run

# The parts of the test, one by one.
.PHONY: check unit system sanitized
check: build
	@tests/run floors analysis
unit: unit-programs
	@tests/run unit
system: build
	@tests/run system
sanitized:
	@tests/run sanitized

# Each kind of test beyond these brings its own targets.
-include $(wildcard tests/*/part.mk)

# Below DESTDIR; the paths that are written into files are without it.
UNITDIR ?= $(PREFIX)/lib/systemd/system
COMPLETIONDIR := $(PREFIX)/share/bash-completion/completions
EXAMPLESDIR := $(PREFIX)/share/doc/spoold/examples
HANDLERS := $(wildcard packaging/handlers/*)
EXAMPLES := $(wildcard packaging/examples/*)
MAN_SECTIONS := 1 5 7 8
man_of = $(wildcard packaging/man/*.$(1))

.PHONY: install
install: build
	install -d $(addprefix $(DESTDIR),$(PREFIX)/sbin $(PREFIX)/bin $(LIBEXECDIR)/spoold/handlers \
		$(UNITDIR) $(COMPLETIONDIR) $(EXAMPLESDIR) $(MAN_SECTIONS:%=$(MANDIR)/man%))
	install -m 755 $(B)/spoold $(DESTDIR)$(PREFIX)/sbin/
	install -m 755 $(B)/spoolctl $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(B)/spool-worker $(DESTDIR)$(LIBEXECDIR)/spoold/
	install -m 755 $(HANDLERS) $(DESTDIR)$(LIBEXECDIR)/spoold/handlers/
	$(foreach n,$(MAN_SECTIONS),install -m 644 $(call man_of,$(n)) $(DESTDIR)$(MANDIR)/man$(n)/ &&) true
	install -m 644 packaging/completion/spoolctl.bash $(DESTDIR)$(COMPLETIONDIR)/spoolctl
	install -m 644 $(EXAMPLES) $(DESTDIR)$(EXAMPLESDIR)/
	sed -e 's|: "spool|: "/srv/spool|g' \
		-e 's|"packaging/handlers/|"$(LIBEXECDIR)/spoold/handlers/|' config.json \
		> $(B)/config.json.example
	install -m 644 $(B)/config.json.example $(DESTDIR)$(EXAMPLESDIR)/config.json
	sed 's|@PREFIX@|$(PREFIX)|g' packaging/spoold.service > $(B)/spoold.service
	install -m 644 $(B)/spoold.service $(DESTDIR)$(UNITDIR)/

# Only what install brought: configuration, spools and other people's files stay.
.PHONY: uninstall
uninstall:
	rm -f $(addprefix $(DESTDIR),$(PREFIX)/sbin/spoold $(PREFIX)/bin/spoolctl \
		$(UNITDIR)/spoold.service $(COMPLETIONDIR)/spoolctl $(EXAMPLESDIR)/config.json \
		$(EXAMPLES:packaging/examples/%=$(EXAMPLESDIR)/%) $(LIBEXECDIR)/spoold/spool-worker \
		$(HANDLERS:packaging/handlers/%=$(LIBEXECDIR)/spoold/handlers/%) \
		$(foreach n,$(MAN_SECTIONS),$(patsubst packaging/man/%,$(MANDIR)/man$(n)/%,$(call man_of,$(n)))))
	@rmdir --ignore-fail-on-non-empty $(addprefix $(DESTDIR),$(LIBEXECDIR)/spoold/handlers \
		$(LIBEXECDIR)/spoold $(EXAMPLESDIR) $(PREFIX)/share/doc/spoold) 2>/dev/null || true

# What is made from the table of settings; the unit tests say when it is old.
SETTINGS := settings: written by
.PHONY: docs
docs: $(B)/spoold
	$(B)/spoold --print-schema > packaging/config.schema.json
	$(B)/spoold --print-settings roff > $(B)/settings.roff
	sed -i -e '/$(SETTINGS)/,/settings: end/ { /settings: /!d }' \
		-e '/$(SETTINGS)/r $(B)/settings.roff' packaging/man/spoold.json.5

.PHONY: clean
clean:
	rm -rf build

.PHONY: help
help:
	@echo "make demo       install what is missing, build, show the main job in half a minute"
	@echo "make test       install what is missing, build, run all tests"
	@echo "make run        the daemon in the foreground on ./spool"
	@echo "make build      only build: build/spoold, build/spoolctl, build/spool-worker"
	@echo "make check      structure and static analysis"
	@echo "make unit       unit tests;  make system  tests with the real programs"
	@echo "make sanitized  both with the address and undefined-behaviour sanitizers"
	@echo "Campaigns, see tests/README.md:"
	@echo "make doors      uploads through sshd, Samba, vsftpd with the real clients, at length"
	@echo "make soak       the simulated world with new seeds, MINUTES=10"
	@echo "make crash      kill and fail the programs at every system call of each transition"
	@echo "make powercut   SNAPSHOTS=300 power cuts under load (root);  make damage  of the index"
	@echo "make chaos      hostile users, handlers and kills at once, MINUTES=15 SEED=n"
	@echo "make fuzz       libFuzzer, MINUTES=10 TARGETS=...;  make coverage  lines and branches"
	@echo "make bench      speed against the bare kernel;  make bench-peers  and against others;"
	@echo "                make bench-scale  how it grows with files and users"
	@echo "make install    to PREFIX ($(PREFIX)), below DESTDIR;  make uninstall"
	@echo "make docs       packaging/config.schema.json and spoold.json(5) from the table of settings"
	@echo "make clean"

-include $(shell find $(B) -name '*.d' 2>/dev/null)

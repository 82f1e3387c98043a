# make demo   install what is missing, build, show the main job
# make test   install what is missing, build, run all tests
# make run    the daemon in the foreground on ./spool
# make help   the rest

VERSION := 0.1.0
B ?= build
PREFIX ?= /usr/local
DESTDIR ?=

CC ?= gcc
PKGS := lmdb jansson libsystemd yaml-0.1
WARN := -Wall -Wextra -Wshadow -Wconversion -Wmissing-prototypes -Wstrict-prototypes \
        -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef \
        -Wformat=2 -Wvla -Wnull-dereference -Werror
OPT ?= -O2 -g
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DSPOOLD_VERSION='"$(VERSION)"' -Isrc
CFLAGS_ALL := -std=gnu11 $(OPT) $(WARN) -fno-common -fstack-protector-strong $(SAN) $(CFLAGS)
LIBS = $(shell pkg-config --libs $(PKGS)) -lpthread

FLOORS := base core io
PROGRAMS := spoold spool-worker spoolctl

src_of = $(wildcard src/$(1)/*.c)
obj_of = $(patsubst src/%.c,$(B)/obj/%.o,$(call src_of,$(1)))
ARCHIVES := $(FLOORS:%=$(B)/lib%.a)
# A program links its own floor and what lies below, top floor first.
LINK = -L$(B) -lio -lcore -lbase $(LIBS)

.PHONY: all
all: $(PROGRAMS:%=$(B)/%)

$(B)/obj/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

define ARCHIVE
$(B)/lib$(1).a: $(call obj_of,$(1))
	rm -f $$@ && $(AR) rcs $$@ $$^
endef
$(foreach f,$(FLOORS),$(eval $(call ARCHIVE,$(f))))

define PROGRAM
$(B)/$(1): $(call obj_of,$(1)) $(ARCHIVES)
	$(CC) $(CFLAGS_ALL) $(LDFLAGS) -o $$@ $(call obj_of,$(1)) $(LINK)
endef
$(foreach p,$(PROGRAMS),$(eval $(call PROGRAM,$(p))))

# Unit tests: one Criterion binary per file, tests/unit/FLOOR/NAME.c.
UNIT := $(patsubst tests/unit/%.c,$(B)/unit/%,$(wildcard tests/unit/*/*.c))

$(B)/unit/%: tests/unit/%.c $(ARCHIVES)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS_ALL) -Wno-missing-prototypes -MMD -MP -MF $@.d -o $@ $< $(LDFLAGS) $(LINK) -lcriterion

.PHONY: unit
unit: $(UNIT)
	@for t in $(UNIT); do echo "== $$t"; timeout 300 $$t || exit 1; done

.PHONY: clean
clean:
	rm -rf build

-include $(shell find $(B) -name '*.d' 2>/dev/null)

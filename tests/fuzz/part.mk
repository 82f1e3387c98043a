# Fuzz targets: one program per file of tests/fuzz/targets. With any compiler
# they replay files (tests/fuzz/replay.c); with clang's fuzzer they look for more.

FUZZ := $(patsubst tests/fuzz/targets/%.c,$(B)/fuzz/%,$(wildcard tests/fuzz/targets/*.c))
FUZZ_DRIVER ?= tests/fuzz/replay.c
# What a target has beside the archives: the programs' objects but for main.
fuzz_objects_request := $(filter-out %/main.o,$(call obj_of,spoold))
fuzz_objects_client := $(addprefix $(B)/obj/spoolctl/,client.o progress.o say.o view.o view_job.o view_running.o \
                       view_status.o)
fuzz_objects = $(fuzz_objects_$(1))
# What the daemon asks of the target instead of workers, thread and socket.
fuzz_wraps := control_next control_answer control_alive control_renew sync_add sync_next pool_run pool_cancel \
              pool_ack pool_set_max pool_set_idle pool_outdate pool_wake pool_next pool_free_places pool_busy \
              pool_recall pool_set_spare pool_flush
fuzz_flags_request := $(fuzz_wraps:%=-Wl,--wrap=%)

$(foreach t,$(notdir $(FUZZ)),$(eval $(B)/fuzz/$(t): $(call fuzz_objects,$(t))))
$(B)/fuzz/%: tests/fuzz/targets/%.c tests/fuzz/fuzz.h $(filter %.c,$(FUZZ_DRIVER)) $(ARCHIVES)
	@mkdir -p $(@D)
	@echo "  FUZZ  $@"
	@$(CC) $(CPPFLAGS) -Itests/fuzz $(CFLAGS_ALL) -Wno-missing-prototypes -o $@ $< $(FUZZ_DRIVER) \
		$(call fuzz_objects,$*) $(LDFLAGS) $(LINK) $(fuzz_flags_$*)

.PHONY: fuzz-programs
fuzz-programs: $(FUZZ)

# make fuzz MINUTES=n [TARGETS="config name"]
TARGETS ?= $(notdir $(FUZZ))
FUZZ_SAN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
.PHONY: fuzz fuzz-deps
fuzz-deps:
	@packaging/install-missing $(BUILD_PACKAGES) clang libclang-rt-14-dev
fuzz: fuzz-deps
	@$(MAKE) --no-print-directory -j2 B=build/fuzzing CC=clang OPT="-O1 -g" WARN=-Wall SAN="$(FUZZ_SAN)" \
		FUZZ_DRIVER=-fsanitize=fuzzer fuzz-programs
	@tests/fuzz/campaign build/fuzzing/fuzz $(or $(MINUTES),10) $(TARGETS)

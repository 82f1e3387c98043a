# Crash and error at every system call.
CUT := $(B)/fault/cut
CUT_SOURCES := tests/fault/cut.c tests/fault/call.c
FILL := $(B)/fault/fill

$(CUT): $(CUT_SOURCES) tests/fault/call.h $(B)/flags
	@mkdir -p $(@D)
	@echo "  TEST  $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -o $@ $(CUT_SOURCES)

$(FILL): tests/fault/fill.c $(ARCHIVES)
	@mkdir -p $(@D)
	@echo "  TEST  $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -o $@ $< $(LDFLAGS) $(LINK)

.PHONY: fault-programs crash
fault-programs: build $(CUT) $(FILL)

# The whole campaign: every transition, every call.
crash: test-deps
	@$(MAKE) --no-print-directory -j2 fault-programs
	@nice tests/fault/run --all

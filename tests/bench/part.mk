# Speed against the bare kernel: tests/bench/README.md says what and how.
BENCH_TOOLS := $(patsubst tests/bench/%.c,$(B)/bench/%,$(wildcard tests/bench/*.c))
PEER_PACKAGES := inotify-tools python3-watchdog task-spooler nq incron

$(B)/bench/%: tests/bench/%.c tests/bench/stamp.h
	@mkdir -p $(@D)
	@echo "  BENCH $@"
	@$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -Wall -Wextra -Werror -static -o $@ $<

.PHONY: bench-tools bench bench-peers bench-scale
bench-tools: build $(BENCH_TOOLS)
bench: demo-deps
	@$(MAKE) --no-print-directory -j2 bench-tools
	@SPOOLD_BUILD=$(B) tests/bench/run
bench-peers: demo-deps
	@packaging/install-missing $(PEER_PACKAGES)
	@$(MAKE) --no-print-directory -j2 bench-tools
	@SPOOLD_BUILD=$(B) tests/bench/run --peers steady burst alone
# How time, memory and index grow; SCALE takes its options (--files-max 10000 ...).
bench-scale: demo-deps
	@packaging/install-missing gnuplot-nox
	@$(MAKE) --no-print-directory -j2 bench-tools
	@SPOOLD_BUILD=$(B) tests/bench/scale $(SCALE)

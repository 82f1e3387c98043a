# The doors are part of "make system"; this goes through all of them with all
# of it, also those that differ in a flag only, and lets a flood and a million files in.
.PHONY: doors
doors: test-deps
	@$(MAKE) --no-print-directory -j2 build
	@SPOOLD_BUILD=$(CURDIR)/$(B) SPOOLD_DOORS=all tests/system/run test_doors \
		test_more_events_than_the_kernel_keeps test_a_million_files

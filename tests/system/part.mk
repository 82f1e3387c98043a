# The doors are part of "make system"; this goes through all of them with all
# of it, also those that differ in a flag only.
.PHONY: doors
doors: test-deps
	@$(MAKE) --no-print-directory -j2 build
	@SPOOLD_BUILD=$(CURDIR)/$(B) SPOOLD_DOORS=all tests/system/run test_doors

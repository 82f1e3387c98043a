# make coverage: lines and branches that the tests run. Takes some minutes.
COVERAGE_PARTS ?= unit system fuzz
.PHONY: coverage
coverage: test-deps
	@tests/coverage/run $(COVERAGE_PARTS)

# A campaign of everything at once; not part of make test.
MINUTES ?= 15
SEED ?= $(shell date +%s)
.PHONY: chaos
chaos: build
	@packaging/install-missing python3
	@nice tests/chaos/run --minutes $(MINUTES) --seed $(SEED)

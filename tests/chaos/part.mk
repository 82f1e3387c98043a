# A campaign of everything at once; not part of make test.
.PHONY: chaos
chaos: build
	@packaging/install-missing python3
	@nice tests/chaos/run --minutes $(or $(MINUTES),15) --seed $(or $(SEED),$(shell date +%s))

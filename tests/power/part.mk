# Power cuts, and damage of the index, at length. Both need root for the
# mounts; "make test" has a short version of each.
TEST_PACKAGES += e2fsprogs xfsprogs btrfs-progs mount
SNAPSHOTS ?= 300
RELAXED ?= $(shell expr \( $(SNAPSHOTS) + 5 \) / 6)

.PHONY: powercut power
powercut: test-deps build
	tests/power/powercut --snapshots $(SNAPSHOTS) --relaxed $(RELAXED) $(if $(SEED),--seed $(SEED))
power:
	@tests/run power

# DAMAGES: how many
DAMAGES ?= 3000
.PHONY: damage
damage: test-deps build
	tests/power/damage --damages $(DAMAGES) $(if $(SEED),--seed $(SEED))

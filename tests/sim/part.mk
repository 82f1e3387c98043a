# The simulated world: the real core and the real composing floor, on simulated
# rooms of io/.
SIM_SRC := $(wildcard tests/sim/*.c)
SIM_OBJ := $(SIM_SRC:tests/sim/%.c=$(B)/sim/%.o)
SIM_SPOOLD := $(filter-out %/loop.o %/setup.o %/main.o,$(call obj_of,spoold))
SIM_IO := $(patsubst src/io/%.c,$(B)/obj/io/%.o,$(wildcard src/io/index_json*.c) src/io/index_named.c)
SIM_WRAP := malloc calloc realloc reallocarray free strdup strndup asprintf vasprintf reconcile_job getpid

$(B)/sim/%.o: tests/sim/%.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  SIM   $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS_ALL) -Itests/sim -MMD -MP -c -o $@ $<

$(B)/sim/sim: $(SIM_OBJ) $(SIM_SPOOLD) $(SIM_IO) $(B)/libcore.a $(B)/libbase.a
	@echo "  LINK  $@"
	@$(CC) $(CFLAGS_ALL) $(LDFLAGS) $(SIM_WRAP:%=-Wl,--wrap=%) -o $@ $^ $(LIBS)

.PHONY: sim soak
sim: test-deps
	@tests/run sim

# make soak MINUTES=10: on two processes, with seeds that nobody has tried yet.
soak: deps
	@$(MAKE) --no-print-directory -j2 $(B)/sim/sim
	@SPOOLD_BUILD=$(B) tests/sim/run soak $(or $(MINUTES),10)

/* Runs histories: one, to read it, or many, to find one that breaks a promise.
 *
 *   sim --seed N [--verbose]          one history
 *   sim --from N --count N            many
 *   sim --minutes M                   as many as there is time for
 *   sim --break NAME ...              something is broken on purpose
 *   sim --list                        the names of what can be broken
 *   sim --count N --cells             how often each rule of recovery decided
 *   sim --costs                       what a job costs the index, counted */
#include "world.h"

#include "breaks.h"

#include <getopt.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void *__wrap_malloc(size_t size);
void __wrap_free(void *p);

struct options {
	uint64_t from, count;
	double minutes;
	bool one, verbose, quiet, cells, costs;
};

static double now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static int run_one(const struct options *o)
{
	history_run(o->from, o->verbose);
	if (violated())
		printf("seed %" PRIu64 ": %s\n", o->from, world->violation);
	else
		printf("seed %" PRIu64 ": fine, after %u steps, %d uploads, %u lives of the daemon\n",
		       o->from, world->step, world->uploads_n, world->lives);
	return violated() ? 1 : 0;
}

enum { VIOLATIONS_MAX = 20 };

static int run_many(const struct options *o)
{
	double begun = now_s(), end = o->minutes > 0 ? begun + o->minutes * 60 : 0;
	uint64_t seed = o->from, steps = 0, uploads = 0, lives = 0, calls = 0, violations = 0;
	for (; end > 0 || seed < o->from + o->count; seed++) {
		if (end > 0 && seed % 64 == 0 && now_s() >= end)
			break;
		history_run(seed, false);
		steps += world->step;
		uploads += (uint64_t)world->uploads_n;
		lives += world->lives;
		calls += world->io_calls;
		if (!violated())
			continue;
		printf("seed %" PRIu64 ": %s\n", seed, world->violation);
		if (sim_break == NULL)
			printf("read it with: build/sim/sim --seed %" PRIu64 " --verbose\n", seed);
		fflush(stdout);
		/* A campaign that lasts for minutes looks for all there are. */
		if (end == 0 || ++violations == VIOLATIONS_MAX)
			return 1;
	}
	double took = now_s() - begun;
	uint64_t n = seed - o->from;
	if (!o->quiet)
		printf("%" PRIu64 " histories, %" PRIu64 " with a violation: %" PRIu64 " uploads, %" PRIu64
		       " lives of the daemon, %" PRIu64 " steps, %" PRIu64 " calls of io; %.0f a second\n",
		       n, violations, uploads, lives, steps, calls, (double)n / took);
	return violations > 0 ? 1 : 0;
}

static int usage(void)
{
	fprintf(stderr, "usage: sim [--seed N [--verbose]] [--from N] [--count N] [--minutes M] "
	                "[--break NAME] [--list] [--cells] [--costs]\n");
	return 2;
}

static bool parse(int argc, char **argv, struct options *o)
{
	static const struct option names[] = {
		{"seed", required_argument, NULL, 's'},  {"from", required_argument, NULL, 'f'},
		{"count", required_argument, NULL, 'c'}, {"minutes", required_argument, NULL, 'm'},
		{"break", required_argument, NULL, 'b'}, {"verbose", no_argument, NULL, 'v'},
		{"quiet", no_argument, NULL, 'q'},       {"list", no_argument, NULL, 'l'},
		{"cells", no_argument, NULL, 'r'},       {"costs", no_argument, NULL, 'o'},
		{0},
	};
	int c;
	while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
		switch (c) {
		case 's': o->one = true; o->from = strtoull(optarg, NULL, 10); break;
		case 'f': o->from = strtoull(optarg, NULL, 10); break;
		case 'c': o->count = strtoull(optarg, NULL, 10); break;
		case 'm': o->minutes = strtod(optarg, NULL); break;
		case 'b':
			sim_break = optarg;
			if (!break_exists(optarg))
				return false;
			break;
		case 'v': o->verbose = true; break;
		case 'q': o->quiet = true; break;
		case 'r': o->cells = true; break;
		case 'o': o->costs = true; break;
		case 'l': breaks_list(); exit(0);
		default: return false;
		}
	}
	return optind == argc;
}

int main(int argc, char **argv)
{
	struct options o = {.from = 1, .count = 1000};
	if (!parse(argc, argv, &o))
		return usage();
	setvbuf(stdout, NULL, _IOLBF, 0);
	/* What jansson allocates belongs to the daemon's life, too; and the order
	 * in its tables must be the same in each run. */
	json_set_alloc_funcs(__wrap_malloc, __wrap_free);
	json_object_seed(1);
	if (o.costs) {
		world->verbose = o.verbose;
		return costs_run() ? 0 : 1;
	}
	int status = o.one ? run_one(&o) : run_many(&o);
	if (o.cells)
		breaks_say_reached();
	return status;
}

/* Random damage: whatever the bytes, the file loads or says why not. */
#include "config_helper.h"

#include <errno.h>

enum { ROUNDS = 4000 };

static struct fixture place;

static void setup(void)
{
	place_init(&place);
}

static void teardown(void)
{
	place_clear(&place);
}

TestSuite(config_fuzz, .init = setup, .fini = teardown);

static uint32_t next(uint64_t *state)
{
	*state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(*state >> 33);
}

/* Pieces that mean something to one of the layers. */
static const char *const pieces[] = {
	"{", "}", "[", "]", "\"", ":", ",", "\\", "\\ud83d", "\\ude00", "\\u0000", "\\u", "null",
	"1e999", "-1", ".nan", "\n", "\n- ", "&a ", "*a ", "!!str ", "---\n", "...\n", "# ", "'",
	"|\n", ">\n", "? ", "<<: ", "{file}", "{fil}", "\x7f", "\xc2\x85", "\xef\xbb\xbf", "\xff",
	"\"users\": {\"x\": {}},", "\"routes\": [{\"match\": \"*\", \"handler\": {}}],",
	"\"handler\": ", "%YAML 1.1\n", "\t", "0x", "99999999999999999999", "\"max_retries\": 1,",
	"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[",
};

struct text {
	char bytes[8192];
	size_t size;
};

static void cut(struct text *t, size_t at, size_t n)
{
	if (n > t->size - at)
		n = t->size - at;
	memmove(t->bytes + at, t->bytes + at + n, t->size - at - n);
	t->size -= n;
}

static void insert(struct text *t, size_t at, const char *bytes, size_t n)
{
	if (t->size + n > sizeof t->bytes)
		return;
	memmove(t->bytes + at + n, t->bytes + at, t->size - at);
	memcpy(t->bytes + at, bytes, n);
	t->size += n;
}

static void damage(struct text *t, uint64_t *state)
{
	char copy[64];
	size_t at = t->size == 0 ? 0 : next(state) % t->size;
	const char *piece = pieces[next(state) % (sizeof pieces / sizeof *pieces)];
	switch (next(state) % 5) {
	case 0:
		if (t->size > 0)
			t->bytes[at] = (char)next(state);
		break;
	case 1:
		cut(t, at, next(state) % 40);
		break;
	case 2:
		if (t->size > at + sizeof copy) {
			memcpy(copy, t->bytes + at, sizeof copy);
			insert(t, next(state) % t->size, copy, sizeof copy);
		}
		break;
	default:
		insert(t, at, piece, strlen(piece));
	}
}

static void try_one(const struct text *t, const char *name, uint64_t seed)
{
	int r = parse_size(&place, name, t->bytes, t->size);
	cr_assert(r == 0 || r == -EINVAL, "seed %llu: %d", (unsigned long long)seed, r);
	for (size_t i = 0; i < place.report.errors_n; i++)
		cr_assert_eq(strncmp(place.report.errors[i], "config.", 7), 0);
	if (r == 0)
		free(printed(place.config));
}

static void damage_many(const char *start, const char *name)
{
	for (uint64_t seed = 1; seed <= ROUNDS; seed++) {
		struct text t = {.size = strlen(start)};
		uint64_t state = seed;
		cr_assert_leq(t.size, sizeof t.bytes);
		memcpy(t.bytes, start, t.size);
		for (uint32_t n = next(&state) % 4 + 1; n > 0; n--)
			damage(&t, &state);
		try_one(&t, name, seed);
	}
}

Test(config_fuzz, damaged_json, .timeout = 240)
{
	char *text = read_source("config.json");
	damage_many(text, "config.json");
	free(text);
}

Test(config_fuzz, damaged_json_read_as_yaml, .timeout = 240)
{
	char *text = read_source("config.json");
	damage_many(text, "config.yaml");
	free(text);
}

Test(config_fuzz, damaged_yaml, .timeout = 240)
{
	damage_many("spool:\n  root: 'a b' # where\n  ignore:\n  - '*.x'\n  - \"\\x41\\u00e9\"\n"
	            "scheduler_settings: {max_retries: 0x10, job_timeout_minutes: 1.5}\n"
	            "job_processing:\n  single_job_per_user: no\n"
	            "handler:\n  command: [sh, -c, \"{file}\"]\n  run_as: ''\n"
	            "routes:\n- match: '*.csv'\n  handler: {keep_logs: always}\n"
	            "users:\n  alice:\n    completion: rename\n"
	            "    handler: {limits: {processes: 3}}\n",
	            "config.yaml");
}

/* A prefix is what an interrupted copy leaves. */
Test(config_fuzz, every_prefix_of_the_file, .timeout = 240)
{
	char *text = read_source("config.json");
	for (size_t n = 0; n < strlen(text) - 2; n++)
		cr_expect_eq(parse_size(&place, "config.json", text, n), -EINVAL, "%zu", n);
	free(text);
}

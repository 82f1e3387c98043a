/* Lists of checksums as sha256sum(1) writes them. Pure: bytes in, entries out.
 *
 * Read are "<64 hex digits>  <name>" and "<64 hex digits> *<name>", the escaped
 * form with a backslash in front (\\, \n and \r in the name), the form of --tag
 * ("SHA256 (<name>) = <64 hex digits>"), and 64 hex digits alone. Lines may end
 * in CR LF; empty ones and those that begin with # are left out. One line that
 * is none of these spoils the whole list: it may be half of one.
 *
 * Names are relative to the directory of the list and never lead out of it: an
 * absolute name, or one with "..", is no name of an upload. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	SUMS_DIGEST = 32,              /* bytes of a SHA-256 */
	SUMS_FILE_MAX = 1024 * 1024,   /* bytes; what is larger is no list */
};
/* What the name of a list, or of an upload's own checksum, ends in. */
#define SUMS_SUFFIX ".sha256"

struct sums_entry {
	char *name;      /* without "./"; "" where there is none ("-", or digits alone) */
	size_t line;     /* 1 and up */
	bool outside;    /* leads out of the directory of the list: name as it was written */
	uint8_t digest[SUMS_DIGEST];
};

struct sums {
	struct sums_entry *entries; /* sorted by name, then line */
	size_t n;
};

/* 0; -EINVAL: no list, with the reason in words, as the end of a sentence that
 * begins with its name: "is empty", "has no checksum in line 3" (`why`, at
 * least SUMS_WHY_MAX bytes); -ENOMEM. `ret` is untouched on failure. */
enum { SUMS_WHY_MAX = 80 };
int sums_parse(const char *data, size_t size, struct sums *ret, char *why);
void sums_clear(struct sums *sums);

/* What the list says of a name relative to its directory, or NULL. The last
 * line counts where there are several. */
const struct sums_entry *sums_find(const struct sums *sums, const char *name);
/* What an upload's own checksum ("<base>.sha256") says of it: the line with its
 * name; or the only line, where that has no name or, from wherever it was made,
 * the same base name. NULL: it is about others. */
const struct sums_entry *sums_find_own(const struct sums *sums, const char *base);

/* Is this the name of a list? */
bool sums_is_name(const char *path);

/* 64 lower case digits and a NUL. */
enum { SUMS_HEX = 2 * SUMS_DIGEST + 1 };
void sums_hex(const uint8_t *digest, char *out);

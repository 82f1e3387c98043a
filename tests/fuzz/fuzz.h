/* What the fuzz targets share: promises that must hold whatever the input is,
 * values taken from the input, and a directory in memory. */
#pragma once

#include <errno.h>
#include <ftw.h>
#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
/* Where a target needs it: once, before the first input. */
int LLVMFuzzerInitialize(int *argc, char ***argv);

/* The base name of the file at hand where files are replayed, else NULL. */
__attribute__((weak)) const char *fuzz_file;

#define MUST(condition) \
	do { \
		if (!(condition)) { \
			fprintf(stderr, "%s:%d: broken promise: %s\n", __FILE__, __LINE__, \
			        #condition); \
			abort(); \
		} \
	} while (0)

/* The rest of an input; what is not there counts as 0. */
struct input {
	const uint8_t *at;
	size_t left;
};

static inline uint64_t take_number(struct input *in, unsigned width)
{
	uint64_t value = 0;
	for (unsigned i = 0; i < width; i++) {
		value = value << 8 | (in->left > 0 ? *in->at : 0);
		if (in->left > 0) {
			in->at++;
			in->left--;
		}
	}
	return value;
}

static inline unsigned take_below(struct input *in, unsigned limit)
{
	return (unsigned)take_number(in, 2) % limit;
}

/* A length, then so many bytes, without NULs among them. A new string. */
static inline char *take_text(struct input *in, size_t max)
{
	size_t n = take_number(in, 2) % (max + 1);
	if (n > in->left)
		n = in->left;
	char *text = strndup((const char *)in->at, n);
	MUST(text != NULL);
	in->at += n;
	in->left -= n;
	return text;
}

/* One in four is NULL. */
static inline char *take_text_or_null(struct input *in, size_t max)
{
	return take_number(in, 1) % 4 == 0 ? NULL : take_text(in, max);
}

static inline char *copy_text(const uint8_t *data, size_t size)
{
	char *text = malloc(size + 1);
	MUST(text != NULL);
	if (size > 0)
		memcpy(text, data, size);
	text[size] = '\0';
	return text;
}

static inline bool same_text(const char *a, const char *b)
{
	return a == NULL || b == NULL ? a == b : strcmp(a, b) == 0;
}

/* Nothing a terminal would obey, and UTF-8: told by other code than that which
 * is tested. Characters of `keep` are fine. */
static inline bool is_harmless(const char *text, const char *keep)
{
	static const char *const turning[] = {
		"\xe2\x80\x8e", "\xe2\x80\x8f", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaa",
		"\xe2\x80\xab", "\xe2\x80\xac", "\xe2\x80\xad", "\xe2\x80\xae", "\xe2\x81\xa6",
		"\xe2\x81\xa7", "\xe2\x81\xa8", "\xe2\x81\xa9", "\xd8\x9c",
	};
	json_t *utf8 = json_string(text);
	bool fine = utf8 != NULL;
	json_decref(utf8);
	for (const unsigned char *c = (const unsigned char *)text; fine && *c != '\0'; c++)
		fine = (*c >= 0x20 || strchr(keep, *c) != NULL) && *c != 0x7f &&
		       !(*c == 0xc2 && c[1] >= 0x80 && c[1] < 0xa0);
	for (size_t i = 0; fine && i < sizeof turning / sizeof *turning; i++)
		fine = strstr(text, turning[i]) == NULL;
	return fine;
}

static inline int scratch_remove_one(const char *path, const struct stat *st, int type,
                                     struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static inline void scratch_remove(const char *path)
{
	nftw(path, scratch_remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

static char scratch_path[64];
static pid_t scratch_owner;

static inline void scratch_end(void)
{
	if (getpid() == scratch_owner)
		scratch_remove(scratch_path);
}

/* A directory of this process, in memory where there is room for it. */
static inline const char *scratch(void)
{
	if (scratch_owner == 0) {
		strcpy(scratch_path, "/dev/shm/spoold-fuzz-XXXXXX");
		if (mkdtemp(scratch_path) == NULL) {
			strcpy(scratch_path, "/tmp/spoold-fuzz-XXXXXX");
			MUST(mkdtemp(scratch_path) != NULL);
		}
		scratch_owner = getpid();
		atexit(scratch_end);
	}
	return scratch_path;
}

/* A file below it, written anew. */
static inline void scratch_write(const char *name, const void *data, size_t size, mode_t mode)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", scratch(), name);
	FILE *file = fopen(path, "w");
	MUST(file != NULL && fwrite(data, 1, size, file) == size);
	MUST(fclose(file) == 0 && chmod(path, mode) == 0);
}

static inline void scratch_mkdir(const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", scratch(), name);
	MUST(mkdir(path, 0755) == 0 || errno == EEXIST);
}

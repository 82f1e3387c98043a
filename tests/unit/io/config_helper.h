/* A directory with a handler in it, and configurations parsed as if they lay
 * there. */
#pragma once

#include "io/config.h"

#include <criterion/criterion.h>
#include <ftw.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define DIR_TEMPLATE "/tmp/spoold-config-XXXXXX"

struct fixture {
	char dir[sizeof DIR_TEMPLATE];
	char path[sizeof DIR_TEMPLATE + 16]; /* of config.json in it */
	struct config *config;
	struct config_report report;
};

static inline void make_file(const char *dir, const char *name, const char *text, mode_t mode)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	FILE *f = fopen(path, "w");
	cr_assert_not_null(f, "%s", path);
	fputs(text, f);
	fclose(f);
	cr_assert_eq(chmod(path, mode), 0);
}

static inline void make_dir(const char *dir, const char *name)
{
	char path[512];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	cr_assert_eq(mkdir(path, 0755), 0, "%s", path);
}

static inline void place_init(struct fixture *p)
{
	*p = (struct fixture){.dir = DIR_TEMPLATE};
	cr_assert_not_null(mkdtemp(p->dir));
	snprintf(p->path, sizeof p->path, "%s/config.json", p->dir);
	make_dir(p->dir, "packaging");
	make_dir(p->dir, "packaging/handlers");
	make_file(p->dir, "packaging/handlers/count-records", "#!/bin/sh\n", 0755);
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static inline void place_reset(struct fixture *p)
{
	config_free(p->config);
	p->config = NULL;
	config_report_clear(&p->report);
}

static inline void place_clear(struct fixture *p)
{
	place_reset(p);
	nftw(p->dir, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Parses as config.json; only that name, so that messages are short. */
static inline int parse_size(struct fixture *p, const char *name, const char *text, size_t size)
{
	char cwd[4096];
	place_reset(p);
	cr_assert_not_null(getcwd(cwd, sizeof cwd));
	cr_assert_eq(chdir(p->dir), 0);
	int r = config_parse(name, text, size, &p->config, &p->report);
	cr_assert_eq(chdir(cwd), 0);
	cr_assert_eq(r == 0, p->config != NULL);
	cr_assert_eq(r == 0, p->report.errors_n == 0, "%d, %zu errors", r, p->report.errors_n);
	return r;
}

static inline int parse(struct fixture *p, const char *text)
{
	return parse_size(p, "config.json", text, strlen(text));
}

static inline int parse_yaml(struct fixture *p, const char *text)
{
	return parse_size(p, "config.yaml", text, strlen(text));
}

/* Not by cr_log_warn(): Criterion then counts the run as failed. */
static inline void print_report(const struct config_report *report)
{
	for (size_t i = 0; i < report->errors_n; i++)
		fprintf(stderr, "error: %s\n", report->errors[i]);
	for (size_t i = 0; i < report->warnings_n; i++)
		fprintf(stderr, "warning: %s\n", report->warnings[i]);
}

/* It loads, without warnings. */
#define expect_good(p, text) \
	do { \
		int r_ = parse(p, text); \
		print_report(&(p)->report); \
		cr_assert_eq(r_, 0); \
		cr_assert_eq((p)->report.warnings_n, 0); \
	} while (0)

/* It is refused with exactly this one line. */
#define expect_error(p, text, line)                                                                \
	do {                                                                                       \
		cr_expect_eq(parse(p, text), -EINVAL);                                             \
		cr_expect_eq((p)->report.errors_n, 1, "%zu errors: %s", (p)->report.errors_n,      \
		             line);                                                                \
		if ((p)->report.errors_n > 0)                                                      \
			cr_expect_str_eq((p)->report.errors[0], line);                             \
	} while (0)

/* A file of the source tree, found from this one. */
static inline char *source_path(const char *name)
{
	const char *here = __FILE__;
	const char *end = strstr(here, "tests/unit/io/");
	char *path = NULL;
	cr_assert_not_null(end);
	cr_assert_gt(asprintf(&path, "%.*s%s", (int)(end - here), here, name), 0);
	return path;
}

static inline char *read_source(const char *name)
{
	char *path = source_path(name), *text = NULL;
	size_t size = 0;
	FILE *f = fopen(path, "r");
	cr_assert_not_null(f, "%s", path);
	ssize_t n = getdelim(&text, &size, '\0', f);
	cr_assert_geq(n, 0);
	fclose(f);
	free(path);
	return text;
}

/* config_print() into a new string. */
static inline char *printed(const struct config *config)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	cr_assert_not_null(out);
	cr_assert_eq(config_print(config, out), 0);
	fclose(out);
	return text;
}

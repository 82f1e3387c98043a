/* A job's private directory with a file in it, and handlers written as small
 * shell scripts. Each Criterion test is a process of its own, so it may be a
 * subreaper and have its children killed. */
#pragma once

#include "base/clock.h"
#include "base/fd.h"
#include "core/name.h"
#include "io/runner.h"
#ifdef READY
#include "io/runner_private.h"
#endif

#include <criterion/criterion.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

/* The machine may have a lot else to do. */
enum { PATIENCE_MS = 50000 };

struct world {
	char top[64];   /* removed at the end */
	char dir[80];   /* the job's directory */
	int dirfd;
	struct run_order order;
	char *command[8];
};

UNUSED static char *in_world(const struct world *w, const char *name)
{
	char *path;
	cr_assert_geq(asprintf(&path, "%s/%s", w->top, name), 0);
	return path;
}

UNUSED static void put_file(const char *path, const char *text, mode_t mode)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	cr_assert_geq(fd, 0, "%s: %s", path, strerror(errno));
	cr_assert_eq(fd_write_all(fd, text, strlen(text)), 0);
	fchmod(fd, mode);
	close(fd);
}

/* "" where there is no such file, or (in /proc) no such process any more. */
UNUSED static char *get_file(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char *data = NULL;
	size_t size;
	if (fd < 0)
		return strdup("");
	int r = fd_read_all(fd, 64 << 20, &data, &size);
	close(fd);
	if (r == -ESRCH)
		return strdup("");
	cr_assert_eq(r, 0, "%s: %s", path, strerror(-r));
	return data;
}

UNUSED static char *get_job_file(const struct world *w, const char *name)
{
	char *path;
	cr_assert_geq(asprintf(&path, "%s/%s", w->dir, name), 0);
	char *text = get_file(path);
	free(path);
	return text;
}

UNUSED static char *get_log(const struct world *w)
{
	return get_job_file(w, name_log(w->order.name));
}

UNUSED static void accept_file(struct world *w, const char *name, const char *text)
{
	struct stat st;
	char *path;
	cr_assert_geq(asprintf(&path, "%s/%s", w->dir, name), 0);
	put_file(path, text, 0640);
	cr_assert_eq(stat(path, &st), 0);
	free(path);
	w->order.ident_ino = st.st_ino;
	free(w->order.name);
	w->order.name = strdup(name);
}

UNUSED static void world_make(struct world *w)
{
	char top[] = "/tmp/spoold-runner-XXXXXX";
	*w = (struct world){0};
	cr_assert_not_null(mkdtemp(top));
	chmod(top, 0755);
	strcpy(w->top, top);
	snprintf(w->dir, sizeof w->dir, "%s/42", top);
	cr_assert_eq(mkdir(w->dir, 0700), 0);
	w->dirfd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_geq(w->dirfd, 0);
	cr_assert_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	char *cookie;
	cr_assert_geq(asprintf(&cookie, "test-%d", getpid()), 0);
	w->order = (struct run_order){.job = 42, .attempt = 1, .user = strdup("alice"),
		.dir = strdup(w->dir), .command = w->command, .kill_grace_ms = 200,
		.log_limit_bytes = 65536, .cookie = cookie};
	accept_file(w, "report.csv", "a,b\n1,2\n");
}

/* Its directory is called after its job. */
UNUSED static void world_set_job(struct world *w, uint64_t job)
{
	char *path;
	w->order.job = job;
	cr_assert_geq(asprintf(&path, "%s/%llu", w->top, (unsigned long long)job), 0);
	cr_assert_lt(strlen(path), sizeof w->dir);
	cr_assert_eq(rename(w->dir, path), 0);
	strcpy(w->dir, path);
	free(w->order.dir);
	w->order.dir = path;
}

UNUSED static void world_remove(struct world *w)
{
	char *command;
	close(w->dirfd);
	w->order.command = NULL;
	for (size_t i = 0; i < sizeof w->command / sizeof *w->command; i++)
		free(w->command[i]);
	run_order_clear(&w->order);
	cr_assert_geq(asprintf(&command, "rm -rf '%s'", w->top), 0);
	cr_assert_eq(system(command), 0);
	free(command);
}

/* The handler is this shell script. */
UNUSED static void script(struct world *w, const char *body)
{
	char *path = in_world(w, "handler");
	char *text;
	cr_assert_geq(asprintf(&text, "#!/bin/sh\n%s\n", body), 0);
	put_file(path, text, 0755);
	free(text);
	free(w->command[0]);
	w->command[0] = path;
}

UNUSED static void wait_readable(int fd, uint64_t until_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = clock_steady_ms();
	cr_assert_lt(now, until_ms, "nothing happens any more");
	poll(&p, 1, (int)(until_ms - now));
}

/* Waits until `name` is in the job's directory, stepping the runner. */
UNUSED static void wait_for_file(struct world *w, struct runner *r, const char *name)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	while (faccessat(w->dirfd, name, F_OK, 0) < 0) {
		struct runner_event ev;
		struct pollfd p = {.fd = r == NULL ? -1 : runner_fd(r), .events = POLLIN};
		cr_assert_lt(clock_steady_ms(), until, "%s does not appear", name);
		if (poll(&p, 1, 10) > 0) {
			cr_assert_eq(runner_step(r, &ev), 0);
			cr_assert_not(ev.ended, "ended before %s appeared: %s", name,
			              ev.result.error == NULL ? "" : ev.result.error);
		}
	}
}

UNUSED static struct run_result copy_result(const struct run_result *result)
{
	struct run_result copy = *result;
	copy.error = result->error == NULL ? NULL : strdup(result->error);
	copy.message = result->message == NULL ? NULL : strdup(result->message);
	return copy;
}

UNUSED static struct run_result run_to_end(struct runner *r)
{
	uint64_t until = clock_steady_ms() + PATIENCE_MS;
	struct runner_event ev;
	do {
		wait_readable(runner_fd(r), until);
		cr_assert_eq(runner_step(r, &ev), 0);
	} while (!ev.ended);
	return copy_result(&ev.result);
}

/* With READY defined, the processes of handlers are made before their orders. */
UNUSED static void get_ready(struct runner *r)
{
#ifdef READY
	r->spare.wanted = true;
	cr_assert_not(runner_prepare(r, true), "there is something left to make");
	cr_assert_gt(r->launcher.ready.pid, 0);
#else
	(void)r;
#endif
}

UNUSED static struct runner *start(struct world *w)
{
	struct runner *r = NULL;
	cr_assert_eq(runner_new(&r), 0);
	get_ready(r);
	cr_assert_eq(runner_start(r, &w->order, w->dirfd), 0);
	return r;
}

UNUSED static struct run_result run(struct world *w)
{
	struct runner *r = start(w);
	struct run_result result = run_to_end(r);
	runner_free(r);
	cr_assert_eq(waitpid(-1, NULL, WNOHANG), -1, "a child is left");
	cr_assert_eq(errno, ECHILD);
	return result;
}

/* Processes of this machine whose environment or command line has `text`. */
UNUSED static int count_processes(const char *text)
{
	static const char *const files[] = {"environ", "cmdline"};
	DIR *proc = opendir("/proc");
	struct dirent *entry;
	int found = 0;
	while ((entry = readdir(proc)) != NULL) {
		bool hit = false;
		if (atoi(entry->d_name) <= 0 || atoi(entry->d_name) == getpid())
			continue;
		for (size_t i = 0; i < 2 && !hit; i++) {
			char path[300];
			snprintf(path, sizeof path, "/proc/%s/%s", entry->d_name, files[i]);
			int fd = open(path, O_RDONLY | O_CLOEXEC);
			char *data;
			size_t size;
			if (fd < 0 || fd_read_all(fd, 1 << 20, &data, &size) < 0) {
				fd_close(fd);
				continue;
			}
			hit = memmem(data, size, text, strlen(text)) != NULL;
			free(data);
			close(fd);
		}
		found += hit;
	}
	closedir(proc);
	return found;
}

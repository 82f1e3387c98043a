#include "spoold/setup.h"

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "spoold/daemon.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SPOOLD_LIBEXECDIR
#define SPOOLD_LIBEXECDIR "/usr/local/libexec"
#endif


static void say_report(const struct config_report *report)
{
	for (size_t i = 0; i < report->errors_n; i++)
		fprintf(stderr, "%s\n", report->errors[i]);
	for (size_t i = 0; i < report->warnings_n; i++)
		fprintf(stderr, "warning: %s\n", report->warnings[i]);
}

/* Finds and loads; says what is wrong. NULL on failure. */
static struct config *load(const struct setup *setup)
{
	char *path = NULL;
	struct config *config = NULL;
	struct config_report report = {0};
	int r = config_find(setup->config_path, &path);
	if (r == -ENOENT)
		fprintf(stderr, "spoold: no configuration found: expected ./config.json or "
		                "/etc/spoold/config.json; name one with --config FILE (a file with {} "
		                "in it would do)\n");
	else if (r < 0)
		fprintf(stderr, "spoold: %s\n", strerror(-r));
	else
		config_load(path, &config, &report);
	say_report(&report);
	config_report_clear(&report);
	free(path);
	if (config != NULL && setup->interval_minutes > 0)
		config->interval_ms = (uint64_t)(setup->interval_minutes * 60000);
	return config;
}

static int init_spool(const struct config *config)
{
	bool existed = false;
	int r = tree_init(config->root, &existed);
	if (r < 0) {
		fprintf(stderr, "spoold: cannot make a spool at %s: %s\n", config->root, strerror(-r));
		return 1;
	}
	printf(existed ? "%s is a spool already\n" : "%s is a spool now\n", config->root);
	return 0;
}

int setup_act(const struct setup *setup)
{
	if (setup->action == SETUP_SCHEMA)
		config_print_schema(stdout);
	else if (setup->action == SETUP_ROFF)
		config_print_roff(stdout);
	else if (setup->action == SETUP_MARKDOWN)
		config_print_markdown(stdout);
	else {
		struct config *config = load(setup);
		int status = config == NULL ? 1 : 0;
		if (config != NULL && setup->action == SETUP_INIT)
			status = init_spool(config);
		else if (config != NULL && setup->action == SETUP_PRINT)
			status = config_print(config, stdout) < 0 ? 1 : 0;
		else if (config != NULL)
			printf("%s: the configuration is fine\n", config->path);
		config_free(config);
		return status;
	}
	return fflush(stdout) == 0 ? 0 : 1;
}

/* A daemon that is killed while it starts a worker leaves its descriptors, and
 * so its locks, for a moment with a child that has not become a worker yet. */
enum { START_PATIENCE_MS = 2000, START_LOOK_MS = 20 };

static bool be_patient(uint64_t until_ms)
{
	if (clock_steady_ms() >= until_ms)
		return false;
	clock_pause_ms(START_LOOK_MS);
	return true;
}

static void open_mounts(struct daemon *d)
{
	int r = mounts_new(d->config->mount_answer_ms, &d->mounts);
	if (r < 0)
		log_warning("whether network mounts answer cannot be asked: %s; one that hangs holds up "
		            "everybody", strerror(-r));
}

static int open_tree(struct daemon *d)
{
	const char *root = d->config->root;
	int r = mounts_ask(d->mounts, root, NULL, true);
	if (r == 0)
		r = tree_open(root, &d->tree);
	if (r == 0)
		tree_set_guard(d->tree, (struct tree_guard){mounts_ask, d->mounts});
	if (r == -ETIMEDOUT)
		log_error("the mount that holds the spool %s does not answer: see to its server, or unmount "
		          "it (umount -l) and mount it again", root);
	else if (r == -ENOENT)
		log_error("the spool %s does not exist (spool.root in %s): is what holds it mounted? A new "
		          "one is made by 'spoold --init'", root, d->config->path);
	else if (r == -ENODEV)
		log_error("%s has no marker: is the spool mounted? If this is to be a new spool, run "
		          "'spoold --init' once", root);
	else if (r == -EBADMSG)
		log_error("the marker %s/.spoold/marker is damaged or of a newer version of spoold; put "
		          "it back from a backup, or use that version", root);
	else if (r < 0)
		log_error("the spool %s cannot be opened: %s", root, strerror(-r));
	if (r < 0)
		return r;
	uint64_t until_ms = clock_steady_ms() + START_PATIENCE_MS;
	do
		d->lock_fd = tree_lock_daemon(d->tree);
	while (d->lock_fd == -EAGAIN && be_patient(until_ms));
	if (d->lock_fd == -EAGAIN)
		log_error("another spoold is at work on %s; stop it first ('spoolctl status' shows it)",
		          root);
	else if (d->lock_fd < 0)
		log_error("cannot write in %s: %s; spoold needs to own its spool", root,
		          strerror(-d->lock_fd));
	if (d->lock_fd < 0)
		return d->lock_fd;
	tree_note_daemon(d->lock_fd, d->once);
	return 0;
}

static int say_index(const struct daemon *d, int r)
{
	const char *type = "";
	const char *dir = d->config->index;
	if (r == -EREMOTE) {
		tree_path_is_network(dir, &type);
		log_error("the index %s lies on a network file system (%s), where it would break; set "
		          "spool.index to a local directory", dir, type == NULL ? "unknown" : type);
	} else if (r == -EBUSY) {
		log_error("the index %s is in use by another process; is another spoold running with "
		          "it?", dir);
	} else if (r == -EPROTONOSUPPORT) {
		log_error("the index %s was written by a newer version of spoold; use that one, or move "
		          "the index away to have it rebuilt from the directories", dir);
	} else if (r == -ENOSPC) {
		log_error("no space for the index %s: make room on its file system", dir);
	} else if (r < 0) {
		log_error("the index %s cannot be opened: %s", dir, strerror(-r));
	}
	return r;
}

/* A moved or lost one is made anew without a word of the library. */
static void say_new_index(const struct daemon *d)
{
	uint64_t next, below;
	if (index_next_id(d->index, &next) == 0 && next == 1 &&
	    tree_read_numbers(d->tree, &below) == 0 && below > 1)
		log_warning("the index %s is new, but this spool was in use before: it is rebuilt from the "
		            "directories, history and counts of attempts are gone; if the index was moved, "
		            "stop spoold and put it back", d->config->index);
}

static int open_index(struct daemon *d)
{
	const struct index_options options = {
		.create = true,
		.relaxed = d->config->durability == DURABILITY_RELAXED,
		.spool_id = tree_id(d->tree),
	};
	uint64_t until_ms = clock_steady_ms() + START_PATIENCE_MS;
	int r;
	do
		r = index_open(d->config->index, &options, &d->index);
	while (r == -EBUSY && be_patient(until_ms));
	if (r == 0)
		say_new_index(d);
	if (r != -EBADMSG && r != -ESTALE)
		return say_index(d, r);
	char *aside = NULL;
	const char *why = r == -ESTALE ? "belongs to another spool" : "is damaged";
	r = index_set_aside(d->config->index, clock_wall_ms(), &aside);
	if (r < 0) {
		log_error("the index %s %s and cannot be set aside: %s", d->config->index, why,
		          strerror(-r));
		return r;
	}
	log_warning("the index %s; it was set aside as %s and is rebuilt from the directories: no "
	            "file is lost, history and counts of attempts are", why, aside);
	free(aside);
	return say_index(d, index_open(d->config->index, &options, &d->index));
}

/* The program beside our own, or the installed one. */
static int find_worker(char *out, size_t size)
{
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	if (n > 0) {
		self[n] = '\0';
		char *slash = strrchr(self, '/');
		if (slash != NULL)
			slash[1] = '\0';
		int len = snprintf(out, size, "%sspool-worker", self);
		if (len > 0 && (size_t)len < size && access(out, X_OK) == 0)
			return 0;
	}
	snprintf(out, size, "%s/spoold/spool-worker", SPOOLD_LIBEXECDIR);
	if (access(out, X_OK) == 0)
		return 0;
	log_error("the program spool-worker is missing: expected it beside spoold or as %s", out);
	return -ENOENT;
}

static int open_pool(struct daemon *d)
{
	char worker[PATH_MAX + 16];
	int r = find_worker(worker, sizeof worker);
	if (r < 0)
		return r;
	r = pool_new(worker, d->config->max_concurrent, &d->pool);
	if (r < 0)
		log_error("workers cannot be managed: %s", strerror(-r));
	else
		pool_set_idle(d->pool, d->config->idle_handlers);
	return r;
}

static int open_watch(struct daemon *d)
{
	int r = watch_new(&d->watch);
	if (r == 0)
		r = users_watch_root(d);
	if (r < 0)
		log_warning("directories cannot be watched (%s); they are polled every %llu s. Raise the "
		            "limit with: sysctl fs.inotify.max_user_instances=1024", strerror(-r),
		            (unsigned long long)(d->config->poll_ms / 1000));
	if (r < 0 && d->watch != NULL) {
		watch_free(d->watch);
		d->watch = NULL;
	}
	return 0;
}

static int open_control(struct daemon *d)
{
	const char *path = d->config->socket;
	uint64_t until_ms = clock_steady_ms() + START_PATIENCE_MS;
	int r;
	do
		r = d->once ? 0 : control_new(path, &d->control);
	while (r == -EADDRINUSE && be_patient(until_ms));
	if (r == -EADDRINUSE)
		log_error("another process answers on %s; is another spoold running?", path);
	else if (r == -ENAMETOOLONG)
		log_error("the path of the control socket is too long: %s; set spool.socket to one of at "
		          "most 107 bytes", path);
	else if (r < 0)
		log_error("the control socket %s cannot be made: %s", path, strerror(-r));
	return r;
}

static int open_sync(struct daemon *d)
{
	int r = sync_new(&d->sync);
	if (r < 0)
		log_error("the thread that makes uploads durable cannot be started: %s", strerror(-r));
	return r;
}

static int open_digest(struct daemon *d)
{
	int r = digest_new(&d->digest);
	if (r < 0)
		log_error("checksums cannot be computed: %s", strerror(-r));
	return r;
}

static int open_wholes(struct daemon *d)
{
	int r = wholes_new(&d->wholes);
	if (r < 0)
		log_error("directories cannot be looked through: %s", strerror(-r));
	return r;
}

/* Batches of uploads, workers and clients take descriptors. */
static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

static void say_fault(const char *text)
{
	log_error("%s", text);
}

static void explain_faults(const char *index)
{
	char *bus = NULL, *segv = NULL;
	if (asprintf(&bus, "the index %s cannot be read any more: it was cut off while it was open, or "
	             "its disk fails. spoold ends; files are safe where they are. When it starts again, "
	             "it sets a damaged index aside and rebuilds it from the directories", index) < 0)
		bus = NULL;
	if (asprintf(&segv, "spoold ends on a memory fault: either the index %s was damaged while it was "
	             "open, or this is a mistake in spoold. When it starts again, it checks the index, "
	             "and rebuilds it where it is damaged", index) < 0)
		segv = NULL;
	/* A service manager starts it again. */
	if (bus != NULL)
		fault_explain(&(struct fault){
			.bus = bus, .status = EXIT_FAILURE, .segv = segv, .say = say_fault});
	free(bus);
	free(segv);
}

int setup_daemon(const struct setup *setup, struct daemon *d)
{
	struct config *config = load(setup);
	if (config == NULL)
		return -1;
	if (daemon_init(d, config) < 0) {
		config_free(config);
		return -1;
	}
	d->once = setup->once;
	d->interval_ms = (uint64_t)(setup->interval_minutes * 60000);
	raise_file_limit();
	explain_faults(config->index);
	open_mounts(d);
	int r = open_tree(d);
	if (r == 0)
		r = open_index(d);
	if (r == 0)
		r = open_control(d);
	if (r == 0)
		r = open_sync(d);
	if (r == 0)
		r = open_digest(d);
	if (r == 0)
		r = open_wholes(d);
	if (r == 0)
		r = open_pool(d);
	if (r == 0)
		r = open_watch(d);
	if (r == 0) {
		r = daemon_start(d, clock_wall_ms(), clock_steady_ms());
		if (r < 0)
			log_error("the spool cannot be read: %s", strerror(-r));
	}
	if (r < 0) {
		setup_clear(d);
		return -1;
	}
	log_notice("spoold " SPOOLD_VERSION " works on %s (%s)", tree_root(d->tree), d->config->path);
	return 0;
}

void setup_clear(struct daemon *d)
{
	if (d->pool != NULL)
		pool_free(d->pool);
	if (d->sync != NULL)
		sync_free(d->sync);
	daemon_clear(d);
	digest_free(d->digest);
	wholes_free(d->wholes);
	if (d->control != NULL)
		control_free(d->control);
	if (d->watch != NULL)
		watch_free(d->watch);
	if (d->index != NULL)
		index_close(d->index);
	if (d->tree != NULL)
		numbers_end(d);
	d->lock_fd = fd_close(d->lock_fd);
	if (d->tree != NULL)
		tree_close(d->tree);
	mounts_free(d->mounts);
	config_free(d->config);
}

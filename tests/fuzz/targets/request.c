/* Requests to the daemon: a whole daemon in this process, with jobs in every
 * state, without workers, threads and a socket. Each line of the input is a
 * request; one that starts with '@' is asked by an account without rights. Each
 * is answered exactly once, in words fit for a terminal, and nobody hears of
 * other people's files. */
#include "base/fd.h"
#include "base/log.h"
#include "core/name.h"
#include "io/index_private.h"
#include "spoold/daemon.h"

#include "fuzz.h"

#include <pwd.h>
#include <time.h>

/* Part of all names and texts of the other user. */
#define SECRET "SECRET"

enum { CLIENTS_MAX = 64, JOBS_MAX = 16 };

static struct daemon d;
static struct passwd account; /* name and uid of the one without rights */
static char other[] = "alice" SECRET;

/* The requests of an input. */
static struct {
	json_t *body;
	uid_t uid;
	bool may_tell;  /* it named the secret itself */
	unsigned answers;
} clients[CLIENTS_MAX];
static size_t clients_n, handed_over;
static bool changed;

int __wrap_control_next(struct control *c, uint64_t now_ms, struct control_request *ret);
void __wrap_control_answer(struct control *c, uint64_t client, json_t *answer);
bool __wrap_control_alive(const struct control *c, uint64_t client);
int __wrap_control_renew(struct control *c, uint64_t now_ms);

int __wrap_control_next(struct control *c, uint64_t now_ms, struct control_request *ret)
{
	(void)c;
	(void)now_ms;
	if (handed_over == clients_n)
		return 0;
	*ret = (struct control_request){
		.client = handed_over + 1,
		.uid = clients[handed_over].uid,
		.gid = clients[handed_over].uid == 0 ? 0 : account.pw_gid,
		.body = clients[handed_over].body,
	};
	handed_over++;
	return 1;
}

static bool only_reads(const json_t *body)
{
	static const char *const commands[] = {"status", "list", "show", "log", "explain"};
	const char *command = json_string_value(json_object_get(body, "command"));
	for (size_t i = 0; command != NULL && i < sizeof commands / sizeof *commands; i++)
		if (strcmp(command, commands[i]) == 0)
			return true;
	return false;
}

static void judge_refusal(const json_t *answer)
{
	const char *error = json_string_value(json_object_get(answer, "error"));
	json_int_t code = json_integer_value(json_object_get(answer, "exit"));
	MUST(error != NULL && error[0] != '\0' && (code == 1 || code == 2));
}

void __wrap_control_answer(struct control *c, uint64_t client, json_t *answer)
{
	(void)c;
	MUST(client > 0 && client <= handed_over && ++clients[client - 1].answers == 1);
	MUST(json_is_object(answer) && json_is_boolean(json_object_get(answer, "ok")));
	if (!json_is_true(json_object_get(answer, "ok")))
		judge_refusal(answer);
	else if (!only_reads(clients[client - 1].body))
		changed = true;
	/* Bytes of a log are the client's to show. */
	if (json_object_get(answer, "data") == NULL) {
		char *text = json_dumps(answer, JSON_COMPACT);
		MUST(text != NULL && is_harmless(text, ""));
		if (clients[client - 1].uid != 0 && !clients[client - 1].may_tell)
			MUST(strstr(text, SECRET) == NULL);
		free(text);
	}
	json_decref(answer);
}

bool __wrap_control_alive(const struct control *c, uint64_t client)
{
	(void)c;
	return clients[client - 1].answers == 0;
}

int __wrap_control_renew(struct control *c, uint64_t now_ms)
{
	(void)c, (void)now_ms;
	return 0;
}

/* Workers that do at once what they are told to. */
static struct {
	struct {
		uint64_t job;
		uint32_t attempt;
		bool started;
		enum outcome outcome; /* OUTCOME_NONE: it runs */
	} jobs[JOBS_MAX];
	size_t n;
} workers;

int __wrap_pool_run(struct pool *p, const struct run_order *order, int lock_fd, int job_dirfd);
int __wrap_pool_cancel(struct pool *p, uint64_t job, bool interrupt);
void __wrap_pool_ack(struct pool *p, uint64_t job, bool at_once);
void __wrap_pool_flush(struct pool *p, bool all);
void __wrap_pool_set_max(struct pool *p, uint32_t max);
void __wrap_pool_set_idle(struct pool *p, uint32_t handlers);
void __wrap_pool_outdate(struct pool *p);
void __wrap_pool_wake(struct pool *p, uint64_t job);
int __wrap_pool_next(struct pool *p, struct pool_event *ret);
uint32_t __wrap_pool_free_places(const struct pool *p);
uint32_t __wrap_pool_busy(const struct pool *p);
void __wrap_pool_recall(struct pool *p, uint64_t job);
void __wrap_pool_set_spare(struct pool *p, uint32_t spare);

int __wrap_pool_run(struct pool *p, const struct run_order *order, int lock_fd, int job_dirfd)
{
	(void)p;
	MUST(lock_fd >= 0 && job_dirfd >= 0);
	if (workers.n == JOBS_MAX)
		return -EAGAIN;
	workers.jobs[workers.n].job = order->job;
	workers.jobs[workers.n].attempt = order->attempt;
	workers.jobs[workers.n].started = false;
	workers.jobs[workers.n++].outcome = OUTCOME_NONE;
	return 0;
}

int __wrap_pool_cancel(struct pool *p, uint64_t job, bool interrupt)
{
	(void)p;
	for (size_t i = 0; i < workers.n; i++)
		if (workers.jobs[i].job == job) {
			workers.jobs[i].outcome = interrupt ? OUTCOME_INTERRUPTED : OUTCOME_CANCELED;
			return 0;
		}
	return -ESRCH;
}

void __wrap_pool_ack(struct pool *p, uint64_t job, bool at_once)
{
	(void)p;
	(void)job;
	(void)at_once;
}

void __wrap_pool_flush(struct pool *p, bool all)
{
	(void)p;
	(void)all;
}

void __wrap_pool_set_max(struct pool *p, uint32_t max)
{
	(void)p;
	(void)max;
}

void __wrap_pool_set_idle(struct pool *p, uint32_t handlers)
{
	(void)p;
	(void)handlers;
}

void __wrap_pool_outdate(struct pool *p)
{
	(void)p;
}

void __wrap_pool_wake(struct pool *p, uint64_t job)
{
	(void)p;
	(void)job;
}

int __wrap_pool_next(struct pool *p, struct pool_event *ret)
{
	(void)p;
	for (size_t i = 0; i < workers.n; i++) {
		uint64_t job = workers.jobs[i].job;
		if (!workers.jobs[i].started) {
			workers.jobs[i].started = true;
			*ret = (struct pool_event){
				.kind = POOL_STARTED, .job = job,
				.message = {.type = MESSAGE_STARTED, .job = job, .started_ms = d.wall_ms}};
			return 1;
		}
		if (workers.jobs[i].outcome == OUTCOME_NONE)
			continue;
		*ret = (struct pool_event){
			.kind = POOL_RESULT, .job = job,
			.message = {.type = MESSAGE_RESULT, .result = {
				.job = job, .attempt = workers.jobs[i].attempt,
				.outcome = workers.jobs[i].outcome, .started_ms = d.wall_ms,
				.exit_code = workers.jobs[i].outcome == OUTCOME_FAILED ? 65 : EXIT_CODE_NONE,
				.finished_ms = d.wall_ms, .records = RECORDS_NONE}}};
		workers.jobs[i] = workers.jobs[--workers.n];
		return 1;
	}
	return 0;
}

uint32_t __wrap_pool_free_places(const struct pool *p)
{
	(void)p;
	return (uint32_t)(JOBS_MAX - workers.n);
}

uint32_t __wrap_pool_busy(const struct pool *p)
{
	(void)p;
	return (uint32_t)workers.n;
}

/* The settings of this world hand nothing ahead. */
void __wrap_pool_recall(struct pool *p, uint64_t job)
{
	(void)p;
	(void)job;
}

void __wrap_pool_set_spare(struct pool *p, uint32_t spare)
{
	(void)p;
	(void)spare;
}

/* The syncer: all is durable at once. */
static uint64_t synced[JOBS_MAX];
static size_t synced_n;

int __wrap_sync_add(struct sync *s, uint64_t tag, const int *fds, size_t n, int *errors);
int __wrap_sync_next(struct sync *s, uint64_t *ret_tag, int *ret_error);

int __wrap_sync_add(struct sync *s, uint64_t tag, const int *fds, size_t n, int *errors)
{
	(void)s;
	if (synced_n == JOBS_MAX)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		fd_close(fds[i]);
		errors[i] = 0;
	}
	synced[synced_n++] = tag;
	return 0;
}

int __wrap_sync_next(struct sync *s, uint64_t *ret_tag, int *ret_error)
{
	(void)s;
	if (synced_n == 0)
		return 0;
	*ret_tag = synced[0];
	*ret_error = 0;
	memmove(synced, synced + 1, --synced_n * sizeof *synced);
	return 1;
}

static void drop(const char *user, const char *name)
{
	char path[256], text[64];
	snprintf(path, sizeof path, "spool/%s/incoming/%s", user, name);
	int n = snprintf(text, sizeof text, "content of %s\n", name);
	scratch_write(path, text, (size_t)n, 0644);
}

static uint64_t passed_ms;

/* A while passes, in which all happens that is due. */
static void live(uint64_t ms)
{
	passed_ms += ms;
	for (int n = 0; n < 1000; n++) {
		uint64_t next = daemon_tick(&d, passed_ms, passed_ms);
		intake_read_synced(&d);
		dispatch_read_events(&d);
		if (next > passed_ms && synced_n == 0 && d.turn.changes == NULL)
			return;
	}
	MUST(!"it never comes to rest");
}

/* Lets the scheduler start what it may, and ends that so. */
static void work(enum outcome outcome)
{
	sched_set_running(d.sched, true);
	live(10);
	sched_set_running(d.sched, false);
	for (size_t i = 0; i < workers.n; i++)
		workers.jobs[i].outcome = outcome;
	live(10);
}

static void add_user(const char *name)
{
	unsigned made;
	MUST(tree_make_user(d.tree, name, (uid_t)-1, (gid_t)-1, &made) == 0);
}

static void hold_last(const char *path)
{
	struct user *u = user_find(&d, other);
	struct job job;
	MUST(u != NULL && index_find_path(d.index, u->number, path, &job) == 0);
	MUST(job.state == JOB_PENDING);
	job_step(&job, JOB_EV_HOLD);
	MUST(index_begin(d.index) == 0 && index_put_job(d.index, &job) == 0);
	MUST(index_put_user_held(d.index, other, true, "by " SECRET) == 0);
	MUST(index_commit(d.index) == 0);
	job_clear(&job);
	user_touch(&d, u);
}

static const char settings[] =
	"{\"spool\": {\"durability\": \"relaxed\", \"watch\": \"poll\", \"poll_seconds\": 3600,"
	" \"settle_seconds\": 0},"
	" \"scheduler_settings\": {\"interval_minutes\": 1440, \"max_concurrent_jobs\": 8,"
	" \"prefetch_jobs_per_worker\": 0},"
	" \"job_processing\": {\"auto_start_processing\": false},"
	" \"handler\": {\"command\": [\"/bin/true\"]}}";

static void open_daemon(void)
{
	struct config *config = NULL;
	struct config_report report = {0};
	char path[128];
	bool existed;
	snprintf(path, sizeof path, "%s/config.json", scratch());
	scratch_write("config.json", settings, strlen(settings), 0644);
	MUST(config_load(path, &config, &report) == 0);
	config_report_clear(&report);
	MUST(tree_init(config->root, &existed) == 0 && daemon_init(&d, config) == 0);
	MUST(tree_open(config->root, &d.tree) == 0);
	d.lock_fd = tree_lock_daemon(d.tree);
	MUST(d.lock_fd >= 0);
	const struct index_options options = {
		.create = true, .relaxed = true, .spool_id = tree_id(d.tree)};
	MUST(index_open(config->index, &options, &d.index) == 0);
	/* Only asked by what is wrapped above. */
	d.pool = (struct pool *)&workers;
	d.control = (struct control *)&clients;
	d.sync = (struct sync *)&synced;
}

/* Both users have a job done, one failed, one running, two pending; the other
 * one's line is held. Some uploads can never be jobs. */
static void make_world(void)
{
	open_daemon();
	add_user(account.pw_name);
	add_user(other);
	for (int i = 1; i <= 5; i++) {
		char name[32];
		snprintf(name, sizeof name, "%d.csv", i);
		drop(account.pw_name, name);
		snprintf(name, sizeof name, "%d-" SECRET ".csv", i);
		drop(other, name);
	}
	char path[256];
	snprintf(path, sizeof path, "%s/spool/%s/incoming/link", scratch(), other);
	MUST(symlink(SECRET, path) == 0);
	/* All uploads are old. */
	passed_ms = (uint64_t)time(NULL) * 1000 + 3600 * 1000;
	MUST(daemon_start(&d, passed_ms, passed_ms) == 0);
	live(10);
	live(5000);
	work(OUTCOME_SUCCEEDED);
	work(OUTCOME_FAILED);
	work(OUTCOME_NONE);
	MUST(workers.n == 2);
	hold_last("5-" SECRET ".csv");
	live(10);
}

static void end_world(void)
{
	char path[128];
	daemon_clear(&d);
	index_close(d.index);
	fd_close(d.lock_fd);
	tree_close(d.tree);
	config_free(d.config);
	workers.n = synced_n = 0;
	snprintf(path, sizeof path, "%s/spool", scratch());
	scratch_remove(path);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	const struct passwd *nobody = getpwnam("nobody");
	MUST(nobody != NULL);
	account = *nobody;
	account.pw_name = strdup(nobody->pw_name);
	log_set_level(LOG_LEVEL_ERROR);
	make_world();
	return 0;
}

static void take_line(const char *line, size_t size)
{
	bool unprivileged = size > 0 && line[0] == '@';
	json_t *body = json_loadb(line + unprivileged, size - unprivileged, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(body) || clients_n == CLIENTS_MAX) {
		json_decref(body);
		return;
	}
	char *text = json_dumps(body, JSON_COMPACT);
	MUST(text != NULL);
	clients[clients_n].body = body;
	clients[clients_n].uid = unprivileged ? account.pw_uid : 0;
	clients[clients_n].may_tell = strstr(text, SECRET) != NULL;
	clients[clients_n++].answers = 0;
	free(text);
}

static void take_lines(const char *at, size_t left)
{
	while (left > 0) {
		const char *end = memchr(at, '\n', left);
		size_t n = end == NULL ? left : (size_t)(end - at);
		take_line(at, n);
		left -= n + (end != NULL);
		at += n + (end != NULL);
	}
}

static size_t last_transaction(void)
{
	MDB_envinfo info;
	MUST(mdb_env_info(d.index->env, &info) == 0);
	return info.me_last_txnid;
}

static bool all_answered(void)
{
	for (size_t i = 0; i < clients_n; i++)
		if (clients[i].answers == 0)
			return false;
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	size_t transaction = last_transaction();
	clients_n = handed_over = 0;
	changed = false;
	take_lines((const char *)data, size);
	request_read_all(&d);
	MUST(handed_over == clients_n);
	if (!all_answered() || d.turn.changes != NULL) {
		live(10);
		live(REQUEST_SUBMITTED_MS);
	}
	if (!all_answered())
		live(REQUEST_CANCEL_MS);
	MUST(all_answered());
	/* Silent clients are looked for, and then it rests. */
	live(2 * CONTROL_IDLE_MS);
	for (size_t i = 0; i < clients_n; i++)
		json_decref(clients[i].body);
	clients_n = handed_over = 0;
	/* What an input changed must not matter to the next one. */
	if (changed || last_transaction() != transaction) {
		live(10);
		end_world();
		make_world();
	}
	return 0;
}

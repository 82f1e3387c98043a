/* The configuration: one file, JSON or YAML, one table of settings.
 *
 * A loaded configuration never changes; a reload loads another one. All paths
 * in it are absolute, all times milliseconds, all sizes bytes. Whatever it
 * points to is owned by it and lives until config_free().
 *
 * Limits: 1 MiB, 32 levels, 65536 values. Values that the contract names but
 * this version cannot do are refused (see config_table.c). */
#pragma once

#include "core/message.h"
#include "core/quota.h"
#include "core/retry.h"
#include "core/settle.h"
#include <stdio.h>

enum watch_mode { WATCH_AUTO, WATCH_INOTIFY, WATCH_POLL };
enum durability { DURABILITY_FULL, DURABILITY_RELAXED };
enum keep_logs { KEEP_LOGS_NEVER, KEEP_LOGS_FAILED, KEEP_LOGS_ALWAYS };
enum final_failure { FINAL_FAILURE_CONTINUE, FINAL_FAILURE_HOLD };
enum directories { DIRECTORIES_FOLLOW, DIRECTORIES_JOB };
enum handler_mode { HANDLER_PER_FILE, HANDLER_STREAM };

struct handler {
	char **command;           /* NULL-terminated; command[0] absolute */
	enum handler_mode mode;
	char *run_as;             /* account, "{user}", or "" = as the daemon */
	int32_t *permanent_exit_codes;
	size_t permanent_exit_codes_n;
	uint64_t kill_grace_ms;
	uint64_t recycle_jobs;    /* of a stream handler; 0 = never */
	uint64_t recycle_ms;
	uint64_t idle_ms;         /* 0 = no limit */
	enum keep_logs keep_logs;
	uint64_t log_limit_bytes;
	struct run_limits limits;
};

struct route {
	char *match;              /* shell pattern over the base name */
	struct handler handler;   /* keys it does not name are the user's */
};

/* What may differ per user. */
struct user_settings {
	struct settle_policy settle;
	enum directories directories;
	uint64_t whole_settle_ms; /* of a directory that is one job */
	char *marker_suffix;
	char **ignore;            /* NULL-terminated patterns */
	bool tidy;                /* remove empty directories that uploads left in incoming */
	uint64_t tidy_after_ms;
	bool notices;             /* tell in incoming what is not taken */
	uint64_t notice_after_ms;
	struct quota quota;       /* what may be pending at a time */
	bool single_job;          /* as configured; for decisions see max_running */
	uint32_t max_jobs;        /* as configured */
	uint32_t max_running;     /* effective: 1 with single_job_per_user; 0 = no limit */
	uint32_t prefetch;        /* jobs handed to a worker ahead of their turn, at most */
	uint64_t timeout_ms;      /* one attempt; 0 = none */
	struct retry_policy retry;
	enum final_failure on_final_failure;
	uint64_t keep_done_ms;    /* 0 = for ever */
	uint64_t keep_failed_ms;
	struct handler handler;
	struct route *routes;
	size_t routes_n;
};

struct config {
	char *path;               /* of the file, absolute */
	char *root, *index, *socket;
	enum watch_mode watch;
	uint64_t poll_ms;
	uint64_t mount_answer_ms; /* so long a network mount has to answer */
	enum durability durability;
	uint64_t interval_ms;     /* the safety rescan */
	uint32_t max_jobs;        /* as configured; for decisions see max_concurrent */
	uint32_t max_concurrent;  /* effective: CPUs where 0 was configured */
	uint32_t idle_handlers;   /* stream handlers that wait, at most */
	bool auto_start;
	uint64_t stop_grace_ms;   /* how long SIGTERM lets attempts finish */
	struct user_settings defaults;
	struct config_user *users; /* opaque: overrides, sorted by name */
	size_t users_n;
	struct config_memory *memory; /* opaque: what all of the above points to */
};

/* Everything that was wrong, one line each ("config.json:12:5: ..."), in the
 * order of the file, and warnings apart. Beyond CONFIG_REPORT_MAX of them a
 * last line says that there are more. config_load() and config_parse() fill it
 * anew, also on success; config_report_clear() frees. */
enum { CONFIG_REPORT_MAX = 200 };
struct config_report {
	char **errors, **warnings;
	size_t errors_n, warnings_n;
};
void config_report_clear(struct config_report *report);

/* Finds the file: `explicit_path` (may be NULL), $SPOOLD_CONFIG, ./config.json,
 * /etc/spoold/config.json. A new string, or -ENOENT where none of the last
 * two is there, -ENOMEM. The first two need not exist: loading says so. */
int config_find(const char *explicit_path, char **ret_path);

/* Loads and checks. On -EINVAL (mistakes) and on file errors (-ENOENT,
 * -EACCES, -EISDIR, -EFBIG ...), `report` says all of it and *ret is
 * untouched. Warnings may come with success. -ENOMEM. */
int config_load(const char *path, struct config **ret, struct config_report *report);
/* The same for a program that runs no handlers, perhaps under another account
 * (spoolctl): whether handlers can be executed and accounts be switched to is
 * not checked, since only the daemon can tell. */
int config_load_client(const char *path, struct config **ret, struct config_report *report);
/* The same from memory; `path` only names it and anchors relative paths. */
int config_parse(const char *path, const char *text, size_t size, struct config **ret,
                 struct config_report *report);
void config_free(struct config *config);

/* The settings of a user: its own or the defaults. Never NULL; owned by the
 * configuration. */
const struct user_settings *config_user(const struct config *config, const char *user);

/* Who has settings of its own: `i` < users_n, in the order of names. Whether the spool has
 * such a user is not known here. */
const char *config_user_name(const struct config *config, size_t i);
/* The known word nearest to `word`, or NULL where none is near: what was meant? */
const char *config_nearest(const char *word, const char *const *known, size_t n);

/* The word for it in a configuration. */
const char *keep_logs_name(enum keep_logs keep);
/* The handler for a file (base name): first matching route, else the user's. */
const struct handler *settings_handler(const struct user_settings *settings, const char *name);

/* Does a handler of these run as the account that bears the user's name? */
bool settings_run_as_user(const struct user_settings *settings);

/* Prints the whole configuration as JSON, defaults filled in, paths absolute;
 * users and their handlers with what differs. Parsing it gives the same
 * configuration, but for a path that is not UTF-8: that is printed escaped.
 * The schema; the settings as a table for the manual page (roff) and for the
 * README (markdown). -ENOMEM, -EIO. */
int config_print(const struct config *config, FILE *out);
void config_print_schema(FILE *out);
void config_print_roff(FILE *out);
void config_print_markdown(FILE *out);

/* Names what differs between two configurations and cannot change while
 * running (root, index, socket ...): a new comma-separated string, or NULL
 * where nothing does. */
char *config_fixed_changes(const struct config *old_config, const struct config *new_config);

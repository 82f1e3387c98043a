/* spoolctl: what all commands share.
 *
 * A command is one file that exports one `const struct cmd`. It gets a
 * struct ctl, which knows the options, the terminal, the configuration and the
 * connection to the daemon, and returns an exit code of the contract. */
#pragma once

#include "base/table.h"
#include "io/config.h"
#include "io/mounts.h"
#include "io/tree.h"
#include <argp.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
	CTL_OK = 0,
	CTL_NO = 1,        /* the answer is no, or a job failed */
	CTL_USAGE = 2,
	CTL_NO_DAEMON = 3,
};

enum color_when { COLOR_AUTO, COLOR_ALWAYS, COLOR_NEVER };

struct client;

struct ctl {
	/* options */
	const char *config_option;  /* --config, or NULL */
	const char *socket_option;  /* --socket, or NULL */
	bool json;
	enum color_when color;
	/* where output goes */
	bool terminal;              /* stdout is one */
	bool progress;              /* stderr is one: progress may be drawn there */
	struct look look;
	/* found on demand, see ctl_load() */
	struct config *config;      /* NULL where the file has mistakes */
	char *config_path, *root, *socket; /* escaped nowhere; root NULL = unknown */
	struct client *client;
	struct mounts *mounts;      /* see ctl_mounts() */
};

struct cmd {
	const char *name;
	const char *args;     /* for the overview: "[USER]" */
	const char *summary;  /* one line, for the overview */
	int (*run)(struct ctl *ctl, int argc, char **argv);
};

extern const struct cmd cmd_status, cmd_list, cmd_show, cmd_log, cmd_explain, cmd_submit, cmd_retry,
	cmd_cancel, cmd_hold, cmd_release, cmd_start, cmd_stop, cmd_rescan, cmd_reload, cmd_user,
	cmd_doctor, cmd_help;
/* NULL-terminated. */
extern const struct cmd *const ctl_commands[];
void ctl_print_overview(FILE *out);

/* Parses a command's arguments with its own options and the common ones.
 * `input` is what its parser finds in state->input. False: refused, and said
 * so: the command returns CTL_USAGE. Does not return for --help. */
bool ctl_parse(struct ctl *ctl, const struct argp *argp, int argc, char **argv, void *input);
/* The options that may stand before or after the command. */
extern const struct argp ctl_common_argp;
/* Reads a job's number ("42", "#42"); false where it is none. */
bool ctl_parse_job(const char *text, uint64_t *ret);

/* Measures stdout's terminal (again). */
void ctl_measure(struct ctl *ctl);

/* Says what went wrong: on stderr, or as {"error": S} on stdout. */
void ctl_error(struct ctl *ctl, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Lines of their own on stderr, folded where that is a terminal. */
void ctl_say(unsigned indent, const char *text);
/* A remark on stderr, whatever the options. */
void ctl_note(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Prints one JSON object and drops the reference. */
void ctl_print_json(const struct ctl *ctl, json_t *value);
/* Returns `p`, or ends the program where it is NULL: memory is out. */
void *ctl_need(void *p);
/* The same for an escaped name, to be freed. */
char *ctl_escape(const char *name);

/* Finds and loads the configuration; 0, or says why not and returns an exit
 * code. Mistakes in the file are no error where root and socket can be told
 * all the same: the daemon may run with what was there before. */
int ctl_load(struct ctl *ctl);
/* The same where the command needs the settings themselves. */
int ctl_load_all(struct ctl *ctl);
/* The same where it is only of use: says nothing, and config is NULL as before where
 * there is none. */
void ctl_try_load(struct ctl *ctl);
/* What tells whether network mounts answer: for whoever looks at files that may lie
 * on one. May be NULL. */
struct mounts *ctl_mounts(struct ctl *ctl);
/* As tree_open(), for the root of the configuration. -ETIMEDOUT: its mount does not
 * answer. */
int ctl_open_root(struct ctl *ctl, struct tree **ret);
/* Opens the spool's directories, or says why not and returns an exit code. */
int ctl_open_tree(struct ctl *ctl, struct tree **ret);
/* Prints what a configuration file has for mistakes. */
void ctl_print_report(struct ctl *ctl, const char *path, int error,
                      const struct config_report *report);

/* Connects. 0; CTL_NO_DAEMON, with nothing said: nobody answers (see
 * ctl_say_down()); other exit codes: said. */
int ctl_connect(struct ctl *ctl);
/* "spoold is not running on ..."; returns CTL_NO_DAEMON. */
int ctl_say_down(struct ctl *ctl);
/* Who is at work although nobody answers (down.c): true where somebody holds the lock
 * of the spool, and then who. */
bool ctl_lock_is_held(struct ctl *ctl, struct tree_daemon *ret);
/* A directory that is no spool, as far as can be seen: lock and socket of one that is not
 * mounted cannot be found. */
bool ctl_has_no_marker(struct ctl *ctl);
/* Why nobody answers, as half a sentence: "spoold is not running on /srv/spool". A new
 * string. */
char *ctl_why_down(struct ctl *ctl);
/* What to do about it, or NULL: it ends by itself. A new string. */
char *ctl_mend_down(struct ctl *ctl);

enum patience {
	ASK_SOON,
	ASK_WITHOUT_LIMIT,
	/* Where spoold goes away, it is waited for and asked again: for questions only. */
	ASK_THROUGH_RESTARTS,
};
/* Asks the daemon. `request` is stolen. *ret is the answer without "ok", to be
 * released. 0, or an exit code after having said why. */
int ctl_ask(struct ctl *ctl, json_t *request, enum patience patience, json_t **ret);
/* The same, but a refusal is left to the caller: *ret_refused says whether
 * *ret is one; its error is in "error". */
int ctl_ask_try(struct ctl *ctl, json_t *request, enum patience patience, json_t **ret,
                bool *ret_refused);
/* A request {"command": command}, to be completed with ctl_put(). */
json_t *ctl_request(const char *command);
void ctl_put(json_t *object, const char *key, json_t *value);
void ctl_put_name(json_t *object, const char *key, const char *name);
/* For requests whose answer is one sentence in "message": prints it. */
int ctl_ask_message(struct ctl *ctl, json_t *request);

/* Asks the same request for several jobs: each a request of its own, all are
 * tried. `done` is the end of the sentence "job 42 "; a "message" in the answer
 * stands for all of it. */
int ctl_each_job(struct ctl *ctl, const char *command, const uint64_t *jobs, size_t n,
                 enum patience patience, const char *done);

/* The one table of settings. Loading, checking, printing, the JSON schema, the
 * manual page and the README are all made from it. */
#include "io/config_private.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_FIELD(f) \
	.target = TARGET_CONFIG, .offset = offsetof(struct config, f), \
	.size = sizeof ((struct config *)0)->f
#define USER_FIELD(f) \
	.target = TARGET_USER, .offset = offsetof(struct user_settings, f), \
	.size = sizeof ((struct user_settings *)0)->f
#define HANDLER_FIELD(f) \
	.target = TARGET_HANDLER, .offset = offsetof(struct handler, f), \
	.size = sizeof ((struct handler *)0)->f

#define SECONDS .type = TYPE_AMOUNT, .unit = "seconds", .scale = 1000
#define MINUTES .type = TYPE_AMOUNT, .unit = "minutes", .scale = 60 * 1000
#define DAYS .type = TYPE_AMOUNT, .unit = "days", .scale = 24 * 60 * 60 * 1000
#define KIB .type = TYPE_AMOUNT, .unit = "KiB", .scale = 1024
#define MIB .type = TYPE_AMOUNT, .unit = "MiB", .scale = 1024 * 1024
#define WHOLE .type = TYPE_WHOLE, .scale = 1
#define CHOICE(c) .type = TYPE_CHOICE, .choices = (c)

static const struct config_choice watch_choices[] = {
	{"auto", WATCH_AUTO},
	{"inotify", WATCH_INOTIFY},
	{"poll", WATCH_POLL},
	{0},
};
static const struct config_choice durability_choices[] = {
	{"full", DURABILITY_FULL},
	{"relaxed", DURABILITY_RELAXED},
	{0},
};
static const struct config_choice completion_choices[] = {
	{"auto", COMPLETION_AUTO},
	{"rename", COMPLETION_RENAME},
	{"marker", COMPLETION_MARKER},
	{"checksum", COMPLETION_CHECKSUM},
	{0},
};
static const struct config_choice directories_choices[] = {
	{"follow", DIRECTORIES_FOLLOW},
	{"job", DIRECTORIES_JOB},
	{0},
};
static const struct config_choice priority_choices[] = {
	{"first_in_first_out", 0},
	{0},
};
static const struct config_choice position_choices[] = {
	{"front", RETRY_FRONT},
	{"back", RETRY_BACK},
	{0},
};
static const struct config_choice final_failure_choices[] = {
	{"continue", FINAL_FAILURE_CONTINUE},
	{"hold", FINAL_FAILURE_HOLD},
	{0},
};
static const struct config_choice on_crash_choices[] = {
	{"retry", ON_CRASH_RETRY},
	{"fail", ON_CRASH_FAIL},
	{"hold", ON_CRASH_HOLD},
	{0},
};
static const struct config_choice mode_choices[] = {
	{"per_file", HANDLER_PER_FILE},
	{"stream", HANDLER_STREAM},
	{0},
};
static const struct config_choice keep_logs_choices[] = {
	{"never", KEEP_LOGS_NEVER},
	{"failed", KEEP_LOGS_FAILED},
	{"always", KEEP_LOGS_ALWAYS},
	{0},
};

const char *keep_logs_name(enum keep_logs keep)
{
	const struct config_choice *choice = keep_logs_choices;
	while (choice->value != (uint32_t)keep)
		choice++;
	return choice->name;
}

const struct config_section_info config_sections[SECTIONS] = {
	[SECTION_TOP] = {"", "", SECTIONS, "Everything."},
	[SECTION_SPOOL] = {"spool", "spool", SECTION_TOP,
		"Where the spool is, how uploads are noticed, and when one is complete."},
	[SECTION_SCHEDULER] = {"scheduler_settings", "scheduler_settings", SECTION_TOP,
		"How many jobs run, for how long, how often, and how long files are kept."},
	[SECTION_PROCESSING] = {"job_processing", "job_processing", SECTION_TOP,
		"The order of a user's jobs, and what follows a failure."},
	[SECTION_HANDLER] = {"handler", "handler", SECTION_TOP,
		"The program that processes the files, and how it is run."},
	[SECTION_LIMITS] = {"limits", "handler.limits", SECTION_HANDLER,
		"Resource limits of the handler, each for one process of it (see setrlimit(2))."},
};

const struct config_setting config_settings[] = {
	{SECTION_SPOOL, "root", .type = TYPE_PATH, CONFIG_FIELD(root),
	 .preset = "\"spool\"", .fixed = true,
	 .help = "The directory with one directory per user."},
	{SECTION_SPOOL, "index", .type = TYPE_PATH, CONFIG_FIELD(index),
	 .preset_words = ".spoold/index in the root", .fixed = true,
	 .help = "The directory of the index. Move it to a local disk where the root is a network "
		 "mount: its locks and memory maps do not work there."},
	{SECTION_SPOOL, "socket", .type = TYPE_PATH, CONFIG_FIELD(socket),
	 .preset_words = ".spoold/control.sock in the root", .fixed = true,
	 .help = "The control socket. The system allows at most 107 bytes for its path."},
	{SECTION_SPOOL, "watch", CHOICE(watch_choices), CONFIG_FIELD(watch), .preset = "\"auto\"",
	 .help = "How uploads are noticed. \"auto\" uses inotify, and polls directories on network "
		 "mounts, where inotify cannot see what other machines write."},
	{SECTION_SPOOL, "poll_seconds", SECONDS, .min = 0.1, .max = 3600, CONFIG_FIELD(poll_ms),
	 .preset = "10",
	 .help = "How often a polled directory is looked at. Network mounts cache listings for "
		 "seconds, so that less brings little. What is found on one must be the same at two "
		 "looks, and settle after that."},
	{SECTION_SPOOL, "mount_answer_seconds", SECONDS, .min = 0.1, .max = 30,
	 CONFIG_FIELD(mount_answer_ms), .preset = "2",
	 .help = "How long a network mount has to answer before it is used. One that does not is left "
		 "alone, with the jobs of those whose directories are on it, until it does. All others "
		 "wait that long, too, if it stops answering in the middle of work: less is better for "
		 "them, more for slow servers."},
	{SECTION_SPOOL, "durability", CHOICE(durability_choices), CONFIG_FIELD(durability),
	 .preset = "\"full\"", .fixed = true,
	 .help = "\"full\": a job that is shown as pending, and every result, survives a power "
		 "cut. \"relaxed\": the index is synced once a second and uploads not at all, "
		 "which is faster; a power cut can undo the last second of the index (jobs are then "
		 "found again as new uploads, or run again) and leave uploads empty, cut off or gone "
		 "that the system had not written yet, usually those of the last half minute."},
	{SECTION_SPOOL, "completion", CHOICE(completion_choices), USER_FIELD(settle.completion),
	 .preset = "\"auto\"", .per_user = true,
	 .help = "When an upload is complete. \"auto\": renamed in, or closed by its writer and "
		 "unchanged for settle_seconds; an aborted transfer can look the same. \"rename\": "
		 "only by a rename, so a broken transfer is never taken. \"marker\": when a file "
		 "of its name plus marker_suffix arrives, which goes along with it to done or failed. "
		 "\"checksum\": when a file of its name plus .sha256, or another list of this suffix "
		 "beside or above it, has its SHA-256 as sha256sum writes it, and that is right; an "
		 "upload that differs goes to failed without being processed."},
	{SECTION_SPOOL, "settle_seconds", SECONDS, .min = 0, .max = 86400,
	 USER_FIELD(settle.settle_ms), .preset = "1", .per_user = true,
	 .help = "How long a closed upload must stay unchanged with \"auto\". More is safer for "
		 "clients that close and reopen a file or resume it."},
	{SECTION_SPOOL, "directories", CHOICE(directories_choices), USER_FIELD(directories),
	 .preset = "\"follow\"", .per_user = true,
	 .help = "What becomes of a directory in incoming. \"follow\": each file in it, at any depth, "
		 "is a job of its own. \"job\": each directory right in incoming is one job with all "
		 "in it, {file} is the directory, and it goes to done or failed as a whole. It is "
		 "complete by the same rule as a file (its marker lies beside it), but never while "
		 "it has no file, a file that somebody writes, or one with a temporary name in it; "
		 "with a link or device in it, it is never taken. Not together with completion "
		 "\"checksum\", and not on network mounts. spoold's account has to be able to move "
		 "it: as root, or with write permission in it."},
	{SECTION_SPOOL, "directory_settle_seconds", SECONDS, .min = 0, .max = 86400,
	 USER_FIELD(whole_settle_ms), .preset = "30", .per_user = true,
	 .help = "How long nothing in such a directory may have changed with completion \"auto\". "
		 "Between two files of one transfer nothing tells that more will come: this has to "
		 "be longer than any pause, such as that of a stalled connection. A directory that "
		 "is moved in is taken at once."},
	{SECTION_SPOOL, "marker_suffix", .type = TYPE_TEXT, USER_FIELD(marker_suffix),
	 .preset = "\".done\"", .per_user = true,
	 .help = "With completion \"marker\": what the name of the marker has behind that of the "
		 "upload."},
	{SECTION_SPOOL, "ignore", .type = TYPE_PATTERNS, USER_FIELD(ignore),
	 .preset = "[\".*\", \"*.part\", \"*.filepart\", \"*.tmp\", \"*~\"]", .per_user = true,
	 .help = "Shell patterns of names that are never jobs, nor is what lies in directories of "
		 "such names: what transfer programs write to before the rename. A list of one's own "
		 "replaces the whole default."},
	{SECTION_SPOOL, "tidy_empty_directories", .type = TYPE_BOOL, USER_FIELD(tidy),
	 .preset = "true", .per_user = true,
	 .help = "Remove from incoming the empty directories that remain when all files of an "
		 "uploaded directory were taken. Only directories that the owner of incoming made, "
		 "and never one in which anything is, were it a hidden file: one that is to stay can "
		 "hold a \".keep\". On network mounts that do not know when a directory was made, they "
		 "stay."},
	{SECTION_SPOOL, "tidy_after_seconds", SECONDS, .max = 86400, USER_FIELD(tidy_after_ms),
	 .preset = "300", .per_user = true,
	 .help = "How long nothing may have changed in such a directory and those in it, at least "
		 "settle_seconds. A directory that was made and never had anything in it is only "
		 "removed after a day: its uploader may still be on the way there."},
	{SECTION_SPOOL, "notices", .type = TYPE_BOOL, USER_FIELD(notices), .preset = "true",
	 .per_user = true,
	 .help = "Tell uploaders, who may have no shell, in a file SPOOLD-NOTICE.txt in incoming "
		 "which of their uploads are not taken, and why: links and the like, what is over a "
		 "limit, lacks its marker or rename, is never closed by its writer, has a temporary "
		 "name for long, or is nested too deep; and what waits since its handler cannot be "
		 "started. The file is never a job, and goes away by itself."},
	{SECTION_SPOOL, "notice_after_seconds", SECONDS, .max = 86400, .zero = "at once",
	 USER_FIELD(notice_after_ms), .preset = "60", .per_user = true,
	 .help = "How long an upload waits before the notice speaks of it. Most waits are over by "
		 "then, and nobody wonders earlier."},
	{SECTION_SPOOL, "max_pending_files", WHOLE, .max = 1000000000, .zero = "no limit",
	 USER_FIELD(quota.max_files), .preset = "0", .per_user = true,
	 .help = "How many jobs of a user may be pending or held at a time. What is more waits in "
		 "incoming, in the order of arrival, and becomes a job when earlier ones have started."},
	{SECTION_SPOOL, "max_pending_mib", MIB, .max = 1000000000, .zero = "no limit",
	 USER_FIELD(quota.max_bytes), .preset = "0", .per_user = true,
	 .help = "How much the files of these jobs may have together. Nothing smaller overtakes an "
		 "upload that waits for that; one that is larger than all of it is taken when "
		 "nothing else of its user is pending."},
	{SECTION_SPOOL, "max_upload_mib", MIB, .max = 1000000000, .zero = "no limit",
	 USER_FIELD(quota.max_upload), .preset = "0", .per_user = true,
	 .help = "How large an upload may be. A larger one stays in incoming, in nobody's way, until "
		 "the limit is raised or its user takes it back."},
	{SECTION_SPOOL, "min_free_mib", MIB, .max = 1000000000, .zero = "no limit",
	 USER_FIELD(quota.min_free), .preset = "0", .per_user = true,
	 .help = "How much has to be free where the user's directories lie, for outputs and logs, "
		 "before further uploads become jobs. Looked at every 5 seconds while one waits for "
		 "it. An upload that lies there takes no more room as a job, so none is kept free "
		 "unless asked for."},

	{SECTION_SCHEDULER, "interval_minutes", MINUTES, .min = 0.01, .max = 1440,
	 CONFIG_FIELD(interval_ms), .preset = "2",
	 .help = "How often all directories are looked at in case a notification was missed. Jobs "
		 "start at once, not on this clock."},
	{SECTION_SCHEDULER, "max_concurrent_jobs_per_user", WHOLE, .max = 1024, .zero = "no limit",
	 USER_FIELD(max_jobs), .preset = "1", .per_user = true,
	 .help = "How many jobs of one user run at a time. Counts only where single_job_per_user "
		 "is false."},
	{SECTION_SCHEDULER, "max_concurrent_jobs", WHOLE, .max = 1024,
	 .zero = "as many as there are CPUs", CONFIG_FIELD(max_jobs), .preset = "0",
	 .help = "How many jobs run at a time, all users together. Each takes a worker process, and "
		 "one that is ready for its next handler. Where many users have jobs of a few "
		 "milliseconds, several times the number of CPUs is quicker: what ends together is "
		 "made durable together. With \"stream\" handlers it is as many as users have such "
		 "jobs at a time: nobody waits then, so each is handed several jobs at once."},
	{SECTION_SCHEDULER, "max_idle_handlers", WHOLE, .max = 10000, CONFIG_FIELD(idle_handlers),
	 .preset = "32",
	 .help = "How many handlers of mode \"stream\" may wait for the next job of their user, besides "
		 "the jobs that run. Beyond it, the one that has waited longest makes room. Each "
		 "takes a worker process and its own."},
	{SECTION_SCHEDULER, "prefetch_jobs_per_worker", WHOLE, .max = 64, .zero = "none",
	 USER_FIELD(prefetch), .preset = "32", .per_user = true,
	 .help = "How many further jobs of a user are handed to the worker that runs one for it, so "
		 "that the next starts without waiting for the daemon. They are queued: run one at a "
		 "time, in order, and back in the line as they were when one before does not "
		 "succeed, when somebody else needs the place, or the line is held. Fewer where they "
		 "take longer than 5 ms each, none beyond 20 ms, and 512 of all users together, or "
		 "one each; and only new uploads for the same handler, of users of one job at a time "
		 "whose on_crash is \"retry\"."},
	{SECTION_SCHEDULER, "job_timeout_minutes", MINUTES, .max = 525600, .zero = "no limit",
	 USER_FIELD(timeout_ms), .preset = "30", .per_user = true,
	 .help = "How long one attempt may take. Then it is ended and counts as failed."},
	{SECTION_SCHEDULER, "retry_failed_jobs", .type = TYPE_BOOL, USER_FIELD(retry.enabled),
	 .preset = "true", .per_user = true,
	 .help = "Is a failed attempt followed by another? Not where the exit code is one of "
		 "permanent_exit_codes."},
	{SECTION_SCHEDULER, "max_retries", WHOLE, .max = 1000, USER_FIELD(retry.max_retries),
	 .preset = "3", .per_user = true,
	 .help = "How many attempts follow the first one, at most."},
	{SECTION_SCHEDULER, "retry_delay_seconds", SECONDS, .max = 3600, .zero = "at once",
	 USER_FIELD(retry.delay_ms), .preset = "10", .per_user = true,
	 .help = "The wait before the first retry. It doubles each time, up to an hour, with some "
		 "jitter."},
	{SECTION_SCHEDULER, "cleanup_completed_jobs_days", DAYS, .max = 36500, .zero = "for ever",
	 USER_FIELD(keep_done_ms), .preset = "7", .per_user = true,
	 .help = "How long files stay in done. Then they are deleted."},
	{SECTION_SCHEDULER, "cleanup_failed_jobs_days", DAYS, .max = 36500, .zero = "for ever",
	 USER_FIELD(keep_failed_ms), .preset = "30", .per_user = true,
	 .help = "How long files stay in failed. Longer than in done: somebody has to look."},
	{SECTION_SCHEDULER, "stop_grace_seconds", SECONDS, .max = 86400, .zero = "end them at once",
	 CONFIG_FIELD(stop_grace_ms), .preset = "20",
	 .help = "How long running attempts may go on after SIGTERM. What is then left is "
		 "interrupted and repeated after the next start. Keep it and kill_grace_seconds "
		 "together below the stop timeout of the service manager."},

	{SECTION_PROCESSING, "single_job_per_user", .type = TYPE_BOOL, USER_FIELD(single_job),
	 .preset = "true", .per_user = true,
	 .help = "At most one active job per user, whatever max_concurrent_jobs_per_user says."},
	{SECTION_PROCESSING, "queue_priority", CHOICE(priority_choices),
	 .preset = "\"first_in_first_out\"", .per_user = true,
	 .help = "The order within a user's line: by the moment the upload was complete."},
	{SECTION_PROCESSING, "auto_start_processing", .type = TYPE_BOOL, CONFIG_FIELD(auto_start),
	 .preset = "true",
	 .help = "false: jobs are accepted and wait for \"spoolctl start\"."},
	{SECTION_PROCESSING, "max_processing_time_minutes", MINUTES, .max = 525600,
	 .zero = "no limit", USER_FIELD(retry.max_total_ms), .preset = "60", .per_user = true,
	 .help = "How long all attempts of a job together may take. No further attempt starts "
		 "beyond it."},
	{SECTION_PROCESSING, "retry_position", CHOICE(position_choices), USER_FIELD(retry.position),
	 .preset = "\"front\"", .per_user = true,
	 .help = "Where a job waits for its retry. \"front\" keeps the order; with \"back\" others "
		 "go ahead while it waits."},
	{SECTION_PROCESSING, "on_final_failure", CHOICE(final_failure_choices),
	 USER_FIELD(on_final_failure), .preset = "\"continue\"", .per_user = true,
	 .help = "After a job failed for good: go on with the next, or hold the user's line until "
		 "it is released."},
	{SECTION_PROCESSING, "on_crash", CHOICE(on_crash_choices), USER_FIELD(retry.on_crash),
	 .preset = "\"retry\"", .per_user = true,
	 .help = "After an attempt was interrupted (crash, power cut) and may have had effects: "
		 "repeat it, give up, or hold the job until somebody decides."},

	{SECTION_HANDLER, "command", .type = TYPE_COMMAND, HANDLER_FIELD(command), .per_user = true,
	 .preset_words = "the example count-records with {file}",
	 .help = "The program and its arguments, each an element of its own; no shell is involved. "
		 "A program with a slash is a path relative to this file, without one it is looked "
		 "up in PATH. It is refused where it cannot be run, also a script whose first line "
		 "(#!) names no program that is there. In arguments {file}, {user}, {job}, {name} and {output} are "
		 "replaced."},
	{SECTION_HANDLER, "mode", CHOICE(mode_choices), HANDLER_FIELD(mode),
	 .preset = "\"per_file\"", .per_user = true,
	 .help = "\"per_file\": one process per attempt. \"stream\": one process per user is started "
		 "once, gets a line on its standard input for each file and answers it with one, see "
		 "spool-handler(7): much faster where starting the program takes longer than its work."},
	{SECTION_HANDLER, "recycle_after_jobs", WHOLE, .max = 1000000000, .zero = "never",
	 HANDLER_FIELD(recycle_jobs), .preset = "0", .per_user = true,
	 .help = "With mode \"stream\": after how many jobs the process is replaced. Helps against "
		 "programs that leak memory or descriptors."},
	{SECTION_HANDLER, "recycle_after_seconds", SECONDS, .max = 31536000, .zero = "never",
	 HANDLER_FIELD(recycle_ms), .preset = "0", .per_user = true,
	 .help = "With mode \"stream\": how old the process may get. It is ended between two jobs. "
		 "For programs that read something at their start that changes."},
	{SECTION_HANDLER, "idle_seconds", SECONDS, .max = 31536000, .zero = "no limit",
	 HANDLER_FIELD(idle_ms), .preset = "60", .per_user = true,
	 .help = "With mode \"stream\": how long the process may wait for the next job of its user. "
		 "Longer saves more starts, shorter memory."},
	{SECTION_HANDLER, "run_as", .type = TYPE_ACCOUNT, HANDLER_FIELD(run_as), .preset = "\"\"",
	 .per_user = true,
	 .help = "The account the handler runs as: \"\" for that of spoold, \"{user}\" for the one "
		 "named like the user of the spool. Needs a spoold that runs as root; there \"\" lets "
		 "handlers read as root what others upload, which doctor notes."},
	{SECTION_HANDLER, "permanent_exit_codes", .type = TYPE_EXIT_CODES, .min = 1, .max = 255,
	 .target = TARGET_HANDLER, .offset = offsetof(struct handler, permanent_exit_codes),
	 /* the list and its length, side by side */
	 .size = offsetof(struct handler, permanent_exit_codes_n) + sizeof(size_t) -
		 offsetof(struct handler, permanent_exit_codes),
	 .preset = "[65]", .per_user = true,
	 .help = "Exit codes that mean: this file will never work, do not retry. 65 is EX_DATAERR "
		 "of sysexits.h."},
	{SECTION_HANDLER, "kill_grace_seconds", SECONDS, .max = 3600, .zero = "SIGKILL at once",
	 HANDLER_FIELD(kill_grace_ms), .preset = "10", .per_user = true,
	 .help = "The time between SIGTERM and SIGKILL for an attempt that has to end."},
	{SECTION_HANDLER, "keep_logs", CHOICE(keep_logs_choices), HANDLER_FIELD(keep_logs),
	 .preset = "\"failed\"", .per_user = true,
	 .help = "Whose output is kept beside the file when the job is over. With \"always\" there is a "
		 "log of every job: where its handler printed nothing, it says that it ran."},
	{SECTION_HANDLER, "log_limit_kib", KIB, .min = 1, .max = 1048576,
	 HANDLER_FIELD(log_limit_bytes), .preset = "256", .per_user = true,
	 .help = "How much output of an attempt is kept, so that a talkative handler cannot fill "
		 "the disk."},

	{SECTION_LIMITS, "cpu_seconds", .type = TYPE_AMOUNT, .unit = "seconds", .scale = 1,
	 .max = 31536000, .zero = "no limit", HANDLER_FIELD(limits.cpu_seconds), .preset = "0",
	 .per_user = true,
	 .help = "CPU time. The system counts whole seconds; fractions are rounded up. With mode "
		 "\"stream\" it is that of all jobs of the process together."},
	{SECTION_LIMITS, "memory_mib", MIB, .max = 16777216, .zero = "no limit",
	 HANDLER_FIELD(limits.memory_bytes), .preset = "0", .per_user = true,
	 .help = "Address space, which is more than what is in use."},
	{SECTION_LIMITS, "file_mib", MIB, .max = 16777216, .zero = "no limit",
	 HANDLER_FIELD(limits.file_bytes), .preset = "0", .per_user = true,
	 .help = "The largest file it may write."},
	{SECTION_LIMITS, "open_files", WHOLE, .max = 1048576, .zero = "no limit",
	 HANDLER_FIELD(limits.open_files), .preset = "0", .per_user = true,
	 .help = "Open files at a time. Programs hardly start with less than 16."},
	{SECTION_LIMITS, "processes", WHOLE, .max = 4194304, .zero = "no limit",
	 HANDLER_FIELD(limits.processes), .preset = "0", .per_user = true,
	 .help = "Processes and threads of its account, all jobs together; where that is spoold's "
		 "own, two of each worker count, too. The system does not apply it to root."},
};

const size_t config_settings_n = sizeof config_settings / sizeof *config_settings;
_Static_assert(sizeof config_settings / sizeof *config_settings <= 64,
               "config_scope.named has a bit per row");

const struct config_setting *config_setting_find(enum config_section section, const char *key)
{
	for (size_t i = 0; i < config_settings_n; i++)
		if (config_settings[i].section == section &&
		    strcmp(config_settings[i].key, key) == 0)
			return &config_settings[i];
	return NULL;
}

enum config_section config_section_find(enum config_section parent, const char *name)
{
	enum config_section section = SECTION_SPOOL;
	while (section < SECTIONS && (config_sections[section].parent != parent ||
	                              strcmp(config_sections[section].name, name) != 0))
		section++;
	return section;
}

void *config_field(const struct config_setting *s, const struct config_scope *scope)
{
	void *base = NULL;
	switch (s->target) {
	case TARGET_NONE:
		return NULL;
	case TARGET_CONFIG:
		base = scope->config;
		break;
	case TARGET_USER:
		base = scope->user;
		break;
	case TARGET_HANDLER:
		base = scope->handler;
		break;
	}
	return base == NULL ? NULL : (char *)base + s->offset;
}

static void expect_choice(const struct config_choice *choices, char *out)
{
	size_t n = 0, left = 0;
	for (const struct config_choice *c = choices; c->name != NULL; c++)
		left++;
	for (const struct config_choice *c = choices; c->name != NULL; c++) {
		left--;
		n += (size_t)snprintf(out + n, CONFIG_EXPECTED_SIZE - n, "\"%s\"%s", c->name,
		                      left > 1 ? ", " : left == 1 ? " or " : "");
	}
}

static void expect_number(const struct config_setting *s, char *out)
{
	bool whole = s->type == TYPE_WHOLE;
	snprintf(out, CONFIG_EXPECTED_SIZE, "a %snumber %s%s%sfrom %.15g to %.15g%s%s%s",
	         whole ? "whole " : "", whole ? "" : "of ", whole ? "" : s->unit, whole ? "" : " ",
	         s->min, s->max, s->zero != NULL ? " (0 = " : "", s->zero != NULL ? s->zero : "",
	         s->zero != NULL ? ")" : "");
}

char *config_expected(const struct config_setting *s, char *out)
{
	const char *words = "";
	switch (s->type) {
	case TYPE_TEXT:
		words = "a text without a slash";
		break;
	case TYPE_PATH:
		words = "a path";
		break;
	case TYPE_ACCOUNT:
		words = "an account, \"\" or \"{user}\"";
		break;
	case TYPE_BOOL:
		words = "true or false";
		break;
	case TYPE_PATTERNS:
		words = "a list of shell patterns, like [\"*.tmp\"]";
		break;
	case TYPE_EXIT_CODES:
		words = "a list of exit codes from 1 to 255, like [65]";
		break;
	case TYPE_COMMAND:
		words = "a list of texts, like [\"program\", \"{file}\"]";
		break;
	case TYPE_WHOLE:
	case TYPE_AMOUNT:
		expect_number(s, out);
		return out;
	case TYPE_CHOICE:
		expect_choice(s->choices, out);
		return out;
	}
	snprintf(out, CONFIG_EXPECTED_SIZE, "%s", words);
	return out;
}

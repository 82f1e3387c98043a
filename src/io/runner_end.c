#include "io/runner_private.h"

#include "base/clock.h"
#include "base/human.h"
#include "base/log.h"
#include "base/proc.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	AGAIN_MS = 5,
	QUIET_ENOUGH = 2, /* walks in a row that found nothing, see proc.h */
	PATIENCE_MS = 5000,
	FREE_PATIENCE_MS = 10000,
};

void runner_reap(struct runner *r)
{
	int status;
	pid_t pid;
	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid == r->pid && !r->exited) {
			r->exited = true;
			r->status = status;
		} else if (r->phase == PHASE_KILLING && WIFSIGNALED(status) &&
		           WTERMSIG(status) == SIGKILL) {
			r->left_behind++;
		}
	}
	r->alone = pid < 0 && errno == ECHILD;
}

static void signal_tree(const struct runner *r, int sig)
{
	struct proc_tree tree = {.root = getpid()};
	if (proc_signal_tree(&tree, sig) >= 0)
		return;
	/* Without /proc: at least its session's first process group. */
	kill(-r->pid, sig);
	if (!r->exited)
		kill(r->pid, sig);
}

void runner_begin_ending(struct runner *r, enum outcome reason)
{
	r->reason = reason;
	runner_enter(r, PHASE_ENDING);
	if (r->kill_grace_ms == 0) {
		runner_enter(r, PHASE_KILLING);
		return;
	}
	signal_tree(r, SIGTERM);
	signal_tree(r, SIGCONT);
}

void runner_kill_more(struct runner *r)
{
	signal_tree(r, SIGKILL);
	runner_reap(r);
	if (!r->alone && !r->grumbled && clock_steady_ms() - r->phase_ms > PATIENCE_MS) {
		r->grumbled = true;
		log_warning("a process of the handler does not end although it was killed "
		            "(a network mount that hangs?); waiting for it");
		runner_log_note(&r->log, "waiting for a process that does not end although it was killed");
	}
}

/* The last line it printed: a new string, or NULL. */
static char *last_line(const struct runner *r)
{
	const struct last_line *last = &r->last_line;
	return last->line_n == 0 ? NULL : runner_printable(last->line, last->line_n);
}

/* The line it printed, since errors are printed, and the message it reported, since
 * that may be the reason or only how far it was: a new string, or NULL. */
static char *last_words(const struct runner *r)
{
	const char *message = r->report.now.message;
	char *line = last_line(r);
	if (message == NULL)
		return line;
	if (line == NULL || strcmp(line, message) == 0) {
		free(line);
		return strdup(message);
	}
	char *both = runner_text("%s (message: %s)", line, message);
	free(line);
	return both;
}

static char *exit_text(const struct runner *r)
{
	bool silent = r->stream.handler != NULL;
	char *words = last_words(r);
	char *text = runner_text("exit code %d%s%s%s", WEXITSTATUS(r->status),
	                         silent ? " without an answer" : "", words == NULL ? "" : ": ",
	                         words == NULL ? "" : words);
	free(words);
	return text;
}

/* Which of the operator's limits a signal comes from, or may come from. */
static const char *limit_behind(const struct run_limits *limits, int sig)
{
	if (sig == SIGXFSZ && limits->file_bytes > 0)
		return ": it wrote a larger file than handler.limits.file_mib allows";
	if ((sig == SIGXCPU || sig == SIGKILL) && limits->cpu_seconds > 0)
		return sig == SIGXCPU ? ": it used more CPU time than handler.limits.cpu_seconds allows"
		                      : ", perhaps for more CPU time than handler.limits.cpu_seconds allows";
	if ((sig == SIGSEGV || sig == SIGABRT || sig == SIGBUS) && limits->memory_bytes > 0)
		return ", perhaps for want of more memory than handler.limits.memory_mib allows";
	return "";
}

static void judge_exit(struct runner *r)
{
	struct run_result *result = &r->result;
	if (WIFSIGNALED(r->status)) {
		int sig = WTERMSIG(r->status);
		result->outcome = OUTCOME_FAILED;
		result->error = runner_text("killed by signal %d (%s)%s", sig, strsignal(sig),
		                            limit_behind(&r->limits, sig));
	} else if (WEXITSTATUS(r->status) != 0 || r->stream.handler != NULL) {
		result->outcome = OUTCOME_FAILED;
		result->error = exit_text(r);
	} else {
		result->outcome = OUTCOME_SUCCEEDED;
	}
}

static int32_t exit_code(const struct runner *r)
{
	return WIFSIGNALED(r->status) ? 128 + WTERMSIG(r->status) : WEXITSTATUS(r->status);
}

static void judge(struct runner *r)
{
	struct run_result *result = &r->result;
	char limit[HUMAN_SIZE];
	if (r->exited && runner_attempt_runs(r))
		result->exit_code = exit_code(r);
	result->outcome = r->reason;
	switch (r->reason) {
	case OUTCOME_TIMED_OUT:
		result->error = runner_text("timed out: took longer than %s", human_duration(r->timeout_ms, limit));
		break;
	case OUTCOME_CANCELED:
		result->error = runner_text("canceled while it ran");
		break;
	case OUTCOME_INTERRUPTED:
		result->error = runner_text("interrupted because spoold or its worker was told to stop");
		break;
	case OUTCOME_FAILED:
		/* Its fault is in result->error. */
		break;
	default:
		judge_exit(r);
	}
}

/* A stream handler said itself how it ended. */
static void judge_answer(struct runner *r)
{
	struct run_result *result = &r->result;
	if (result->outcome == OUTCOME_SUCCEEDED)
		return;
	const char *message = r->report.now.message;
	result->error = message != NULL ? strdup(message) : last_line(r);
	if (result->error == NULL)
		result->error = runner_text("the handler gave no reason");
}

/* A success that a power cut could take back is none. */
static void make_durable(struct runner *r)
{
	struct run_result *result = &r->result;
	if (result->outcome != OUTCOME_SUCCEEDED || !r->order->sync)
		return;
	int e = runner_sync(r->job_dirfd, r->order, result->started_ms);
	if (e == 0)
		return;
	result->outcome = OUTCOME_FAILED;
	result->error = runner_text("it succeeded, but what it wrote did not reach the disk: %s",
	                            strerror(-e));
	if (result->error != NULL)
		runner_log_note(&r->log, result->error);
}

static void note_left_behind(struct runner *r)
{
	if (r->left_behind == 0 || r->reason != OUTCOME_NONE)
		return;
	char note[80];
	snprintf(note, sizeof note, "%u process%s left behind %s ended", r->left_behind,
	         r->left_behind == 1 ? "" : "es", r->left_behind == 1 ? "was" : "were");
	runner_log_note(&r->log, note);
}

/* Who asked for a log of each job has it as the proof that it ran. */
static void note_silence(struct runner *r)
{
	if (r->order->log_always && r->log.unmade != NULL && r->result.outcome == OUTCOME_SUCCEEDED)
		runner_log_note(&r->log, r->result.exit_code == 0 ? "exit code 0, and nothing was printed"
		                                                  : "it succeeded, and nothing was printed");
}

void runner_finish(struct runner *r)
{
	struct run_result *result = &r->result;
	runner_drain_pipe(r, &r->output);
	if (r->stream.handler == NULL)
		runner_drain_pipe(r, &r->report_fd);
	runner_last_line_end(&r->last_line);
	runner_report_end(&r->report, &r->log);
	note_left_behind(r);
	if (result->outcome != OUTCOME_NONE)
		judge_answer(r);
	else
		judge(r);
	note_silence(r);
	make_durable(r);
	if (r->reason != OUTCOME_NONE && result->error != NULL)
		runner_log_note(&r->log, result->error);
	runner_log_close(&r->log);
	result->finished_ms = clock_wall_ms();
	if (result->started_ms != 0)
		result->ran_ms = clock_steady_ms() - r->began_ms;
	result->records = r->report.now.records;
	if (r->report.now.message != NULL)
		result->message = strdup(r->report.now.message);
	r->attempt = ATTEMPT_ENDED;
}

void runner_end_hard(struct runner *r)
{
	uint64_t give_up_ms = runner_later(clock_steady_ms(), FREE_PATIENCE_MS);
	runner_reap(r);
	while (!r->alone && clock_steady_ms() < give_up_ms) {
		signal_tree(r, SIGKILL);
		runner_reap(r);
		if (!r->alone)
			clock_pause_ms(AGAIN_MS);
	}
}

int runner_kill_strays(const char *cookie)
{
	char *entry;
	int killed = 0, alive = 0;
	if (asprintf(&entry, "SPOOL_COOKIE=%s", cookie) < 0)
		return -ENOMEM;
	uint64_t give_up_ms = runner_later(clock_steady_ms(), FREE_PATIENCE_MS);
	/* In the middle of an exec a process shows no environment. */
	for (int quiet = 0; quiet < QUIET_ENOUGH; quiet = alive == 0 ? quiet + 1 : 0) {
		if (alive > 0 && clock_steady_ms() > give_up_ms)
			alive = -EBUSY;
		else
			alive = proc_signal_marked(entry, SIGKILL);
		if (alive < 0)
			break;
		killed = alive > killed ? alive : killed;
		clock_pause_ms(AGAIN_MS);
	}
	free(entry);
	return alive < 0 ? alive : killed;
}

int runner_find_strays(const char *prefix, void (*found)(void *ctx, const char *rest), void *ctx)
{
	char *entry;
	if (asprintf(&entry, "SPOOL_COOKIE=%s", prefix) < 0)
		return -ENOMEM;
	int r = proc_each_mark(entry, found, ctx);
	free(entry);
	return r;
}

int runner_wake_holders(bool (*is_it)(void *ctx, const char *path), void *ctx)
{
	return proc_wake_holders(is_it, ctx);
}

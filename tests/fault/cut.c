/* Runs a program and lets a test decide what becomes of its n-th system call:
 * the process is killed before the call, or the call fails.
 *
 *   cut CONTROL_FD PLAN PROGRAM [ARGUMENT...]
 *
 * The program keeps our process number; a supervisor beside it (no child of it,
 * which a subreaper would notice) is asked about each call of the program and
 * of all that it starts (seccomp user notification), and takes commands on the
 * socket CONTROL_FD:
 *
 *   arm VICTIM KINDS N ACTION [ABOUT]   counts from here; N 0: only counts
 *   disarm                              faults are over, counting ends
 *   list FILE                           writes down the calls since `arm`
 *
 * VICTIM is daemon or worker, KINDS as in call.h; ACTION is kill, kill-all
 * (daemon and workers), once:ERRNO or lasting:ERRNO (a number; from the n-th
 * call until disarm). With ABOUT only calls on paths that hold this text count.
 * Each command is answered by a line "ok"; "fired N CALL ABOUT" comes by itself.
 * PLAN is a first arm command without its first word, or "-". */
#include "call.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS_MAX = 64, LISTED_MAX = 20000, FILTER_MAX = 128, LINE_SIZE = 1024 };

enum action { ACT_KILL, ACT_KILL_ALL, ACT_ONCE, ACT_LASTING };

struct plan {
	bool armed, fired;
	bool worker;            /* the victim; else the daemon */
	bool kinds[CALL_KINDS];
	unsigned long n, seen;
	enum action action;
	int error;
	char about[64];         /* what its path has to hold; "" = any */
	pid_t victim;           /* the first worker that is seen, or the daemon */
};

struct supervisor {
	int listener, control;
	pid_t daemon;
	pid_t workers[WORKERS_MAX];
	size_t workers_n;
	struct plan plan;
	char **listed;
	size_t listed_n;
	char line[LINE_SIZE];
	size_t line_n;
};

static void say(struct supervisor *s, const char *text)
{
	if (s->control >= 0 && send(s->control, text, strlen(text), MSG_NOSIGNAL) < 0)
		s->control = -1;
}

/* --- who calls */

static bool read_status(pid_t tid, pid_t *ret_process, pid_t *ret_parent)
{
	char path[64], line[256];
	int found = 0, process = 0, parent = 0;
	snprintf(path, sizeof path, "/proc/%d/status", (int)tid);
	FILE *file = fopen(path, "re");
	if (file == NULL)
		return false;
	while (found < 2 && fgets(line, sizeof line, file) != NULL)
		found += sscanf(line, "Tgid: %d", &process) == 1 || sscanf(line, "PPid: %d", &parent) == 1;
	fclose(file);
	*ret_process = process;
	*ret_parent = parent;
	return found == 2;
}

static bool is_worker_program(pid_t pid)
{
	char path[64], exe[512];
	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	ssize_t n = readlink(path, exe, sizeof exe - 1);
	exe[n < 0 ? 0 : n] = '\0';
	return strstr(exe, "/spool-worker") != NULL;
}

static bool is_worker(struct supervisor *s, pid_t process, pid_t parent)
{
	for (size_t i = 0; i < s->workers_n; i++)
		if (s->workers[i] == process)
			return true;
	if (parent != s->daemon || s->workers_n == WORKERS_MAX || !is_worker_program(process))
		return false;
	s->workers[s->workers_n++] = process;
	return true;
}

static bool is_victim(struct supervisor *s, pid_t tid)
{
	pid_t process, parent;
	struct plan *p = &s->plan;
	if (!read_status(tid, &process, &parent))
		return false;
	bool worker = process != s->daemon && is_worker(s, process, parent);
	if (p->worker ? !worker : process != s->daemon)
		return false;
	if (p->victim == 0)
		p->victim = process;
	return p->victim == process;
}

/* --- what becomes of it */

static void answer(struct supervisor *s, const struct seccomp_notif *req, int error)
{
	struct seccomp_notif_resp resp = {.id = req->id, .error = -error};
	if (error == 0)
		resp.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
	/* ENOENT: the caller died meanwhile. */
	ioctl(s->listener, SECCOMP_IOCTL_NOTIF_SEND, &resp);
}

static void list_call(struct supervisor *s, const struct call *call, const char *mark)
{
	char *text = NULL;
	if (s->listed_n == LISTED_MAX || asprintf(&text, "%s%s %s %s", mark,
	                                          call_kind_name(call->kind), call->name,
	                                          call->about) < 0)
		return;
	s->listed[s->listed_n++] = text;
}

static void kill_as_planned(struct supervisor *s)
{
	kill(s->plan.victim, SIGKILL);
	if (s->plan.action != ACT_KILL_ALL)
		return;
	kill(s->daemon, SIGKILL);
	for (size_t i = 0; i < s->workers_n; i++)
		kill(s->workers[i], SIGKILL);
}

static void fire(struct supervisor *s, const struct call *call)
{
	char text[LINE_SIZE];
	s->plan.fired = true;
	snprintf(text, sizeof text, "fired %lu %s %s %s\n", s->plan.seen, call_kind_name(call->kind),
	         call->name, call->about);
	/* Before: else the end of the daemon may be seen first, and seem to be its own. */
	say(s, text);
	if (s->plan.action == ACT_KILL || s->plan.action == ACT_KILL_ALL)
		kill_as_planned(s);
}

/* The error the call shall fail with, 0 = it goes on, -1 = its caller is dead. */
static int decide(struct supervisor *s, const struct call *call)
{
	struct plan *p = &s->plan;
	if (!p->kinds[call->kind] || strstr(call->about, p->about) == NULL)
		return 0;
	bool kills = p->action == ACT_KILL || p->action == ACT_KILL_ALL;
	bool now = ++p->seen == p->n;
	list_call(s, call, now ? "! " : "  ");
	if (now) {
		fire(s, call);
		return kills ? -1 : p->error;
	}
	return p->fired && p->action == ACT_LASTING ? p->error : 0;
}

static void serve_call(struct supervisor *s)
{
	struct seccomp_notif req = {0};
	struct call call;
	if (ioctl(s->listener, SECCOMP_IOCTL_NOTIF_RECV, &req) < 0)
		return;
	int error = 0;
	/* A worker is told from what it starts as long as its daemon lives. */
	if (is_victim(s, (pid_t)req.pid) && s->plan.armed) {
		call_read(&req, &call);
		if (call.kind != CALL_OTHER)
			error = decide(s, &call);
	}
	if (error >= 0)
		answer(s, &req, error);
}

/* --- commands */

static void forget_list(struct supervisor *s)
{
	while (s->listed_n > 0)
		free(s->listed[--s->listed_n]);
}

static bool parse_action(const char *text, struct plan *p)
{
	if (strcmp(text, "kill") == 0)
		p->action = ACT_KILL;
	else if (strcmp(text, "kill-all") == 0)
		p->action = ACT_KILL_ALL;
	else if (sscanf(text, "once:%d", &p->error) == 1)
		p->action = ACT_ONCE;
	else if (sscanf(text, "lasting:%d", &p->error) == 1)
		p->action = ACT_LASTING;
	else
		return false;
	return true;
}

static bool arm(struct supervisor *s, const char *text)
{
	char victim[16], kinds[256], action[32];
	struct plan p = {.armed = true};
	if (sscanf(text, "%15s %255s %lu %31s %63s", victim, kinds, &p.n, action, p.about) < 4 ||
	    !call_parse_kinds(kinds, p.kinds) || !parse_action(action, &p))
		return false;
	p.worker = strcmp(victim, "worker") == 0;
	forget_list(s);
	s->plan = p;
	return true;
}

static bool write_list(const struct supervisor *s, const char *path)
{
	FILE *file = fopen(path, "we");
	if (file == NULL)
		return false;
	for (size_t i = 0; i < s->listed_n; i++)
		fprintf(file, "%s\n", s->listed[i]);
	return fclose(file) == 0;
}

static void obey(struct supervisor *s, const char *line)
{
	bool good = false;
	if (strncmp(line, "arm ", 4) == 0)
		good = arm(s, line + 4);
	else if (strcmp(line, "disarm") == 0)
		good = !(s->plan.armed = false);
	else if (strncmp(line, "list ", 5) == 0)
		good = write_list(s, line + 5);
	say(s, good ? "ok\n" : "error\n");
}

static void read_commands(struct supervisor *s)
{
	ssize_t n = recv(s->control, s->line + s->line_n, sizeof s->line - 1 - s->line_n, 0);
	if (n <= 0) {
		s->control = -1;
		s->plan.armed = false;
		return;
	}
	s->line_n += (size_t)n;
	s->line[s->line_n] = '\0';
	char *end;
	while ((end = strchr(s->line, '\n')) != NULL) {
		*end = '\0';
		obey(s, s->line);
		s->line_n -= (size_t)(end + 1 - s->line);
		memmove(s->line, end + 1, s->line_n + 1);
	}
}

/* Until nobody is left whom the filter concerns, nor anybody who asks. */
static int supervise(struct supervisor *s)
{
	while (s->listener >= 0 || s->control >= 0) {
		struct pollfd fds[] = {{.fd = s->listener, .events = POLLIN},
		                       {.fd = s->control, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR)
			return 1;
		if (fds[1].revents != 0)
			read_commands(s);
		if ((fds[0].revents & POLLIN) != 0)
			serve_call(s);
		else if (fds[0].revents != 0)
			s->listener = -1;
	}
	return 0;
}

/* --- the two processes */

struct shared {
	_Atomic int listener; /* 0: not yet; < 0: -errno */
	_Atomic pid_t supervisor;
};

static void pause_a_little(void)
{
	const struct timespec ms = {.tv_nsec = 1000000};
	nanosleep(&ms, NULL);
}

static int be_supervisor(struct shared *shared, pid_t daemon, int control, const char *plan)
{
	struct supervisor s = {.daemon = daemon, .control = control};
	shared->supervisor = getpid();
	s.listed = calloc(LISTED_MAX, sizeof *s.listed);
	if (s.listed == NULL || (strcmp(plan, "-") != 0 && !arm(&s, plan)))
		return 2;
	while ((s.listener = shared->listener) == 0)
		pause_a_little();
	return s.listener < 0 ? 1 : supervise(&s);
}

/* With our table of descriptors, until we exec. */
static pid_t fork_sharing_descriptors(void)
{
	return (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, 0, 0, 0);
}

static void start_supervisor(struct shared *shared, int control, const char *plan)
{
	pid_t daemon = getpid(), between = fork_sharing_descriptors();
	if (between == 0) {
		if (fork_sharing_descriptors() == 0) {
			setsid();
			_exit(be_supervisor(shared, daemon, control, plan));
		}
		_exit(0);
	}
	waitpid(between, NULL, 0);
	while (shared->supervisor == 0)
		pause_a_little();
	prctl(PR_SET_PTRACER, (unsigned long)shared->supervisor, 0, 0, 0);
}

static int install_filter(void)
{
	struct sock_filter code[FILTER_MAX];
	struct sock_fprog program = {.filter = code};
	program.len = (unsigned short)call_filter(code, FILTER_MAX);
	for (int tries = 0; tries < 2; tries++) {
		long r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER,
		                 &program);
		if (r >= 0)
			return (int)r;
		if (errno != EACCES)
			break;
		/* Who is not root may only filter what gains nothing by exec. */
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	}
	return -errno;
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: cut CONTROL_FD PLAN PROGRAM [ARGUMENT...]\n");
		return 2;
	}
	int control = atoi(argv[1]);
	struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
	                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || fcntl(control, F_SETFD, FD_CLOEXEC) < 0) {
		perror("cut");
		return 2;
	}
	start_supervisor(shared, control, argv[2]);
	int listener = install_filter();
	/* No word from here to the exec: it could only be said through the filter. */
	shared->listener = listener;
	if (listener >= 0)
		execv(argv[3], argv + 3);
	return 2;
}

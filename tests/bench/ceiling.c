/* The bare ceiling: what the kernel does for a watch folder, and nothing more.
 * No index, no order, no locks, no logs, no retries: one inotify event, one
 * rename to processing, one handler, one rename to done. What spoold takes
 * longer than this is the price of its promises.
 *
 *   ceiling spawn ROOT HANDLER STAMPS   a process per file, 4 at a time
 *   ceiling pipe  ROOT HANDLER STAMPS   one process, fed on a pipe
 *   ceiling pipes ROOT HANDLER STAMPS   one for each user, fed on a pipe of its own, with a
 *                                       file when the one before is answered
 *
 * Prints "ready" when all users of ROOT are watched; ends on SIGTERM. */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

enum { RUNNING_MAX = 4, USERS_MAX = 100000, NAME_MAX_ = 40 };

struct file {
	struct file *next;
	int user;
	pid_t pid;
	char name[NAME_MAX_];
};

/* With a handler of its own. */
struct line {
	struct file *waiting, **waiting_end, *now;
	int to, from;
};

static struct {
	const char *root, *handler, *stamps;
	char *users[USERS_MAX]; /* by watch descriptor */
	struct file *waiting, **waiting_end, *running;
	int running_n;
	FILE *to, *from; /* the handler on a pipe */
	struct line *lines; /* by watch descriptor, or NULL */
	int answers;     /* epoll: the handlers that answered */
} bare;

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static void move(const struct file *f, const char *from, const char *to)
{
	char a[512], b[512];
	snprintf(a, sizeof a, "%s/%s/%s/%s", bare.root, bare.users[f->user], from, f->name);
	snprintf(b, sizeof b, "%s/%s/%s/%s", bare.root, bare.users[f->user], to, f->name);
	if (rename(a, b) < 0)
		fail(a);
}

static void spawn_one(struct file *f)
{
	char *argv[] = {(char *)bare.handler, (char *)bare.stamps, bare.users[f->user], f->name, NULL};
	char *envp[] = {NULL};
	move(f, "incoming", "processing");
	if (posix_spawn(&f->pid, bare.handler, NULL, NULL, argv, envp) != 0)
		fail(bare.handler);
	f->next = bare.running;
	bare.running = f;
	bare.running_n++;
}

static void pipe_one(struct file *f)
{
	char line[256];
	move(f, "incoming", "processing");
	fprintf(bare.to, "%s %s\n", bare.users[f->user], f->name);
	fflush(bare.to);
	if (fgets(line, sizeof line, bare.from) == NULL)
		fail("handler");
	move(f, "processing", "done");
	free(f);
}

static void start_handler(int *ret_to, int *ret_from)
{
	int in[2], out[2];
	pid_t pid;
	char *argv[] = {(char *)bare.handler, (char *)bare.stamps, NULL};
	char *envp[] = {NULL};
	posix_spawn_file_actions_t actions;
	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		fail("pipe");
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	if (posix_spawn(&pid, bare.handler, &actions, NULL, argv, envp) != 0)
		fail(bare.handler);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	*ret_to = in[1];
	*ret_from = out[0];
}

static void start_next(struct line *l)
{
	char text[256];
	struct file *f = l->waiting;
	if (f == NULL || l->now != NULL)
		return;
	if (l->to == 0) {
		struct epoll_event event = {.events = EPOLLIN, .data.ptr = l};
		start_handler(&l->to, &l->from);
		epoll_ctl(bare.answers, EPOLL_CTL_ADD, l->from, &event);
	}
	l->waiting = f->next;
	if (l->waiting == NULL)
		l->waiting_end = &l->waiting;
	l->now = f;
	move(f, "incoming", "processing");
	int n = snprintf(text, sizeof text, "%s %s\n", bare.users[f->user], f->name);
	if (write(l->to, text, (size_t)n) != n)
		fail("handler");
}

static void wait_in_line(struct file *f)
{
	struct line *l = &bare.lines[f->user];
	if (l->waiting == NULL)
		l->waiting_end = &l->waiting;
	f->next = NULL;
	*l->waiting_end = f;
	l->waiting_end = &f->next;
	start_next(l);
}

static void take_answers(void)
{
	struct epoll_event events[64];
	char text[256];
	int n = epoll_wait(bare.answers, events, 64, 0);
	for (int i = 0; i < n; i++) {
		struct line *l = events[i].data.ptr;
		if (read(l->from, text, sizeof text) <= 0)
			fail("handler");
		move(l->now, "processing", "done");
		free(l->now);
		l->now = NULL;
		start_next(l);
	}
}

static void start_some(void)
{
	while (bare.waiting != NULL && bare.running_n < RUNNING_MAX) {
		struct file *f = bare.waiting;
		bare.waiting = f->next;
		if (bare.waiting == NULL)
			bare.waiting_end = &bare.waiting;
		if (bare.lines != NULL)
			wait_in_line(f);
		else if (bare.to != NULL)
			pipe_one(f);
		else
			spawn_one(f);
	}
}

static void reap(void)
{
	pid_t pid;
	while ((pid = waitpid(-1, NULL, WNOHANG)) > 0) {
		struct file **at = &bare.running;
		while ((*at)->pid != pid)
			at = &(*at)->next;
		struct file *f = *at;
		*at = f->next;
		bare.running_n--;
		move(f, "processing", "done");
		free(f);
	}
}

static void read_events(int fd)
{
	static char buffer[1 << 16] __attribute__((aligned(8)));
	ssize_t n = read(fd, buffer, sizeof buffer);
	for (char *p = buffer; n > 0 && p < buffer + n;) {
		const struct inotify_event *e = (const void *)p;
		p += sizeof *e + e->len;
		struct file *f = e->len == 0 ? NULL : calloc(1, sizeof *f);
		if (f == NULL)
			continue;
		f->user = e->wd;
		snprintf(f->name, sizeof f->name, "%s", e->name);
		*bare.waiting_end = f;
		bare.waiting_end = &f->next;
	}
}

static void watch_all(int fd)
{
	DIR *dir = opendir(bare.root);
	struct dirent *entry;
	char path[512];
	if (dir == NULL)
		fail(bare.root);
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s/incoming", bare.root, entry->d_name);
		int wd = inotify_add_watch(fd, path, IN_MOVED_TO | IN_CLOSE_WRITE);
		if (wd < 0 || wd >= USERS_MAX)
			fail(path);
		bare.users[wd] = strdup(entry->d_name);
	}
	closedir(dir);
}

static void start_piped(void)
{
	int to, from;
	start_handler(&to, &from);
	bare.to = fdopen(to, "w");
	bare.from = fdopen(from, "r");
}

static void start_lines(void)
{
	bare.lines = calloc(USERS_MAX, sizeof *bare.lines);
	bare.answers = epoll_create1(EPOLL_CLOEXEC);
	if (bare.lines == NULL || bare.answers < 0)
		fail("lines");
}

int main(int argc, char **argv)
{
	sigset_t signals;
	if (argc != 5)
		return 2;
	bare.root = argv[2];
	bare.handler = argv[3];
	bare.stamps = argv[4];
	bare.waiting_end = &bare.waiting;
	sigemptyset(&signals);
	sigaddset(&signals, SIGCHLD);
	sigaddset(&signals, SIGTERM);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	if (strcmp(argv[1], "pipe") == 0)
		start_piped();
	if (strcmp(argv[1], "pipes") == 0)
		start_lines();
	struct pollfd fds[] = {{.fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), .events = POLLIN},
	                       {.fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN},
	                       {.fd = bare.lines == NULL ? -1 : bare.answers, .events = POLLIN}};
	watch_all(fds[0].fd);
	puts("ready");
	fflush(stdout);
	for (bool end = false; !end;) {
		struct signalfd_siginfo info;
		poll(fds, 3, -1);
		while (read(fds[1].fd, &info, sizeof info) > 0)
			end = end || info.ssi_signo == SIGTERM;
		reap();
		if (bare.lines != NULL)
			take_answers();
		read_events(fds[0].fd);
		start_some();
	}
	return 0;
}

#include "spoolctl/watch.h"

#include "spoolctl/client.h"
#include "spoolctl/view.h"

#include "base/text.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

enum { REFRESH_MS = 1000, ANSWER_TIMEOUT_MS = 10 * 1000 };

#define HOME "\033[H"
#define CLEAR_LINE "\033[K"
#define CLEAR_BELOW "\033[J"
#define HIDE_CURSOR "\033[?25l"
#define SHOW_CURSOR "\033[?25h"

struct watch_screen {
	struct ctl *ctl;
	const char *user;
	int64_t idle_max;
	json_t *last;       /* the last answer, or NULL */
	int refused;        /* exit code of a refusal: the end */
	int signals;        /* signalfd */
};

static unsigned rows(void)
{
	struct winsize size = {0};
	return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0 ? size.ws_row : 24;
}

static void drop_client(struct ctl *ctl)
{
	client_free(ctl->client);
	ctl->client = NULL;
}

/* A new answer into w->last. 0, or the error that says why there is none. */
static int refresh(struct watch_screen *w)
{
	struct ctl *ctl = w->ctl;
	json_t *answer = NULL;
	int r = ctl->client != NULL ? 0 : client_open(ctl->socket, &ctl->client);
	if (r < 0)
		return r;
	client_set_wake(ctl->client, w->signals);
	json_t *request = status_request(w->user, w->idle_max);
	r = client_call(ctl->client, request, ANSWER_TIMEOUT_MS, &answer);
	json_decref(request);
	if (r < 0) {
		drop_client(ctl);
		return r;
	}
	if (!json_is_true(json_object_get(answer, "ok"))) {
		ctl_error(ctl, "%s", view_text(answer, "error"));
		w->refused = view_number(answer, "exit") == CTL_USAGE ? CTL_USAGE : CTL_NO;
	}
	json_decref(w->last);
	w->last = answer;
	return 0;
}

static void draw_down(const struct ctl *ctl, int error, FILE *out)
{
	char *text = NULL, *socket = ctl_escape(ctl->socket);
	enum tint tint = ctl->look.colored ? TINT_RED : TINT_NONE;
	int n = asprintf(&text, "spoold does not answer, trying again ... (%s, %s)", strerror(-error),
	                 socket);
	ctl_need(n < 0 ? NULL : text);
	if (ctl->look.width > 0) {
		char *cut = ctl_need(text_cut_end(text, ctl->look.width, ctl->look.utf8));
		free(text);
		text = cut;
	}
	fprintf(out, "%s%s%s\n", tint_on(tint), text, tint_off(tint));
	free(text);
	free(socket);
}

static void draw(const struct watch_screen *w, int error, FILE *out)
{
	const struct ctl *ctl = w->ctl;
	unsigned room = ctl->terminal ? rows() - 1 : 0;
	if (error < 0) {
		draw_down(ctl, error, out);
		if (w->last != NULL)
			fputs("What was last known:\n\n", out);
		room = room > 8 ? room - 4 : room;
	}
	if (w->last != NULL)
		view_status(ctl, w->last, room, out);
}

/* Writes the picture over the one before, so that nothing flickers. */
static void paint(const struct watch_screen *w, int error)
{
	char *text = NULL;
	size_t n;
	FILE *out = ctl_need(open_memstream(&text, &n));
	draw(w, error, out);
	fclose(out);
	ctl_need(text);
	if (!w->ctl->terminal) {
		printf("%s\n", text);
	} else {
		fputs(HOME, stdout);
		for (const char *line = text; *line != '\0';) {
			size_t length = strcspn(line, "\n");
			printf("%.*s" CLEAR_LINE "\n", (int)length, line);
			line += length + (line[length] == '\n' ? 1 : 0);
		}
		fputs(CLEAR_BELOW, stdout);
	}
	fflush(stdout);
	free(text);
}

static void leave_screen(const struct ctl *ctl)
{
	if (ctl->terminal)
		fputs(SHOW_CURSOR, stdout);
	fflush(stdout);
}

static void enter_screen(const struct ctl *ctl)
{
	if (ctl->terminal)
		fputs(HIDE_CURSOR HOME CLEAR_BELOW, stdout);
}

static void suspend(struct watch_screen *w)
{
	leave_screen(w->ctl);
	raise(SIGSTOP);
	/* cppcheck-suppress unreachableCode ; a stopped process goes on here */
	enter_screen(w->ctl);
}

/* Takes one signal; false: it is the end. */
static bool take_signal(struct watch_screen *w)
{
	struct signalfd_siginfo info;
	if (read(w->signals, &info, sizeof info) != sizeof info)
		return true;
	if (info.ssi_signo == SIGTSTP)
		suspend(w);
	if (info.ssi_signo == SIGWINCH)
		ctl_measure(w->ctl);
	return info.ssi_signo == SIGTSTP || info.ssi_signo == SIGWINCH;
}

static bool rest(struct watch_screen *w)
{
	struct pollfd fd = {.fd = w->signals, .events = POLLIN};
	return poll(&fd, 1, REFRESH_MS) <= 0 || take_signal(w);
}

int watch_status(struct ctl *ctl, const char *user, int64_t idle_max)
{
	struct watch_screen w = {.ctl = ctl, .user = user, .idle_max = idle_max};
	sigset_t mask, before;
	int code = ctl_load(ctl);
	if (code != CTL_OK)
		return code;
	sigemptyset(&mask);
	sigaddset(&mask, SIGINT);
	sigaddset(&mask, SIGTERM);
	sigaddset(&mask, SIGHUP);
	sigaddset(&mask, SIGTSTP);
	sigaddset(&mask, SIGWINCH);
	sigprocmask(SIG_BLOCK, &mask, &before);
	w.signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
	if (w.signals < 0) {
		ctl_error(ctl, "signals cannot be waited for: %m");
		return CTL_NO;
	}
	bool entered = false;
	do {
		int r = refresh(&w);
		if (w.refused != 0)
			break;
		if (!entered)
			enter_screen(ctl);
		entered = true;
		if (r != -EINTR)
			paint(&w, r);
	} while (rest(&w) && !ferror(stdout));
	if (entered)
		leave_screen(ctl);
	json_decref(w.last);
	close(w.signals);
	sigprocmask(SIG_SETMASK, &before, NULL);
	return w.refused;
}

/* Lines on the control socket: whatever a client sends, in whatever pieces,
 * each whole line is answered once, in order, and its end ends the client. */
#include "io/control.h"

#include "fuzz.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

static struct control *control;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", scratch());
	MUST(control_new(address.sun_path, &control) == 0);
	return 0;
}

struct talk {
	int fd;
	size_t requests;  /* handed over and answered */
	bool ended;       /* end of file read */
	bool broken;      /* it ended while we were still talking */
	size_t lines;     /* whole ones that were sent */
	size_t rest;      /* bytes after the last of them */
	bool too_long;    /* one of them was */
	char *heard;
	size_t heard_n;
	uint64_t now_ms;
};

static void hear(struct talk *t)
{
	static char buffer[128 * 1024];
	ssize_t n;
	while (!t->ended && (n = recv(t->fd, buffer, sizeof buffer, MSG_DONTWAIT)) >= 0) {
		t->ended = n == 0;
		t->heard = realloc(t->heard, t->heard_n + (size_t)n + 1);
		MUST(t->heard != NULL);
		memcpy(t->heard + t->heard_n, buffer, (size_t)n);
		t->heard_n += (size_t)n;
		t->heard[t->heard_n] = '\0';
	}
	t->ended = t->ended || (!t->ended && errno == ECONNRESET);
}

static void serve(struct talk *t)
{
	struct control_request request;
	while (control_next(control, t->now_ms++, &request) > 0) {
		MUST(json_is_object(request.body) && request.uid == geteuid());
		MUST(control_alive(control, request.client));
		json_t *answer = json_pack("{s:b, s:I, s:O}", "ok", 1, "number",
		                           (json_int_t)t->requests++, "echo", request.body);
		MUST(answer != NULL);
		control_answer(control, request.client, answer);
	}
	hear(t);
}

static void count_lines(struct talk *t, const uint8_t *data, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		t->rest++;
		t->too_long = t->too_long || t->rest > CONTROL_LINE_MAX;
		if (data[i] == '\n') {
			t->lines++;
			t->rest = 0;
		}
	}
}

/* In pieces, whose sizes the input says. */
static void say(struct talk *t, struct input *in)
{
	while (in->left > 0) {
		size_t n = take_number(in, 1) % 64;
		n = n < 32 ? n + 1 : n == 32 ? 70000 : n * 64;
		n = n < in->left ? n : in->left;
		for (size_t sent = 0; sent < n && !t->ended;) {
			ssize_t done = send(t->fd, in->at + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
			MUST(done >= 0 || errno == EAGAIN || errno == EPIPE || errno == ECONNRESET);
			sent += done > 0 ? (size_t)done : 0;
			if (done < 0 && errno != EAGAIN)
				t->ended = true;
			serve(t);
		}
		count_lines(t, in->at, n);
		in->at += n;
		in->left -= n;
	}
	t->broken = t->ended;
}

/* The answers come in order, one a line, and refusals say why. */
static void judge(const struct talk *t)
{
	size_t answered = 0, refused = 0;
	const char *at = t->heard == NULL ? "" : t->heard, *end;
	for (; (end = strchr(at, '\n')) != NULL; at = end + 1) {
		json_t *answer = json_loadb(at, (size_t)(end - at), JSON_REJECT_DUPLICATES, NULL);
		MUST(json_is_object(answer));
		if (json_is_true(json_object_get(answer, "ok"))) {
			const json_t *number = json_object_get(answer, "number");
			MUST(json_integer_value(number) == (json_int_t)answered++);
			MUST(json_is_object(json_object_get(answer, "echo")));
		} else {
			const char *error = json_string_value(json_object_get(answer, "error"));
			MUST(error != NULL && error[0] != '\0' && is_harmless(error, ""));
			MUST(json_integer_value(json_object_get(answer, "exit")) > 0);
			refused++;
		}
		json_decref(answer);
	}
	MUST(answered <= t->requests);
	/* One that is ended by the daemon may have lost some. */
	if (!t->broken && !t->too_long) {
		MUST(*at == '\0' && answered == t->requests);
		MUST(answered + refused == t->lines + (t->rest > 0));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = {data, size};
	struct talk t = {.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	MUST(t.fd >= 0);
	MUST(connect(t.fd, (struct sockaddr *)&address, sizeof address) == 0);
	say(&t, &in);
	serve(&t);
	shutdown(t.fd, SHUT_WR);
	for (int n = 0; n < 1000 && !t.ended; n++)
		serve(&t);
	MUST(t.ended);
	judge(&t);
	close(t.fd);
	/* Nothing of it stays. */
	struct control_request request;
	MUST(control_next(control, t.now_ms + 10 * CONTROL_EVICT_MS, &request) == 0);
	free(t.heard);
	return 0;
}

/* Answers of the daemon, as spoolctl reads and shows them. The input is what
 * comes over the socket: it is an object or an error, and whatever its fields
 * are, the views stand it and show nothing that was not there. */
#include "spoolctl/client.h"
#include "spoolctl/view.h"

#include "fuzz.h"

#include <fcntl.h>
#include <locale.h>
#include <sys/socket.h>
#include <sys/un.h>

static int listener = -1;
static struct sockaddr_un address = {.sun_family = AF_UNIX};

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	MUST(setlocale(LC_CTYPE, "C.UTF-8") != NULL && setenv("TZ", "UTC", 1) == 0);
	snprintf(address.sun_path, sizeof address.sun_path, "%s/socket", scratch());
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	MUST(listener >= 0 && bind(listener, (struct sockaddr *)&address, sizeof address) == 0);
	MUST(listen(listener, 4) == 0);
	return 0;
}

/* All that a view writes; harmless where the answer was. */
static void show(const struct ctl *ctl, const json_t *answer, bool harmless)
{
	char *text = NULL, *line;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	MUST(out != NULL);
	view_status(ctl, answer, ctl->look.width / 8, out);
	view_list(ctl, json_object_get(answer, "jobs"), ctl->json, out);
	view_job(ctl, json_object_get(answer, "job"), out);
	view_job(ctl, answer, out);
	view_explanation(ctl, answer, out);
	line = view_progress(ctl, json_object_get(answer, "job"), json_object_get(answer, "running"),
	                     view_text(answer, "because"));
	fputs(line, out);
	free(line);
	line = view_running(&ctl->look, true, json_object_get(answer, "running"), ctl->look.width);
	fputs(line, out);
	free(line);
	MUST(fclose(out) == 0);
	if (harmless && !ctl->look.colored)
		MUST(is_harmless(text, "\n"));
	free(text);
}

static void show_all_ways(const json_t *answer)
{
	static const unsigned widths[] = {0, 1, 20, 80};
	char *text = json_dumps(answer, JSON_COMPACT);
	/* Escapes of control characters within strings count too. */
	bool harmless = text == NULL || (is_harmless(text, "") && strstr(text, "\\u00") == NULL &&
	                                 strpbrk(text, "\\") == NULL);
	for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
		struct ctl ctl = {
			.json = i == 1, .terminal = widths[i] > 0,
			.look = {.width = widths[i], .colored = i == 3, .utf8 = i > 1},
		};
		show(&ctl, answer, harmless);
	}
	free(text);
}

/* One end says what the input says, whatever it is asked. */
static int answer_with(const uint8_t *data, size_t size)
{
	int fd = accept(listener, NULL, NULL), room = 1 << 20;
	MUST(fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof room) == 0);
	MUST(size == 0 || send(fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)size);
	shutdown(fd, SHUT_WR);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct client *client = NULL;
	json_t *request = json_pack("{s:s}", "command", "status"), *answer = NULL;
	if (size > 65536)
		size = 65536;
	MUST(client_open(address.sun_path, &client) == 0);
	int fd = answer_with(data, size), r = 0;
	for (int n = 0; r == 0 && n < 8; n++) {
		r = client_call(client, request, 1000, &answer);
		MUST(r == 0 || r == -EBADMSG || r == -ECONNRESET);
		if (r == 0) {
			show_all_ways(answer);
			json_decref(answer);
		}
	}
	json_decref(request);
	client_free(client);
	close(fd);
	return 0;
}

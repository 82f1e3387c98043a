#include "io/control.h"

#include "base/clock.h"
#include "base/fd.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <malloc.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_MS = 60000, NOBODY = 65534, LINE_ROOM = 1 << 16 };

static char dir[] = "/tmp/spoold-control-XXXXXX";
static char path[64];
static struct control *c;
static uint64_t now = 1000000;

static void begin(void)
{
	cr_assert_not_null(mkdtemp(dir));
	cr_assert_eq(chmod(dir, 0755), 0);
	snprintf(path, sizeof path, "%s/sock", dir);
	cr_assert_eq(control_new(path, &c), 0);
}

static void end(void)
{
	char command[64];
	control_free(c);
	snprintf(command, sizeof command, "rm -rf %s", dir);
	cr_expect_eq(system(command), 0);
}

TestSuite(control, .init = begin, .fini = end, .timeout = 240);

static struct sockaddr_un address_of(const char *where)
{
	struct sockaddr_un a = {.sun_family = AF_UNIX};
	strcpy(a.sun_path, where);
	return a;
}

/* Used in children too: no assertions. */
static int try_connect(void)
{
	struct sockaddr_un a = address_of(path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	return connect(fd, (struct sockaddr *)&a, sizeof a) == 0 ? fd : fd_close(fd);
}

static int client(void)
{
	int fd = try_connect();
	cr_assert_geq(fd, 0);
	return fd;
}

static void say(int fd, const char *text)
{
	cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static bool is_readable(int fd, int wait_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	return poll(&p, 1, wait_ms) == 1;
}

/* The next request, waiting for it. */
static struct control_request next_request(void)
{
	struct control_request request = {0};
	uint64_t limit = clock_steady_ms() + LIMIT_MS;
	while (control_next(c, now, &request) == 0) {
		cr_assert_lt(clock_steady_ms(), limit, "no request came");
		is_readable(control_fd(c), 100);
	}
	return request;
}

static json_t *echo(const struct control_request *request)
{
	return json_pack("{s:b, s:O}", "ok", 1, "n", json_object_get(request->body, "n"));
}

/* Serves what is there, with bounded work. */
static void serve(void)
{
	struct control_request request;
	for (int i = 0; i < 100 && is_readable(control_fd(c), 0); i++)
		while (control_next(c, now, &request) == 1)
			control_answer(c, request.client, echo(&request));
}

static void serve_nothing(void)
{
	struct control_request request;
	for (int i = 0; i < 100 && is_readable(control_fd(c), 0); i++)
		cr_assert_eq(control_next(c, now, &request), 0);
	cr_assert_eq(control_next(c, now, &request), 0);
}

/* The next line, while serving; NULL at the end of the connection. */
static json_t *hear(int fd)
{
	static char text[LINE_ROOM];
	size_t n = 0;
	uint64_t limit = clock_steady_ms() + LIMIT_MS;
	while (n == 0 || text[n - 1] != '\n') {
		cr_assert_lt(clock_steady_ms(), limit, "no answer came");
		serve();
		if (!is_readable(fd, 10))
			continue;
		ssize_t r = recv(fd, text + n, 1, 0);
		if (r <= 0)
			return NULL;
		cr_assert_lt(++n, sizeof text);
	}
	json_t *answer = json_loadb(text, n, 0, NULL);
	cr_assert_not_null(answer, "%.*s", (int)n, text);
	return answer;
}

static int number(json_t *answer, const char *key)
{
	return (int)json_integer_value(json_object_get(answer, key));
}

static void expect_served(int fd, int n)
{
	char line[64];
	snprintf(line, sizeof line, "{\"command\":\"x\",\"n\":%d}\n", n);
	say(fd, line);
	json_t *answer = hear(fd);
	cr_assert_not_null(answer);
	cr_expect_eq(number(answer, "n"), n);
	json_decref(answer);
}

static void expect_refused(int fd, const char *part, int exit_code)
{
	json_t *answer = hear(fd);
	cr_assert_not_null(answer);
	cr_expect(json_is_false(json_object_get(answer, "ok")));
	const char *error = json_string_value(json_object_get(answer, "error"));
	cr_expect_not_null(strstr(error, part), "%s", error);
	cr_expect_eq(number(answer, "exit"), exit_code);
	json_decref(answer);
}

static void expect_dropped(int fd)
{
	json_t *answer = hear(fd);
	cr_expect_null(answer);
	json_decref(answer);
	close(fd);
}

/* The socket in the file system. */

Test(control, everybody_may_connect)
{
	struct stat st;
	struct control *second;
	char where[80];
	snprintf(where, sizeof where, "%s/second", dir);
	umask(077);
	cr_assert_eq(control_new(where, &second), 0);
	cr_expect_eq(umask(077), 077, "the umask is as it was");
	cr_assert_eq(stat(where, &st), 0);
	cr_expect_eq(st.st_mode & 0777, 0666);
	control_free(second);
}

Test(control, a_living_socket_is_not_replaced)
{
	struct control *second = NULL;
	cr_expect_eq(control_new(path, &second), -EADDRINUSE);
	cr_expect_null(second);
	int fd = client();
	expect_served(fd, 1);
	close(fd);
}

Test(control, a_dead_socket_is_replaced)
{
	char dead[80];
	snprintf(dead, sizeof dead, "%s/dead", dir);
	struct sockaddr_un a = address_of(dead);
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	close(fd);
	struct control *second;
	cr_assert_eq(control_new(dead, &second), 0);
	control_free(second);
	cr_expect_eq(access(dead, F_OK), -1);
}

static void expect_left_alone(const char *name, int error)
{
	char where[80];
	struct control *second;
	struct stat before, after;
	snprintf(where, sizeof where, "%s/%s", dir, name);
	cr_assert_eq(lstat(where, &before), 0);
	cr_expect_eq(control_new(where, &second), error, "%s", name);
	cr_assert_eq(lstat(where, &after), 0);
	cr_expect_eq(before.st_ino, after.st_ino);
}

Test(control, what_is_no_socket_of_ours_is_left_alone)
{
	cr_assert_eq(chdir(dir), 0);
	close(open("file", O_WRONLY | O_CREAT, 0644));
	cr_assert_eq(symlink("sock", "link"), 0);
	cr_assert_eq(mkdir("sub", 0755), 0);
	struct sockaddr_un a = address_of("datagrams");
	int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	expect_left_alone("file", -EEXIST);
	expect_left_alone("link", -EEXIST);
	expect_left_alone("sub", -EEXIST);
	expect_left_alone("datagrams", -EEXIST);
	close(fd);
}

Test(control, paths_that_cannot_be)
{
	struct control *second;
	char where[200];
	memset(where, 'x', sizeof where);
	where[108] = '\0';
	cr_expect_eq(control_new(where, &second), -ENAMETOOLONG);
	snprintf(where, sizeof where, "%s/none/sock", dir);
	cr_expect_eq(control_new(where, &second), -ENOENT);
}

Test(control, freeing_removes_the_socket_only_where_it_is_ours)
{
	char moved[80];
	snprintf(moved, sizeof moved, "%s/moved", dir);
	cr_assert_eq(rename(path, moved), 0);
	struct control *successor;
	cr_assert_eq(control_new(path, &successor), 0);
	control_free(c);
	c = NULL;
	cr_expect_eq(access(path, F_OK), 0);
	control_free(successor);
	cr_expect_eq(access(path, F_OK), -1);
	control_free(NULL);
}

/* Requests and answers. */

Test(control, a_removed_socket_is_made_anew)
{
	int before = client();
	cr_expect_eq(control_renew(c, now), 0, "it is there");
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(control_renew(c, now), 1);
	cr_expect_eq(control_renew(c, now), 0, "it is there again");
	expect_served(client(), 1);
	expect_served(before, 2);
	/* One that nobody listens at, as after its file system was mounted again. */
	cr_assert_eq(unlink(path), 0);
	struct sockaddr_un a = address_of(path);
	int dead = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(dead, (struct sockaddr *)&a, sizeof a), 0);
	cr_assert_eq(control_renew(c, now), 1);
	expect_served(client(), 3);
	/* What is none is left alone, and clients are served on. */
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(mkdir(path, 0755), 0);
	cr_expect_eq(control_renew(c, now), -EEXIST);
	expect_served(before, 4);
	cr_assert_eq(rmdir(path), 0);
	cr_expect_eq(control_renew(c, now), 1);
	close(dead);
}

Test(control, a_request_says_who_asks)
{
	int fd = client();
	say(fd, "{\"command\":\"status\",\"user\":\"alice\"}\n");
	struct control_request request = next_request();
	cr_expect_eq(request.uid, getuid());
	cr_expect_eq(request.gid, getgid());
	cr_expect_eq(request.pid, getpid());
	cr_expect_str_eq(json_string_value(json_object_get(request.body, "user")), "alice");
	cr_expect(control_alive(c, request.client));
	control_answer(c, request.client, json_pack("{s:b, s:s}", "ok", 1, "text", "a\nb"));
	json_t *answer = hear(fd);
	cr_expect_str_eq(json_string_value(json_object_get(answer, "text")), "a\nb");
	json_decref(answer);
	close(fd);
}

Test(control, groups_of_the_peer)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to be several users");
	pid_t child = fork();
	if (child == 0) {
		gid_t groups[] = {4242, 4243};
		int r = setgroups(2, groups) < 0 || setgid(4241) < 0 || setuid(NOBODY) < 0;
		int fd = r ? -1 : try_connect();
		char byte;
		if (fd >= 0 && send(fd, "{}\n", 3, 0) == 3)
			r = recv(fd, &byte, 1, 0) != 1;
		_exit(r || fd < 0);
	}
	struct control_request request = next_request();
	cr_expect_eq(request.uid, NOBODY);
	cr_expect_eq(request.group_count, 2);
	cr_expect(control_peer_in_group(&request, 4241));
	cr_expect(control_peer_in_group(&request, 4242));
	cr_expect(control_peer_in_group(&request, 4243));
	cr_expect_not(control_peer_in_group(&request, 4244));
	cr_expect_not(control_peer_in_group(&request, 0));
	control_answer(c, request.client, json_object());
	int status;
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_expect_eq(status, 0);
}

Test(control, requests_of_a_client_come_one_by_one_and_in_order)
{
	int fd = client();
	say(fd, "{\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
	for (int n = 1; n <= 3; n++) {
		cr_assert(is_readable(control_fd(c), LIMIT_MS), "nobody was woken for request %d", n);
		struct control_request request = next_request();
		cr_expect_eq(number(request.body, "n"), n);
		json_t *answer = echo(&request);
		serve_nothing();
		control_answer(c, request.client, answer);
	}
	for (int n = 1; n <= 3; n++) {
		json_t *answer = hear(fd);
		cr_expect_eq(number(answer, "n"), n);
		json_decref(answer);
	}
	serve_nothing();
	cr_expect_not(is_readable(control_fd(c), 0));
	close(fd);
}

Test(control, a_request_that_takes_long_keeps_nobody_else_waiting)
{
	int slow = client(), quick = client();
	say(slow, "{\"n\":1}\n{\"n\":2}\n");
	struct control_request request = next_request();
	uint64_t first = request.client;
	for (int i = 0; i < 10; i++)
		expect_served(quick, i);
	/* However long. */
	now += 100 * (uint64_t)CONTROL_EVICT_MS;
	serve_nothing();
	cr_expect(control_alive(c, first));
	control_answer(c, first, json_pack("{s:i}", "n", 1));
	json_t *answer = hear(slow);
	cr_expect_eq(number(answer, "n"), 1);
	json_decref(answer);
	answer = hear(slow);
	cr_expect_eq(number(answer, "n"), 2);
	json_decref(answer);
	close(slow);
	close(quick);
}

Test(control, clients_take_turns)
{
	int greedy = client(), modest = client();
	for (int i = 0; i < 100; i++)
		say(greedy, "{\"n\":1}\n");
	say(modest, "{\"n\":2}\n");
	int before = 0;
	for (;;) {
		struct control_request request = next_request();
		if (number(request.body, "n") == 2)
			break;
		before++;
		control_answer(c, request.client, json_object());
	}
	cr_expect_leq(before, 2);
	close(greedy);
	close(modest);
}

Test(control, a_request_may_come_in_pieces)
{
	int fd = client();
	for (const char *p = "{\"n\": 7}\r\n"; *p != '\0'; p++) {
		serve_nothing();
		cr_assert_eq(send(fd, p, 1, 0), 1);
	}
	json_t *answer = hear(fd);
	cr_expect_eq(number(answer, "n"), 7);
	json_decref(answer);
	close(fd);
}

Test(control, a_client_that_only_stops_sending_gets_its_answers)
{
	int fd = client();
	say(fd, "{\"n\":1}\n{\"n\":2}\n");
	cr_assert_eq(shutdown(fd, SHUT_WR), 0);
	struct control_request request = next_request();
	serve_nothing();
	cr_expect(control_alive(c, request.client));
	cr_expect_not(is_readable(control_fd(c), 0), "busy while there is nothing to do");
	control_answer(c, request.client, json_pack("{s:i}", "n", 1));
	for (int n = 1; n <= 2; n++) {
		json_t *answer = hear(fd);
		cr_expect_eq(number(answer, "n"), n);
		json_decref(answer);
	}
	expect_dropped(fd);
}

Test(control, a_client_that_closes_is_gone)
{
	int fd = client();
	say(fd, "{\"n\":1}\n{\"n\":2}\n");
	struct control_request request = next_request();
	close(fd);
	cr_assert(is_readable(control_fd(c), LIMIT_MS));
	serve_nothing();
	cr_expect_not(control_alive(c, request.client));
	control_answer(c, request.client, json_object());
	control_answer(c, 12345, json_object());
	serve_nothing();
	cr_expect_not(is_readable(control_fd(c), 0));
}

Test(control, a_client_that_closes_just_before_its_answer)
{
	int fd = client();
	say(fd, "{\"n\":1}\n");
	struct control_request request = next_request();
	close(fd);
	control_answer(c, request.client, json_object());
	serve_nothing();
	cr_expect_not(control_alive(c, request.client));
}

/* Bad input. */

Test(control, bad_lines_are_told_and_the_client_stays)
{
	static const struct {
		const char *line, *part;
	} bad[] = {
		{"hello\n", "not JSON"},        {"\n", "not JSON"},
		{"[1]\n", "no object"},         {"7\n", "not JSON"},
		{"{\"a\":1,\"a\":2}\n", "duplicate"}, {"{\"a\":1\n", "not JSON"},
		{"{} {}\n", "not JSON"},        {"{\"a\":\"\\u0000\"}\n", "not JSON"},
		{"\xff\xfe\x1b[2J\n", "not JSON"}, {"{\"\xff\":1}\n", "not JSON"},
	};
	int fd = client();
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		say(fd, bad[i].line);
		expect_refused(fd, bad[i].part, 2);
		expect_served(fd, (int)i);
	}
	cr_assert_eq(send(fd, "{\0}\n", 4, 0), 4);
	expect_refused(fd, "not JSON", 2);
	close(fd);
}

Test(control, deep_nesting_is_told)
{
	int fd = client();
	char *line = calloc(1, 60001);
	memset(line, '[', 60000);
	memcpy(line, "{\"a\":", 5);
	line[59999] = '\n';
	say(fd, line);
	expect_refused(fd, "not JSON", 2);
	expect_served(fd, 1);
	free(line);
	close(fd);
}

Test(control, answers_to_bad_lines_keep_the_order)
{
	int fd = client();
	say(fd, "{\"n\":1}\nbad\n{\"n\":2}\n");
	json_t *answer = hear(fd);
	cr_expect_eq(number(answer, "n"), 1);
	json_decref(answer);
	expect_refused(fd, "not JSON", 2);
	answer = hear(fd);
	cr_expect_eq(number(answer, "n"), 2);
	json_decref(answer);
	close(fd);
}

/* A request of exactly `size` bytes, its newline not counted. */
static char *line_of(size_t size)
{
	char *line = malloc(size + 2);
	memset(line, ' ', size);
	memcpy(line, "{\"n\":1}", 7);
	strcpy(line + size, "\n");
	return line;
}

static void say_while_serving(int fd, const char *text)
{
	for (size_t size = strlen(text); size > 0;) {
		ssize_t n = send(fd, text, size, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno != EAGAIN)
			return;
		text += n < 0 ? 0 : n;
		size -= n < 0 ? 0 : (size_t)n;
		serve();
	}
}

Test(control, the_longest_line)
{
	int fd = client();
	char *line = line_of(CONTROL_LINE_MAX);
	say_while_serving(fd, line);
	json_t *answer = hear(fd);
	cr_assert_not_null(answer);
	cr_expect_eq(number(answer, "n"), 1);
	json_decref(answer);
	free(line);
	line = line_of(CONTROL_LINE_MAX + 1);
	say_while_serving(fd, line);
	expect_refused(fd, "longer than 65536 bytes", 2);
	expect_dropped(fd);
	free(line);
}

Test(control, half_a_line_at_the_end_is_told)
{
	int fd = client();
	say(fd, "{\"n\":1");
	shutdown(fd, SHUT_WR);
	expect_refused(fd, "no newline", 2);
	expect_dropped(fd);
}

static size_t memory_used(void)
{
	return mallinfo2().uordblks + mallinfo2().hblkhd;
}

/* Sends up to `size` bytes of a pattern without reading anything, while `other`
 * is served. Returns how many went. */
static size_t flood(int fd, int other, const char *pattern, size_t size)
{
	char block[LINE_ROOM];
	size_t n = strlen(pattern), sent = 0;
	for (size_t i = 0; i < sizeof block; i++)
		block[i] = pattern[i % n];
	for (int stuck = 0; sent < size && stuck < 20;) {
		ssize_t r = send(fd, block, sizeof block, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r < 0 && errno != EAGAIN)
			break;
		stuck = r < 0 ? stuck + 1 : 0;
		sent += r < 0 ? 0 : (size_t)r;
		expect_served(other, 5);
	}
	return sent;
}

Test(control, garbage_without_end)
{
	int other = client();
	expect_served(other, 1);
	size_t before = memory_used();
	int fd = client();
	cr_expect_lt(flood(fd, other, "garbage", 100 << 20), 2 << 20);
	expect_refused(fd, "longer", 2);
	expect_dropped(fd);
	expect_served(other, 2);
	cr_expect_leq(memory_used(), before + LINE_ROOM);
	close(other);
}

Test(control, lines_of_garbage_whose_answers_are_not_read)
{
	int fd = client(), other = client();
	expect_served(other, 1);
	size_t before = memory_used();
	cr_expect_lt(flood(fd, other, "x\n", 100 << 20), 8 << 20);
	cr_expect_lt(memory_used(), before + 4 * (size_t)CONTROL_OUT_MAX);
	now += CONTROL_IDLE_MS;
	serve();
	expect_served(other, 2);
	cr_expect_leq(memory_used(), before + LINE_ROOM);
	close(fd);
	close(other);
}

Test(control, lines_of_garbage_whose_answers_are_read)
{
	enum { BYTES = 100 << 20, LINE = 32768 };
	int other = client(), fd = client();
	expect_served(other, 1);
	char *line = calloc(1, LINE + 1), *sink = malloc(LINE_ROOM);
	memset(line, 'x', LINE - 1);
	line[LINE - 1] = '\n';
	size_t before = memory_used(), answers = 0;
	for (size_t sent = 0; sent < BYTES; sent += LINE) {
		say_while_serving(fd, line);
		if (sent % (64 * LINE) == 0)
			expect_served(other, 3);
		ssize_t n = recv(fd, sink, LINE_ROOM, MSG_DONTWAIT);
		for (ssize_t i = 0; i < n; i++)
			answers += sink[i] == '\n';
	}
	cr_expect_geq(answers, (size_t)BYTES / LINE - 10);
	cr_expect_lt(memory_used(), before + (1 << 20));
	expect_served(other, 4);
	free(line);
	free(sink);
}

/* Clients that wait. */

Test(control, half_a_line_does_not_stay_for_ever)
{
	int fd = client(), other = client();
	say(fd, "{\"n\":");
	serve();
	/* Dripping does not help. */
	now += CONTROL_IDLE_MS / 2;
	say(fd, " ");
	serve();
	expect_served(other, 1);
	now += CONTROL_IDLE_MS / 2 - 1;
	serve_nothing();
	cr_expect_not(is_readable(fd, 0));
	now += 1;
	serve_nothing();
	expect_dropped(fd);
	expect_served(other, 2);
	close(other);
}

Test(control, half_a_line_behind_a_slow_request_has_its_time)
{
	int fd = client();
	say(fd, "{\"n\":1}\n{\"n\"");
	struct control_request request = next_request();
	now += 5 * CONTROL_IDLE_MS;
	serve_nothing();
	control_answer(c, request.client, json_object());
	serve_nothing();
	now += CONTROL_IDLE_MS - 1;
	serve_nothing();
	json_decref(hear(fd));
	say(fd, ":2}\n");
	json_t *answer = hear(fd);
	cr_assert_not_null(answer);
	cr_expect_eq(number(answer, "n"), 2);
	json_decref(answer);
	close(fd);
}

Test(control, idle_between_requests_is_fine)
{
	int fd = client();
	expect_served(fd, 1);
	now += 100 * (uint64_t)CONTROL_EVICT_MS;
	serve_nothing();
	expect_served(fd, 2);
	close(fd);
}

static json_t *answer_of(size_t mebibytes)
{
	enum { MIB = 1 << 20 };
	char *text = malloc(MIB);
	memset(text, 'x', MIB);
	json_t *one = json_stringn(text, MIB), *all = json_array();
	for (size_t i = 0; i < mebibytes; i++)
		json_array_append(all, one);
	json_decref(one);
	free(text);
	return json_pack("{s:b, s:o}", "ok", 1, "data", all);
}

Test(control, a_client_that_never_reads_is_not_heard_and_then_dropped)
{
	int fd = client(), other = client();
	for (int i = 0; i < 20; i++)
		say(fd, "{}\n");
	struct control_request request;
	int heard = 0;
	uint64_t id = 0;
	for (int i = 0; i < 100; i++) {
		if (control_next(c, now, &request) == 0)
			continue;
		heard++;
		id = request.client;
		control_answer(c, id, answer_of(1));
	}
	cr_expect_geq(heard, 4);
	cr_expect_leq(heard, 6);
	cr_expect_not(is_readable(control_fd(c), 0), "busy while there is nothing to do");
	expect_served(other, 1);
	now += CONTROL_IDLE_MS - 1;
	serve_nothing();
	cr_expect(control_alive(c, id));
	now += 1;
	serve_nothing();
	cr_expect_not(control_alive(c, id));
	expect_served(other, 2);
	close(fd);
	close(other);
}

static size_t drain(int fd, size_t wanted, size_t *ret_lines)
{
	char *sink = malloc(LINE_ROOM);
	size_t got = 0;
	uint64_t limit = clock_steady_ms() + 3 * LIMIT_MS;
	while (got < wanted && clock_steady_ms() < limit) {
		serve();
		size_t room = wanted - got < LINE_ROOM ? wanted - got : LINE_ROOM;
		ssize_t n = recv(fd, sink, room, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN))
			break;
		for (ssize_t i = 0; i < n; i++)
			*ret_lines += sink[i] == '\n';
		got += n < 0 ? 0 : (size_t)n;
	}
	free(sink);
	return got;
}

Test(control, a_large_answer_arrives_whole)
{
	enum { SIZE = 50 };
	int fd = client(), other = client();
	say(fd, "{}\n{\"n\":2}\n");
	struct control_request request = next_request();
	control_answer(c, request.client, answer_of(SIZE));
	expect_served(other, 1);
	json_t *expected = answer_of(SIZE);
	size_t lines = 0, size = json_dumpb(expected, NULL, 0, JSON_COMPACT) + 1;
	json_decref(expected);
	cr_expect_eq(drain(fd, size, &lines), size);
	cr_expect_eq(lines, 1);
	json_t *answer = hear(fd);
	cr_expect_eq(number(answer, "n"), 2);
	json_decref(answer);
	close(fd);
	close(other);
}

Test(control, too_large_an_answer_becomes_an_error)
{
	int fd = client();
	say(fd, "{}\n");
	struct control_request request = next_request();
	control_answer(c, request.client, answer_of(257));
	expect_refused(fd, "too large", 1);
	expect_served(fd, 1);
	close(fd);
}

Test(control, memory_for_no_answer_is_an_error_too)
{
	int fd = client();
	say(fd, "{}\n");
	struct control_request request = next_request();
	control_answer(c, request.client, NULL);
	expect_refused(fd, "", 1);
	close(fd);
}

/* Crowds. */

static void expect_told_too_many(int fd)
{
	expect_refused(fd, "too many clients", 1);
	expect_dropped(fd);
}

Test(control, a_thousand_connections)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to be several users");
	enum { CROWD = 1000 };
	int fds[CROWD];
	for (int i = 0; i < CROWD; i++)
		fds[i] = client();
	serve();
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i += 17)
		expect_served(fds[i], i);
	for (int i = CONTROL_CLIENTS_MAX; i < CROWD; i++)
		expect_told_too_many(fds[i]);
	close(fds[0]);
	serve();
	int late = client();
	expect_served(late, 1);
	close(late);
}

Test(control, a_full_table_drops_who_was_idle_for_long)
{
	int fds[CONTROL_CLIENTS_MAX];
	for (int i = 0; i < CONTROL_CLIENTS_MAX; i++)
		fds[i] = client();
	serve();
	/* Idle for long as well, but not longest. */
	now += 1000;
	expect_served(fds[3], 1);
	now += CONTROL_EVICT_MS / 2;
	expect_served(fds[1], 1);
	serve_nothing();
	int late = client();
	expect_told_too_many(late);
	now += CONTROL_EVICT_MS / 2;
	/* One that waits for its answer is not idle. */
	say(fds[0], "{}\n");
	struct control_request request = next_request();
	late = client();
	serve_nothing();
	expect_served(late, 2);
	expect_dropped(fds[2]);
	expect_served(fds[1], 3);
	control_answer(c, request.client, json_object());
	json_decref(hear(fds[0]));
}

/* A child of another user that opens connections and holds them until it is
 * told to count those that were refused, and what it counted. */
struct crowd {
	pid_t pid;
	int opened, count, result;
};

static void live_as_crowd(uid_t uid, int n, int opened, int count, int result)
{
	int fds[CONTROL_CLIENTS_MAX], refused = 0;
	char byte = 0;
	if (setgroups(0, NULL) < 0 || setgid(uid) < 0 || setuid(uid) < 0)
		_exit(1);
	for (int i = 0; i < n; i++)
		fds[i] = try_connect();
	if (write(opened, &byte, 1) != 1 || read(count, &byte, 1) != 1)
		_exit(1);
	for (int i = 0; i < n; i++)
		refused += fds[i] < 0 || is_readable(fds[i], 0);
	if (write(result, &refused, sizeof refused) < 0)
		_exit(1);
	(void)!read(count, &byte, 1);
	_exit(0);
}

static struct crowd gather(uid_t uid, int n)
{
	int opened[2], count[2], result[2];
	cr_assert(pipe(opened) == 0 && pipe(count) == 0 && pipe(result) == 0);
	pid_t pid = fork();
	if (pid == 0) {
		close(count[1]);
		live_as_crowd(uid, n, opened[1], count[0], result[1]);
	}
	close(opened[1]);
	close(count[0]);
	close(result[1]);
	struct crowd crowd = {pid, opened[0], count[1], result[0]};
	cr_assert(is_readable(crowd.opened, LIMIT_MS));
	serve();
	return crowd;
}

static int count_refused(struct crowd *crowd)
{
	int refused = -1;
	cr_assert_eq(write(crowd->count, "", 1), 1);
	cr_assert_eq(read(crowd->result, &refused, sizeof refused), (ssize_t)sizeof refused);
	return refused;
}

static void disperse(struct crowd *crowd)
{
	/* Not by closing: later crowds have inherited this end. */
	cr_assert_eq(write(crowd->count, "", 1), 1);
	waitpid(crowd->pid, NULL, 0);
	close(crowd->count);
	close(crowd->opened);
	close(crowd->result);
	serve();
}

Test(control, no_user_takes_all_places)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to be several users");
	struct crowd crowd = gather(NOBODY, 100);
	cr_expect_eq(count_refused(&crowd), 100 - CONTROL_CLIENTS_PER_UID);
	struct crowd other = gather(NOBODY - 1, 1);
	cr_expect_eq(count_refused(&other), 0);
	disperse(&other);
	disperse(&crowd);
	crowd = gather(NOBODY, 1);
	cr_expect_eq(count_refused(&crowd), 0);
	disperse(&crowd);
}

Test(control, root_always_gets_in)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to be several users");
	struct crowd crowds[4];
	int refused = 0;
	for (int i = 0; i < 4; i++) {
		crowds[i] = gather((uid_t)(NOBODY - i), CONTROL_CLIENTS_PER_UID);
		refused += count_refused(&crowds[i]);
	}
	cr_expect_eq(refused, CONTROL_RESERVED);
	for (int i = 0; i < CONTROL_RESERVED; i++)
		expect_served(client(), i);
	expect_told_too_many(client());
	for (int i = 0; i < 4; i++)
		disperse(&crowds[i]);
}

/* Two connections of one user that ask and never read. */
static void live_unread(int over)
{
	char byte;
	if (setgroups(0, NULL) < 0 || setuid(NOBODY) < 0)
		_exit(1);
	for (int i = 0; i < 2; i++) {
		int fd = try_connect();
		if (fd < 0 || send(fd, "{}\n", 3, 0) != 3)
			_exit(1);
	}
	(void)!read(over, &byte, 1);
	_exit(0);
}

Test(control, unread_answers_of_a_user_are_bounded_together)
{
	if (geteuid() != 0)
		cr_skip_test("needs root, to be several users");
	int over[2];
	cr_assert_eq(pipe(over), 0);
	pid_t child = fork();
	if (child == 0) {
		close(over[1]);
		live_unread(over[0]);
	}
	size_t before = memory_used();
	for (int i = 0; i < 2; i++) {
		struct control_request request = next_request();
		control_answer(c, request.client, answer_of(160));
	}
	cr_expect_lt(memory_used(), before + CONTROL_OUT_HARD_MAX + (1 << 20));
	serve_nothing();
	now += CONTROL_IDLE_MS;
	serve_nothing();
	cr_expect_leq(memory_used(), before + (1 << 20));
	close(over[1]);
	waitpid(child, NULL, 0);
}

Test(control, out_of_descriptors_the_next_client_is_told)
{
	int quiet = client(), fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	expect_served(quiet, 1);
	struct rlimit limit;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 64;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	int fill[64], n = 0;
	while ((fill[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	struct sockaddr_un a = address_of(path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	expect_told_too_many(fd);
	serve_nothing();
	cr_expect_not(is_readable(control_fd(c), 0), "busy while there is nothing to do");
	expect_served(quiet, 2);
	while (n > 0)
		close(fill[--n]);
	expect_served(client(), 3);
}

Test(control, without_even_a_spare_descriptor_it_pauses)
{
	/* No descriptor is free from its very beginning. */
	control_free(c);
	struct rlimit limit;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 64;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	int fill[64], n = 0, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while ((fill[n] = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0)
		n++;
	/* Three it must have, and one to look whether a socket is alive. */
	for (int i = 0; i < 3; i++)
		close(fill[--n]);
	cr_assert_eq(control_new(path, &c), 0);
	struct sockaddr_un a = address_of(path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	serve_nothing();
	cr_expect_not(is_readable(control_fd(c), 0), "busy while there is nothing to do");
	while (n > 0)
		close(fill[--n]);
	now += 1000;
	struct control_request request;
	cr_expect_eq(control_next(c, now, &request), 0);
	expect_served(fd, 1);
	close(fd);
}

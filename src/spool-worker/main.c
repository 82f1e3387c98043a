#include "spool-worker/worker.h"

#include "base/fd.h"
#include "base/log.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static bool is_packet_socket(int fd)
{
	int type = 0;
	socklen_t size = sizeof type;
	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_SEQPACKET;
}

static int parse_socket(int argc, char **argv)
{
	if (argc != 2)
		return -1;
	char *end;
	long fd = strtol(argv[1], &end, 10);
	if (argv[1][0] == '\0' || *end != '\0' || fd < 3 || fd > 1 << 20)
		return -1;
	return is_packet_socket((int)fd) ? (int)fd : -1;
}

/* 0 to 2 are open in any case, and nothing else but the socket is. */
static int tidy_descriptors(int sock)
{
	int null;
	do
		null = open("/dev/null", O_RDWR);
	while (null >= 0 && null <= STDERR_FILENO);
	fd_close(null);
	if (fcntl(sock, F_SETFD, FD_CLOEXEC) < 0 || fd_set_nonblock(sock, true) < 0)
		return -1;
	if (sock > 3 && syscall(SYS_close_range, 3, (unsigned)sock - 1, 0) < 0)
		return -1;
	return (int)syscall(SYS_close_range, (unsigned)sock + 1, ~0U, 0);
}

int main(int argc, char **argv)
{
	int sock = parse_socket(argc, argv);
	if (sock < 0) {
		fprintf(stderr, "spool-worker is started by spoold and is of no use by hand.\n"
		                "To process a file now, put it into incoming or use: spoolctl submit FILE\n");
		return 2;
	}
	sigset_t term;
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_SETMASK, &term, NULL);
	/* The daemon decides when a job ends, not a terminal. */
	signal(SIGINT, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	if (tidy_descriptors(sock) < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		log_error("spool-worker cannot set itself up: %m");
		return 1;
	}
	return worker_serve(sock);
}

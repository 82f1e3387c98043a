#include "io/control_private.h"

#include "base/fd.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

static int new_socket(void)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	return fd;
}

/* 0: nobody listens there. */
static int probe(const struct sockaddr_un *address)
{
	int fd = new_socket();
	if (fd < 0)
		return fd;
	const void *a = address;
	int error = connect(fd, a, sizeof *address) < 0 ? errno : 0;
	fd_close(fd);
	switch (error) {
	case ECONNREFUSED:
	case ENOENT: return 0;
	/* Its queue of connections is full. */
	case EAGAIN:
	case 0: return -EADDRINUSE;
	case EPROTOTYPE: return -EEXIST;
	default: return -error;
	}
}

static int remove_dead(const struct sockaddr_un *address)
{
	struct stat st;
	if (lstat(address->sun_path, &st) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISSOCK(st.st_mode))
		return -EEXIST;
	int r = probe(address);
	if (r < 0)
		return r;
	return unlink(address->sun_path) < 0 && errno != ENOENT ? -errno : 0;
}

static int bind_open_to_all(int fd, const struct sockaddr_un *address)
{
	const void *a = address;
	mode_t before = umask(0111);
	int r = bind(fd, a, sizeof *address) < 0 ? -errno : 0;
	umask(before);
	return r;
}

int socket_listen(const char *path, int *ret_fd, struct stat *ret_made)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	if (strlen(path) >= sizeof address.sun_path)
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	int r = remove_dead(&address);
	if (r < 0)
		return r;
	int fd = new_socket();
	if (fd < 0)
		return fd;
	struct stat made;
	r = bind_open_to_all(fd, &address);
	if (r < 0)
		goto out_close;
	if (lstat(path, &made) < 0 || listen(fd, SOMAXCONN) < 0) {
		r = -errno;
		goto out_unlink;
	}
	*ret_fd = fd;
	*ret_made = made;
	return 0;
out_unlink:
	unlink(path);
out_close:
	fd_close(fd);
	return r;
}

void socket_remove(const char *path, const struct stat *made)
{
	struct stat st;
	if (lstat(path, &st) == 0 && st.st_dev == made->st_dev && st.st_ino == made->st_ino)
		unlink(path);
}

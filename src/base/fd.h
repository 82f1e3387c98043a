/* Small helpers around file descriptors. All return a negative errno. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Closes and returns -1, for `fd = fd_close(fd)`. Negative fds are ignored;
 * errno is kept. */
int fd_close(int fd);

/* Reads the whole of `fd` into a new buffer, NUL-terminated beyond its length.
 * Errors: -EFBIG when it holds more than `limit` bytes, -ENOMEM, read errors. */
int fd_read_all(int fd, size_t limit, char **ret_data, size_t *ret_size);

/* Writes everything, over short writes and EINTR. -EAGAIN from a descriptor
 * that does not block: an unknown part was written. */
int fd_write_all(int fd, const void *data, size_t size);

/* Writes `data` durably as `name` in `dirfd`: aside as `<name>.new` (replacing
 * what is there), synced, renamed, and the directory synced. `dirfd` is neither
 * AT_FDCWD nor opened with O_PATH. -ENAMETOOLONG, -EISDIR, -ENOSPC ...; `name`
 * is as it was then, except after an error of the last sync. */
int fd_write_file(int dirfd, const char *name, const void *data, size_t size, mode_t mode);

/* openat2 with RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
 * and O_CLOEXEC. `mode` counts only where a file is created. Returns the
 * descriptor, or a negative errno: -EXDEV, -ELOOP where the path leads out or
 * over a symlink; -EAGAIN with O_NONBLOCK where somebody has a lease on the
 * file (without O_NONBLOCK the call waits for it, up to
 * /proc/sys/fs/lease-break-time: do not open what users own that way). */
int fd_open_beneath(int dirfd, const char *path, int flags, mode_t mode);

/* Gives the owner of a directory (all), or of a plain file with one name (to
 * read and write), the rights back that were taken away. Symlinks are not
 * followed; other things are left as they are. Needs to be the owner or root. */
int fd_permit(int fd);
int fd_permit_at(int dirfd, const char *name);

/* Sends one packet with up to FD_PASS_MAX descriptors on a SEQPACKET socket.
 * -EAGAIN when the peer's buffer is full. */
enum { FD_PASS_MAX = 4 };
int fd_send(int sock, const void *data, size_t size, const int *fds, size_t nfds);

/* Receives one packet. Unused places of `fds` (FD_PASS_MAX of them) are -1;
 * the caller owns the others. Returns 0 with *ret_size 0 at end of file,
 * -EAGAIN when there is none, -EMSGSIZE when it was larger than `size`. */
int fd_recv(int sock, void *data, size_t size, size_t *ret_size, int *fds);

/* Switches O_NONBLOCK. */
int fd_set_nonblock(int fd, bool on);

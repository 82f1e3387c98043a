#include "base/mountinfo.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_network(const char *type)
{
	static const char *const types[] = {"nfs",  "nfs4",   "cifs",  "smb3", "smbfs", "9p",
	                                    "ceph", "afs",    "coda",  "gpfs", "ncpfs", "ocfs2",
	                                    "gfs2", "lustre", "vboxsf"};
	/* "fuse.sshfs" and the like; "fuseblk" is a local disk. */
	if (strcmp(type, "fuse") == 0 || strncmp(type, "fuse.", 5) == 0)
		return true;
	for (size_t i = 0; i < sizeof types / sizeof *types; i++)
		if (strcmp(type, types[i]) == 0)
			return true;
	return false;
}

/* "\040" is a space. */
static void unescape(char *text)
{
	char *out = text;
	while (*text != '\0') {
		unsigned code;
		if (*text == '\\' && sscanf(text + 1, "%3o", &code) == 1) {
			*out++ = (char)code;
			text += 4;
		} else {
			*out++ = *text++;
		}
	}
	*out = '\0';
}

/* "36 35 98:0 / /mnt rw,noatime master:1 - ext4 /dev/sda1 rw" */
static bool parse(char *line, struct mountinfo *ret)
{
	char *type = strstr(line, " - "), *path = line;
	unsigned long long id;
	if (type == NULL || sscanf(line, "%llu", &id) != 1)
		return false;
	for (int n = 0; n < 4 && path != NULL; n++) {
		path = strchr(path, ' ');
		path += path != NULL;
	}
	if (path == NULL || path >= type)
		return false;
	*type = '\0';
	type += 3;
	type[strcspn(type, " \n")] = '\0';
	path[strcspn(path, " ")] = '\0';
	unescape(path);
	*ret = (struct mountinfo){.id = id, .path = path, .network = is_network(type)};
	return true;
}

int mountinfo_each(int (*each)(void *ctx, const struct mountinfo *m), void *ctx)
{
	struct mountinfo m;
	char *line = NULL;
	size_t size = 0;
	int r = 0;
	FILE *file = fopen("/proc/self/mountinfo", "re");
	if (file == NULL)
		return -errno;
	while (r == 0 && getline(&line, &size, file) >= 0)
		if (parse(line, &m))
			r = each(ctx, &m);
	if (r == 0 && ferror(file))
		r = -EIO;
	free(line);
	fclose(file);
	return r;
}

bool mountinfo_is_below(const char *path, const char *above)
{
	size_t n = strlen(above);
	if (strcmp(above, "/") == 0)
		return path[0] == '/';
	return strncmp(path, above, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

struct nearest {
	const char *path;
	size_t n;
	bool network;
};

static int look(void *ctx, const struct mountinfo *m)
{
	struct nearest *nearest = ctx;
	size_t n = strlen(m->path);
	if (n >= nearest->n && mountinfo_is_below(nearest->path, m->path)) {
		nearest->n = n;
		nearest->network = m->network;
	}
	return 0;
}

bool mountinfo_is_network(const char *path)
{
	struct nearest nearest = {.path = path};
	mountinfo_each(look, &nearest);
	return nearest.network;
}

/* Files of ours that lie where damage or another program can reach them: the
 * marker of the spool, and the result a worker left in a private directory.
 * The first byte says which of the two the rest is. */
#include "core/message.h"
#include "io/tree.h"

#include "fuzz.h"

#include <fcntl.h>

static char root[128];

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	bool existed;
	unsigned made;
	struct tree *t;
	(void)argc;
	(void)argv;
	snprintf(root, sizeof root, "%s/spool", scratch());
	MUST(tree_init(root, &existed) == 0 && !existed && tree_open(root, &t) == 0);
	MUST(tree_make_user(t, "alice", (uid_t)-1, (gid_t)-1, &made) == 0);
	tree_close(t);
	scratch_mkdir("spool/alice/processing/7");
	scratch_mkdir("marked");
	scratch_mkdir("marked/.spoold");
	return 0;
}

/* A marker is taken only where it is what we write, as far as it says
 * something: half an id would be another spool's. */
static void read_marker(const uint8_t *data, size_t size)
{
	char path[128], head[64];
	struct tree *t = NULL;
	bool existed = false;
	snprintf(path, sizeof path, "%s/marked", scratch());
	scratch_write("marked/.spoold/marker", data, size, 0644);
	int r = tree_open(path, &t);
	MUST(r == 0 || r == -EBADMSG);
	if (r == 0) {
		int n = snprintf(head, sizeof head, "spoold spool 1\nid %016jx\n", (uintmax_t)tree_id(t));
		MUST(size >= (size_t)n && memcmp(data, head, (size_t)n) == 0);
		MUST(tree_id(t) != 0 && tree_mounted(t) == 0);
		tree_close(t);
	}
	/* Never written anew. */
	MUST(tree_init(path, &existed) == r && existed == (r == 0));
}

static int count_one(void *ctx, uint64_t id, const char *path, const struct file_ident *ident)
{
	(void)ident;
	MUST(id == 7 && path == NULL);
	++*(int *)ctx;
	return 0;
}

static void read_result(const uint8_t *data, size_t size)
{
	struct tree *t;
	char *text = NULL;
	size_t n = 0;
	struct run_result result = {0};
	int jobs = 0;
	scratch_write("spool/alice/processing/7/.spoold-result", data, size, 0600);
	MUST(tree_open(root, &t) == 0);
	MUST(tree_each_processing(t, "alice", count_one, &jobs, NULL) == 0 && jobs == 1);
	int r = tree_read_result(t, "alice", 7, &text, &n);
	MUST(r == (size > 64 * 1024 ? -EFBIG : 0));
	if (r == 0) {
		MUST(n == size && (n == 0 || memcmp(text, data, n) == 0));
		r = run_result_decode(text, n, &result);
		MUST(r == 0 || r == -EBADMSG);
		run_result_clear(&result);
	}
	free(text);
	tree_close(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && data[0] == 'm')
		read_marker(data + 1, size - 1);
	else if (size > 0)
		read_result(data + 1, size - 1);
	return 0;
}

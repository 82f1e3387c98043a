#include "io/wholes_private.h"

#include "base/fd.h"
#include "base/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>

struct item {
	struct helper_task task; /* first */
	struct wholes_walk *walk;
};

struct wholes {
	struct helper *helper;
};

static bool work(void *ctx, struct helper_task *task)
{
	(void)ctx;
	return !wholes_walk_step(((struct item *)task)->walk, WHOLES_SLICE);
}

static void item_free(struct helper_task *task)
{
	struct item *item = (struct item *)task;
	wholes_walk_free(item->walk);
	free(item);
}

static const struct helper_kind kind = {.work = work, .free = item_free};

int wholes_new(struct wholes **ret)
{
	struct wholes *w = calloc(1, sizeof *w);
	int r = w == NULL ? -ENOMEM : helper_new(&kind, NULL, &w->helper);
	if (r < 0) {
		free(w);
		return r;
	}
	*ret = w;
	return 0;
}

void wholes_free(struct wholes *w)
{
	if (w == NULL)
		return;
	helper_free(w->helper);
	free(w);
}

int wholes_fd(const struct wholes *w)
{
	return helper_fd(w->helper);
}

int wholes_add(struct wholes *w, uint64_t tag, int dirfd, const struct wholes_order *order)
{
	int copy = fcntl(dirfd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return -errno;
	struct item *item = calloc(1, sizeof *item);
	if (item == NULL) {
		fd_close(copy);
		return -ENOMEM;
	}
	item->walk = wholes_walk_new(copy, order);
	int r = item->walk == NULL ? -ENOMEM : helper_add(w->helper, &item->task, tag);
	if (r < 0) {
		item_free(&item->task);
		return r;
	}
	fd_close(dirfd);
	return 0;
}

void wholes_cancel(struct wholes *w, uint64_t tag)
{
	helper_cancel(w->helper, tag);
}

int wholes_next(struct wholes *w, uint64_t *ret_tag, struct wholes_result *ret)
{
	struct helper_task *task = helper_next(w->helper);
	if (task == NULL)
		return 0;
	*ret_tag = task->tag;
	*ret = *wholes_walk_result(((struct item *)task)->walk);
	item_free(task);
	return 1;
}

void wholes_look(int dirfd, const struct wholes_order *order, struct wholes_result *ret)
{
	int copy = openat(dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct wholes_walk *walk = copy < 0 ? NULL : wholes_walk_new(copy, order);
	if (walk == NULL) {
		*ret = (struct wholes_result){.error = copy < 0 ? -errno : -ENOMEM};
		return;
	}
	while (wholes_walk_step(walk, INT_MAX))
		;
	*ret = *wholes_walk_result(walk);
	wholes_walk_free(walk);
}

/* Everybody's rule of completion is "auto" in this world: no upload has a marker
 * or a checksum, and no content is read. */
#include "world.h"

#include "io/digest.h"
#include "io/tree.h"

#include <assert.h>

int fd_read_all(int fd, size_t limit, char **ret_data, size_t *ret_size);

int fd_read_all(int fd, size_t limit, char **ret_data, size_t *ret_size)
{
	(void)fd, (void)limit, (void)ret_data, (void)ret_size;
	assert(!"nothing is read here");
	return -1;
}

int digest_add(struct digest *g, uint64_t tag, int fd, uint64_t size)
{
	(void)g, (void)tag, (void)fd, (void)size;
	assert(!"nothing is checked here");
	return -1;
}

void digest_cancel(struct digest *g, uint64_t tag)
{
	(void)g, (void)tag;
	assert(!"nothing is checked here");
}

uint64_t digest_progress(struct digest *g, uint64_t tag)
{
	(void)g, (void)tag;
	return 0;
}

int digest_next(struct digest *g, uint64_t *ret_tag, int *ret_error, uint8_t ret_sum[DIGEST_SIZE])
{
	(void)g, (void)ret_tag, (void)ret_error, (void)ret_sum;
	return 0;
}

int tree_take_voucher(struct tree *t, const char *user, const struct job *job, enum place from,
                      const char *name)
{
	(void)t, (void)user, (void)from, (void)name;
	assert(job->voucher.ino == 0 && job->voucher_suffix == NULL);
	return 0;
}

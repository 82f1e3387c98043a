/* Settings that contradict each other, and paths that cannot be. */
#include "io/config_private.h"

#include "base/mountinfo.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

void config_check_completion(struct config_loader *l, const struct user_settings *settings,
                             const struct config_node *directories,
                             const struct config_node *completion, const char *where)
{
	char inner[CONFIG_WHERE_SIZE];
	const struct config_node *node = directories != NULL ? directories : completion;
	if (node != NULL && settings->directories == DIRECTORIES_JOB &&
	    settings->settle.completion == COMPLETION_CHECKSUM)
		config_error(l, node->at, config_where(where, node->key, inner),
		             "directories \"job\" and completion \"checksum\" do not go together: a "
		             "checksum is of one file; use completion \"marker\" or \"rename\"");
}

void config_check_user(struct config_loader *l, const struct user_settings *settings,
                       const struct config_node *jobs, const struct config_node *limit,
                       const struct config_node *timeout, const char *where)
{
	char inner[CONFIG_WHERE_SIZE];
	const struct config_node *node = limit != NULL ? limit : timeout;
	if (jobs != NULL && settings->single_job && settings->max_jobs != 1)
		config_warning(l, jobs->at, config_where(where, jobs->key, inner),
		               "has no effect: single_job_per_user is true, so one job runs at a "
		               "time; set that to false to run more");
	if (node != NULL && settings->retry.max_total_ms > 0 &&
	    settings->retry.max_total_ms < settings->timeout_ms)
		config_warning(l, node->at, config_where(where, node->key, inner),
		               "max_processing_time_minutes is less than job_timeout_minutes: no "
		               "attempt can use its whole time");
}

void config_check_single(struct config_loader *l, const struct user_settings *settings,
                         const struct config_node *single, const struct config_node *jobs,
                         const char *where)
{
	char inner[CONFIG_WHERE_SIZE];
	if (single != NULL && jobs == NULL && !settings->single_job && settings->max_jobs == 1)
		config_warning(l, single->at, config_where(where, single->key, inner),
		               "has no effect: max_concurrent_jobs_per_user is 1, so one job runs at a "
		               "time; set that, too (0 = no limit)");
}

/* What differs from file to file, of a command that is started once for many. */
static const char *find_file_placeholder(char *const *command)
{
	static const char *const words[] = {"{file}", "{name}", "{job}", "{output}"};
	for (; command != NULL && *command != NULL; command++)
		for (size_t i = 0; i < sizeof words / sizeof *words; i++)
			if (strstr(*command, words[i]) != NULL)
				return words[i];
	return NULL;
}

void config_check_handler(struct config_loader *l, const struct handler *handler, size_t at,
                          const char *where)
{
	char inner[CONFIG_WHERE_SIZE];
	const char *word = handler->mode != HANDLER_STREAM ? NULL
	                                                   : find_file_placeholder(handler->command);
	if (word != NULL)
		config_error(l, at, config_where(where, "command", inner),
		             "has %s in it, but with mode \"stream\" it is started once for many "
		             "files: leave that out; the handler reads of each file on its standard "
		             "input", word);
}

static bool same_directory(const char *a, const char *b)
{
	struct stat x, y;
	if (strcmp(a, b) == 0)
		return true;
	/* A network mount may not answer; and none of these can be there but the root. */
	if (mountinfo_is_network(a) || mountinfo_is_network(b))
		return false;
	return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static size_t place_of(const struct config_node *spool, const char *key)
{
	const struct config_node *node = config_node_find(spool, key);
	if (node == NULL)
		node = config_node_find(spool, "root");
	return node != NULL ? node->at : spool != NULL ? spool->at : 0;
}

void config_check_paths(struct config_loader *l, const struct config *config,
                        const struct config_node *spool)
{
	enum { SOCKET_MAX = sizeof ((struct sockaddr_un *)0)->sun_path - 1 };
	if (same_directory(config->index, config->root))
		config_error(l, place_of(spool, "index"), "spool.index", "is the same directory as "
		             "spool.root: use a directory of its own, like .spoold/index in it");
	if (same_directory(config->socket, config->root) ||
	    same_directory(config->socket, config->index))
		config_error(l, place_of(spool, "socket"), "spool.socket",
		             "is the same path as spool.root or spool.index: use one of its own, "
		             "like .spoold/control.sock in the root");
	if (strlen(config->socket) > SOCKET_MAX)
		config_error(l, place_of(spool, "socket"), "spool.socket",
		             "its path has %zu bytes, but a socket can have %d: set spool.socket "
		             "to a shorter path, like /run/spoold/control.sock",
		             strlen(config->socket), (int)SOCKET_MAX);
}

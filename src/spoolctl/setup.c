/* From the options to the configuration, the spool and its socket. */
#include "spoolctl/guess.h"
#include "spoolctl/spoolctl.h"

#include "base/escape.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void ctl_print_report(struct ctl *ctl, const char *path, int error,
                      const struct config_report *report)
{
	char *escaped = ctl_escape(path);
	if (report->errors_n == 0) {
		ctl_error(ctl, "%s cannot be read: %s", escaped, strerror(-error));
	} else if (ctl->json) {
		ctl_error(ctl, "%s", report->errors[0]);
	} else {
		for (size_t i = 0; i < report->errors_n; i++)
			ctl_note("%s", report->errors[i]);
	}
	free(escaped);
}

static int find_config(struct ctl *ctl)
{
	int r = config_find(ctl->config_option, &ctl->config_path);
	if (r == -ENOENT) {
		ctl_error(ctl, "there is no configuration: neither $SPOOLD_CONFIG nor ./config.json nor "
		               "/etc/spoold/config.json; name one with --config FILE");
		return CTL_USAGE;
	}
	ctl_need(r < 0 ? NULL : ctl->config_path);
	if (access(ctl->config_path, R_OK) < 0) {
		char *escaped = ctl_escape(ctl->config_path);
		ctl_error(ctl, "the configuration %s cannot be read: %m", escaped);
		free(escaped);
		return CTL_USAGE;
	}
	return CTL_OK;
}

/* An absolute path from one that is relative to the configuration's directory. */
static char *beside_config(const char *config_path, const char *path)
{
	char *out = NULL;
	char *real = realpath(config_path, NULL);
	const char *anchor = real != NULL ? real : config_path;
	const char *slash = strrchr(anchor, '/');
	if (path[0] == '/' || slash == NULL)
		out = strdup(path);
	else if (asprintf(&out, "%.*s/%s", (int)(slash - anchor), anchor, path) < 0)
		out = NULL;
	free(real);
	return ctl_need(out);
}

/* Root and socket of a file that has mistakes: it is edited while the daemon runs with
 * what was there before, and "reload" is the very request that tells what is wrong. */
static void guess(struct ctl *ctl)
{
	char *root = guess_setting(ctl->config_path, "root");
	char *socket = guess_setting(ctl->config_path, "socket");
	if (root == NULL)
		root = ctl_need(strdup("spool"));
	if (socket == NULL && asprintf(&socket, "%s/.spoold/control.sock", root) < 0)
		socket = ctl_need(NULL);
	ctl->root = beside_config(ctl->config_path, root);
	if (ctl->socket == NULL)
		ctl->socket = beside_config(ctl->config_path, socket);
	free(root);
	free(socket);
}

static int load(struct ctl *ctl, bool needs_all)
{
	struct config_report report = {0};
	int r = config_load_client(ctl->config_path, &ctl->config, &report);
	if (r == 0) {
		ctl->root = ctl_need(strdup(ctl->config->root));
		if (ctl->socket == NULL)
			ctl->socket = ctl_need(strdup(ctl->config->socket));
	} else if (r == -EINVAL && !needs_all) {
		if (report.errors_n > 0)
			ctl_note("the configuration has mistakes (%s); going on with what can be told from it",
			         report.errors[0]);
		guess(ctl);
		r = 0;
	} else {
		ctl_print_report(ctl, ctl->config_path, r, &report);
	}
	config_report_clear(&report);
	return r == 0 ? CTL_OK : CTL_USAGE;
}

static int load_once(struct ctl *ctl, bool needs_all)
{
	if (ctl->config != NULL || (ctl->socket != NULL && !needs_all))
		return CTL_OK;
	if (ctl->socket_option != NULL && ctl->socket == NULL) {
		ctl->socket = ctl_need(strdup(ctl->socket_option));
		if (!needs_all)
			return CTL_OK;
	}
	if (ctl->config_path == NULL) {
		int code = find_config(ctl);
		if (code != CTL_OK)
			return code;
	}
	free(ctl->root);
	ctl->root = NULL;
	return load(ctl, needs_all);
}

void ctl_try_load(struct ctl *ctl)
{
	char *path = NULL;
	if (ctl->config != NULL)
		return;
	if (config_find(ctl->config_option, &path) < 0 || config_load_client(path, &ctl->config, NULL) < 0) {
		free(path);
		return;
	}
	free(ctl->config_path);
	free(ctl->root);
	ctl->config_path = path;
	ctl->root = ctl_need(strdup(ctl->config->root));
}

int ctl_load(struct ctl *ctl)
{
	return load_once(ctl, false);
}

int ctl_load_all(struct ctl *ctl)
{
	return load_once(ctl, true);
}

/* Without them nothing is asked. */
struct mounts *ctl_mounts(struct ctl *ctl)
{
	if (ctl->mounts == NULL)
		mounts_new(ctl->config->mount_answer_ms, &ctl->mounts);
	return ctl->mounts;
}

int ctl_open_root(struct ctl *ctl, struct tree **ret)
{
	int r = mounts_ask(ctl_mounts(ctl), ctl->config->root, NULL, true);
	if (r == 0)
		r = tree_open(ctl->config->root, ret);
	if (r == 0)
		tree_set_guard(*ret, (struct tree_guard){mounts_ask, ctl->mounts});
	return r;
}

int ctl_open_tree(struct ctl *ctl, struct tree **ret)
{
	int code = ctl_load_all(ctl);
	if (code != CTL_OK)
		return code;
	int r = ctl_open_root(ctl, ret);
	if (r == 0)
		return CTL_OK;
	char *root = ctl_escape(ctl->config->root);
	if (r == -ETIMEDOUT)
		ctl_error(ctl, "the mount that holds the spool %s does not answer", root);
	else if (r == -ENOENT)
		ctl_error(ctl, "there is no spool at %s; spoold --init makes one", root);
	else if (r == -ENODEV)
		ctl_error(ctl, "%s has no marker of a spool: is it mounted? A new spool is made by "
		               "spoold --init", root);
	else
		ctl_error(ctl, "the spool %s cannot be opened: %s", root, strerror(-r));
	free(root);
	return CTL_NO;
}

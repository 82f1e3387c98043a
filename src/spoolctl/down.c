/* Why nobody answers: the lock of the spool tells whether somebody is at work. */
#include "spoolctl/spoolctl.h"

#include "base/shell.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* As tree_find_daemon(), for the spool of the configuration. */
static int find(struct ctl *ctl, struct tree_daemon *ret)
{
	if (ctl->config == NULL || ctl->root == NULL)
		return -ENOENT;
	int r = mounts_ask(ctl_mounts(ctl), ctl->root, NULL, true);
	return r < 0 ? r : tree_find_daemon(ctl->root, ret);
}

bool ctl_lock_is_held(struct ctl *ctl, struct tree_daemon *ret)
{
	return find(ctl, ret) == 1;
}

bool ctl_has_no_marker(struct ctl *ctl)
{
	struct tree *tree = NULL;
	bool has_none = ctl->config != NULL && ctl->root != NULL && ctl_open_root(ctl, &tree) == -ENODEV;
	tree_close(tree);
	return has_none;
}

/* "process 42", or "a process". */
static void name_process(const struct tree_daemon *daemon, char *out, size_t size)
{
	if (daemon->pid != 0)
		snprintf(out, size, "process %d", (int)daemon->pid);
	else
		snprintf(out, size, "a process");
}

/* Was another path than the configured one asked, as far as that is known? */
static bool asked_elsewhere(struct ctl *ctl)
{
	if (ctl->socket_option == NULL)
		return false;
	ctl_try_load(ctl);
	return ctl->config == NULL || strcmp(ctl->config->socket, ctl->socket_option) != 0;
}

static char *why_at_root(struct ctl *ctl, int r, const struct tree_daemon *found)
{
	struct tree_daemon daemon = *found;
	char *text = NULL, process[32];
	int n;
	char *root = ctl_escape(ctl->root == NULL ? "" : ctl->root);
	name_process(&daemon, process, sizeof process);
	if (r == 1 && daemon.once)
		n = asprintf(&text, "a run of \"spoold --mode once\" is at work on %s (%s), which answers "
		                    "nobody", root, process);
	else if (r == 1)
		n = asprintf(&text, "spoold is running on %s (%s holds daemon.lock), but its socket is gone",
		             root, process);
	else if (r == -ENOENT && ctl_has_no_marker(ctl))
		n = asprintf(&text, "whether spoold runs cannot be told: %s has no marker of a spool, so it is not "
		                    "mounted, or was never made", root);
	else if (r == -EACCES || r == -EPERM)
		n = asprintf(&text, "spoold is not running on %s, or its socket is gone", root);
	else
		n = asprintf(&text, "spoold is not running%s%s", ctl->root == NULL ? "" : " on ", root);
	free(root);
	return ctl_need(n < 0 ? NULL : text);
}

static char *why_elsewhere(struct ctl *ctl, bool runs, const char *rest)
{
	char *text = NULL, *asked = ctl_escape(ctl->socket_option), *socket = NULL, *config = NULL;
	int n;
	if (ctl->config == NULL) {
		n = asprintf(&text, "nothing listens at %s (--socket)", asked);
	} else {
		socket = ctl_escape(ctl->config->socket);
		config = ctl_escape(ctl->config_path);
		n = asprintf(&text, "nothing listens at %s (--socket), and %s says %s%s%s", asked, config, socket,
		             runs ? ": leave out --socket to ask there" : "; ", runs ? "" : rest);
	}
	free(asked);
	free(socket);
	free(config);
	return ctl_need(n < 0 ? NULL : text);
}

char *ctl_why_down(struct ctl *ctl)
{
	struct tree_daemon daemon = {0};
	bool elsewhere = asked_elsewhere(ctl);
	int r = find(ctl, &daemon);
	char *rest = why_at_root(ctl, r, &daemon);
	if (!elsewhere)
		return rest;
	char *text = why_elsewhere(ctl, r == 1 && !daemon.once, rest);
	free(rest);
	return text;
}

char *ctl_mend_down(struct ctl *ctl)
{
	struct tree_daemon daemon = {0};
	char *text = NULL, pid[16];
	bool elsewhere = asked_elsewhere(ctl);
	if (elsewhere && ctl->config == NULL)
		return ctl_need(strdup("name the socket that spool.socket says, or leave --socket out and "
		                       "name the configuration with --config FILE"));
	if (ctl->root == NULL)
		return NULL;
	if (ctl_has_no_marker(ctl))
		return ctl_need(strdup("mount it, or make a new one with spoold --init"));
	if (!ctl_lock_is_held(ctl, &daemon)) {
		char *command = ctl_need(shell_command("spoold --config", ctl->config_path));
		int n = asprintf(&text, "start it with: systemctl start spoold, or %s", command);
		free(command);
		return ctl_need(n < 0 ? NULL : text);
	}
	if (daemon.once || elsewhere)
		return NULL;
	if (daemon.pid == 0)
		return ctl_need(strdup("end that process, and start spoold again"));
	snprintf(pid, sizeof pid, "%d", (int)daemon.pid);
	int n = asprintf(&text, "it makes it anew when it looks around (interval_minutes), or at once: "
	                        "kill -HUP %s", pid);
	return ctl_need(n < 0 ? NULL : text);
}

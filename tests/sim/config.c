/* io/config.h: the settings of this history, the same for all users. */
#include "world.h"

#include "io/config.h"

#include <stdlib.h>

static char command_name[] = "/usr/bin/handler", no_account[] = "", suffix[] = ".done",
            path[] = "/etc/spoold/config.json", root[] = "/spool";
static char hidden[] = ".*", part[] = "*.part";
static char *command[] = {command_name, NULL}, *ignore[] = {hidden, part, NULL};
static int32_t permanent[] = {65};

static struct user_settings user_settings(void)
{
	const struct settings *s = &world->settings;
	return (struct user_settings){
		.settle = {.completion = COMPLETION_AUTO, .settle_ms = s->settle_ms},
		.marker_suffix = suffix,
		.directories = s->wholes ? DIRECTORIES_JOB : DIRECTORIES_FOLLOW,
		.whole_settle_ms = s->whole_settle_ms,
		.ignore = ignore,
		.max_running = s->max_running,
		.prefetch = s->prefetch,
		.timeout_ms = s->timeout_ms,
		.retry = {.enabled = true,
		          .max_retries = s->max_retries,
		          .delay_ms = s->retry_delay_ms,
		          .position = s->retry_back ? RETRY_BACK : RETRY_FRONT,
		          .on_crash = (enum on_crash)s->on_crash},
		.on_final_failure = s->hold_on_failure ? FINAL_FAILURE_HOLD : FINAL_FAILURE_CONTINUE,
		.keep_done_ms = s->keep_ms,
		.keep_failed_ms = s->keep_ms,
		.handler = {.command = command,
		            .run_as = no_account,
		            .permanent_exit_codes = permanent,
		            .permanent_exit_codes_n = 1,
		            .kill_grace_ms = 100,
		            .keep_logs = KEEP_LOGS_FAILED},
	};
}

int config_load(const char *name, struct config **ret, struct config_report *report)
{
	(void)name;
	*report = (struct config_report){0};
	struct config *c = calloc(1, sizeof *c);
	if (c == NULL)
		return -1;
	*c = (struct config){
		.path = path,
		.root = root,
		.poll_ms = 10000,
		.durability = world->profile.relaxed ? DURABILITY_RELAXED : DURABILITY_FULL,
		.interval_ms = 120000,
		.max_concurrent = world->settings.max_concurrent,
		.auto_start = world->settings.auto_start,
		.stop_grace_ms = 2000,
		.defaults = user_settings(),
	};
	world->known_keep_ms = world->settings.keep_ms;
	*ret = c;
	return 0;
}

void config_free(struct config *config)
{
	free(config);
}

void config_report_clear(struct config_report *report)
{
	(void)report;
}

const struct user_settings *config_user(const struct config *config, const char *user)
{
	(void)user;
	return &config->defaults;
}

const struct handler *settings_handler(const struct user_settings *settings, const char *name)
{
	(void)name;
	return &settings->handler;
}

const char *keep_logs_name(enum keep_logs keep)
{
	(void)keep;
	return "failed";
}

char *config_fixed_changes(const struct config *old_config, const struct config *new_config)
{
	(void)old_config, (void)new_config;
	return NULL;
}

#include "io/config_private.h"

#include "base/escape.h"
#include "base/fd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int config_find(const char *explicit_path, char **ret_path)
{
	static const char *const places[] = {"config.json", "/etc/spoold/config.json"};
	const char *found = explicit_path != NULL ? explicit_path : getenv("SPOOLD_CONFIG");
	if (found != NULL && *found == '\0' && explicit_path == NULL)
		found = NULL;
	for (size_t i = 0; found == NULL && i < sizeof places / sizeof *places; i++)
		if (access(places[i], F_OK) == 0)
			found = places[i];
	if (found == NULL)
		return -ENOENT;
	char *path = strdup(found);
	if (path == NULL)
		return -ENOMEM;
	*ret_path = path;
	return 0;
}

bool config_is_block(struct config_loader *l, const struct config_node *node, const char *where)
{
	char got[CONFIG_QUOTE_SIZE];
	/* "users:" with all below it commented out. */
	bool left_empty = node->kind == NODE_SCALAR && node->plain && *node->text == '\0';
	if (node->kind == NODE_MAP || left_empty)
		return true;
	if (node->kind != NODE_REFUSED)
		config_error(l, node->at, where, "expected a block of settings%s, got %s",
		             l->text->json ? " like {\"name\": value}" : "",
		             config_describe(node, got));
	return false;
}

void config_apply_section(struct config_loader *l, enum config_section section,
                          const struct config_node *node, const struct config_scope *scope)
{
	struct config_known known = {0};
	if (!config_is_block(l, node, scope->where))
		return;
	for (size_t i = 0; i < config_settings_n; i++)
		if (config_settings[i].section == section)
			config_known_add(&known, config_settings[i].key);
	for (size_t i = SECTION_SPOOL; i < SECTIONS; i++)
		if (config_sections[i].parent == section)
			config_known_add(&known, config_sections[i].name);
	for (const struct config_node *c = node->first; c != NULL; c = c->next) {
		const struct config_setting *s = config_setting_find(section, c->key);
		enum config_section below = config_section_find(section, c->key);
		char where[CONFIG_WHERE_SIZE];
		struct config_scope inner = *scope;
		inner.where = config_where(scope->where, c->key, where);
		if (s != NULL)
			config_store(l, s, c, scope);
		else if (below != SECTIONS)
			config_apply_section(l, below, c, &inner);
		else
			config_unknown_key(l, c, &known, scope);
	}
}

/* The sections at the top; routes and users come later. */
static void apply_top(struct config_loader *l, const struct config_node *root,
                      struct config *config)
{
	struct config_known known = {0};
	struct config_scope scope = {.config = config, .user = &config->defaults,
	                             .handler = &config->defaults.handler, .where = ""};
	if (!config_is_block(l, root, ""))
		return;
	for (size_t i = SECTION_SPOOL; i < SECTIONS; i++)
		if (config_sections[i].parent == SECTION_TOP)
			config_known_add(&known, config_sections[i].name);
	config_known_add(&known, "routes");
	config_known_add(&known, "users");
	for (const struct config_node *c = root->first; c != NULL; c = c->next) {
		enum config_section section = config_section_find(SECTION_TOP, c->key);
		struct config_scope inner = scope;
		if (section != SECTIONS) {
			inner.where = config_sections[section].path;
			config_apply_section(l, section, c, &inner);
		} else if (strcmp(c->key, "routes") != 0 && strcmp(c->key, "users") != 0) {
			config_unknown_key(l, c, &known, &scope);
		}
	}
}

static void print_defaults(FILE *out, enum config_section section)
{
	const char *comma = "";
	fputc('{', out);
	for (size_t i = 0; i < config_settings_n; i++) {
		const struct config_setting *s = &config_settings[i];
		if (s->section != section || s->preset == NULL)
			continue;
		fprintf(out, "%s\"%s\":%s", comma, s->key, s->preset);
		comma = ",";
	}
	for (enum config_section i = SECTION_SPOOL; i < SECTIONS; i++) {
		if (config_sections[i].parent != section)
			continue;
		fprintf(out, "%s\"%s\":", comma, config_sections[i].name);
		print_defaults(out, i);
		comma = ",";
	}
	fputc('}', out);
}

/* A text with all that is to be known of it while it is read. */
struct document {
	struct config_text text;
	struct config_memory *memory;
	struct config_node *root;
};

static void document_clear(struct document *d)
{
	config_text_clear(&d->text);
	config_memory_free(d->memory);
}

static int document_read(struct config_loader *l, const char *text, size_t size,
                         bool json_allowed, struct document *d)
{
	int r = config_text_init(l, text, size, json_allowed, &d->text);
	l->text = &d->text;
	if (r == 0)
		r = config_node_read(l, &d->text, &d->memory, &d->root);
	return r;
}

/* The defaults are a configuration like any other, made from the table. */
static int apply_defaults(struct config_loader *l, struct config *config)
{
	struct document d = {0};
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return -ENOMEM;
	print_defaults(out, SECTION_TOP);
	bool failed = ferror(out) != 0;
	failed = fclose(out) != 0 || failed || text == NULL;
	int r = failed ? -ENOMEM : document_read(l, text, size, true, &d);
	if (r == 0)
		apply_top(l, d.root, config);
	if (l->out_of_memory)
		r = -ENOMEM;
	l->text = NULL;
	document_clear(&d);
	free(text);
	return r;
}

static uint32_t count_cpus(void)
{
	cpu_set_t cpus;
	/* A set that is too small for the machine: then all there are. */
	long n = sched_getaffinity(0, sizeof cpus, &cpus) == 0 ? CPU_COUNT(&cpus)
	                                                       : sysconf(_SC_NPROCESSORS_ONLN);
	return n < 1 ? 1 : (uint32_t)n;
}

static void derive_user(struct user_settings *settings)
{
	settings->max_running = settings->single_job ? 1 : settings->max_jobs;
}

static void derive(struct config *config)
{
	config->max_concurrent = config->max_jobs == 0 ? count_cpus() : config->max_jobs;
	derive_user(&config->defaults);
	for (size_t i = 0; i < config->users_n; i++)
		derive_user(&config->users[i].settings);
}

static char *in_root(struct config_loader *l, const struct config *config, const char *name)
{
	size_t size = strlen(config->root) + strlen(name) + 2;
	char *path = config_alloc(l->memory, size);
	if (path == NULL)
		l->out_of_memory = true;
	else
		snprintf(path, size, "%s/%s", strcmp(config->root, "/") == 0 ? "" : config->root,
		         name);
	return path;
}

static void apply(struct config_loader *l, const struct config_node *root, struct config *config)
{
	apply_top(l, root, config);
	const struct config_node *spool = config_node_find(root, "spool");
	const struct config_node *scheduler = config_node_find(root, "scheduler_settings");
	const struct config_node *processing = config_node_find(root, "job_processing");
	const struct config_node *handler = config_node_find(root, "handler");
	if (config->index == NULL)
		config->index = in_root(l, config, ".spoold/index");
	if (config->socket == NULL)
		config->socket = in_root(l, config, ".spoold/control.sock");
	if (config_node_find(handler, "command") == NULL)
		config_preset_command(l, handler != NULL ? handler->at : root->at,
		                      &config->defaults.handler.command);
	config_check_handler(l, &config->defaults.handler, handler != NULL ? handler->at : root->at,
	                     "handler");
	const struct config_node *timeout = config_node_find(scheduler, "job_timeout_minutes");
	const struct config_node *limit =
		config_node_find(processing, "max_processing_time_minutes");
	config_check_user(l, &config->defaults,
	                  config_node_find(scheduler, "max_concurrent_jobs_per_user"), NULL, NULL,
	                  "scheduler_settings");
	config_check_single(l, &config->defaults, config_node_find(processing, "single_job_per_user"),
	                    config_node_find(scheduler, "max_concurrent_jobs_per_user"),
	                    "job_processing");
	config_check_user(l, &config->defaults, NULL, limit, timeout,
	                  limit != NULL ? "job_processing" : "scheduler_settings");
	config_check_completion(l, &config->defaults, config_node_find(spool, "directories"),
	                        config_node_find(spool, "completion"), "spool");
	config_apply_people(l, config, config_node_find(root, "routes"),
	                    config_node_find(root, "users"));
	if (config->index != NULL && config->socket != NULL)
		config_check_paths(l, config, spool);
	derive(config);
}

/* The absolute path of the file, and its directory. */
static int set_path(struct config_loader *l, struct config *config, const char *path)
{
	char *cwd = getcwd(NULL, 0);
	if (cwd == NULL && path[0] != '/')
		return -errno;
	l->dir = cwd;
	config->path = config_absolute(l, path);
	free(cwd);
	l->dir = NULL;
	if (config->path == NULL)
		return -ENOMEM;
	const char *slash = strrchr(config->path, '/');
	l->dir = config_strndup(l->memory, config->path, (size_t)(slash - config->path));
	return l->dir == NULL ? -ENOMEM : 0;
}

static bool named_yaml(const char *path)
{
	const char *dot = strrchr(path, '.');
	return dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

static int parse(struct config_loader *l, const char *path, const char *text, size_t size,
                 struct config **ret)
{
	struct document d = {0};
	struct config *config = calloc(1, sizeof *config);
	if (config == NULL)
		return -ENOMEM;
	l->memory = &config->memory;
	int r = set_path(l, config, path);
	if (r == 0)
		r = apply_defaults(l, config);
	if (r == 0)
		r = document_read(l, text, size, !named_yaml(path), &d);
	if (r == 0)
		apply(l, d.root, config);
	l->text = NULL;
	document_clear(&d);
	if (r == 0)
		r = l->out_of_memory ? -ENOMEM : l->errors_n > 0 ? -EINVAL : 0;
	if (r < 0) {
		config_free(config);
		return r;
	}
	*ret = config;
	return 0;
}

/* `r` < 0: the file could not even be read. */
static int load(const char *path, const char *text, size_t size, int r, bool client,
                struct config **ret, struct config_report *report)
{
	struct config_report unwanted = {0};
	struct config *config = NULL;
	char *name = escape_str(path);
	struct config_loader l = {.name = name, .client = client};
	if (report == NULL)
		report = &unwanted;
	*report = (struct config_report){0};
	if (name == NULL)
		return -ENOMEM;
	if (r == -EFBIG)
		config_error(&l, CONFIG_NOWHERE, NULL,
		             "is larger than 1 MiB: is it a configuration?");
	else if (r == -EISDIR)
		config_error(&l, CONFIG_NOWHERE, NULL, "is a directory: name the file in it");
	else if (r < 0)
		config_error(&l, CONFIG_NOWHERE, NULL, "cannot be read: %s%s", strerror(-r),
		             r == -ENOENT ? "; write it, or name another with --config" : "");
	else
		r = parse(&l, path, text, size, &config);
	config_notes_finish(&l, report);
	if (r == 0 && l.out_of_memory)
		r = -ENOMEM;
	free(name);
	config_report_clear(&unwanted);
	if (r < 0) {
		config_free(config);
		return r;
	}
	*ret = config;
	return 0;
}

static int load_file(const char *path, bool client, struct config **ret,
                     struct config_report *report)
{
	char *text = NULL;
	size_t size = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	int r = fd < 0 ? -errno : fd_read_all(fd, CONFIG_SIZE_MAX, &text, &size);
	fd_close(fd);
	r = load(path, text, size, r, client, ret, report);
	free(text);
	return r;
}

int config_load(const char *path, struct config **ret, struct config_report *report)
{
	return load_file(path, false, ret, report);
}

int config_load_client(const char *path, struct config **ret, struct config_report *report)
{
	return load_file(path, true, ret, report);
}

int config_parse(const char *path, const char *text, size_t size, struct config **ret,
                 struct config_report *report)
{
	return load(path, text, size, 0, false, ret, report);
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	config_memory_free(config->memory);
	free(config);
}

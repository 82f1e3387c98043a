#include "io/config_private.h"

#include "base/escape.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

/* A path of the file system may be no UTF-8, which JSON cannot say. */
static json_t *show_text(const char *text)
{
	json_t *value = json_string(text);
	if (value != NULL)
		return value;
	char *escaped = escape_str(text);
	value = escaped == NULL ? NULL : json_string(escaped);
	free(escaped);
	return value;
}

static json_t *show_texts(char *const *texts)
{
	json_t *list = json_array();
	for (; list != NULL && *texts != NULL; texts++)
		if (json_array_append_new(list, show_text(*texts)) < 0) {
			json_decref(list);
			return NULL;
		}
	return list;
}

static json_t *show_exit_codes(const struct handler *handler)
{
	assert(handler != NULL);
	json_t *list = json_array();
	for (size_t i = 0; list != NULL && i < handler->permanent_exit_codes_n; i++) {
		json_t *code = json_integer(handler->permanent_exit_codes[i]);
		if (json_array_append_new(list, code) < 0) {
			json_decref(list);
			return NULL;
		}
	}
	return list;
}

static json_t *show_choice(const struct config_setting *s, const void *field)
{
	uint32_t value = s->choices->value;
	if (field != NULL)
		memcpy(&value, field, sizeof value);
	for (const struct config_choice *c = s->choices; c->name != NULL; c++)
		if (c->value == value)
			return json_string(c->name);
	return NULL;
}

static json_t *show_number(const struct config_setting *s, const void *field)
{
	uint32_t small = 0;
	uint64_t value = 0;
	if (s->size == sizeof small) {
		memcpy(&small, field, sizeof small);
		value = small;
	} else {
		memcpy(&value, field, sizeof value);
	}
	uint64_t scale = (uint64_t)s->scale;
	if (value % scale == 0)
		return json_integer((json_int_t)(value / scale));
	return json_real((double)value / s->scale);
}

static json_t *show(const struct config_setting *s, const struct config_scope *scope)
{
	void *field = config_field(s, scope);
	char *text = NULL, **texts = NULL;
	bool truth = false;
	switch (s->type) {
	case TYPE_TEXT:
	case TYPE_PATH:
	case TYPE_ACCOUNT:
		memcpy(&text, field, sizeof text);
		return show_text(text);
	case TYPE_BOOL:
		memcpy(&truth, field, sizeof truth);
		return json_boolean(truth);
	case TYPE_WHOLE:
	case TYPE_AMOUNT:
		return show_number(s, field);
	case TYPE_CHOICE:
		return show_choice(s, field);
	case TYPE_PATTERNS:
	case TYPE_COMMAND:
		memcpy(&texts, field, sizeof texts);
		return show_texts(texts);
	case TYPE_EXIT_CODES:
		return show_exit_codes(scope->handler);
	}
	return NULL;
}

/* The scope of printing reads only; the same type serves loading, which writes. */
static struct config_scope scope_of(const struct config *config,
                                    const struct user_settings *user,
                                    const struct handler *handler)
{
	return (struct config_scope){
		.config = (struct config *)(uintptr_t)config,
		.user = (struct user_settings *)(uintptr_t)user,
		.handler = (struct handler *)(uintptr_t)handler,
	};
}

/* Adds a setting, unless it is as in `base`. -ENOMEM. */
static int add(json_t *to, const struct config_setting *s, const struct config_scope *scope,
               const struct config_scope *base)
{
	json_t *value = show(s, scope);
	if (value != NULL && base != NULL) {
		json_t *before = show(s, base);
		bool same = json_equal(value, before);
		bool failed = before == NULL;
		json_decref(before);
		if (same || failed) {
			json_decref(value);
			return failed ? -ENOMEM : 0;
		}
	}
	return json_object_set_new(to, s->key, value) < 0 ? -ENOMEM : 0;
}

/* One section with those below it; `base` as in add(). NULL: memory is out. */
static json_t *show_section(enum config_section section, const struct config_scope *scope,
                            const struct config_scope *base)
{
	json_t *block = json_object();
	bool good = block != NULL;
	for (size_t i = 0; good && i < config_settings_n; i++)
		if (config_settings[i].section == section)
			good = add(block, &config_settings[i], scope, base) == 0;
	for (enum config_section i = SECTION_SPOOL; good && i < SECTIONS; i++) {
		if (config_sections[i].parent != section)
			continue;
		json_t *below = show_section(i, scope, base);
		if (below != NULL && base != NULL && json_object_size(below) == 0)
			json_decref(below);
		else
			good = json_object_set_new(block, config_sections[i].name, below) == 0;
	}
	if (good)
		return block;
	json_decref(block);
	return NULL;
}

/* A route names all of its handler: what it inherited is part of it now. */
static json_t *show_route(const struct route *r)
{
	struct config_scope scope = scope_of(NULL, NULL, &r->handler);
	json_t *route = json_object();
	if (json_object_set_new(route, "match", show_text(r->match)) == 0 &&
	    json_object_set_new(route, "handler", show_section(SECTION_HANDLER, &scope, NULL)) == 0)
		return route;
	json_decref(route);
	return NULL;
}

static json_t *show_routes(const struct user_settings *settings)
{
	json_t *list = json_array();
	for (size_t i = 0; list != NULL && i < settings->routes_n; i++) {
		if (json_array_append_new(list, show_route(&settings->routes[i])) < 0) {
			json_decref(list);
			list = NULL;
		}
	}
	return list;
}

static int show_user(json_t *to, const struct config *config, const struct config_user *user,
                     json_t *usual_routes)
{
	const struct user_settings *settings = &user->settings, *defaults = &config->defaults;
	struct config_scope scope = scope_of(NULL, settings, &settings->handler);
	struct config_scope base = scope_of(NULL, defaults, &defaults->handler);
	json_t *block = json_object();
	int r = block == NULL ? -ENOMEM : 0;
	for (size_t i = 0; r == 0 && i < config_settings_n; i++)
		if (config_settings[i].per_user && config_settings[i].target == TARGET_USER)
			r = add(block, &config_settings[i], &scope, &base);
	json_t *handler = show_section(SECTION_HANDLER, &scope, &base);
	json_t *routes = settings->routes == defaults->routes ? json_incref(usual_routes)
	                                                      : show_routes(settings);
	if (handler == NULL || routes == NULL)
		r = -ENOMEM;
	if (r == 0 && json_object_size(handler) > 0)
		r = json_object_set(block, "handler", handler);
	if (r == 0 && !json_equal(routes, usual_routes))
		r = json_object_set(block, "routes", routes);
	if (r == 0)
		r = json_object_set(to, user->name, block);
	json_decref(handler);
	json_decref(routes);
	json_decref(block);
	return r < 0 ? -ENOMEM : 0;
}

static json_t *show_config(const struct config *config)
{
	struct config_scope scope = scope_of(config, &config->defaults, &config->defaults.handler);
	json_t *all = show_section(SECTION_TOP, &scope, NULL);
	json_t *users = json_object(), *routes = show_routes(&config->defaults);
	int r = all == NULL || users == NULL || routes == NULL ? -ENOMEM : 0;
	for (size_t i = 0; r == 0 && i < config->users_n; i++)
		r = show_user(users, config, &config->users[i], routes);
	if (r == 0)
		r = json_object_set(all, "routes", routes);
	if (r == 0)
		r = json_object_set(all, "users", users);
	json_decref(users);
	json_decref(routes);
	if (r == 0)
		return all;
	json_decref(all);
	return NULL;
}

/* 1, 0, or -ENOMEM. */
static int is_harmless(const char *character, size_t n)
{
	char *escaped = escape_name(character, n);
	if (escaped == NULL)
		return -ENOMEM;
	bool harmless = strncmp(escaped, "\\x", 2) != 0;
	free(escaped);
	return harmless;
}

/* JSON lets characters stand as they are that a terminal would obey, or that
 * YAML refuses. */
static int print_harmless(const char *json, FILE *out)
{
	size_t size = strlen(json);
	for (size_t at = 0, n; at < size; at += n) {
		uint32_t c = (unsigned char)json[at];
		int harmless = 1;
		n = c < 0x7f ? 1 : config_utf8(json + at, size - at, &c);
		assert(n > 0);
		if (c >= 0x7f)
			harmless = is_harmless(json + at, n);
		if (harmless < 0)
			return harmless;
		if (harmless && config_yaml_takes(c))
			fwrite(json + at, 1, n, out);
		else
			fprintf(out, "\\u%04x", c);
	}
	return fputc('\n', out) == EOF || ferror(out) ? -EIO : 0;
}

int config_print(const struct config *config, FILE *out)
{
	json_t *all = show_config(config);
	/* 15 digits: 0.1 is printed as 0.1, and a millisecond in a century is kept. */
	char *json = all == NULL ? NULL : json_dumps(all, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	json_decref(all);
	int r = json == NULL ? -ENOMEM : print_harmless(json, out);
	free(json);
	return r;
}

char *config_fixed_changes(const struct config *old_config, const struct config *new_config)
{
	struct config_scope before = scope_of(old_config, NULL, NULL);
	struct config_scope after = scope_of(new_config, NULL, NULL);
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	if (out == NULL)
		return NULL;
	for (size_t i = 0; i < config_settings_n; i++) {
		const struct config_setting *s = &config_settings[i];
		if (!s->fixed)
			continue;
		json_t *was = show(s, &before), *is = show(s, &after);
		if (!json_equal(was, is))
			fprintf(out, "%s%s.%s", ftell(out) > 0 ? ", " : "",
			        config_sections[s->section].path, s->key);
		json_decref(was);
		json_decref(is);
	}
	bool failed = ferror(out) != 0;
	if (fclose(out) == 0 && !failed && size > 0)
		return text;
	free(text);
	return NULL;
}

/* Routes and users: settings that build on others. A user starts from the
 * defaults, its handler from the default one, a route from the handler of
 * whoever uses it. What a route names is kept apart, so that the routes of
 * the file can be laid over the handler of each user. */
#include "io/config_private.h"

#include "core/name.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Users with a handler of their own × routes: beyond this it is a mistake. */
enum { HANDLERS_MAX = 65536 };

struct routes {
	struct route *route;
	uint64_t *named; /* of each: bit per row of the table */
	size_t n;
};

struct people {
	struct config_loader *l;
	struct config *config;
	struct routes routes; /* of the file */
	size_t handlers;
};

static void read_route(struct config_loader *l, const struct config_node *node, const char *where,
                       const struct handler *base, struct route *route, uint64_t *named)
{
	const struct config_node *match = config_node_find(node, "match");
	const struct config_node *handler = config_node_find(node, "handler");
	char inner[CONFIG_WHERE_SIZE], got[CONFIG_QUOTE_SIZE];
	struct config_scope scope = {.where = where};
	struct config_known known = {0};
	config_known_add(&known, "match");
	config_known_add(&known, "handler");
	for (const struct config_node *c = node->first; c != NULL; c = c->next)
		if (strcmp(c->key, "match") != 0 && strcmp(c->key, "handler") != 0)
			config_unknown_key(l, c, &known, &scope);
	if (match == NULL)
		config_error(l, node->at, where,
		             "\"match\" is missing: the pattern for the name of the "
		             "file, like \"*.csv\"");
	else if (match->kind != NODE_REFUSED &&
	         (match->kind != NODE_SCALAR || *match->text == '\0' ||
	          strchr(match->text, '/') != NULL))
		config_error(l, match->at, config_where(where, "match", inner),
		             "expected a pattern for the name of the file, like \"*.csv\", got %s",
		             config_describe(match, got));
	else if (match->kind == NODE_SCALAR)
		route->match = config_strndup(l->memory, match->text, strlen(match->text));
	route->handler = *base;
	if (handler == NULL) {
		config_error(l, node->at, where,
		             "\"handler\" is missing: the block of settings that "
		             "differ for these files");
		return;
	}
	scope.where = config_where(where, "handler", inner);
	scope.handler = &route->handler;
	scope.named = named;
	config_apply_section(l, SECTION_HANDLER, handler, &scope);
	config_check_handler(l, &route->handler, handler->at, scope.where);
}

static void read_routes(struct config_loader *l, const struct config_node *node,
                        const char *above, const struct handler *base, struct routes *ret)
{
	char where[CONFIG_WHERE_SIZE], item[CONFIG_WHERE_SIZE], got[CONFIG_QUOTE_SIZE];
	config_where(above, "routes", where);
	if (node->kind == NODE_REFUSED)
		return;
	if (node->kind != NODE_LIST) {
		config_error(l, node->at, where, "expected a list of routes, like "
		             "[{\"match\": \"*.csv\", \"handler\": {...}}], got %s",
		             config_describe(node, got));
		return;
	}
	ret->route = config_alloc(l->memory, (node->children + 1) * sizeof *ret->route);
	ret->named = config_alloc(l->memory, (node->children + 1) * sizeof *ret->named);
	if (ret->route == NULL || ret->named == NULL) {
		l->out_of_memory = true;
		return;
	}
	for (const struct config_node *c = node->first; c != NULL; c = c->next, ret->n++) {
		snprintf(item, sizeof item, "%.200s[%zu]", where, ret->n);
		if (config_is_block(l, c, item))
			read_route(l, c, item, base, &ret->route[ret->n], &ret->named[ret->n]);
		if (ret->route[ret->n].match == NULL)
			ret->route[ret->n].match = config_strndup(l->memory, "", 0);
	}
}

static void overlay(struct handler *handler, const struct handler *above, uint64_t named)
{
	struct handler source = *above;
	struct config_scope from = {.handler = &source}, to = {.handler = handler};
	for (size_t i = 0; i < config_settings_n; i++) {
		const struct config_setting *s = &config_settings[i];
		if ((named >> i & 1) != 0 && s->target == TARGET_HANDLER)
			memcpy(config_field(s, &to), config_field(s, &from), s->size);
	}
}

/* The routes of the file over the handler of a user. */
static void inherit_routes(struct people *p, struct user_settings *settings, size_t at,
                           const char *where)
{
	const struct routes *base = &p->routes;
	struct route *routes = config_alloc(p->l->memory, (base->n + 1) * sizeof *routes);
	if (routes == NULL) {
		p->l->out_of_memory = true;
		return;
	}
	for (size_t i = 0; i < base->n; i++) {
		routes[i].match = base->route[i].match;
		routes[i].handler = settings->handler;
		overlay(&routes[i].handler, &base->route[i].handler, base->named[i]);
		config_check_handler(p->l, &routes[i].handler, at, where);
	}
	settings->routes = routes;
	settings->routes_n = base->n;
}

static void note_keys_of_user(struct config_known *known)
{
	for (size_t i = 0; i < config_settings_n; i++)
		if (config_settings[i].per_user && config_settings[i].section < SECTION_HANDLER)
			config_known_add(known, config_settings[i].key);
	config_known_add(known, "handler");
	config_known_add(known, "routes");
}

static const struct config_setting *setting_of_user(const char *key)
{
	for (size_t i = 0; i < config_settings_n; i++)
		if (config_settings[i].per_user && config_settings[i].section < SECTION_HANDLER &&
		    strcmp(config_settings[i].key, key) == 0)
			return &config_settings[i];
	return NULL;
}

static void read_plain_settings(struct config_loader *l, const struct config_node *node,
                                const struct config_scope *scope)
{
	struct config_known known = {0};
	note_keys_of_user(&known);
	for (const struct config_node *c = node->first; c != NULL; c = c->next) {
		const struct config_setting *s = setting_of_user(c->key);
		if (s != NULL)
			config_store(l, s, c, scope);
		else if (strcmp(c->key, "handler") != 0 && strcmp(c->key, "routes") != 0)
			config_unknown_key(l, c, &known, scope);
	}
}

static void read_user(struct people *p, const struct config_node *node,
                      struct user_settings *settings)
{
	struct config_loader *l = p->l;
	char where[CONFIG_WHERE_SIZE], inner[CONFIG_WHERE_SIZE];
	struct config_scope scope = {.user = settings, .where = where};
	const struct config_node *handler = config_node_find(node, "handler");
	const struct config_node *routes = config_node_find(node, "routes");
	config_where("users", node->key, where);
	read_plain_settings(l, node, &scope);
	if (handler != NULL) {
		scope.handler = &settings->handler;
		scope.where = config_where(where, "handler", inner);
		config_apply_section(l, SECTION_HANDLER, handler, &scope);
		config_check_handler(l, &settings->handler, handler->at, scope.where);
	}
	if (routes != NULL) {
		struct routes own = {0};
		read_routes(l, routes, where, &settings->handler, &own);
		settings->routes = own.route;
		settings->routes_n = own.n;
	} else if (handler != NULL && p->routes.n > 0) {
		bool told = p->handlers > HANDLERS_MAX;
		p->handlers += p->routes.n;
		if (p->handlers <= HANDLERS_MAX)
			inherit_routes(p, settings, node->key_at, where);
		else if (!told)
			config_error(l, node->key_at, where,
			             "too many users with a handler of their own and "
			             "too many routes: more than 65536 combinations");
	}
	config_check_completion(l, settings, config_node_find(node, "directories"),
	                        config_node_find(node, "completion"), where);
	config_check_single(l, settings, config_node_find(node, "single_job_per_user"),
	                    config_node_find(node, "max_concurrent_jobs_per_user"), where);
	config_check_user(l, settings, config_node_find(node, "max_concurrent_jobs_per_user"),
	                  config_node_find(node, "max_processing_time_minutes"),
	                  config_node_find(node, "job_timeout_minutes"), where);
}

static int by_name(const void *a, const void *b)
{
	const struct config_user *x = a, *y = b;
	return strcmp(x->name, y->name);
}

static void read_users(struct people *p, const struct config_node *node)
{
	struct config_loader *l = p->l;
	struct config *config = p->config;
	if (!config_is_block(l, node, "users") || node->children == 0)
		return;
	config->users = config_alloc(l->memory, node->children * sizeof *config->users);
	if (config->users == NULL) {
		l->out_of_memory = true;
		return;
	}
	for (const struct config_node *c = node->first; c != NULL; c = c->next) {
		char quoted[CONFIG_QUOTE_SIZE], where[CONFIG_WHERE_SIZE];
		struct config_user *user = &config->users[config->users_n];
		const char *problem = name_user_problem(c->key);
		if (problem != NULL)
			config_error(l, c->key_at, "users", "%s cannot be a user: the name %s",
			             config_quote(c->key, strlen(c->key), quoted), problem);
		user->name = config_strndup(l->memory, c->key, strlen(c->key));
		user->settings = config->defaults;
		if (user->name == NULL) {
			l->out_of_memory = true;
			return;
		}
		config->users_n++;
		if (config_is_block(l, c, config_where("users", c->key, where)))
			read_user(p, c, &user->settings);
	}
	qsort(config->users, config->users_n, sizeof *config->users, by_name);
}

void config_apply_people(struct config_loader *l, struct config *config,
                         const struct config_node *routes, const struct config_node *users)
{
	struct people p = {.l = l, .config = config};
	if (routes != NULL)
		read_routes(l, routes, "", &config->defaults.handler, &p.routes);
	config->defaults.routes = p.routes.route;
	config->defaults.routes_n = p.routes.n;
	if (users != NULL)
		read_users(&p, users);
}

const struct user_settings *config_user(const struct config *config, const char *user)
{
	struct config_user key = {.name = user};
	const struct config_user *found =
		config->users_n == 0
			? NULL
			: bsearch(&key, config->users, config->users_n, sizeof key, by_name);
	return found != NULL ? &found->settings : &config->defaults;
}

const char *config_user_name(const struct config *config, size_t i)
{
	return config->users[i].name;
}

const struct handler *settings_handler(const struct user_settings *settings, const char *name)
{
	for (size_t i = 0; i < settings->routes_n; i++)
		if (fnmatch(settings->routes[i].match, name, 0) == 0)
			return &settings->routes[i].handler;
	return &settings->handler;
}

bool settings_run_as_user(const struct user_settings *settings)
{
	bool as_user = strcmp(settings->handler.run_as, "{user}") == 0;
	for (size_t i = 0; i < settings->routes_n; i++)
		as_user = as_user || strcmp(settings->routes[i].handler.run_as, "{user}") == 0;
	return as_user;
}

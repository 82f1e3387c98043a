/* One value into its field, by its type. */
#include "io/config_private.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

static size_t row_of(const struct config_setting *s)
{
	return (size_t)(s - config_settings);
}

void config_store_wrong(struct config_loader *l, const struct config_setting *s,
                        const struct config_node *node, const char *where)
{
	char expected[CONFIG_EXPECTED_SIZE], got[CONFIG_QUOTE_SIZE];
	bool truth = false;
	double number = 0;
	const char *hint = "";
	if (node->kind == NODE_REFUSED)
		return;
	bool wants_word = s->type == TYPE_BOOL || s->type == TYPE_WHOLE || s->type == TYPE_AMOUNT ||
	                  s->type == TYPE_EXIT_CODES;
	bool wants_list = s->type == TYPE_PATTERNS || s->type == TYPE_EXIT_CODES ||
	                  s->type == TYPE_COMMAND;
	if (node->kind == NODE_SCALAR) {
		struct config_node bare = *node;
		bare.plain = true;
		enum config_scalar kind = config_scalar(node, &truth, &number);
		enum config_scalar meant = config_scalar(&bare, &truth, &number);
		if (kind == SCALAR_TEXT && wants_word &&
		    (meant == SCALAR_BOOL || meant == SCALAR_NUMBER))
			hint = " in quotes: write it without them";
		else if ((kind == SCALAR_BOOL || kind == SCALAR_NUMBER) && !wants_word &&
		         !wants_list)
			hint = ": a text is written in quotes";
	}
	config_error(l, node->at, where, "expected %s, got %s%s", config_expected(s, expected),
	             config_describe(node, got), hint);
}

static bool is_text(const struct config_node *node)
{
	bool truth;
	double number;
	return node->kind == NODE_SCALAR && config_scalar(node, &truth, &number) == SCALAR_TEXT;
}

static void store_text_pointer(struct config_loader *l, char *text, void *field)
{
	if (text == NULL)
		l->out_of_memory = true;
	else
		memcpy(field, &text, sizeof text);
}

static void store_text(struct config_loader *l, const struct config_setting *s,
                       const struct config_node *node, const char *where, void *field)
{
	/* The name of a marker is that of a file: upload and suffix together. */
	enum { SUFFIX_MAX = 64 };
	if (!is_text(node) || *node->text == '\0' || strchr(node->text, '/') != NULL)
		config_store_wrong(l, s, node, where);
	else if (strlen(node->text) > SUFFIX_MAX)
		config_error(l, node->at, where, "is longer than %d bytes", SUFFIX_MAX);
	else
		store_text_pointer(l, config_strndup(l->memory, node->text, strlen(node->text)),
		                   field);
}

char *config_absolute(struct config_loader *l, const char *path)
{
	const char *dir = path[0] == '/' ? "" : l->dir;
	size_t room = strlen(dir) + strlen(path) + 3;
	char *out = config_alloc(l->memory, room), *o = out;
	if (out == NULL)
		return NULL;
	/* ".." stays: what it means is known only to the file system (symlinks). */
	for (const char *part = dir, *rest = path; part != NULL;) {
		part += strspn(part, "/");
		size_t n = strcspn(part, "/");
		if (n > 0 && !(n == 1 && part[0] == '.')) {
			*o++ = '/';
			memcpy(o, part, n);
			o += n;
		}
		part += n;
		if (*part == '\0') {
			part = rest;
			rest = NULL;
		}
	}
	if (o == out)
		*o++ = '/';
	*o = '\0';
	return out;
}

static void store_path(struct config_loader *l, const struct config_setting *s,
                       const struct config_node *node, const char *where, void *field)
{
	if (!is_text(node) || *node->text == '\0') {
		config_store_wrong(l, s, node, where);
		return;
	}
	if (node->text[0] == '~' && (node->text[1] == '/' || node->text[1] == '\0')) {
		config_error(l, node->at, where, "~ is not known here: write the path out");
		return;
	}
	char *path = config_absolute(l, node->text);
	if (path != NULL && strlen(path) >= PATH_MAX)
		config_error(l, node->at, where, "the path is longer than %d bytes", PATH_MAX - 1);
	else
		store_text_pointer(l, path, field);
}

static void store_bool(struct config_loader *l, const struct config_setting *s,
                       const struct config_node *node, const char *where, void *field)
{
	bool truth = false;
	double number;
	if (node->kind != NODE_SCALAR || config_scalar(node, &truth, &number) != SCALAR_BOOL)
		config_store_wrong(l, s, node, where);
	else
		memcpy(field, &truth, sizeof truth);
}

static bool is_number(const struct config_setting *s, const struct config_node *node,
                      double *ret)
{
	bool truth;
	double number = 0;
	if (node->kind != NODE_SCALAR || config_scalar(node, &truth, &number) != SCALAR_NUMBER)
		return false;
	/* Written so that NaN is outside too. */
	if (!(number >= s->min && number <= s->max))
		return false;
	if (s->type != TYPE_AMOUNT && number != (double)(int64_t)number)
		return false;
	*ret = number;
	return true;
}

static void store_number(struct config_loader *l, const struct config_setting *s,
                         const struct config_node *node, const char *where, void *field)
{
	double number = 0;
	if (!is_number(s, node, &number)) {
		config_store_wrong(l, s, node, where);
		return;
	}
	/* What is kept in whole units of the key is rounded up; and never may a
	 * little become the 0 that stands for "no limit". */
	double scaled = number * s->scale;
	uint64_t value = (uint64_t)(s->scale > 1 ? scaled + 0.5 : scaled);
	if ((value == 0 && scaled > 0) || (s->scale <= 1 && (double)value < scaled))
		value++;
	uint32_t small = (uint32_t)value;
	if (s->size == sizeof small)
		memcpy(field, &small, sizeof small);
	else
		memcpy(field, &value, sizeof value);
}

static void refuse_choice(struct config_loader *l, const struct config_setting *s,
                          const struct config_node *node, const char *where)
{
	char expected[CONFIG_EXPECTED_SIZE], got[CONFIG_QUOTE_SIZE];
	const char *known[16];
	size_t n = 0;
	for (const struct config_choice *c = s->choices; c->name != NULL; c++) {
		if (n < sizeof known / sizeof *known)
			known[n++] = c->name;
	}
	const char *near = config_nearest(node->text, known, n);
	config_error(l, node->at, where, "expected %s, got %s%s%s%s", config_expected(s, expected),
	             config_describe(node, got), near != NULL ? "; did you mean \"" : "",
	             near != NULL ? near : "", near != NULL ? "\"?" : "");
}

static void store_choice(struct config_loader *l, const struct config_setting *s,
                         const struct config_node *node, const char *where, void *field)
{
	if (!is_text(node)) {
		config_store_wrong(l, s, node, where);
		return;
	}
	for (const struct config_choice *c = s->choices; c->name != NULL; c++) {
		if (strcmp(c->name, node->text) != 0)
			continue;
		if (field != NULL)
			memcpy(field, &c->value, sizeof c->value);
		return;
	}
	refuse_choice(l, s, node, where);
}

char **config_store_texts(struct config_loader *l, const struct config_setting *s,
                          const struct config_node *node, const char *where)
{
	if (node->kind != NODE_LIST) {
		config_store_wrong(l, s, node, where);
		return NULL;
	}
	char **texts = config_alloc(l->memory, (node->children + 1) * sizeof *texts);
	if (texts == NULL) {
		l->out_of_memory = true;
		return NULL;
	}
	size_t n = 0;
	for (const struct config_node *c = node->first; c != NULL; c = c->next) {
		if (is_text(c)) {
			store_text_pointer(l, config_strndup(l->memory, c->text, strlen(c->text)),
			                   &texts[n]);
			n += texts[n] != NULL;
			continue;
		}
		char got[CONFIG_QUOTE_SIZE];
		bool scalar = c->kind == NODE_SCALAR;
		if (c->kind != NODE_REFUSED)
			config_error(l, c->at, where, "expected a text in the list, got %s%s",
			             config_describe(c, got), scalar ? ": write it in quotes" : "");
	}
	return n == node->children ? texts : NULL;
}

static void store_patterns(struct config_loader *l, const struct config_setting *s,
                           const struct config_node *node, const char *where, void *field)
{
	bool good = true;
	char **patterns = config_store_texts(l, s, node, where);
	if (patterns == NULL)
		return;
	for (const struct config_node *c = node->first; c != NULL; c = c->next) {
		if (*c->text != '\0' && strchr(c->text, '/') == NULL)
			continue;
		good = false;
		config_error(l, c->at, where,
		             *c->text == '\0' ? "an empty pattern matches nothing: remove it"
		                              : "patterns are for the name of a file without its "
		                                "directory: remove the slash");
	}
	if (good)
		memcpy(field, &patterns, sizeof patterns);
}

static void store_exit_codes(struct config_loader *l, const struct config_setting *s,
                             const struct config_node *node, const char *where,
                             struct handler *handler)
{
	if (node->kind != NODE_LIST) {
		config_store_wrong(l, s, node, where);
		return;
	}
	int32_t *codes = config_alloc(l->memory, (node->children + 1) * sizeof *codes);
	if (codes == NULL) {
		l->out_of_memory = true;
		return;
	}
	size_t n = 0;
	for (const struct config_node *c = node->first; c != NULL; c = c->next) {
		double number = 0;
		if (is_number(s, c, &number))
			codes[n++] = (int32_t)number;
		else if (c->kind != NODE_REFUSED) {
			char got[CONFIG_QUOTE_SIZE];
			config_error(l, c->at, where,
			             "expected a whole number from 1 to 255, got %s",
			             config_describe(c, got));
		}
	}
	if (n < node->children)
		return;
	handler->permanent_exit_codes = codes;
	handler->permanent_exit_codes_n = n;
}

static void store_account(struct config_loader *l, const struct config_setting *s,
                          const struct config_node *node, const char *where, char **ret)
{
	if (is_text(node))
		config_store_account(l, node, where, ret);
	else
		config_store_wrong(l, s, node, where);
}

void config_store(struct config_loader *l, const struct config_setting *s,
                  const struct config_node *node, const struct config_scope *scope)
{
	char where[CONFIG_WHERE_SIZE];
	void *field = config_field(s, scope);
	config_where(scope->where, s->key, where);
	if (scope->named != NULL)
		*scope->named |= UINT64_C(1) << row_of(s);
	switch (s->type) {
	case TYPE_TEXT:
		store_text(l, s, node, where, field);
		break;
	case TYPE_PATH:
		store_path(l, s, node, where, field);
		break;
	case TYPE_ACCOUNT:
		store_account(l, s, node, where, field);
		break;
	case TYPE_BOOL:
		store_bool(l, s, node, where, field);
		break;
	case TYPE_WHOLE:
	case TYPE_AMOUNT:
		store_number(l, s, node, where, field);
		break;
	case TYPE_CHOICE:
		store_choice(l, s, node, where, field);
		break;
	case TYPE_PATTERNS:
		store_patterns(l, s, node, where, field);
		break;
	case TYPE_EXIT_CODES:
		store_exit_codes(l, s, node, where, scope->handler);
		break;
	case TYPE_COMMAND:
		config_store_command(l, s, node, where, field);
		break;
	}
}

/* Keys nobody knows: what was meant, and where does it belong? */
#include "io/config_private.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { WORD_MAX = 40 };

/* How many letters differ: changed, missing, too many, or two swapped. */
static size_t distance(const char *a, const char *b)
{
	size_t n = strlen(a), m = strlen(b);
	size_t rows[3][WORD_MAX + 1];
	size_t *before = rows[0], *last = rows[1], *now = rows[2];
	if (n > WORD_MAX || m > WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= m; j++)
		last[j] = before[j] = j;
	for (size_t i = 1; i <= n; i++) {
		now[0] = i;
		for (size_t j = 1; j <= m; j++) {
			bool same = tolower((unsigned char)a[i - 1]) ==
			            tolower((unsigned char)b[j - 1]);
			size_t best = last[j - 1] + !same;
			if (last[j] + 1 < best)
				best = last[j] + 1;
			if (now[j - 1] + 1 < best)
				best = now[j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    before[j - 2] + 1 < best)
				best = before[j - 2] + 1;
			now[j] = best;
		}
		size_t *free_row = before;
		before = last;
		last = now;
		now = free_row;
	}
	return last[m];
}

const char *config_nearest(const char *word, const char *const *known, size_t n)
{
	const char *best = NULL;
	/* A third of the letters wrong is still a slip, not another word. */
	size_t best_distance = strlen(word) / 3 + 1;
	for (size_t i = 0; i < n; i++) {
		size_t d = distance(word, known[i]);
		if (d < best_distance || (d == best_distance && best == NULL && d < strlen(word))) {
			best = known[i];
			best_distance = d;
		}
	}
	return best;
}

void config_known_add(struct config_known *known, const char *key)
{
	if (known->n < sizeof known->key / sizeof *known->key)
		known->key[known->n++] = key;
}

static const struct config_setting *find_anywhere(const char *key)
{
	for (size_t i = 0; i < config_settings_n; i++)
		if (strcmp(config_settings[i].key, key) == 0)
			return &config_settings[i];
	return NULL;
}

static const char *section_of(const char *key)
{
	const struct config_setting *s = find_anywhere(key);
	return s == NULL ? "" : config_sections[s->section].path;
}

static void refuse_section(struct config_loader *l, const struct config_node *node,
                           enum config_section parent, const char *where)
{
	if (parent == SECTION_TOP)
		config_error(l, node->key_at, where, "\"%s\" belongs at the top, not here",
		             node->key);
	else
		config_error(l, node->key_at, where, "\"%s\" belongs in \"%s\", not here",
		             node->key, config_sections[parent].path);
}

/* A key that is a setting, or a section, but not of this place. */
static bool belongs_elsewhere(struct config_loader *l, const struct config_node *node,
                              const struct config_scope *scope)
{
	const struct config_setting *s = find_anywhere(node->key);
	if (s != NULL) {
		const char *section = config_sections[s->section].path;
		if (scope->config == NULL && !s->per_user)
			config_error(l, node->key_at, scope->where,
			             "\"%s\" is about the daemon as a whole: it "
			             "belongs in \"%s\" and cannot differ between users",
			             s->key, section);
		else if (scope->config == NULL && s->section < SECTION_HANDLER)
			config_error(l, node->key_at, scope->where,
			             "\"%s\" is no setting of a handler: it "
			             "belongs in \"%s\", or directly in the block of a user",
			             s->key, section);
		else
			config_error(l, node->key_at, scope->where,
			             "\"%s\" belongs in \"%s\", not here", s->key, section);
		return true;
	}
	for (size_t i = SECTION_SPOOL; i < SECTIONS; i++) {
		if (strcmp(config_sections[i].name, node->key) != 0)
			continue;
		if (scope->config == NULL && config_sections[i].parent == SECTION_TOP)
			config_error(l, node->key_at, scope->where,
			             "the settings of a user stand here by "
			             "their own names, without \"%s\" around them",
			             node->key);
		else
			refuse_section(l, node, config_sections[i].parent, scope->where);
		return true;
	}
	if (strcmp(node->key, "routes") == 0 || strcmp(node->key, "users") == 0) {
		refuse_section(l, node, SECTION_TOP, scope->where);
		return true;
	}
	return false;
}

static void list_known(const struct config_known *known, char *out, size_t size)
{
	size_t n = 0;
	*out = '\0';
	for (size_t i = 0; i < known->n && n < size; i++)
		n += (size_t)snprintf(out + n, size - n, "%s%s", i > 0 ? ", " : "", known->key[i]);
}

void config_unknown_key(struct config_loader *l, const struct config_node *node,
                        const struct config_known *known, const struct config_scope *scope)
{
	char quoted[CONFIG_QUOTE_SIZE], list[1024];
	const char *all[64] = {0};
	size_t n = 0;
	const char *noun = scope->where == NULL || *scope->where == '\0' ? "section" : "setting";
	if (l->errors_n >= CONFIG_REPORT_MAX) {
		/* Only counted: comparing words costs time. */
		l->errors_n++;
		return;
	}
	if (belongs_elsewhere(l, node, scope))
		return;
	config_quote(node->key, strlen(node->key), quoted);
	const char *near = config_nearest(node->key, known->key, known->n);
	if (near != NULL) {
		config_error(l, node->key_at, scope->where,
		             "%s is not a %s here; did you mean \"%s\"?", quoted, noun, near);
		return;
	}
	for (size_t i = 0; i < config_settings_n && n < sizeof all / sizeof *all; i++)
		all[n++] = config_settings[i].key;
	near = config_nearest(node->key, all, n);
	if (near != NULL) {
		config_error(l, node->key_at, scope->where,
		             "%s is not a %s here; did you mean \"%s\", which belongs in \"%s\"?",
		             quoted, noun, near, section_of(near));
		return;
	}
	list_known(known, list, sizeof list);
	config_error(l, node->key_at, scope->where, "%s is not a %s here; there are: %s", quoted,
	             noun, list);
}

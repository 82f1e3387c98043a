#include "io/config_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

struct reader {
	struct config_loader *l;
	const struct config_text *t;
	struct config_memory **memory;
	yaml_parser_t parser;
	size_t nodes;
};

static size_t source_of(const struct reader *r, const yaml_mark_t *mark)
{
	return mark->index < r->t->chars ? r->t->origin[mark->index] : r->t->size;
}

static int refuse_syntax(struct reader *r)
{
	const yaml_parser_t *p = &r->parser;
	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	const char *problem = p->problem != NULL ? p->problem : "it cannot be read";
	const char *context = p->context != NULL ? p->context : "";
	bool alias = strstr(context, "alias") != NULL;
	config_error(r->l, source_of(r, &p->problem_mark), NULL, "this is not %s: %s%s%s%s",
	             r->t->json ? "JSON" : "YAML", problem, *context != '\0' ? " " : "", context,
	             alias ? ": a text that starts with * is written in quotes" : "");
	return -EINVAL;
}

static int next_event(struct reader *r, yaml_event_t *event)
{
	return yaml_parser_parse(&r->parser, event) == 1 ? 0 : refuse_syntax(r);
}

static void check_plainness(struct reader *r, size_t at, const yaml_char_t *anchor,
                            const yaml_char_t *tag)
{
	if (anchor != NULL)
		config_error(r->l, at, NULL,
		             "anchors (&name) are not allowed: write the value out");
	if (tag != NULL)
		config_error(r->l, at, NULL, "tags (!name) are not allowed: remove it");
}

static int by_key(const void *a, const void *b)
{
	const struct config_node *x = *(const struct config_node *const *)a;
	const struct config_node *y = *(const struct config_node *const *)b;
	int order = strcmp(x->key, y->key);
	if (order != 0)
		return order;
	return x->key_at < y->key_at ? -1 : x->key_at > y->key_at;
}

/* The later of two is refused; the nodes keep both, which does no harm then. */
static int check_duplicates(struct reader *r, const struct config_node *map)
{
	size_t n = 0;
	char quoted[CONFIG_QUOTE_SIZE];
	const struct config_node **sorted = calloc(map->children + 1, sizeof *sorted);
	if (sorted == NULL)
		return -ENOMEM;
	for (const struct config_node *c = map->first; c != NULL; c = c->next)
		sorted[n++] = c;
	qsort(sorted, n, sizeof *sorted, by_key);
	for (size_t i = 1; i < n; i++) {
		size_t line = 0, column;
		if (strcmp(sorted[i - 1]->key, sorted[i]->key) != 0)
			continue;
		/* Looking up a place costs time: no more than will be told. */
		if (r->l->errors_n < CONFIG_REPORT_MAX)
			config_text_place(r->t, sorted[i - 1]->key_at, &line, &column);
		config_error(r->l, sorted[i]->key_at, NULL,
		             "%s is here twice (before in line %zu): remove one of them",
		             config_quote(sorted[i]->key, strlen(sorted[i]->key), quoted), line);
	}
	free(sorted);
	return 0;
}

static int read_node(struct reader *r, const yaml_event_t *event, unsigned depth,
                     struct config_node **ret);

static int read_scalar(struct reader *r, const yaml_event_t *event, struct config_node *node)
{
	const char *text = (const char *)event->data.scalar.value;
	size_t n = event->data.scalar.length;
	check_plainness(r, node->at, event->data.scalar.anchor, event->data.scalar.tag);
	if (memchr(text, '\0', n) != NULL)
		config_error(r->l, node->at, NULL, "a NUL character cannot be part of a setting");
	node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	node->text = config_strndup(r->memory, text, n);
	return node->text == NULL ? -ENOMEM : 0;
}

/* *ret stays NULL at the end of the list or map. */
static int read_next(struct reader *r, yaml_event_type_t end, unsigned depth,
                     struct config_node **ret)
{
	yaml_event_t event;
	int result = next_event(r, &event);
	if (result < 0)
		return result;
	if (event.type != end)
		result = read_node(r, &event, depth, ret);
	yaml_event_delete(&event);
	return result;
}

static void append(struct config_node *parent, struct config_node **last,
                   struct config_node *child)
{
	if (*last == NULL)
		parent->first = child;
	else
		(*last)->next = child;
	*last = child;
	parent->children++;
}

static int read_list(struct reader *r, unsigned depth, struct config_node *node)
{
	struct config_node *last = NULL;
	for (;;) {
		struct config_node *child = NULL;
		int result = read_next(r, YAML_SEQUENCE_END_EVENT, depth + 1, &child);
		if (result < 0 || child == NULL)
			return result;
		append(node, &last, child);
	}
}

static int read_map(struct reader *r, unsigned depth, struct config_node *node)
{
	struct config_node *last = NULL;
	for (;;) {
		struct config_node *key = NULL, *child = NULL;
		int result = read_next(r, YAML_MAPPING_END_EVENT, depth + 1, &key);
		if (result < 0)
			return result;
		if (key == NULL)
			return check_duplicates(r, node);
		result = read_next(r, YAML_NO_EVENT, depth + 1, &child);
		if (result < 0)
			return result;
		assert(child != NULL);
		if (key->kind != NODE_SCALAR) {
			config_error(r->l, key->at, NULL, "a name is expected before the colon");
			continue;
		}
		child->key = key->text;
		child->key_at = key->at;
		append(node, &last, child);
	}
}

static int read_node(struct reader *r, const yaml_event_t *event, unsigned depth,
                     struct config_node **ret)
{
	int result = 0;
	size_t at = source_of(r, &event->start_mark);
	if (depth >= CONFIG_DEPTH_MAX || ++r->nodes > CONFIG_NODES_MAX) {
		config_error(r->l, at, NULL, depth >= CONFIG_DEPTH_MAX
		             ? "is nested deeper than 32 levels" : "holds more than 65536 values");
		return -EINVAL;
	}
	struct config_node *node = config_alloc(r->memory, sizeof *node);
	if (node == NULL)
		return -ENOMEM;
	node->at = at;
	switch (event->type) {
	case YAML_SCALAR_EVENT:
		result = read_scalar(r, event, node);
		break;
	case YAML_SEQUENCE_START_EVENT:
		node->kind = NODE_LIST;
		check_plainness(r, at, event->data.sequence_start.anchor,
		                event->data.sequence_start.tag);
		result = read_list(r, depth, node);
		break;
	case YAML_MAPPING_START_EVENT:
		node->kind = NODE_MAP;
		check_plainness(r, at, event->data.mapping_start.anchor,
		                event->data.mapping_start.tag);
		result = read_map(r, depth, node);
		break;
	default: /* an alias: nothing else starts a node */
		config_error(r->l, at, NULL,
		             "aliases (*name) are not allowed: write the value out");
		node->kind = NODE_REFUSED;
	}
	if (result == 0)
		*ret = node;
	return result;
}

/* The events around the one document. */
static int read_document(struct reader *r, struct config_node **ret)
{
	yaml_event_t event;
	struct config_node *root = NULL;
	for (bool done = false; !done;) {
		int result = next_event(r, &event);
		if (result < 0)
			return result;
		switch (event.type) {
		case YAML_STREAM_START_EVENT:
		case YAML_DOCUMENT_END_EVENT:
			break;
		case YAML_STREAM_END_EVENT:
			done = true;
			break;
		case YAML_DOCUMENT_START_EVENT:
			if (root == NULL)
				break;
			config_error(r->l, source_of(r, &event.start_mark), NULL,
			             "a second document starts here: only one is allowed");
			done = true;
			break;
		default:
			result = read_node(r, &event, 0, &root);
		}
		yaml_event_delete(&event);
		if (result < 0)
			return result;
	}
	if (root == NULL) {
		config_empty(r->l);
		return -EINVAL;
	}
	*ret = root;
	return 0;
}

int config_node_read(struct config_loader *l, const struct config_text *t,
                     struct config_memory **memory, struct config_node **ret)
{
	struct reader r = {.l = l, .t = t, .memory = memory};
	if (!yaml_parser_initialize(&r.parser))
		return -ENOMEM;
	yaml_parser_set_encoding(&r.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&r.parser, (const unsigned char *)t->data, t->data_n);
	int result = read_document(&r, ret);
	yaml_parser_delete(&r.parser);
	return result;
}

const struct config_node *config_node_find(const struct config_node *map, const char *key)
{
	const struct config_node *child = map == NULL || map->kind != NODE_MAP ? NULL : map->first;
	while (child != NULL && strcmp(child->key, key) != 0)
		child = child->next;
	return child;
}

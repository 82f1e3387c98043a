/* Inside the configuration room: text → nodes → settings, all steered by one
 * table. Nothing here is for other rooms.
 *
 * Mistakes do not stop the reading: they are noted, and the loader goes on to
 * find the next. The same goes for memory: `out_of_memory` is set, functions
 * return what they have, and the end of the loading says -ENOMEM. */
#pragma once

#include "io/config.h"

enum {
	CONFIG_SIZE_MAX = 1024 * 1024, /* bytes of a file */
	CONFIG_DEPTH_MAX = 32,
	CONFIG_NODES_MAX = 65536,
	CONFIG_KEY_MAX = 1000,         /* characters; libyaml takes 1024 */
	CONFIG_WHERE_SIZE = 256,       /* "users.alice.handler.limits.cpu_seconds" */
	CONFIG_QUOTE_SIZE = 96,        /* a value as shown in messages */
	CONFIG_EXPECTED_SIZE = 160,    /* what a setting wants, in words */
};

/* No place in the file. */
#define CONFIG_NOWHERE SIZE_MAX

struct config_user {
	const char *name;
	struct user_settings settings;
};

/* Memory that is freed all together. */
void *config_alloc(struct config_memory **memory, size_t size);
char *config_strndup(struct config_memory **memory, const char *text, size_t n);
void config_memory_free(struct config_memory *memory);

/* The file as read, and as libyaml gets it. */
struct config_text {
	const char *source;    /* borrowed */
	size_t size;
	bool json;
	char *data;
	size_t data_n, data_room;
	uint32_t *origin;      /* per character of data: byte offset in source */
	size_t chars, chars_room;
};

struct config_note {
	size_t at;
	size_t number;
	char *text;
	bool warning;
};

struct config_loader {
	const char *name;      /* of the file, escaped for messages */
	const char *dir;       /* of the file, absolute: where relative paths start */
	const struct config_text *text; /* where places are looked up; may be NULL */
	struct config_memory **memory;  /* of the configuration */
	struct config_note *notes;
	size_t notes_n, errors_n;
	bool client;           /* see config_load_client() */
	bool out_of_memory;
};

/* Notes a mistake or a warning at a byte offset of the source. `where` names
 * the setting; NULL or "" where there is none. */
void config_error(struct config_loader *l, size_t at, const char *where, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
void config_warning(struct config_loader *l, size_t at, const char *where, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* Moves the notes into the report, in the order of the file. */
void config_notes_finish(struct config_loader *l, struct config_report *report);
/* Escaped, cut and in double quotes. `out` holds CONFIG_QUOTE_SIZE bytes. */
char *config_quote(const char *text, size_t n, char *out);

/* Checks and prepares a text; notes what is wrong with it. -EINVAL, -ENOMEM. */
int config_text_init(struct config_loader *l, const char *source, size_t size, bool json_allowed,
                     struct config_text *ret);
/* Says that there is nothing in it. */
void config_empty(struct config_loader *l);
void config_text_clear(struct config_text *t);
/* Appends one or more characters, all standing for the source at `at`. */
int config_text_put(struct config_text *t, const char *bytes, size_t n, size_t at);
/* 1-based, in characters. */
void config_text_place(const struct config_text *t, size_t at, size_t *ret_line,
                       size_t *ret_column);
/* Length of the UTF-8 character at `s`, 0 where there is none. */
size_t config_utf8(const char *s, size_t n, uint32_t *ret_character);
/* Can libyaml take the character as it is, within a string too? */
bool config_yaml_takes(uint32_t character);
/* Checks the grammar of JSON and rewrites what libyaml does not take. */
int config_json_prepare(struct config_loader *l, struct config_text *t, size_t start);

/* NODE_REFUSED: its mistake is noted already, nothing more is to be said of it. */
enum config_node_kind { NODE_SCALAR, NODE_LIST, NODE_MAP, NODE_REFUSED };

struct config_node {
	enum config_node_kind kind;
	size_t at;
	const char *text;      /* of a scalar, NUL-terminated, without NUL in it */
	bool plain;            /* a scalar without quotes */
	const char *key;       /* within a map */
	size_t key_at;
	struct config_node *first, *next;
	size_t children;
};

enum config_scalar { SCALAR_TEXT, SCALAR_NULL, SCALAR_BOOL, SCALAR_NUMBER };

/* Reads the one document. The nodes belong to `memory`. -EINVAL where there
 * is no whole tree; lesser mistakes are noted and left out. */
int config_node_read(struct config_loader *l, const struct config_text *t,
                     struct config_memory **memory, struct config_node **ret);
const struct config_node *config_node_find(const struct config_node *map, const char *key);
/* What an unquoted scalar means, by the core schema of YAML; others are text. */
enum config_scalar config_scalar(const struct config_node *node, bool *ret_bool,
                                 double *ret_number);
/* For messages: what is there. `out` holds CONFIG_QUOTE_SIZE bytes. */
char *config_describe(const struct config_node *node, char *out);

enum config_section {
	SECTION_TOP,
	SECTION_SPOOL,
	SECTION_SCHEDULER,
	SECTION_PROCESSING,
	SECTION_HANDLER,
	SECTION_LIMITS,
	SECTIONS
};

struct config_section_info {
	const char *name;
	const char *path;      /* from the top: "handler.limits" */
	enum config_section parent;
	const char *help;
};

enum config_type {
	TYPE_TEXT,             /* not empty, without a slash */
	TYPE_PATH,
	TYPE_ACCOUNT,
	TYPE_BOOL,
	TYPE_WHOLE,            /* a whole number */
	TYPE_AMOUNT,           /* a number of units, fractions allowed */
	TYPE_CHOICE,
	TYPE_PATTERNS,
	TYPE_EXIT_CODES,
	TYPE_COMMAND,
};

struct config_choice {
	const char *name;      /* NULL ends the list */
	uint32_t value;
};

enum config_target { TARGET_NONE, TARGET_CONFIG, TARGET_USER, TARGET_HANDLER };

struct config_setting {
	enum config_section section;
	const char *key;
	enum config_type type;
	const char *unit;      /* of an amount: "seconds" */
	double scale;          /* stored = configured × scale */
	double min, max;       /* in the unit of the key */
	const char *zero;      /* what 0 means where that is special: "no limit" */
	const struct config_choice *choices;
	const char *preset;    /* the default, as JSON; NULL: worked out while loading */
	const char *preset_words; /* what it then is */
	bool per_user;
	bool fixed;            /* cannot change while running */
	enum config_target target;
	size_t offset, size;
	const char *help;
};

extern const struct config_setting config_settings[];
extern const size_t config_settings_n;
extern const struct config_section_info config_sections[SECTIONS];

/* Where the values of a block go, and what the block is called. */
struct config_scope {
	struct config *config; /* NULL: settings of the daemon are not allowed here */
	struct user_settings *user;
	struct handler *handler;
	uint64_t *named;       /* bit per row of the table: is it set here? may be NULL */
	const char *where;
};

void *config_field(const struct config_setting *s, const struct config_scope *scope);
const struct config_setting *config_setting_find(enum config_section section, const char *key);
/* The section of that name below `parent`, or SECTIONS. */
enum config_section config_section_find(enum config_section parent, const char *name);
/* What it wants, in words: "a whole number from 0 to 1000". */
char *config_expected(const struct config_setting *s, char *out);

/* "a.b", or "b" below the top. `out` holds CONFIG_WHERE_SIZE bytes. */
char *config_where(const char *above, const char *key, char *out);

/* Reads one value into its field; notes what is wrong with it. */
void config_store(struct config_loader *l, const struct config_setting *s,
                  const struct config_node *node, const struct config_scope *scope);
/* Words for a mistake of type: "expected ..., got ...". */
void config_store_wrong(struct config_loader *l, const struct config_setting *s,
                        const struct config_node *node, const char *where);
/* The elements of a list of texts; NULL where something was wrong. */
char **config_store_texts(struct config_loader *l, const struct config_setting *s,
                          const struct config_node *node, const char *where);
/* The account, the command and its program: see config_command.c. */
void config_store_account(struct config_loader *l, const struct config_node *node,
                          const char *where, char **ret);
void config_store_command(struct config_loader *l, const struct config_setting *s,
                          const struct config_node *node, const char *where, char ***ret);
/* The handler of the package where none was configured. `at`: where to say so. */
void config_preset_command(struct config_loader *l, size_t at, char ***ret);
/* Absolute, from the directory of the file; without "." and double slashes. */
char *config_absolute(struct config_loader *l, const char *path);

/* Routes and users, once the rest is known. Either node may be NULL. */
void config_apply_people(struct config_loader *l, struct config *config,
                         const struct config_node *routes, const struct config_node *users);
/* A block of settings: one section of the table, with those below it. */
void config_apply_section(struct config_loader *l, enum config_section section,
                          const struct config_node *node, const struct config_scope *scope);
/* Is it a block? Else says so, unless it is left empty as YAML can. */
bool config_is_block(struct config_loader *l, const struct config_node *node, const char *where);
/* Relations between settings: of a user, of the daemon. `block` is where they
 * were set, for the place of messages. */
void config_check_user(struct config_loader *l, const struct user_settings *settings,
                       const struct config_node *jobs, const struct config_node *limit,
                       const struct config_node *timeout, const char *where);
/* `single`: where single_job_per_user is set, or NULL; `jobs` as above. */
void config_check_single(struct config_loader *l, const struct user_settings *settings,
                         const struct config_node *single, const struct config_node *jobs,
                         const char *where);
void config_check_completion(struct config_loader *l, const struct user_settings *settings,
                             const struct config_node *directories,
                             const struct config_node *completion, const char *where);
void config_check_handler(struct config_loader *l, const struct handler *handler, size_t at,
                          const char *where);
void config_check_paths(struct config_loader *l, const struct config *config,
                        const struct config_node *spool);

/* Keys nobody knows. `known` are those of the place. */
struct config_known {
	const char *key[64];
	size_t n;
};
void config_known_add(struct config_known *known, const char *key);
void config_unknown_key(struct config_loader *l, const struct config_node *node,
                        const struct config_known *known, const struct config_scope *scope);

/* The JSON schema, for editors and for checks before the file is installed. */
#include "io/config_private.h"

#include <jansson.h>
#include <string.h>

static json_t *typed(const char *type)
{
	return json_pack("{s:s}", "type", type);
}

static json_t *list_of(json_t *items)
{
	return json_pack("{s:s, s:o}", "type", "array", "items", items);
}

static json_t *number_between(const char *type, double min, double max)
{
	json_t *number = typed(type);
	bool whole = min == (double)(json_int_t)min;
	json_object_set_new(number, "minimum",
	                    whole ? json_integer((json_int_t)min) : json_real(min));
	json_object_set_new(number, "maximum", json_integer((json_int_t)max));
	return number;
}

static json_t *choice_of(const struct config_choice *choices)
{
	json_t *names = json_array();
	for (; choices->name != NULL; choices++)
		json_array_append_new(names, json_string(choices->name));
	return json_pack("{s:o}", "enum", names);
}

static json_t *with(json_t *object, const char *key, json_t *value)
{
	json_object_set_new(object, key, value);
	return object;
}

static json_t *pattern_text(void)
{
	return with(typed("string"), "pattern", json_string("^[^/]+$"));
}

static json_t *value_of(const struct config_setting *s)
{
	switch (s->type) {
	case TYPE_TEXT:
		return with(pattern_text(), "maxLength", json_integer(64));
	case TYPE_PATH:
		return with(typed("string"), "minLength", json_integer(1));
	case TYPE_ACCOUNT:
		return typed("string");
	case TYPE_BOOL:
		return typed("boolean");
	case TYPE_WHOLE:
		return number_between("integer", s->min, s->max);
	case TYPE_AMOUNT:
		return number_between("number", s->min, s->max);
	case TYPE_CHOICE:
		return choice_of(s->choices);
	case TYPE_PATTERNS:
		return list_of(pattern_text());
	case TYPE_EXIT_CODES:
		return list_of(number_between("integer", s->min, s->max));
	case TYPE_COMMAND:
		return with(list_of(typed("string")), "minItems", json_integer(1));
	}
	return NULL;
}

static json_t *setting(const struct config_setting *s)
{
	json_t *schema = value_of(s);
	char words[1024];
	snprintf(words, sizeof words, "%s%s%s%s%s%s", s->help, s->zero != NULL ? " 0 = " : "",
	         s->zero != NULL ? s->zero : "", s->zero != NULL ? "." : "",
	         s->preset == NULL ? " Default: " : "", s->preset == NULL ? s->preset_words : "");
	with(schema, "description", json_string(words));
	if (s->preset != NULL)
		with(schema, "default", json_loads(s->preset, JSON_DECODE_ANY, NULL));
	return schema;
}

static json_t *block(const char *help, json_t *properties)
{
	return json_pack("{s:s, s:s, s:b, s:o}", "type", "object", "description", help,
	                 "additionalProperties", 0, "properties", properties);
}

static json_t *reference(const char *name)
{
	return json_pack("{s:s+}", "$ref", "#/$defs/", name);
}

static json_t *section(enum config_section which)
{
	json_t *properties = json_object();
	for (size_t i = 0; i < config_settings_n; i++)
		if (config_settings[i].section == which)
			with(properties, config_settings[i].key, setting(&config_settings[i]));
	for (enum config_section i = SECTION_SPOOL; i < SECTIONS; i++)
		if (config_sections[i].parent == which)
			with(properties, config_sections[i].name,
			     i == SECTION_HANDLER ? reference("handler") : section(i));
	return block(config_sections[which].help, properties);
}

static json_t *user(void)
{
	json_t *properties = json_object();
	for (size_t i = 0; i < config_settings_n; i++) {
		const struct config_setting *s = &config_settings[i];
		if (!s->per_user || s->section >= SECTION_HANDLER)
			continue;
		/* The default of a user is what the file has for all. */
		json_t *schema = setting(s);
		json_object_del(schema, "default");
		with(properties, s->key, schema);
	}
	with(properties, "handler", reference("handler"));
	with(properties, "routes", reference("routes"));
	return block("What differs for one user. Keys that are not named are as for all.",
	             properties);
}

static json_t *routes(void)
{
	json_t *properties = json_object();
	with(properties, "match", with(pattern_text(), "description",
	     json_string("A shell pattern for the name of the file.")));
	with(properties, "handler", reference("handler"));
	json_t *route = block("Keys that the handler does not name are those of the user's "
	                      "handler.",
	                      properties);
	with(route, "required", json_pack("[s, s]", "match", "handler"));
	return with(list_of(route), "description",
	            json_string("Other handlers for some files: the first that matches is taken."));
}

static json_t *users(void)
{
	json_t *names = json_pack("{s:i, s:s}", "maxLength", 100, "pattern",
	                          "^[^.\\- /\\\\][^ /\\\\]*$");
	return json_pack("{s:s, s:s, s:o, s:o}", "type", "object", "description",
	                 "Settings of single users, by name.", "propertyNames", names,
	                 "additionalProperties", reference("user"));
}

void config_print_schema(FILE *out)
{
	json_t *schema = json_pack("{s:s, s:s}", "$schema",
	                           "https://json-schema.org/draft/2020-12/schema", "title",
	                           "Configuration of spoold");
	json_t *top = section(SECTION_TOP);
	json_t *properties = json_object_get(top, "properties");
	with(properties, "routes", reference("routes"));
	with(properties, "users", users());
	json_object_update(schema, top);
	json_decref(top);
	with(schema, "$defs", json_pack("{s:o, s:o, s:o}", "handler", section(SECTION_HANDLER),
	                                "routes", routes(), "user", user()));
	json_dumpf(schema, out, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
	fputc('\n', out);
	json_decref(schema);
}

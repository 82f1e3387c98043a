/* The settings for readers: the manual page and the README. */
#include "io/config_private.h"

#include <stdio.h>

static const char *preset(const struct config_setting *s)
{
	return s->preset != NULL ? s->preset : s->preset_words;
}

/* A line of roff must not start with a dot or quote; a backslash and a dash
 * have spellings of their own. */
static void put_roff(FILE *out, const char *text)
{
	for (const char *p = text; *p != '\0'; p++) {
		if (*p == '\\')
			fputs("\\e", out);
		else if (*p == '-')
			fputs("\\-", out);
		else if (p == text && (*p == '.' || *p == '\''))
			fprintf(out, "\\&%c", *p);
		else
			fputc(*p, out);
	}
}

static void put_markdown(FILE *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|' || *text == '*' || *text == '~' || *text == '<' || *text == '_')
			fputc('\\', out);
		fputc(*text, out);
	}
}

static void print_roff_setting(FILE *out, const struct config_setting *s)
{
	char expected[CONFIG_EXPECTED_SIZE];
	fputs(".TP\n.B ", out);
	put_roff(out, s->key);
	fputc('\n', out);
	put_roff(out, s->help);
	fputs("\nExpected: ", out);
	put_roff(out, config_expected(s, expected));
	fputs(". Default: ", out);
	put_roff(out, preset(s));
	fputs(".\n", out);
	if (!s->per_user)
		fputs("For the daemon as a whole.\n", out);
	if (s->fixed)
		fputs("A change takes a restart.\n", out);
}

void config_print_roff(FILE *out)
{
	for (enum config_section i = SECTION_SPOOL; i < SECTIONS; i++) {
		fputs(".SS ", out);
		put_roff(out, config_sections[i].path);
		fputc('\n', out);
		put_roff(out, config_sections[i].help);
		fputc('\n', out);
		for (size_t k = 0; k < config_settings_n; k++)
			if (config_settings[k].section == i)
				print_roff_setting(out, &config_settings[k]);
	}
}

static void print_markdown_setting(FILE *out, const struct config_setting *s)
{
	char expected[CONFIG_EXPECTED_SIZE];
	fprintf(out, "| `%s` | ", s->key);
	if (s->preset != NULL)
		fprintf(out, "`%s`", s->preset);
	else
		put_markdown(out, s->preset_words);
	fputs(" | ", out);
	put_markdown(out, config_expected(s, expected));
	fputs(" | ", out);
	put_markdown(out, s->help);
	if (s->fixed)
		fputs(" A change takes a restart.", out);
	fprintf(out, " | %s |\n", s->per_user ? "yes" : "no");
}

void config_print_markdown(FILE *out)
{
	for (enum config_section i = SECTION_SPOOL; i < SECTIONS; i++) {
		fprintf(out, "%s### `%s`\n\n", i > SECTION_SPOOL ? "\n" : "",
		        config_sections[i].path);
		put_markdown(out, config_sections[i].help);
		fputs("\n\n| setting | default | values | meaning | per user |\n"
		      "| --- | --- | --- | --- | --- |\n", out);
		for (size_t k = 0; k < config_settings_n; k++)
			if (config_settings[k].section == i)
				print_markdown_setting(out, &config_settings[k]);
	}
}

/* The settings for readers: the manual page and the README. */
#include "io/config_private.h"

#include <stdio.h>
#include <string.h>

static const char *preset(const struct config_setting *s)
{
	return s->preset != NULL ? s->preset : s->preset_words;
}

/* Of the source, not of the page. */
enum { ROFF_COLUMNS = 76 };

/* A line of roff must not start with a dot or quote; what a page shows as a
 * typographic relative has to be copied as it is. */
static void put_roff_word(FILE *out, const char *word, size_t n, bool starts_line)
{
	if (starts_line && (*word == '.' || *word == '\''))
		fputs("\\&", out);
	for (size_t i = 0; i < n; i++) {
		switch (word[i]) {
		case '\\': fputs("\\e", out); break;
		case '-': fputs("\\-", out); break;
		case '~': fputs("\\(ti", out); break;
		case '^': fputs("\\(ha", out); break;
		case '`': fputs("\\(ga", out); break;
		default: fputc(word[i], out);
		}
	}
}

/* Each sentence starts a line, as roff wants it. */
static void put_roff(FILE *out, const char *text)
{
	size_t column = 0;
	bool ended = false;
	for (size_t n; *text != '\0'; text += n + strspn(text + n, " ")) {
		n = strcspn(text, " ");
		if (column > 0 && (ended || column + 1 + n > ROFF_COLUMNS)) {
			fputc('\n', out);
			column = 0;
		} else if (column > 0) {
			fputc(' ', out);
			column++;
		}
		put_roff_word(out, text, n, column == 0);
		column += n;
		ended = n > 0 && strchr(".?!", text[n - 1]) != NULL;
	}
	fputc('\n', out);
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
	char expected[CONFIG_EXPECTED_SIZE], words[CONFIG_EXPECTED_SIZE + 32];
	fprintf(out, ".TP\n.B %s\n", s->key);
	put_roff(out, s->help);
	snprintf(words, sizeof words, "Expected: %s.", config_expected(s, expected));
	put_roff(out, words);
	snprintf(words, sizeof words, "Default: %s.", preset(s));
	put_roff(out, words);
	if (!s->per_user)
		fputs("For the daemon as a whole.\n", out);
	if (s->fixed)
		fputs("A change takes a restart.\n", out);
}

void config_print_roff(FILE *out)
{
	for (enum config_section i = SECTION_SPOOL; i < SECTIONS; i++) {
		fprintf(out, ".SS %s\n", config_sections[i].path);
		put_roff(out, config_sections[i].help);
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

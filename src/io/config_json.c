/* JSON before libyaml sees it. libyaml takes more than JSON (comments, bare
 * words, trailing commas) and less (no surrogate pairs, no raw U+007F, a key
 * and its colon on one line only): here the grammar is checked, white space
 * left away, and characters are rewritten. Where each came from is kept. */
#include "io/config_private.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum expect {
	EXPECT_VALUE,
	EXPECT_ITEM,   /* a value, or the end of an empty list */
	EXPECT_KEY,
	EXPECT_MEMBER, /* a key, or the end of an empty block */
	EXPECT_COLON,
	EXPECT_COMMA,  /* or the end of the list or block */
	EXPECT_END,
};

struct scan {
	struct config_loader *l;
	struct config_text *t;
	size_t at;
	enum expect expect;
	struct {
		char close;
		size_t at;
	} open[CONFIG_DEPTH_MAX];
	size_t depth;
};

static int refuse(const struct scan *s, size_t at, const char *what)
{
	config_error(s->l, at, NULL, "%s", what);
	return -EINVAL;
}

static char peek(const struct scan *s, size_t ahead)
{
	return s->at + ahead < s->t->size ? s->t->source[s->at + ahead] : '\0';
}

static bool wants_value(const struct scan *s)
{
	return s->expect == EXPECT_VALUE || s->expect == EXPECT_ITEM;
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '-' || c == '+' || c == '.' || c == '_' ||
	       c == '~';
}

/* Says why the next character cannot stand where it stands. */
static int refuse_token(const struct scan *s)
{
	static const char *const wanted[] = {
		[EXPECT_VALUE] = "a value is expected here",
		[EXPECT_ITEM] = "a value or ] is expected here",
		[EXPECT_KEY] = "a name in double quotes is expected here",
		[EXPECT_MEMBER] = "a name in double quotes or } is expected here",
		[EXPECT_COLON] = "a colon is expected here, between the name and its value",
		[EXPECT_COMMA] = "a comma or the closing bracket is expected here",
		[EXPECT_END] = "nothing more may follow the closing bracket",
	};
	char c = peek(s, 0), quoted[CONFIG_QUOTE_SIZE];
	uint32_t character;
	if (c == '#' || (c == '/' && (peek(s, 1) == '/' || peek(s, 1) == '*')))
		return refuse(s, s->at,
		              "JSON has no comments: remove it, or write the file as YAML "
		              "and name it config.yaml");
	if (c == '\'')
		return refuse(s, s->at, "JSON has no single quotes: use double quotes");
	if ((s->expect == EXPECT_KEY && c == '}') || (s->expect == EXPECT_VALUE && c == ']'))
		return refuse(s, s->at, "nothing follows the comma before this: remove the comma");
	if (s->expect == EXPECT_COMMA && (c == '"' || c == '{' || c == '[' || is_word(c)))
		return refuse(s, s->at, "a comma is missing before this");
	size_t n = config_utf8(s->t->source + s->at, s->t->size - s->at, &character);
	config_error(s->l, s->at, NULL, "%s, not %s", wanted[s->expect],
	             config_quote(s->t->source + s->at, n, quoted));
	return -EINVAL;
}

static int put(struct scan *s, size_t n)
{
	int r = config_text_put(s->t, s->t->source + s->at, n, s->at);
	s->at += n;
	return r;
}

static void value_done(struct scan *s)
{
	s->expect = s->depth > 0 ? EXPECT_COMMA : EXPECT_END;
}

static int take_open(struct scan *s)
{
	bool block = peek(s, 0) == '{';
	if (!wants_value(s))
		return refuse_token(s);
	if (s->depth == CONFIG_DEPTH_MAX)
		return refuse(s, s->at, "is nested deeper than 32 levels");
	s->open[s->depth].close = block ? '}' : ']';
	s->open[s->depth++].at = s->at;
	s->expect = block ? EXPECT_MEMBER : EXPECT_ITEM;
	return put(s, 1);
}

static int take_close(struct scan *s)
{
	bool complete = s->expect == EXPECT_COMMA || s->expect == EXPECT_MEMBER ||
	                s->expect == EXPECT_ITEM;
	if (complete && s->open[s->depth - 1].close != peek(s, 0)) {
		size_t line, column;
		config_text_place(s->t, s->open[s->depth - 1].at, &line, &column);
		config_error(s->l, s->at, NULL,
		             "the bracket of line %zu column %zu is to be closed "
		             "first, with %c",
		             line, column, s->open[s->depth - 1].close);
		return -EINVAL;
	}
	if (!complete)
		return refuse_token(s);
	s->depth--;
	value_done(s);
	return put(s, 1);
}

/* Four hexadecimal digits; -1 where they are not. */
static int32_t hex4(const struct scan *s, size_t ahead)
{
	int32_t value = 0;
	for (size_t i = 0; i < 4; i++) {
		char c = peek(s, ahead + i);
		if (!isxdigit((unsigned char)c))
			return -1;
		int digit =
			isdigit((unsigned char)c) ? c - '0' : tolower((unsigned char)c) - 'a' + 10;
		value = value * 16 + digit;
	}
	return value;
}

static int take_unicode(struct scan *s)
{
	char spelled[16];
	int32_t high = hex4(s, 2);
	if (high < 0)
		return refuse(s, s->at, "\\u is followed by four hexadecimal digits");
	if (high < 0xd800 || high > 0xdfff)
		return put(s, 6);
	int32_t low = peek(s, 6) == '\\' && peek(s, 7) == 'u' ? hex4(s, 8) : -1;
	if (high > 0xdbff || low < 0xdc00 || low > 0xdfff)
		return refuse(s, s->at,
		              "is half of a surrogate pair: a character beyond \\uffff takes two "
		              "\\u after another, or is written as it is");
	int32_t character = 0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00);
	snprintf(spelled, sizeof spelled, "\\U%08x", (unsigned)character);
	int r = config_text_put(s->t, spelled, strlen(spelled), s->at);
	s->at += 12;
	return r;
}

static int take_escape(struct scan *s)
{
	char c = peek(s, 1);
	if (c == 'u')
		return take_unicode(s);
	if (c == '\0' || strchr("\"\\/bfnrt", c) == NULL)
		return refuse(s, s->at,
		              "JSON knows no such escape: a backslash itself is written \\\\");
	return put(s, 2);
}

static int take_character(struct scan *s)
{
	char spelled[16];
	uint32_t c = 0;
	size_t n = config_utf8(s->t->source + s->at, s->t->size - s->at, &c);
	if (c == '\\')
		return take_escape(s);
	if (c == '\n' || c == '\r')
		return refuse(s, s->at, "the text has no closing double quote on its line");
	if (c < 0x20)
		return refuse(s, s->at,
		              "a control character in a text is written as \\t or \\u0000");
	if (config_yaml_takes(c))
		return put(s, n);
	snprintf(spelled, sizeof spelled, "\\u%04x", c);
	int r = config_text_put(s->t, spelled, strlen(spelled), s->at);
	s->at += n;
	return r;
}

static int take_string(struct scan *s)
{
	size_t start = s->at, chars = s->t->chars;
	bool key = s->expect == EXPECT_KEY || s->expect == EXPECT_MEMBER;
	if (!key && !wants_value(s))
		return refuse_token(s);
	int r = put(s, 1);
	while (r == 0 && s->at < s->t->size && peek(s, 0) != '"')
		r = take_character(s);
	if (r < 0)
		return r;
	if (s->at == s->t->size)
		return refuse(s, start, "the text has no closing double quote");
	if (key && s->t->chars - chars > CONFIG_KEY_MAX)
		return refuse(s, start, "the name is longer than that of any setting or user");
	if (key)
		s->expect = EXPECT_COLON;
	else
		value_done(s);
	return put(s, 1);
}

static size_t digits(const char *p)
{
	return strspn(p, "0123456789");
}

/* The grammar of RFC 8259. */
static bool is_json_number(const char *p)
{
	p += *p == '-';
	size_t n = digits(p);
	if (n == 0 || (n > 1 && *p == '0'))
		return false;
	p += n;
	if (*p == '.') {
		n = digits(++p);
		if (n == 0)
			return false;
		p += n;
	}
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '+' || *p == '-';
		n = digits(p);
		if (n == 0)
			return false;
		p += n;
	}
	return *p == '\0';
}

static int take_word(struct scan *s)
{
	char word[64], quoted[CONFIG_QUOTE_SIZE];
	size_t n = 0;
	while (is_word(peek(s, n)))
		n++;
	const char *start = s->t->source + s->at;
	bool key = s->expect == EXPECT_KEY || s->expect == EXPECT_MEMBER;
	if (!wants_value(s) && !key)
		return refuse_token(s);
	snprintf(word, sizeof word, "%.*s", (int)(n < sizeof word ? n : sizeof word - 1), start);
	bool fits = n < sizeof word;
	if (key || !fits || (strcmp(word, "true") != 0 && strcmp(word, "false") != 0 &&
	                     strcmp(word, "null") != 0 && !is_json_number(word))) {
		bool number =
			!key && !isalpha((unsigned char)*start) && *start != '_' && *start != '~';
		config_error(s->l, s->at, NULL, "%s is no %s of JSON%s",
		             config_quote(start, n, quoted),
		             key ? "name" : number ? "number" : "value",
		             number ? "" : ": put it in double quotes");
		return -EINVAL;
	}
	value_done(s);
	return put(s, n);
}

static int take_separator(struct scan *s)
{
	bool colon = peek(s, 0) == ':';
	if (s->expect != (colon ? EXPECT_COLON : EXPECT_COMMA))
		return refuse_token(s);
	if (colon)
		s->expect = EXPECT_VALUE;
	else
		s->expect = s->open[s->depth - 1].close == '}' ? EXPECT_KEY : EXPECT_VALUE;
	return put(s, 1);
}

static int take_token(struct scan *s)
{
	switch (peek(s, 0)) {
	case '{':
	case '[':
		return take_open(s);
	case '}':
	case ']':
		return take_close(s);
	case '"':
		return take_string(s);
	case ':':
	case ',':
		return take_separator(s);
	default:
		return is_word(peek(s, 0)) ? take_word(s) : refuse_token(s);
	}
}

int config_json_prepare(struct config_loader *l, struct config_text *t, size_t start)
{
	struct scan s = {.l = l, .t = t, .at = start};
	while (s.at < t->size) {
		char c = peek(&s, 0);
		if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
			s.at++;
			continue;
		}
		int r = take_token(&s);
		if (r < 0)
			return r;
	}
	if (s.depth > 0) {
		config_error(l, s.open[s.depth - 1].at, NULL,
		             "the bracket opened here is never closed: %c is missing",
		             s.open[s.depth - 1].close);
		return -EINVAL;
	}
	return 0;
}

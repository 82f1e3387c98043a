/* What an unquoted word of YAML or JSON stands for: the core schema of YAML
 * 1.2, of which JSON's is a part. */
#include "io/config_private.h"

#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_one_of(const char *text, const char *const *words)
{
	for (; *words != NULL; words++)
		if (strcmp(text, *words) == 0)
			return true;
	return false;
}

static bool is_null(const char *text)
{
	static const char *const words[] = {"", "~", "null", "Null", "NULL", NULL};
	return is_one_of(text, words);
}

static bool is_bool(const char *text, bool *ret)
{
	static const char *const yes[] = {"true", "True", "TRUE", NULL};
	static const char *const no[] = {"false", "False", "FALSE", NULL};
	if (!is_one_of(text, yes) && !is_one_of(text, no))
		return false;
	*ret = is_one_of(text, yes);
	return true;
}

/* 0o17 and 0xff. */
static bool is_based_integer(const char *text, double *ret)
{
	bool octal = strncmp(text, "0o", 2) == 0;
	if (!octal && strncmp(text, "0x", 2) != 0)
		return false;
	const char *digits = text + 2;
	size_t n = strspn(digits, octal ? "01234567" : "0123456789abcdefABCDEF");
	if (n == 0 || digits[n] != '\0')
		return false;
	*ret = n > 20 ? (double)INFINITY : (double)strtoull(digits, NULL, octal ? 8 : 16);
	return true;
}

static bool is_special(const char *text, double *ret)
{
	static const char *const infinite[] = {".inf", ".Inf", ".INF", NULL};
	static const char *const none[] = {".nan", ".NaN", ".NAN", NULL};
	if (is_one_of(text, none)) {
		*ret = (double)NAN;
		return true;
	}
	if (!is_one_of(text + (*text == '-' || *text == '+'), infinite))
		return false;
	*ret = (double)(*text == '-' ? -INFINITY : INFINITY);
	return true;
}

static bool is_decimal(const char *text, double *ret)
{
	const char *p = text + (*text == '-' || *text == '+');
	size_t whole = strspn(p, "0123456789"), fraction = 0;
	p += whole;
	if (*p == '.') {
		fraction = strspn(++p, "0123456789");
		p += fraction;
	}
	if (whole + fraction == 0)
		return false;
	if (*p == 'e' || *p == 'E') {
		p++;
		p += *p == '-' || *p == '+';
		size_t exponent = strspn(p, "0123456789");
		if (exponent == 0)
			return false;
		p += exponent;
	}
	if (*p != '\0')
		return false;
	/* A decimal point, whatever the locale has. */
	locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	*ret = strtod_l(text, NULL, plain);
	freelocale(plain);
	return true;
}

enum config_scalar config_scalar(const struct config_node *node, bool *ret_bool,
                                 double *ret_number)
{
	if (!node->plain)
		return SCALAR_TEXT;
	if (is_null(node->text))
		return SCALAR_NULL;
	if (is_bool(node->text, ret_bool))
		return SCALAR_BOOL;
	if (is_based_integer(node->text, ret_number) || is_special(node->text, ret_number) ||
	    is_decimal(node->text, ret_number))
		return SCALAR_NUMBER;
	return SCALAR_TEXT;
}

char *config_describe(const struct config_node *node, char *out)
{
	bool truth;
	double number;
	size_t n;
	if (node->kind != NODE_SCALAR) {
		snprintf(out, CONFIG_QUOTE_SIZE, "%s",
		         node->kind == NODE_LIST ? "a list" : "a block");
		return out;
	}
	if (node->plain && *node->text == '\0') {
		snprintf(out, CONFIG_QUOTE_SIZE, "nothing");
		return out;
	}
	config_quote(node->text, strlen(node->text), out);
	if (config_scalar(node, &truth, &number) != SCALAR_TEXT) {
		n = strlen(out) - 2;
		memmove(out, out + 1, n);
		out[n] = '\0';
	}
	return out;
}

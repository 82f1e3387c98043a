/* Words of shell commands that are shown to be pasted. */
#pragma once

#include <stdio.h>

/* Writes `text` as one word, quoted where it has to be: a name is a word
 * whatever is in it. */
void shell_word(FILE *out, const char *text);
/* "<command> <word>": a new string, NULL when memory is out. */
char *shell_command(const char *command, const char *word);

/* What can be broken on purpose, one at a time, to see that it is noticed. */
#pragma once

#include <stdbool.h>

bool break_exists(const char *name);
void breaks_list(void);
void breaks_say_reached(void);

/* What the files of the wholes room share. Nobody else includes this. */
#pragma once

#include "io/wholes.h"

struct wholes_walk;

/* `dirfd` is the walk's from now on, also on failure. NULL: memory is out. Nothing is
 * looked at before the first step. */
struct wholes_walk *wholes_walk_new(int dirfd, const struct wholes_order *order);
/* Goes on for that many entries. False: it is over. */
bool wholes_walk_step(struct wholes_walk *w, int budget);
/* What it found, once it is over. */
const struct wholes_result *wholes_walk_result(const struct wholes_walk *w);
void wholes_walk_free(struct wholes_walk *w);

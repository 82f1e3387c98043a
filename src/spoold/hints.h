/* Hints: what the kernel's events say, and who is to look.
 *
 * None of them is believed: each ends in a look (intake_look()), in a scan, or in the
 * directories of users being met or missed. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct daemon;

/* Takes over what the kernel has to tell, for the next hints_read(): its queue is short, and what
 * does not fit there is lost. For who keeps the daemon busy for long. */
void hints_gather(struct daemon *d);
/* Were some taken over that nobody looked at? */
bool hints_wait(const struct daemon *d);
/* A mark behind all that was taken over until now; was all before it looked at? */
uint64_t hints_mark(const struct daemon *d);
bool hints_are_past(const struct daemon *d, uint64_t mark);
/* All that are there; where they are very many, what is left waits for the next tick. */
void hints_read(struct daemon *d);

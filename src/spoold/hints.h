/* Hints: what the kernel's events say, and who is to look.
 *
 * None of them is believed: each ends in a look (intake_look()), in a scan, or in the
 * directories of users being met or missed. */
#pragma once

struct daemon;

/* All that are there; where they are very many, what is left waits for the next tick. */
void hints_read(struct daemon *d);

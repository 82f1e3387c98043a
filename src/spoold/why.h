/* Why an upload is no job yet, in words for people. */
#pragma once

struct daemon;
struct upload_entry;

enum { WHY_TEXT = 512 };

struct explanation {
	char because[WHY_TEXT];
	char next[WHY_TEXT]; /* "" = nothing follows */
};

void why_waits(struct daemon *d, const struct upload_entry *entry, struct explanation *ret);

#include "spoold/why.h"

#include "base/escape.h"
#include "base/human.h"
#include "spoold/daemon.h"
#include "spoold/room.h"
#include "spoold/voucher.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void why_say(char out[WHY_TEXT], const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vsnprintf(out, WHY_TEXT, format, args);
	va_end(args);
}

void why_stalled(const struct daemon *d, struct explanation *e)
{
	why_say(e->because, "the index cannot be written: %s", strerror(-d->turn.error));
	why_say(e->next, "%s %s; it goes on by itself then", human_remedy(d->turn.error),
	        d->config->index);
}

void why_unmounted(const struct daemon *d, struct explanation *e)
{
	why_say(e->because, d->silent ? "the mount that holds the spool does not answer"
	                              : "the spool is not mounted: its marker, .spoold/marker, is gone");
	why_say(e->next, "it is looked at when that is over");
}

void why_away(const struct user *u, struct explanation *e)
{
	why_say(e->because, u->silent ? "the mount that is the directory of %s does not answer"
	                              : "the directory of %s, a mount of its own, is not there", u->name);
	why_say(e->next, "it is looked at when that is over");
}

static bool lacks_marker(const struct user *u, const struct upload_entry *entry)
{
	return u->settings->settle.completion == COMPLETION_MARKER && !entry->look.marker_seen &&
	       !entry->look.marker_early;
}

static bool lacks_rename(const struct user *u, const struct upload_entry *entry)
{
	return u->settings->settle.completion == COMPLETION_RENAME && !entry->look.renamed_in &&
	       !entry->look.found;
}

static bool is_checksum(const struct user *u)
{
	return u->settings->settle.completion == COMPLETION_CHECKSUM;
}

static bool lacks_checksum(const struct user *u, const struct upload_entry *entry)
{
	return is_checksum(u) &&
	       (entry->look.checksum == CHECKSUM_NONE || entry->look.checksum == CHECKSUM_STALE);
}

static void explain_checksum(const struct upload_entry *entry, struct explanation *e)
{
	if (entry->look.checksum == CHECKSUM_STALE)
		why_say(e->because, "its checksum is that of an earlier upload of this name, and not right");
	else if (entry->problem != NULL)
		why_say(e->because, "its checksum cannot be used: %s", entry->problem);
	else
		why_say(e->because, "its checksum is missing (completion \"checksum\")");
	why_say(e->next, "it becomes a job when a file of its name with \"" SUMS_SUFFIX "\" appended, or a "
	                 "list with its name, arrives: as sha256sum writes it");
}

static void explain_arriving(struct daemon *d, const struct user *u,
                             const struct upload_entry *entry, struct explanation *e)
{
	double settle_s = (double)user_settle(d, u).settle_ms / 1000;
	if (turn_stalled(d)) {
		why_stalled(d, e);
	} else if (entry->state == UPLOAD_CHECKING) {
		why_say(e->because, "its checksum is being compared with its content (%u %% read)",
		        check_percent(d, entry));
		why_say(e->next, "it becomes a job when that is right, and goes to failed when not");
	} else if (entry->state != UPLOAD_ARRIVING) {
		why_say(e->because, "it is complete and is being made durable");
		why_say(e->next, "it becomes a job in a moment");
	} else if (entry->unsafe != 0) {
		why_say(e->because, "it did not reach the disk (%s): what it holds may be lost",
		        strerror(-entry->unsafe));
		why_say(e->next, "upload it again; who made sure that it is whole may 'touch' it instead");
	} else if (entry->error != 0) {
		why_say(e->because, entry->error == -EACCES ? "spoold's account may not read it (%s)"
		                                            : "it cannot be taken: %s",
		        strerror(-entry->error));
		why_say(e->next, "it is tried again by itself; spoold's account must be able to read it");
	} else if (upload_is_held_up(d, entry)) {
		why_say(e->because, "the backlog in incoming is being sorted in first; it is older");
		why_say(e->next, "it is looked at right after");
	} else if (entry->waits_for == SETTLE_WRITER) {
		why_say(e->because, "a process still has it open for writing");
		if (voucher_is_name(u, entry->path))
			why_say(e->next, "what it says counts when that closed it");
		else
			why_say(e->next, "it becomes a job when that closed it and %g s passed without a change",
			        settle_s);
	} else if (lacks_marker(u, entry) && entry->voucher_stale) {
		why_say(e->because, "its marker is that of an earlier upload of this name");
		why_say(e->next, "it becomes a job when its marker arrives anew");
	} else if (lacks_marker(u, entry)) {
		why_say(e->because, "its marker is missing (completion \"marker\")");
		why_say(e->next, "it becomes a job when a file of its name with \"%s\" appended arrives",
		        u->settings->marker_suffix);
	} else if (lacks_checksum(u, entry)) {
		explain_checksum(entry, e);
	} else if (lacks_rename(u, entry)) {
		why_say(e->because, "it did not arrive by a rename (completion \"rename\")");
		why_say(e->next, "upload it under an ignored name (.part, say) and rename it");
	} else {
		why_say(e->because, "it changed a moment ago");
		why_say(e->next, "it becomes a job when %g s passed without a change", settle_s);
	}
}

/* Complete, but over a limit of its user. */
static void explain_over(const struct upload_entry *entry, struct explanation *e)
{
	char why[QUOTA_TEXT];
	const char *next;
	room_explain(entry, why, &next);
	why_say(e->because, "it %s", why);
	why_say(e->next, "%s", next);
}

void why_refused(enum entry_kind kind, struct explanation *e)
{
	why_say(e->because, "it %s: only plain files with one name become jobs", entry_kind_problem(kind));
	why_say(e->next, "it is left alone; remove it or put a plain file in its place");
}

/* What is wrong in it, if anything is. */
static bool explain_flaw(const struct upload_entry *entry, struct explanation *e)
{
	const struct whole *found = &entry->whole->found;
	if (!entry->whole->walked || found->flaw == WHOLE_SOUND)
		return false;
	char *at = escape_str(found->at);
	why_say(e->because, "%.300s in it %s", at == NULL ? "something" : at, found->problem);
	if (found->flaw == WHOLE_REFUSED)
		why_say(e->next, "it is left alone: only plain files with one name and directories can be in a "
		                 "directory that is one job; take that out of it");
	else
		why_say(e->next, "it becomes a job when that was renamed or removed, as transfer programs do at "
		                 "the end");
	free(at);
	return true;
}

/* A directory that is to be one job. */
static void explain_whole(struct daemon *d, const struct user *u, const struct upload_entry *entry,
                          struct explanation *e)
{
	const struct whole_look *w = entry->whole;
	double settle_s = (double)u->settings->whole_settle_ms / 1000;
	if (turn_stalled(d)) {
		why_stalled(d, e);
	} else if (entry->unsafe != 0) {
		why_say(e->because, "it did not reach the disk (%s): what is in it may be lost",
		        strerror(-entry->unsafe));
		why_say(e->next, "upload it again");
	} else if (entry->error == -EPERM) {
		why_say(e->because, "spoold's account may not move it: it cannot write in it");
		why_say(e->next, "let it (chmod g+w, or start spoold as root); it is tried again by itself");
	} else if (entry->error == -EOPNOTSUPP) {
		why_say(e->because, "a directory cannot be one job on a network mount");
		why_say(e->next, "set directories to \"follow\", or move the spool to a local disk");
	} else if (entry->error != 0) {
		why_say(e->because, entry->error == -EACCES
		                            ? "spoold's account may not read all of it (%s)"
		                            : "it cannot be taken: %s", strerror(-entry->error));
		why_say(e->next, "it is tried again by itself; spoold's account must be able to read all of it");
	} else if (explain_flaw(entry, e)) {
		return;
	} else if (w->syncing || entry->state == UPLOAD_ACCEPTING) {
		why_say(e->because, "it is complete and is being made durable");
		why_say(e->next, "it becomes a job in a moment");
	} else if (u->inner_jobs) {
		why_say(e->because, "files of directories that were accepted one by one go first");
		why_say(e->next, "it is looked at when these are no more in incoming");
	} else if (w->walked && w->found.files == 0) {
		why_say(e->because, "no file is in it");
		why_say(e->next, "it becomes a job when files are in it and %g s passed without a change",
		        settle_s);
	} else if (w->walked && w->found.writer) {
		why_say(e->because, "a process still has a file in it open for writing, or changes it");
		why_say(e->next, "it becomes a job when that ended and %g s passed without a change", settle_s);
	} else if (lacks_marker(u, entry) || lacks_rename(u, entry)) {
		explain_arriving(d, u, entry, e);
	} else {
		why_say(e->because, "something in it changed a moment ago");
		why_say(e->next, "it becomes a job when %g s passed without a change of anything in it",
		        settle_s);
	}
}

void why_waits(struct daemon *d, const struct upload_entry *entry, struct explanation *ret)
{
	if (entry->whole != NULL && entry->state != UPLOAD_OVER)
		explain_whole(d, entry->user, entry, ret);
	else if (entry->state == UPLOAD_REFUSED)
		why_refused(entry->kind, ret);
	else if (entry->state == UPLOAD_OVER)
		explain_over(entry, ret);
	else
		explain_arriving(d, entry->user, entry, ret);
}

#include "core/whole.h"

#include "core/name.h"

#include <string.h>

/* The numbers of a digest stay below this: they travel as JSON integers. */
#define DIGEST_MASK UINT64_C(0x3fffffffffffffff)

static uint64_t mix(uint64_t h)
{
	h ^= h >> 30;
	h *= UINT64_C(0xbf58476d1ce4e5b9);
	h ^= h >> 27;
	h *= UINT64_C(0x94d049bb133111eb);
	return h ^ (h >> 31);
}

static uint64_t hash_path(const char *path)
{
	uint64_t h = UINT64_C(14695981039346656037);
	for (; *path != '\0'; path++)
		h = (h ^ (unsigned char)*path) * UINT64_C(1099511628211);
	return mix(h);
}

static uint64_t with(uint64_t h, uint64_t value)
{
	return mix(h ^ mix(value + UINT64_C(0x9e3779b97f4a7c15)));
}

void whole_begin(struct whole *w, const struct file_ident *top)
{
	*w = (struct whole){.ident = *top, .newest_ns = top->ctime_ns};
	w->ident.size = 0;
	w->ident.whole = with(0, (uint64_t)top->mtime_ns);
}

/* A sum: the order in which a directory is read is not always the same. */
void whole_add(struct whole *w, const char *path, bool directory, const struct file_ident *ident)
{
	uint64_t h = with(hash_path(path), directory);
	if (directory) {
		w->directories++;
	} else {
		h = with(with(with(h, ident->ino), ident->size), (uint64_t)ident->mtime_ns);
		w->files++;
		w->ident.size += ident->size;
	}
	w->ident.whole += h;
	if (ident->ctime_ns > w->newest_ns)
		w->newest_ns = ident->ctime_ns;
}

void whole_note_flaw(struct whole *w, enum whole_flaw flaw, const char *problem, const char *path)
{
	size_t n = strlen(path);
	if (w->flaw >= flaw)
		return;
	w->flaw = flaw;
	w->problem = problem;
	if (n >= sizeof w->at)
		n = sizeof w->at - 1;
	memcpy(w->at, path, n);
	w->at[n] = '\0';
}

void whole_end(struct whole *w)
{
	w->ident.whole = with(w->ident.whole, w->files) & DIGEST_MASK;
	if (w->ident.whole <= WHOLE_UNKNOWN)
		w->ident.whole = WHOLE_UNKNOWN + 1;
}

static bool is_letter_or_digit(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* ".scan.tif.Xy12Zz", and where it keeps what broke off. */
static bool is_of_rsync(const char *name)
{
	enum { RANDOM = 6 };
	size_t n = strlen(name);
	if (strcmp(name, ".rsync-partial") == 0 || strcmp(name, ".~tmp~") == 0)
		return true;
	if (n < RANDOM + 3 || name[n - RANDOM - 1] != '.')
		return false;
	for (size_t i = n - RANDOM; i < n; i++)
		if (!is_letter_or_digit(name[i]))
			return false;
	return true;
}

bool whole_is_unfinished(const char *name, const char *const *ignore)
{
	return name_matches(name, ignore) && (name[0] != '.' || is_of_rsync(name));
}

enum settle_answer whole_judge(const struct settle_policy *policy, const struct whole *w,
                               const struct upload *upload, uint64_t now_steady_ms,
                               uint64_t now_wall_ms, uint64_t *ret_due_steady_ms)
{
	struct upload as_file = *upload;
	as_file.ident = w->ident;
	as_file.ident.ctime_ns = w->newest_ns;
	if (w->files == 0) {
		*ret_due_steady_ms = now_steady_ms + policy->settle_ms;
		return SETTLE_WAIT;
	}
	return settle_judge(policy, &as_file, w->writer ? WRITERS_SOME : WRITERS_NONE, now_steady_ms,
	                    now_wall_ms, ret_due_steady_ms);
}

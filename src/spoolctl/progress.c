#include "spoolctl/progress.h"

#include "base/clock.h"
#include "base/human.h"
#include "base/text.h"

#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* What is over soon needs no picture. */
enum { FIRST_MS = 500, REFRESH_MS = 200, BAR_COLUMNS = 20 };

static unsigned columns(void)
{
	struct winsize size = {0};
	return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1 ? size.ws_col - 1 : 79;
}

void progress_show(const struct ctl *ctl, const char *line)
{
	if (!ctl->progress || ctl->json)
		return;
	char *cut = ctl_need(text_cut_end(line, columns(), ctl->look.utf8));
	fprintf(stderr, "\r%s\033[K", cut);
	fflush(stderr);
	free(cut);
}

void progress_end(const struct ctl *ctl)
{
	if (ctl->progress && !ctl->json)
		fputs("\r\033[K", stderr);
}

void copy_progress_begin(struct copy_progress *p, const struct ctl *ctl, const char *name,
                         uint64_t total)
{
	*p = (struct copy_progress){
		.ctl = ctl,
		.name = name,
		.total = total,
		.next_ms = clock_steady_ms() + FIRST_MS,
	};
}

void copy_progress_each(void *copy_progress, uint64_t bytes)
{
	struct copy_progress *p = copy_progress;
	char *line = NULL, size[HUMAN_SIZE];
	if (clock_steady_ms() < p->next_ms || !p->ctl->progress || p->ctl->json)
		return;
	p->next_ms = clock_steady_ms() + REFRESH_MS;
	human_bytes(bytes, size);
	if (p->total > 0) {
		double done = (double)bytes / (double)p->total;
		char *bar = ctl_need(bar_draw(done, BAR_COLUMNS, p->ctl->look.utf8));
		int n = asprintf(&line, "%s %3d%%  %s  %s", bar, (int)(done < 1 ? done * 100 : 100), size,
		                 p->name);
		free(bar);
		ctl_need(n < 0 ? NULL : line);
	} else {
		ctl_need(asprintf(&line, "%s  %s", size, p->name) < 0 ? NULL : line);
	}
	progress_show(p->ctl, line);
	free(line);
}

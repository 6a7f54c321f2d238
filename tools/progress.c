/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/clock.h"
#include "units.h"

#define DRAW_NS 100000000ull   /* ten times a second */
#define WINDOW_NS 1000000000ull /* the rate is of the last second or so */

static bool on_screen; /* one terminal, one line */

void slc_progress_begin(struct slc_progress *p, const char *what,
			uint64_t bytes_total, uint64_t samples_total,
			double limit)
{
	const char *term = getenv("TERM"), *no_color = getenv("NO_COLOR");

	memset(p, 0, sizeof(*p));
	p->what = what;
	p->bytes_total = bytes_total;
	p->samples_total = samples_total;
	p->limit = limit;
	p->shown = isatty(STDERR_FILENO) && term && strcmp(term, "dumb");
	p->color = !no_color || !*no_color; /* no-color.org: set, not empty */
	p->begin_ns = p->mark_ns = (uint64_t)slc_now_ns();
}

/* The rate over the window, from the start until the first one is full. */
static void measure(struct slc_progress *p, uint64_t now, uint64_t bytes)
{
	uint64_t ns = now - p->mark_ns;

	if (ns >= WINDOW_NS || !p->rate || p->mark_ns == p->begin_ns)
		p->rate = ns ? (double)(bytes - p->mark_bytes) * 1e9 /
				       (double)ns :
			       0;
	if (ns >= WINDOW_NS) {
		p->mark_ns = now;
		p->mark_bytes = bytes;
	}
}

static size_t columns(void)
{
	struct winsize w;

	if (!ioctl(STDERR_FILENO, TIOCGWINSZ, &w) && w.ws_col)
		return w.ws_col;
	return 80;
}

__attribute__((format(printf, 3, 4))) static void
append(char *line, size_t n, const char *fmt, ...)
{
	size_t len = strlen(line);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(line + len, n - len, fmt, ap);
	va_end(ap);
}

static void compose(const struct slc_progress *p, char *line, size_t n,
		    uint64_t now, uint64_t bytes, uint64_t samples)
{
	char a[48], b[48];

	append(line, n, "  %s", slc_human_bytes(a, sizeof(a), bytes));
	if (p->bytes_total)
		append(line, n, " of %s (%.0f %%)",
		       slc_human_bytes(a, sizeof(a), p->bytes_total),
		       100.0 * (double)bytes / (double)p->bytes_total);
	append(line, n, "  %s", slc_short_rate(a, sizeof(a), p->rate));
	if (p->limit > 0)
		append(line, n, ", %.0f %% of limit",
		       100.0 * p->rate / p->limit);
	if (p->bytes_total > bytes && bytes) {
		double left = (double)(now - p->begin_ns) *
			      (double)(p->bytes_total - bytes) / (double)bytes;

		append(line, n, "  ETA %s",
		       slc_human_time(a, sizeof(a), (uint64_t)left));
	}
	if (samples && p->samples_total)
		append(line, n, "  %s of %s samples",
		       slc_human_count(a, sizeof(a), samples),
		       slc_human_count(b, sizeof(b), p->samples_total));
	else if (samples)
		append(line, n, "  %s samples",
		       slc_human_count(a, sizeof(a), samples));
}

void slc_progress_update(struct slc_progress *p, uint64_t bytes,
			 uint64_t samples)
{
	char line[256] = "";
	size_t room, what;
	uint64_t now;

	if (!p->shown)
		return;
	now = (uint64_t)slc_now_ns();
	if (now - p->drawn_ns < DRAW_NS)
		return;
	p->drawn_ns = now;
	measure(p, now, bytes);
	compose(p, line, sizeof(line), now, bytes, samples);
	what = strlen(p->what);
	room = columns();
	room = room > what + 1 ? room - what - 1 : 0;
	fprintf(stderr, "\r%s%s%s%.*s\033[K", p->color ? "\033[36m" : "",
		p->what, p->color ? "\033[0m" : "", (int)room, line);
	fflush(stderr);
	on_screen = true;
}

void slc_progress_erase(void)
{
	if (!on_screen)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	on_screen = false;
}

void slc_progress_end(struct slc_progress *p)
{
	(void)p;
	slc_progress_erase();
}

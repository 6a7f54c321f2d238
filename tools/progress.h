/* SPDX-License-Identifier: MIT */
/*
 * progress.h - one live line on stderr for a person who waits.
 *
 * Shown only when stderr is a terminal that can erase a line (TERM is neither
 * unset nor "dumb"); then at most ten times a second, never wider than the
 * terminal, and gone when the work ends. NO_COLOR turns the colour off.
 */
#ifndef SLC_TOOLS_PROGRESS_H
#define SLC_TOOLS_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

/* The caller's storage. Fields are the module's own. */
struct slc_progress {
	const char *what;
	uint64_t bytes_total, samples_total;
	double limit;
	bool shown, color;
	uint64_t begin_ns, drawn_ns;
	uint64_t mark_ns, mark_bytes; /* where the rate is measured from */
	double rate;
};

/*
 * @what: one word, "stream"; must live until the end.
 * @bytes_total, @samples_total: 0 when not known.
 * @limit: bytes a second at most, 0 when not known.
 */
void slc_progress_begin(struct slc_progress *p, const char *what,
			uint64_t bytes_total, uint64_t samples_total,
			double limit);

/* Cheap enough for each batch: one clock read, and nothing off a terminal. */
void slc_progress_update(struct slc_progress *p, uint64_t bytes,
			 uint64_t samples);

/* Erases the line. */
void slc_progress_end(struct slc_progress *p);

/* Takes the line away so that a message can be printed; the next update brings
 * it back. Nothing happens when no line is shown. */
void slc_progress_erase(void);

#endif

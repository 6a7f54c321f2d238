/* SPDX-License-Identifier: MIT */
/* split.h - from the runs of a move to the I/Os that carry it. Pure. */
#ifndef SLC_QUEUE_SPLIT_H
#define SLC_QUEUE_SPLIT_H

#include <sluice/queue.h>

#include <stdbool.h>

/*
 * What the I/Os of one move obey, and how far it has been cut. `runs` outlives
 * it. Offsets have been checked by then: nothing here can overflow.
 */
struct slc_split {
	const struct slc_run *runs;
	uint32_t nruns;
	uint32_t run;	    /* cursor: this run, */
	uint64_t pos;	    /* from this byte of it */
	uint64_t file_off;  /* bytes, added to each run's offset in the file */
	uint64_t addr;	    /* address, added to each run's offset in memory */
	uint64_t low, high; /* addresses that bound the region */
	uint32_t max_io;    /* bytes; a multiple of off_align */
	uint32_t max_bounce;/* bytes; a multiple of off_align */
	uint32_t off_align; /* bytes; 0: through the page cache */
	uint32_t mem_align;
	bool write;	    /* memory to file: all of it is aligned, or buffered */
	bool superset;	    /* SLC_MOVE_SUPERSET, and the runs ascend in memory */
};

enum slc_piece_kind {
	SLC_CUT_DIRECT,   /* in place */
	SLC_CUT_BOUNCE,   /* O_DIRECT, by a buffer of the queue's */
	SLC_CUT_BUFFERED, /* in place, through the page cache */
};

/*
 * One I/O of [off, off + len) in the file. Bytes [head, need) of it are the
 * move's; what lies around them is there for the alignment.
 */
struct slc_cut {
	uint64_t off;
	uint64_t addr; /* of the first byte of the I/O; BOUNCE: of byte `head` */
	uint32_t len, head, need;
	enum slc_piece_kind kind;
};

/* The next I/O; false when the move has been cut up. Does not move on. */
bool slc_split_next(struct slc_split *s, struct slc_cut *p);

/* Moves on past that I/O. */
void slc_split_take(struct slc_split *s, const struct slc_cut *p);

/* No I/O follows the ones taken. */
bool slc_split_done(struct slc_split *s);

#endif

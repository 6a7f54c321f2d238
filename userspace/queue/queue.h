/* SPDX-License-Identifier: MIT */
/*
 * queue.h - a queue from inside: moves on their way, and what carries them.
 *
 * All of it belongs to the thread that opened the queue: no lock anywhere.
 */
#ifndef SLC_QUEUE_QUEUE_H
#define SLC_QUEUE_QUEUE_H

#include "queue/attach.h"
#include "queue/engine.h"
#include "queue/split.h"

#include <pthread.h>
#include <sys/types.h>

#define SLC_BOUNCE_UNIT (16u << 10)
#define SLC_BOUNCE_UNITS 128u /* two words of a bitmap */
#define SLC_BOUNCE_MAX (8 * SLC_BOUNCE_UNIT)

enum slc_mv_kind { SLC_MV_READ, SLC_MV_WRITE, SLC_MV_COPY };

enum slc_mv_state {
	SLC_MV_FREE,
	SLC_MV_TODO,   /* in q->todo: some of it has not been started */
	SLC_MV_FLYING, /* all of it has been started */
	SLC_MV_DONE,   /* in q->done: nothing touches its buffer any more */
};

/* One accepted move. */
struct slc_mv {
	struct slc_mv *next, *prev; /* in todo; done and free use next only */
	struct slc_file_att *fa;    /* NULL: a copy */
	struct slc_region_att *ra;  /* the destination of a copy */
	struct slc_region_att *ra_src;
	char *copy_src;
	struct slc_split split;
	struct slc_run one; /* the run of a move without runs */
	uint64_t user_data;
	uint64_t total;
	uint64_t bounced, buffered; /* bytes that went that way */
	uint64_t fail_off;
	int64_t deadline_ns;
	const char *why; /* why bounced or buffered; "" */
	uint32_t flags;
	uint32_t pending; /* I/Os started or waiting for another try */
	int err;	  /* that it will end with */
	bool asked;	  /* to end early, by slc_queue_cancel() */
	bool blocking;	  /* an I/O went to the sync engine beside the queue's */
	bool dio_write;	  /* counted in fa->dio_writes */
	uint8_t kind, state;
};

struct slc_queue {
	struct slc_ctx *ctx; /* one reference */
	struct slc_attach att; /* with the engine */
	void *sync_state; /* for what the engine cannot: buffered on IOPOLL */
	const char *reason; /* why the engine is not uring; "" */
	uint64_t flags;
	uint32_t depth, moves, max_io;
	pthread_t owner;
	char *here; /* a page with a 1 that a forked child finds wiped, */
	pid_t pid;  /* or, where that cannot be had (NULL), whose it is */

	struct slc_io *ios, *free_io;
	struct slc_io *again;	/* waiting for another try */
	struct slc_landed *landed;
	uint32_t flying;	/* in the engine */
	uint32_t unsent;	/* of them, since the engine last sent */
	uint32_t nblocking;	/* in sync_state */

	struct slc_mv *mvs, *free_mv;
	struct slc_mv *todo, *todo_last;
	struct slc_mv *done, *done_last;
	uint32_t ndone;
	uint32_t live; /* accepted and not yet done */
	uint32_t armed; /* live ones with a deadline */
	int64_t next_deadline_ns; /* no live deadline is earlier */
	bool closing; /* what is stopped now is nobody's failure */

	struct slc_region *bounce;
	struct slc_region_att *bounce_att;
	uint64_t bounce_free[SLC_BOUNCE_UNITS / 64];
};

/* What a queue of this depth (0: the default) pins for itself, at most. */
uint64_t slc_queue_own_bytes(uint32_t depth);

/* ---- flight.c: from moves to I/Os and back ---- */

/* Starts what fits. */
void slc_flight_pump(struct slc_queue *q);
/* An I/O has come back. */
void slc_flight_landed(struct slc_queue *q, struct slc_io *io, int32_t res);
/* Ends a move early: -ECANCELED or -ETIMEDOUT. */
void slc_flight_stop(struct slc_queue *q, struct slc_mv *mv, int err);
/* The earliest next try of a refused I/O; INT64_MAX: none. */
int64_t slc_flight_next_try(const struct slc_queue *q);

/* ---- accept.c ---- */

/* 0; -EINVAL with the sentence; -EAGAIN: does not fit now. */
int slc_accept(struct slc_queue *q, const struct slc_move *move);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * stream.h - a stream from inside.
 *
 * The window is one region. Fetches are contiguous file ranges in delivery
 * order: each holds one or more samples ("items") and one slot of the ring.
 * Three counters walk over them, each never ahead of the one before it:
 *
 *	tail	the next fetch to be placed; [tail] may be built already
 *	head	the next one to be delivered
 *	oldest	the oldest whose slot is not given back
 *
 * All arrays are made at open; nothing below allocates per sample.
 */
#ifndef SLC_STREAM_STREAM_H
#define SLC_STREAM_STREAM_H

#include <stdbool.h>

#include <sluice/stream.h>

#include "format/inflate.h"
#include "stream/dataset.h"
#include "stream/files.h"
#include "stream/order.h"
#include "stream/ring.h"

#define SLC_SLOT_ALIGN 4096u
#define SLC_GAP_MAX 4096u /* bytes read for nothing between two samples */
#define SLC_STAGED (1ull << 63) /* user_data of a staging read */

enum slc_fetch_state {
	SLC_FETCH_FREE = 0,
	SLC_FETCH_FLYING,
	SLC_FETCH_UNPACKING, /* being inflated; only ever the head */
	SLC_FETCH_READY,
};

/* One sample, or one part of it, within a fetch. */
struct slc_item {
	uint64_t sample;
	uint64_t len;
	uint32_t off; /* from the first byte of the fetch */
};

struct slc_fetch {
	uint32_t state;
	uint32_t nitems;
	uint32_t given;	  /* items delivered */
	uint32_t lent;	  /* of those, not yet released */
	uint64_t item;	  /* the first, as counted in s->item_tail */
	uint64_t k;	  /* the same as a number of this rank's samples */
	uint64_t shard;
	uint64_t off, len; /* range of the (inflated) file */
	uint64_t data;	  /* where `off` is in the region */
	uint64_t span;	  /* of the ring; 0: no slot */
	uint64_t filled;  /* UNPACKING: bytes inflated so far */
	uint64_t part_off;
	uint64_t sample_len; /* of the whole sample when this is a part, else 0 */
	uint64_t fail_off;
	const char *reason;
	int32_t err;
	uint32_t file;	  /* in s->files, SLC_FILE_NONE */
	bool hot;	  /* the slot is in s->hot */
	bool extents;	  /* range widened to the checksummed extents */
};

struct slc_where {
	uint64_t sample, shard, off, len;
};

/* A compressed shard on its way through two staging buffers. */
struct slc_stage {
	uint64_t at;   /* in the region, SLC_SLOT_ALIGN aligned */
	uint64_t off, len; /* bytes of the file in it */
	uint64_t used;
	int32_t err;
	uint32_t state; /* enum slc_fetch_state */
	uint64_t fail_off;
};

struct slc_unpack {
	struct slc_inflate *inf;
	uint8_t *scratch; /* for bytes that nobody wants */
	uint64_t shard;	  /* that is open, or UINT64_MAX */
	uint32_t file;
	uint32_t codec;	  /* of inf */
	uint32_t cur;	  /* the buffer that is being inflated */
	uint64_t asked;	  /* bytes of the file asked for */
	uint64_t made;	  /* inflated bytes so far */
	uint64_t stage_len;
	struct slc_stage stage[2];
};

struct slc_fault {
	int err;
	char text[900];
};

struct slc_stream {
	struct slc_dataset *ds;
	struct slc_ctx *ctx;
	struct slc_stream_attr attr;
	struct slc_order order;
	struct slc_deal deal;
	uint64_t total;	  /* samples of this rank */
	uint64_t whole_max; /* larger samples come in parts */
	uint64_t part_len;
	uint64_t merge_max;
	struct slc_queue *queue;
	struct slc_region *region;
	struct slc_region_info memory; /* of it */
	uint8_t *bytes;	  /* of the region */
	/*
	 * A slot is in `hot` when that has room, else in `ring`. Fetches are
	 * given back oldest first, so each of the two sees its own oldest
	 * first. A consumer that keeps up turns over few pages, which its
	 * caches and the device's translations still know; one that lags or
	 * lends much has all the memory.
	 */
	struct slc_ring hot, ring;
	struct slc_files files;
	struct slc_unpack unpack;

	struct slc_fetch *fetch; /* a ring of fetch_mask + 1 */
	uint64_t fetch_mask, oldest, head, tail;
	bool built;	  /* fetch[tail] is built and waits for a slot */
	struct slc_item *item; /* a ring of item_mask + 1 */
	uint64_t item_mask, item_head, item_tail;

	/* Planning. */
	uint64_t k_plan;  /* the next sample to plan */
	struct slc_where ahead;
	bool has_ahead;
	uint64_t part_next; /* next part of `ahead`, 0: at its start */
	uint64_t near;	  /* shard of the last sample located */
	struct slc_fault plan_fault; /* raised behind the last planned fetch */

	/* Flying. */
	struct slc_move *batch;	 /* placed, not yet accepted by the queue */
	uint32_t batch_len, batch_max;
	uint32_t depth;
	uint32_t flying;  /* placed and not yet completed, staging too */
	uint64_t fly_bytes, fly_max;
	struct slc_done *done;
	uint64_t quiet;	  /* fetches delivered since the last look */

	/* Delivery. */
	uint64_t k_done;  /* whole samples handed out */
	bool ended;	  /* the consumer was told the end */
	uint64_t lent;
	uint32_t part_crc;
	struct slc_fault fault; /* sticky */
	struct slc_stream_stats stats;
};

static inline struct slc_fetch *slc_fetch_of(struct slc_stream *s, uint64_t i)
{
	return &s->fetch[i & s->fetch_mask];
}

static inline bool slc_stream_crc(const struct slc_stream *s)
{
	return !(s->attr.flags & SLC_STREAM_NOCRC);
}

/* Keeps the first fault of a kind: the sentence, and err. Returns err. */
int slc_fault_set(struct slc_fault *fault, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* plan.c: builds fetch[tail]. 1; 0: nothing now; the fault is in plan_fault. */
int slc_plan_build(struct slc_stream *s);

/* fetch.c: builds, places and submits what may fly. 0 or -errno (sticky). */
int slc_fetch_pump(struct slc_stream *s);
/* Takes completions, waiting for at least `min`. Count, -EINTR, -errno. */
int slc_fetch_reap(struct slc_stream *s, uint32_t min);
/* Gives slots back from the oldest on. */
void slc_fetch_reclaim(struct slc_stream *s);
/* Adds a move to the batch. */
void slc_fetch_push(struct slc_stream *s, const struct slc_move *mv);
/* Offers the batch to the queue. 0 or -errno. */
int slc_fetch_flush(struct slc_stream *s);
/* Notes bytes that took a route. */
void slc_fetch_route(struct slc_stream *s, uint32_t route, const char *reason,
		     uint64_t bytes);

/* unpack.c: compressed shards. */
int slc_unpack_init(struct slc_stream *s, uint64_t at, uint64_t stage_len);
void slc_unpack_fini(struct slc_stream *s);
/* Inflates on into the UNPACKING fetch. 0: all there (READY), -errno. */
int slc_unpack_run(struct slc_stream *s, struct slc_fetch *f);
void slc_unpack_done(struct slc_stream *s, const struct slc_done *done);

/*
 * verify.c: the checksum of one item and what it is held against. Fills
 * payload, crc and flags of the view. 0, or the fault is set.
 */
int slc_verify_item(struct slc_stream *s, struct slc_fetch *f,
		    const struct slc_item *it, struct slc_view *view);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * ring.h - slots of any size in one span of memory, taken in order and given
 * back oldest first. Only arithmetic: the memory itself is not touched.
 */
#ifndef SLC_STREAM_RING_H
#define SLC_STREAM_RING_H

#include <stdbool.h>
#include <stdint.h>

struct slc_ring {
	uint64_t base; /* of the span, in its region */
	uint64_t size; /* bytes */
	uint64_t tail; /* where the next slot begins, from base */
	uint64_t used; /* bytes from the oldest slot to tail, gaps included */
};

void slc_ring_init(struct slc_ring *ring, uint64_t base, uint64_t size);

/*
 * A slot of len > 0 bytes at *off (a multiple of `align`, a power of two, from
 * the start of the region), in one piece. *span is what slc_ring_drop() gets
 * back for it. False when there is no room now.
 */
bool slc_ring_take(struct slc_ring *ring, uint64_t len, uint64_t align,
		   uint64_t *off, uint64_t *span);

/* Frees the oldest slot, of `span` bytes. */
void slc_ring_drop(struct slc_ring *ring, uint64_t span);

#endif

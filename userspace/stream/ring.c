/* SPDX-License-Identifier: MIT */
#include "stream/ring.h"

#include "base/checked.h"

void slc_ring_init(struct slc_ring *r, uint64_t base, uint64_t size)
{
	r->base = base;
	r->size = size;
	r->tail = 0;
	r->used = 0;
}

/* From `at`, the bytes to skip so that base + at + skip is aligned. */
static uint64_t skip_to(const struct slc_ring *r, uint64_t at, uint64_t align)
{
	return -(r->base + at) & (align - 1);
}

/* need = skip + len, or false when that overflows. */
static bool try_at(const struct slc_ring *r, uint64_t at, uint64_t len,
		   uint64_t align, uint64_t *skip, uint64_t *need)
{
	*skip = skip_to(r, at, align);
	return slc_add(*skip, len, need) && slc_within(at, *need, r->size);
}

bool slc_ring_take(struct slc_ring *r, uint64_t len, uint64_t align,
		   uint64_t *off, uint64_t *span)
{
	uint64_t skip, need, lost = 0;
	bool wrap;

	if (!r->used)
		r->tail = 0;
	wrap = !try_at(r, r->tail, len, align, &skip, &need);
	if (wrap) {
		/* The end of the span is too short: begin again in front. */
		lost = r->size - r->tail;
		if (!try_at(r, 0, len, align, &skip, &need))
			return false;
	}
	/* Both at most size, so the sum cannot wrap where size < 2^63. */
	if (need + lost > r->size - r->used)
		return false;
	if (wrap)
		r->tail = 0;
	*off = r->base + r->tail + skip;
	*span = need + lost;
	r->tail += need;
	r->used += need + lost;
	return true;
}

void slc_ring_drop(struct slc_ring *r, uint64_t span)
{
	r->used -= span;
}

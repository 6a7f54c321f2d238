/* SPDX-License-Identifier: MIT */
/* checked.h - arithmetic on sizes that came from a file, a peer or a user. */
#ifndef SLC_BASE_CHECKED_H
#define SLC_BASE_CHECKED_H

#include <stdbool.h>
#include <stdint.h>

/* Each is false on overflow, and then *out is not to be used. */
static inline bool slc_add(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_add_overflow(a, b, out);
}

static inline bool slc_mul(uint64_t a, uint64_t b, uint64_t *out)
{
	return !__builtin_mul_overflow(a, b, out);
}

/* [off, off + len) lies within [0, size). */
static inline bool slc_within(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

/* `align` is a power of two. */
static inline uint64_t slc_align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline bool slc_align_up(uint64_t v, uint64_t align, uint64_t *out)
{
	if (!slc_add(v, align - 1, out))
		return false;
	*out = slc_align_down(*out, align);
	return true;
}

#endif

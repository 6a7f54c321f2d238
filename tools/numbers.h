/* SPDX-License-Identifier: MIT */
/* numbers.h - what measuring takes: medians and random numbers. */
#ifndef SLC_TOOLS_NUMBERS_H
#define SLC_TOOLS_NUMBERS_H

#include <stddef.h>
#include <stdint.h>

/* Sorts v, of n > 0 numbers; the middle one, or the mean of the middle two. */
double slc_median(double *v, size_t n);

/* The next of splitmix64 (Steele, Lea, Flood, OOPSLA 2014); any state will do
 * to begin with. */
static inline uint64_t slc_random64(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ull;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

#endif

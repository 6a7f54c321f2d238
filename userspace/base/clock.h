/* SPDX-License-Identifier: MIT */
/* clock.h - the time that only goes on: CLOCK_MONOTONIC. */
#ifndef SLC_BASE_CLOCK_H
#define SLC_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline int64_t slc_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* The same in seconds. */
static inline double slc_now_s(void)
{
	return (double)slc_now_ns() * 1e-9;
}

#endif

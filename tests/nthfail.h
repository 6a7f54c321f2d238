/* SPDX-License-Identifier: MIT */
/*
 * nthfail.h - make the n-th allocation fail, to walk every failure path.
 *
 * Every test is linked with --wrap for malloc, calloc, realloc, strdup,
 * posix_memalign and aligned_alloc, so the allocations of libsluice.a and of
 * the test count, those inside shared libraries do not. Counts all threads.
 *
 *	for (uint64_t n = 1;; n++) {
 *		nthfail_arm(n);
 *		err = slc_thing_open(ctx, &thing);
 *		if (!nthfail_disarm())
 *			break;			   (n allocations or fewer: done)
 *		ASSERT_EQ(err, -ENOMEM);
 *	}
 *	ASSERT_EQ(err, 0);
 *
 * To wrap more functions in one test program, write a line of this form into
 * its source and define __wrap_pread() and so on there:
 *
 *	WRAP: pread mmap	(as a C comment that fills the line)
 */
#ifndef SLC_TESTS_NTHFAIL_H
#define SLC_TESTS_NTHFAIL_H

#include <stdbool.h>
#include <stdint.h>

/* The n-th allocation from here on fails, once; n = 1 is the next one. */
void nthfail_arm(uint64_t n);

/* The n-th and all after it fail, until disarmed. */
void nthfail_arm_from(uint64_t n);

/* No more failures. True when one was made since arming. */
bool nthfail_disarm(void);

/* Allocations seen since arming; nthfail_arm(0) only counts. */
uint64_t nthfail_count(void);

#endif

/* SPDX-License-Identifier: MIT */
/* sqe.h - the next entry of a ring that has room. */
#ifndef TESTS_LAB_SQE_H
#define TESTS_LAB_SQE_H

#include <liburing.h>
#include <stdlib.h>
#include <string.h>

static inline struct io_uring_sqe *zeroed_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		abort();
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

#endif

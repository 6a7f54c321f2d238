/* SPDX-License-Identifier: MIT */
/* sqe.h - entries of a ring that has room, and the module's commands in them. */
#ifndef TESTS_LAB_SQE_H
#define TESTS_LAB_SQE_H

#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "include/uapi/sluice.h"

static inline struct io_uring_sqe *zeroed_sqe(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (!sqe)
		abort();
	memset(sqe, 0, sizeof(*sqe));
	return sqe;
}

static inline struct io_uring_sqe *command(struct io_uring *ring, int dev, unsigned int op,
					   const struct sluice_ring *arg)
{
	struct io_uring_sqe *sqe = zeroed_sqe(ring);

	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = dev;
	sqe->cmd_op = op;
	memcpy(sqe->cmd, arg, sizeof(*arg));
	return sqe;
}

/* Sends what is prepared and waits for one: its result, or -errno. */
static inline int complete(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	int ret = io_uring_submit_and_wait(ring, 1);

	if (ret < 0)
		return ret;
	ret = io_uring_wait_cqe(ring, &cqe);
	if (ret)
		return ret;
	ret = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return ret;
}

#endif

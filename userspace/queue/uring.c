/* SPDX-License-Identifier: MIT */
/* The engine on io_uring. */
#include "queue/engine.h"

#include "base/clock.h"
#include "mem/module.h"

#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

/* Flags that a header older than the kernel does not name. */
#ifndef IORING_SETUP_SINGLE_ISSUER
#define IORING_SETUP_SINGLE_ISSUER (1U << 12)
#endif
#ifndef IORING_SETUP_DEFER_TASKRUN
#define IORING_SETUP_DEFER_TASKRUN (1U << 13)
#endif

#define NFILES 1024u
#define NBUFS 256u
/*
 * An I/O of so many bytes goes to the kernel in a call of its own. Neighbours
 * that come in one call are glued into one request by the block layer, up to
 * the 4 MiB of its max_sectors_kb here: fewer and longer requests, which land
 * late and all at once. Reading a virtio disk in order, this costs a tenth of
 * the rate; a call costs 3 us.
 */
#define ALONE_BYTES (512u << 10)

/* user_data of a command; an I/O's is its address, a cancel's 0. */
#define COMMAND 1
#define COMMAND_FLIES 1 /* no result: those are 0 or -errno */

struct uring {
	struct io_uring ring;
	bool iopoll;
	uint32_t depth;
	uint32_t flying; /* started, not yet landed */
	int32_t command; /* its result */
	uint32_t nearly; /* landed while a command was waited for: */
	struct slc_landed *early; /* wait() gives them out first; depth */
};

/*
 * One thread's ring may lie where another's was unmapped. The kernel orders the
 * two; liburing calls it without libc, so a race detector does not see that.
 * close() before the unmapping pairs with open() after the mapping.
 */
static atomic_uint ring_order;

/* Best first: each line is for kernels that refuse the one before. */
static const uint32_t setups[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SUBMIT_ALL,
	0,
};
static const uint32_t setups_sqpoll[] = {
	IORING_SETUP_SQPOLL | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_SQPOLL,
	IORING_SETUP_SQPOLL, /* as long as the other list */
};
#define NSETUPS (sizeof(setups) / sizeof(setups[0]))

static int setup_ring(struct uring *u, uint32_t depth, uint64_t flags,
		      struct slc_engine_caps *caps)
{
	const uint32_t *list = flags & SLC_QUEUE_SQPOLL ? setups_sqpoll :
							  setups;
	struct io_uring_params p;
	int err = -EINVAL;
	size_t i;

	for (i = 0; i < NSETUPS && err == -EINVAL; i++) {
		memset(&p, 0, sizeof(p));
		p.flags = list[i] | IORING_SETUP_CQSIZE;
		if (flags & SLC_QUEUE_IOPOLL)
			p.flags |= IORING_SETUP_IOPOLL;
		p.sq_thread_idle = 100; /* ms */
		/* Every I/O in flight may complete beside its own cancel. */
		p.cq_entries = 2 * depth < 16 ? 16 : 2 * depth;
		err = io_uring_queue_init_params(depth, &u->ring, &p);
	}
	if (err)
		return err;
	if (p.flags & IORING_SETUP_DEFER_TASKRUN)
		caps->features |= SLC_QUEUE_HAS_DEFER_TASKRUN;
	if (p.flags & IORING_SETUP_SQPOLL)
		caps->features |= SLC_QUEUE_HAS_SQPOLL;
	if (p.flags & IORING_SETUP_IOPOLL)
		caps->features |= SLC_QUEUE_HAS_IOPOLL;
	return 0;
}

static const struct {
	uint8_t op;
	const char *name;
} needed_ops[] = {
	{ IORING_OP_READ, "READ" },
	{ IORING_OP_WRITE, "WRITE" },
	{ IORING_OP_READ_FIXED, "READ_FIXED" },
	{ IORING_OP_WRITE_FIXED, "WRITE_FIXED" },
	{ IORING_OP_ASYNC_CANCEL, "ASYNC_CANCEL" },
};

/* The name of an opcode that this kernel lacks, or NULL. */
static const char *missing_op(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	const char *name = NULL;
	size_t i;

	if (!probe)
		return "REGISTER_PROBE";
	for (i = 0; i < sizeof(needed_ops) / sizeof(needed_ops[0]); i++)
		if (!io_uring_opcode_supported(probe, needed_ops[i].op))
			name = needed_ops[i].name;
	io_uring_free_probe(probe);
	return name;
}

/* Tables that are filled as the queue meets files and regions. */
static void make_tables(struct uring *u, struct slc_engine_caps *caps)
{
	uint32_t n = NFILES;
	int err;

	/* The kernel wants no more than RLIMIT_NOFILE: EMFILE. */
	do {
		err = io_uring_register_files_sparse(&u->ring, n);
	} while (err == -EMFILE && (n /= 2) >= 2);
	if (err) {
		snprintf(caps->no_files, sizeof(caps->no_files),
			 "no table of registered files: %s", strerror(-err));
	} else {
		caps->nfiles = n;
		caps->features |= SLC_QUEUE_HAS_FIXED_FILES;
	}
	err = io_uring_register_buffers_sparse(&u->ring, NBUFS);
	if (err) {
		snprintf(caps->no_bufs, sizeof(caps->no_bufs),
			 "no table of registered buffers: %s%s", strerror(-err),
			 err == -EINVAL ? " (Linux 5.19 has it)" : "");
	} else {
		caps->nbufs = NBUFS;
		caps->features |= SLC_QUEUE_HAS_FIXED_BUFFERS;
	}
	/* Saves a lookup per system call; without it all still works. */
	io_uring_register_ring_fd(&u->ring);
}

static const char *setup_hint(int err)
{
	switch (err) {
	case -ENOSYS:
		return "this kernel or sandbox has no io_uring";
	case -EPERM:
		return "forbidden by sysctl kernel.io_uring_disabled, seccomp or the container";
	case -ENOMEM:
		return "raise RLIMIT_MEMLOCK";
	case -EMFILE:
		return "raise ulimit -n";
	default:
		return "see io_uring_setup(2)";
	}
}

static int uring_open(uint32_t depth, uint64_t flags, void **state,
		      struct slc_engine_caps *caps, char *why, size_t size)
{
	struct uring *u = calloc(1, sizeof(*u));
	const char *op;
	int err;

	if (!u) {
		snprintf(why, size, "no memory");
		return -ENOMEM;
	}
	u->depth = depth;
	u->early = calloc(depth, sizeof(*u->early));
	if (!u->early) {
		snprintf(why, size, "no memory");
		err = -ENOMEM;
		goto free_state;
	}
	err = setup_ring(u, depth, flags, caps);
	if (err) {
		snprintf(why, size, "io_uring_setup: %s (%s)", strerror(-err),
			 setup_hint(err));
		goto free_early;
	}
	atomic_fetch_add_explicit(&ring_order, 1, memory_order_acq_rel);
	op = missing_op(&u->ring);
	if (op) {
		snprintf(why, size, "io_uring of this kernel has no %s", op);
		err = -EOPNOTSUPP;
		goto exit_ring;
	}
	/* A filter may allow the set-up and forbid the use. */
	err = io_uring_get_events(&u->ring);
	if (err < 0) {
		snprintf(why, size, "io_uring_enter: %s (%s)", strerror(-err),
			 setup_hint(err));
		goto exit_ring;
	}
	u->iopoll = flags & SLC_QUEUE_IOPOLL;
	caps->async = true;
	make_tables(u, caps);
	*state = u;
	return 0;

exit_ring:
	atomic_fetch_add_explicit(&ring_order, 1, memory_order_acq_rel);
	io_uring_queue_exit(&u->ring);
free_early:
	free(u->early);
free_state:
	free(u);
	return err;
}

static void uring_close(void *state)
{
	struct uring *u = state;

	atomic_fetch_add_explicit(&ring_order, 1, memory_order_acq_rel);
	io_uring_queue_exit(&u->ring);
	free(u->early);
	free(u);
}

/* A free entry; when all are taken, sends them first. NULL: still none. */
static struct io_uring_sqe *get_sqe(struct uring *u)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u->ring);

	if (sqe)
		return sqe;
	io_uring_submit(&u->ring);
	if (u->ring.flags & IORING_SETUP_SQPOLL)
		io_uring_sqring_wait(&u->ring);
	return io_uring_get_sqe(&u->ring);
}

static int uring_start(void *state, struct slc_io *io)
{
	struct uring *u = state;
	struct io_uring_sqe *sqe = get_sqe(u);
	char *addr = io->addr + io->have;
	uint32_t len = io->len - io->have;
	uint64_t off = io->off + io->have;
	int op, fd = io->file_slot < 0 ? io->fd : io->file_slot;

	if (!sqe)
		return -EAGAIN;
	if (io->buf_slot >= 0)
		op = io->write ? IORING_OP_WRITE_FIXED : IORING_OP_READ_FIXED;
	else
		op = io->write ? IORING_OP_WRITE : IORING_OP_READ;
	io_uring_prep_rw(op, sqe, fd, addr, len, off);
	sqe->addr -= io->buf_zero;
	if (io->buf_slot >= 0)
		sqe->buf_index = (uint16_t)io->buf_slot;
	if (io->file_slot >= 0)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, io);
	u->flying++;
	/* What the kernel does not take now goes with the next call. */
	if (len >= ALONE_BYTES)
		io_uring_submit(&u->ring);
	return 0;
}

/* Sends, and takes what the kernel has ready, without waiting. */
static int look(struct uring *u)
{
	if (io_uring_sq_ready(&u->ring) || u->iopoll)
		return io_uring_submit_and_get_events(&u->ring);
	if (IO_URING_READ_ONCE(*u->ring.sq.kflags) &
	    (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW))
		return io_uring_get_events(&u->ring);
	return 0;
}

/* 0: look at the completion ring; or -errno. */
static int enter(struct uring *u, uint32_t min, int64_t timeout_ns)
{
	struct __kernel_timespec ts;
	struct io_uring_cqe *cqe;
	int64_t begin = 0;
	int ret;

	if (!io_uring_sq_ready(&u->ring) && io_uring_cq_ready(&u->ring) >= min)
		return 0;
	if (timeout_ns == SLC_FOREVER) {
		ret = io_uring_submit_and_wait(&u->ring, min);
	} else {
		ts.tv_sec = timeout_ns / 1000000000;
		ts.tv_nsec = timeout_ns % 1000000000;
		begin = slc_now_ns();
		ret = io_uring_submit_and_wait_timeout(&u->ring, &cqe, min,
						       &ts, NULL);
		if (ret == -ETIME)
			return 0;
	}
	/* A signal that came after something was sent shows only in this:
	 * all was sent, and yet the wait ended early. Polling a device ends
	 * early as it likes. */
	if (ret >= 0 && !u->iopoll && !io_uring_sq_ready(&u->ring) &&
	    !io_uring_cq_ready(&u->ring) &&
	    (timeout_ns == SLC_FOREVER || slc_now_ns() - begin < timeout_ns))
		return -EINTR;
	return ret;
}

/* No I/O's completion: a cancel's, liburing's timeout's, a command's. */
static bool is_ours(struct uring *u, const struct io_uring_cqe *cqe)
{
	if (cqe->user_data == COMMAND)
		u->command = cqe->res;
	return !cqe->user_data || cqe->user_data == COMMAND ||
	       cqe->user_data == LIBURING_UDATA_TIMEOUT;
}

static int reap(struct uring *u, struct slc_landed *out, uint32_t max)
{
	struct io_uring_cqe *cqe;
	uint32_t head, seen = 0, n = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe) {
		if (is_ours(u, cqe)) {
			seen++;
			continue;
		}
		if (n == max)
			break;
		seen++;
		out[n].io = io_uring_cqe_get_data(cqe);
		out[n].res = cqe->res;
		n++;
	}
	io_uring_cq_advance(&u->ring, seen);
	u->flying -= n;
	return (int)n;
}

static int take_early(struct uring *u, struct slc_landed *out, uint32_t max)
{
	uint32_t n = u->nearly < max ? u->nearly : max;

	memcpy(out, u->early, n * sizeof(*out));
	u->nearly -= n;
	memmove(u->early, u->early + n, u->nearly * sizeof(*out));
	return (int)n;
}

static int uring_wait(void *state, struct slc_landed *out, uint32_t max,
		      uint32_t min, int64_t timeout_ns)
{
	struct uring *u = state;
	int ret, n;

	if (u->nearly)
		return take_early(u, out, max);
	if (min > u->flying)
		min = u->flying;
	/* The kernel polls the device without looking at a timeout. */
	if (u->iopoll && timeout_ns != SLC_FOREVER)
		min = 0;
	ret = min && timeout_ns ? enter(u, min, timeout_ns) : look(u);
	n = reap(u, out, max);
	if (n || ret >= 0)
		return n;
	/* The kernel is short of memory, or has completions to be taken
	 * first: none of that is the end, but trying at once is no use. */
	if (ret == -EAGAIN || ret == -EBUSY) {
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
		return 0;
	}
	return ret;
}

static void uring_cancel(void *state, struct slc_io *io)
{
	struct uring *u = state;
	struct io_uring_sqe *sqe;

	/* A device that is polled has nothing to cancel: it ends soon. */
	if (u->iopoll)
		return;
	sqe = get_sqe(u);
	if (!sqe)
		return;
	io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)io, 0);
	io_uring_sqe_set_data64(sqe, 0);
}

static int uring_set_file(void *state, uint32_t slot, int fd)
{
	struct uring *u = state;
	int n = io_uring_register_files_update(&u->ring, slot, &fd, 1);

	return n < 0 ? n : n == 1 ? 0 : -EINVAL;
}

static int uring_set_buffer(void *state, uint32_t slot, void *addr,
			    uint64_t len)
{
	struct uring *u = state;
	struct iovec iov = { .iov_base = len ? addr : NULL, .iov_len = len };
	__u64 tag = 0;
	int n = io_uring_register_buffers_update_tag(&u->ring, slot, &iov, &tag,
						     1);

	/* A read that a kernel thread carried still holds it, though it has
	 * completed, until this thread takes the rest of its end. */
	if (!len)
		io_uring_get_events(&u->ring);
	return n < 0 ? n : n == 1 ? 0 : -EINVAL;
}

/*
 * Sends one command to the module and waits for its end, which comes at once.
 * I/Os that land meanwhile are kept: no more than depth are on their way.
 */
static int command(struct uring *u, int dev, uint32_t op,
		   const struct sluice_ring *arg)
{
	struct io_uring_sqe *sqe = get_sqe(u);
	int ret;

	if (!sqe)
		return -EAGAIN;
	io_uring_prep_rw(IORING_OP_URING_CMD, sqe, dev, NULL, 0, 0);
	sqe->cmd_op = op;
	memcpy(sqe->cmd, arg, sizeof(*arg));
	io_uring_sqe_set_data64(sqe, COMMAND);
	u->command = COMMAND_FLIES;
	do {
		ret = io_uring_submit_and_wait(&u->ring, 1);
		u->nearly += (uint32_t)reap(u, u->early + u->nearly,
					    u->depth - u->nearly);
	} while (u->command == COMMAND_FLIES &&
		 (ret >= 0 || ret == -EINTR || ret == -EAGAIN ||
		  ret == -EBUSY));
	return u->command == COMMAND_FLIES ? ret : u->command;
}

static int uring_set_dmabuf(void *state, uint32_t slot, int fd, uint64_t off,
			    uint64_t len, char *why)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	struct sluice_ring arg = { .fd = fd,
				   .index = slot,
				   .page = (uint32_t)(off / page),
				   .npages = (uint32_t)(len / page) };
	struct uring *u = state;
	int dev, err;

	if (u->iopoll) {
		snprintf(why, SLC_MODULE_WHY,
			 "a ring that polls takes no commands");
		return -EOPNOTSUPP;
	}
	dev = slc_module_open(NULL, NULL, why);
	if (dev < 0)
		return dev;
	slc_module_why_not(dev, SLUICE_FEATURE_RING, why);
	if (*why) {
		err = -EOPNOTSUPP;
	} else {
		err = command(u, dev, SLUICE_RING_REGISTER, &arg);
		snprintf(why, SLC_MODULE_WHY, "SLUICE_RING_REGISTER: %s",
			 strerror(-err));
	}
	close(dev);
	return err;
}

const struct slc_engine_ops slc_uring_ops = {
	.name = "uring",
	.direct = SLC_ROUTE_URING_DIRECT,
	.buffered = SLC_ROUTE_URING_BUFFERED,
	.open = uring_open,
	.close = uring_close,
	.start = uring_start,
	.wait = uring_wait,
	.cancel = uring_cancel,
	.set_file = uring_set_file,
	.set_buffer = uring_set_buffer,
	.set_dmabuf = uring_set_dmabuf,
};

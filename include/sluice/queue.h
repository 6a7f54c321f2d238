/* SPDX-License-Identifier: MIT */
/*
 * queue.h - the one way to move bytes: moves in, completions out.
 *
 * A queue belongs to one thread (the one that opened it) and one NUMA node. It
 * owns one io_uring, or pread where io_uring is absent, with the files and
 * regions it has met registered in it. Nothing on the byte path takes a lock
 * or allocates.
 */
#ifndef SLUICE_QUEUE_H
#define SLUICE_QUEUE_H

#include <sluice/region.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slc_queue;
struct slc_file;

/* ---- files ---- */

#define SLC_FILE_READ (1u << 0)
#define SLC_FILE_WRITE (1u << 1)
#define SLC_FILE_CREATE (1u << 2)   /* with WRITE: made if absent, mode 0666 */
#define SLC_FILE_BUFFERED (1u << 3) /* through the page cache, by wish */

struct slc_file_info {
	size_t size;
	uint64_t len;	      /* bytes when opened */
	int64_t mtime_ns;     /* when opened, ns since the epoch */
	uint64_t dev, ino;
	uint32_t dio_mem_align; /* bytes; 0 when O_DIRECT is refused */
	uint32_t dio_off_align; /* bytes; 0 when O_DIRECT is refused */
	const char *reason;   /* why not O_DIRECT; "" when it is. Life: the file */
};

/*
 * Opens a regular file or block device for moves. Never blocks on a FIFO:
 * anything else is -EINVAL with the reason. O_DIRECT is probed with
 * STATX_DIOALIGN, and by trying where the kernel does not say.
 *
 * `path` is read during the call only. *out holds one reference of the
 * caller's. Returns 0, -ENOENT, -EACCES, -EMFILE, -EINVAL, ... Any thread.
 */
int slc_file_open(struct slc_ctx *ctx, const char *path, uint32_t flags,
		  struct slc_file **out);
struct slc_file *slc_file_get(struct slc_file *file);
void slc_file_put(struct slc_file *file);
int slc_file_query(const struct slc_file *file, struct slc_file_info *info);

/* ---- places and moves ---- */

enum slc_place_kind {
	SLC_PLACE_FILE = 1,
	SLC_PLACE_REGION = 2,
};

struct slc_place {
	uint32_t kind; /* enum slc_place_kind */
	uint32_t reserved;
	union {
		struct slc_file *file;
		struct slc_region *region;
	};
	uint64_t off; /* bytes from the start of the file or region */
};

struct slc_place slc_at_file(struct slc_file *file, uint64_t off);
struct slc_place slc_at_region(struct slc_region *region, uint64_t off);

/* One piece of a move. Offsets are added to the offsets of the places. */
struct slc_run {
	uint64_t src_off, dst_off, len;
};

/* Fill slc_done.crc with the CRC32C of the bytes moved, in run order. */
#define SLC_MOVE_CRC (1u << 0)
/*
 * The bytes of `dst` around each run, out to the file's alignment (at most
 * 4 KiB on either side), may be overwritten: lets an unaligned O_DIRECT read
 * land in place when dst and src agree modulo the alignment.
 */
#define SLC_MOVE_SUPERSET (1u << 1)
/* A fallback from the best route is -ENOTSUP instead. */
#define SLC_MOVE_STRICT (1u << 2)

/*
 * Copies bytes from one place to another. File to region, region to file, and
 * region to region are known. Places are referenced by the queue from submit
 * to completion.
 */
struct slc_move {
	struct slc_place src, dst;
	uint64_t len;		    /* bytes, when nruns is 0 */
	const struct slc_run *runs; /* must live until the completion is polled */
	uint32_t nruns;
	uint32_t flags;
	uint64_t user_data;
	int64_t deadline_ns;	    /* CLOCK_MONOTONIC, absolute; 0: none */
};

/* The one end of a move. */
struct slc_done {
	uint64_t user_data;
	int64_t result;	   /* bytes moved (always all of them), or -errno */
	uint64_t fail_off; /* file offset of the failure when result < 0 */
	uint32_t crc;	   /* with SLC_MOVE_CRC and result >= 0 */
	uint32_t route;	   /* enum slc_route, of most of the bytes */
	const char *reason; /* why not a better route; "". Life: the queue */
};

/* ---- the queue ---- */

#define SLC_QUEUE_SQPOLL (1u << 0) /* a kernel thread submits; costs a core */
#define SLC_QUEUE_IOPOLL (1u << 1) /* poll the device; O_DIRECT only */

struct slc_queue_attr {
	size_t size;
	uint64_t flags;
	uint32_t depth;	 /* I/Os in flight; 0: 128. At most 4096 */
	uint32_t moves;	 /* accepted and not yet polled; 0: 2 x depth */
	uint32_t max_io; /* bytes of the largest single I/O; 0: 1 MiB */
	int32_t node;	 /* of the queue's own buffers: a NUMA node, or
			  * SLC_NODE_CALLER; 0 is node 0 */
	const char *engine; /* "uring", "sync"; NULL: SLC_ENGINE, then best */
};

struct slc_queue_info {
	size_t size;
	const char *engine;	 /* "uring" or "sync". Life: the queue */
	const char *reason;	 /* why not uring; "". Life: the queue */
	uint32_t depth, moves, max_io;
	uint32_t features;	 /* SLC_QUEUE_HAS_* that are in use */
	uint64_t own_bytes;	 /* pinned by the queue itself (bounce);
				  * 0 when the machine refused to pin */
};
#define SLC_QUEUE_HAS_DEFER_TASKRUN (1u << 0)
#define SLC_QUEUE_HAS_FIXED_FILES (1u << 1)
#define SLC_QUEUE_HAS_FIXED_BUFFERS (1u << 2)
#define SLC_QUEUE_HAS_SQPOLL (1u << 3)
#define SLC_QUEUE_HAS_IOPOLL (1u << 4)

/*
 * Opens a queue that belongs to the calling thread; it keeps the context.
 *
 * @attr: NULL for the defaults, on node 0. Read during the call only.
 * @out: for slc_queue_close().
 *
 * Returns 0; -EINVAL (attr, no such engine), -E2BIG, -ENOMEM, or what the engine
 * that was asked for failed with. With no engine asked for, the next one is
 * taken, and slc_queue_info.reason says why.
 */
int slc_queue_open(struct slc_ctx *ctx, const struct slc_queue_attr *attr,
		   struct slc_queue **out);

/* Cancels what is in flight, waits until no buffer is touched, frees. */
void slc_queue_close(struct slc_queue *q);

int slc_queue_query(const struct slc_queue *q, struct slc_queue_info *info);

/*
 * Registers a region or a file with the engine ahead of its first move, so
 * that no move pays for it. Optional. A refusal (memlock, full table) is not
 * an error: the moves then say the reason. 0, -EINVAL, or -EPERM in a thread or
 * a forked child that did not open the queue, as for the calls below.
 *
 * Attached so or by a first move, a region is held until detach or close; a
 * file until then, or until no move uses it and only this queue holds it.
 */
int slc_queue_attach_region(struct slc_queue *q, struct slc_region *region);
int slc_queue_attach_file(struct slc_queue *q, struct slc_file *file);

/*
 * Lets go of a region or file. -EBUSY while a move uses it, -ENOENT. The kernel
 * may hold the memory until the queue next does I/O, or its close.
 */
int slc_queue_detach_region(struct slc_queue *q, struct slc_region *region);
int slc_queue_detach_file(struct slc_queue *q, struct slc_file *file);

/*
 * Accepts up to n moves, in order; the rest did not fit: poll, then offer them
 * again. A move that is wrong in itself (bounds, kinds, flags) is -EINVAL if
 * it is the first, else the count before it. The structs are copied; the runs
 * are not. I/O may start here or at the next poll.
 */
int slc_queue_submit(struct slc_queue *q, const struct slc_move *mv,
		     uint32_t n);

/*
 * Waits until `min` completions are there (0: only looks), or timeout_ns has
 * passed (SLC_FOREVER: no limit), then takes up to `max`. Returns how many;
 * fewer than min only after the timeout, a signal, or when nothing more is in
 * flight. -EINTR when a signal came and nothing was there.
 */
int slc_queue_poll(struct slc_queue *q, struct slc_done *done, uint32_t max,
		   uint32_t min, int64_t timeout_ns);

/*
 * Asks for the end of every move with this user_data. Each still gives exactly
 * one completion, -ECANCELED or its true result, and its buffer is untouched
 * from then on. Returns how many moves were asked.
 */
int slc_queue_cancel(struct slc_queue *q, uint64_t user_data);

#ifdef __cplusplus
}
#endif
#endif

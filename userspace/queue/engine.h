/* SPDX-License-Identifier: MIT */
/*
 * engine.h - what carries single I/Os: io_uring or pread.
 *
 * An engine knows descriptors, addresses and lengths, nothing of moves. It is
 * used by the queue's thread only.
 */
#ifndef SLC_QUEUE_ENGINE_H
#define SLC_QUEUE_ENGINE_H

#include <sluice/queue.h>

#include <stdbool.h>

/* Registered buffers are cut here: the kernel takes no larger one. */
#define SLC_BUF_CHUNK (1ull << 30)

struct slc_mv;

/*
 * One I/O: bytes [have, len) of [off, off + len) in the file, to or from
 * addr + have. The queue owns it; an engine keeps the pointer from start()
 * until wait() gives it back.
 */
struct slc_io {
	uint64_t off;
	char *addr;
	uint32_t len;	   /* of the I/O */
	uint32_t have;	   /* landed already: a short read is continued */
	int32_t fd;
	int32_t file_slot; /* in the registered table, or -1 */
	int32_t buf_slot;  /* in the registered table, or -1 */
	uint64_t buf_zero; /* the address that counts as 0 there */
	bool write;
	bool direct;	   /* fd is an O_DIRECT one */
	bool cancelled;	   /* asked to end early */

	/* The engine's, between start and wait; else the queue's. */
	struct slc_io *next;

	/* The queue's. */
	bool flying, bounced;
	bool blocking;	   /* the sync engine carries it, whatever q's is */
	uint16_t tries;	   /* times that -EAGAIN or -EINTR came in a row */
	uint32_t head, need; /* bytes [head, need) are the move's */
	uint8_t unit, nunits; /* of the bounce area */
	char *user;	   /* BOUNCE: where bytes [head, need) belong */
	int64_t not_before_ns; /* of the next try */
	struct slc_mv *mv;
};

struct slc_landed {
	struct slc_io *io;
	int32_t res; /* bytes, or -errno */
};

/* What an engine turned out to be. Filled by open(). */
struct slc_engine_caps {
	uint32_t features; /* SLC_QUEUE_HAS_* */
	uint32_t nfiles;   /* slots for registered files */
	uint32_t nbufs;	   /* slots for registered buffers */
	bool async;	   /* I/Os go on while nobody waits */
	char no_files[96]; /* why nfiles is 0 */
	char no_bufs[96];  /* why nbufs is 0 */
};

struct slc_engine_ops {
	const char *name;
	enum slc_route direct, buffered;

	/*
	 * Required. Room for `depth` I/Os. flags: SLC_QUEUE_*. 0, or -errno
	 * with the sentence in why[size].
	 */
	int (*open)(uint32_t depth, uint64_t flags, void **state,
		    struct slc_engine_caps *caps, char *why, size_t size);
	/* Required. No I/O is in flight. */
	void (*close)(void *state);
	/* Required. Takes one I/O; may leave it for wait() to send. 0, -EAGAIN. */
	int (*start)(void *state, struct slc_io *io);
	/*
	 * Required. Sends what was started, waits until `min` have landed or
	 * timeout_ns has passed (SLC_FOREVER: no limit), gives up to max.
	 * May give fewer at any time. A count, -EINTR when a signal came and
	 * nothing landed, or -errno when the engine itself is broken.
	 */
	int (*wait)(void *state, struct slc_landed *out, uint32_t max,
		    uint32_t min, int64_t timeout_ns);
	/* Optional. Hurries an I/O to its end; it still lands. */
	void (*cancel)(void *state, struct slc_io *io);
	/* Optional. Registers a descriptor, or with -1 forgets it. */
	int (*set_file)(void *state, uint32_t slot, int fd);
	/* Optional. Registers memory, or with len 0 forgets what is there. */
	int (*set_buffer)(void *state, uint32_t slot, void *addr, uint64_t len);
	/*
	 * Optional. Registers bytes [off, off + len) of a dma-buf of the module
	 * without pinning a page; addresses in the slot then count from 0. 0,
	 * or -errno with the sentence in why[SLC_MODULE_WHY].
	 */
	int (*set_dmabuf)(void *state, uint32_t slot, int fd, uint64_t off,
			  uint64_t len, char *why);
};

extern const struct slc_engine_ops slc_uring_ops;
extern const struct slc_engine_ops slc_sync_ops;

/* All of them, best first, then NULL. */
extern const struct slc_engine_ops *const slc_engines[];

#endif

/* SPDX-License-Identifier: MIT */
/* file.h - a file from inside: its two descriptors and its alignment. */
#ifndef SLC_QUEUE_FILE_H
#define SLC_QUEUE_FILE_H

#include <sluice/queue.h>

#include <stdatomic.h>
#include <stdbool.h>

/*
 * Immutable after slc_file_open() but for `refs` and `wrote_buffered`, so any
 * number of queues may share it.
 */
struct slc_file {
	atomic_uint refs;
	/*
	 * Set by the first write through the page cache. From then on no
	 * write goes around it: a direct write beside dirty pages of the same
	 * folio would leave stale ones behind.
	 */
	atomic_bool wrote_buffered;
	bool block_device;
	struct slc_ctx *ctx;
	int fd;	    /* through the page cache */
	int dio_fd; /* O_DIRECT, or -1 */
	uint32_t flags;
	uint32_t mem_align, off_align; /* powers of two; 0 without dio_fd */
	uint64_t len;
	int64_t mtime_ns;
	uint64_t dev, ino;
	char *path;
	char reason[128];
};

/* True when nobody but the caller holds a reference. */
static inline bool slc_file_is_last(const struct slc_file *file)
{
	/* Acquire pairs with the release in slc_file_put(). */
	return atomic_load_explicit(&file->refs, memory_order_acquire) == 1;
}

/* Where the file ends now, bytes, or -errno. */
int64_t slc_file_end(const struct slc_file *file);

#endif

/* SPDX-License-Identifier: MIT */
/* atomic_file.h - a file that is there whole or not at all. */
#ifndef SLC_STREAM_ATOMIC_FILE_H
#define SLC_STREAM_ATOMIC_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include <sluice/sluice.h>

/* Caller's storage. */
struct slc_atomic_file {
	struct slc_ctx *ctx;
	char *folder, *tmp; /* owned */
	uint8_t *buf;
	size_t used;
	int fd, err; /* err: sticky, its sentence was set when it came */
	bool renamed; /* after commit: the new file is at the path */
	uint64_t bytes; /* written so far, the buffer included */
	uint32_t crc;	/* CRC32C of them */
};

/*
 * Begins a hidden temporary file (packed_file.h) in the folder of `path`.
 * 0 or -errno.
 */
int slc_atomic_open(struct slc_ctx *ctx, const char *path,
		    struct slc_atomic_file *f);

/* Appends; 0 or the first -errno, which commit gives again. */
int slc_atomic_write(struct slc_atomic_file *f, const void *bytes, size_t n);

/*
 * Flushes, fsyncs, renames to `path` (in the folder of open) and fsyncs the
 * folder. On failure nothing is left and what was at `path` is as it was,
 * unless `renamed` says that only the fsync of the folder failed. Ends the
 * file either way.
 */
int slc_atomic_commit(struct slc_atomic_file *f, const char *path);

/*
 * Removes the temporary files that makers on this host left for `path` when
 * they were killed. The caller has a lock that every maker holds from open to
 * commit: then what is there has none. What cannot be removed is logged.
 */
void slc_atomic_sweep(struct slc_ctx *ctx, const char *path);

/* Ends it with nothing left. */
void slc_atomic_abort(struct slc_atomic_file *f);

#endif

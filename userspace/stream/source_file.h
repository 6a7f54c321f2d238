/* SPDX-License-Identifier: MIT */
/* source_file.h - a regular file as the source of a parser. */
#ifndef SLC_STREAM_SOURCE_FILE_H
#define SLC_STREAM_SOURCE_FILE_H

#include <stdbool.h>
#include <sys/stat.h>

#include <sluice/sluice.h>

#include "format/source.h"

struct slc_source_file {
	struct slc_source base;
	int fd;
	struct stat st;	  /* when opened */
	uint8_t *window;  /* bytes [at, at + have) of the file, in room */
	uint64_t at, have, room;
	uint32_t ahead;	  /* bytes that the last miss read */
	uint32_t near;	  /* so far behind the window is in sequence */
	bool reads_on;	  /* the kernel may read ahead by itself */
	const uint32_t *extent_crc; /* see slc_source_file_verify(); or NULL */
	uint32_t got_crc;
	bool mismatch;	  /* the extent at `at` has got_crc */
};

/*
 * Opens a regular file for reading and remembers its size. Never blocks:
 * a FIFO, socket, device or folder is -EINVAL with the reason.
 *
 * `src` is the caller's storage and must not move until close. 0 or -errno
 * with the sentence set.
 */
int slc_source_file_open(struct slc_ctx *ctx, const char *path,
			 struct slc_source_file *src);
void slc_source_file_close(struct slc_source_file *src);

/*
 * From here on little more is read than is asked for. For one of many files
 * that are read at once: together they hide the time of each read, and what
 * is read in vain takes from what the drive gives them all. One file alone is
 * better off with the kernel's readahead.
 */
void slc_source_file_spare(struct slc_source_file *src);

/*
 * From here on the source gives no byte whose extent (SLC_EXTENT_BYTES) has
 * not the checksum of extent_crc, which must outlive it and cover the whole
 * file: the read is -EBADMSG and `mismatch` is set.
 */
void slc_source_file_verify(struct slc_source_file *src,
			    const uint32_t *extent_crc);

/* Threads that may each have one file open, for slc_crew(); perhaps 0. */
unsigned int slc_source_readers(void);

/* -EBADMSG and the sentence for a `mismatch` in what is read: "header", ... */
int slc_fail_mismatch(struct slc_ctx *ctx, const char *path, const char *what,
		      const struct slc_source_file *src);

#endif

/* SPDX-License-Identifier: MIT */
/* files.h - the open files of a stream: on demand, the least used goes. */
#ifndef SLC_STREAM_FILES_H
#define SLC_STREAM_FILES_H

#include <stdbool.h>

#include "stream/dataset.h"

#define SLC_FILE_NONE UINT32_MAX

struct slc_open_file {
	struct slc_file *file; /* NULL: the entry is free */
	uint64_t shard;
	uint32_t refs;	     /* moves in flight */
	uint32_t prev, next; /* by last use; a list through `lru` */
	bool direct;	     /* O_DIRECT works */
};

struct slc_files {
	struct slc_dataset *ds;
	struct slc_queue *queue; /* NULL once it is closed */
	uint32_t flags;	     /* of slc_shard_open() */
	uint64_t changed;    /* a shard whose file was written to while it was
			      * open here; UINT64_MAX: none seen */
	uint32_t cap, n;
	uint32_t newest, lru_oldest;
	uint32_t *of_shard;  /* entry of each shard, SLC_FILE_NONE */
	struct slc_open_file *entry;
};

/* At most `cap` files at a time. 0 or -ENOMEM. */
int slc_files_init(struct slc_files *files, struct slc_dataset *ds,
		   struct slc_queue *queue, uint32_t flags, uint32_t cap);
/* No move may be in flight. */
void slc_files_fini(struct slc_files *files);

/*
 * Opens the file of a shard, or finds it open, and takes one reference. When
 * the process has no descriptor left, the least used file is closed. 0,
 * -EAGAIN (all files are busy: reap, then ask again), or -errno with the
 * sentence set.
 */
int slc_files_get(struct slc_files *files, uint64_t shard, uint32_t *entry);
void slc_files_put(struct slc_files *files, uint32_t entry);

/* Looks at every open file, as each close does: fills files->changed. */
void slc_files_look(struct slc_files *files);

#endif

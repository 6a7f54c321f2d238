/* SPDX-License-Identifier: MIT */
/*
 * feed.h - every byte of every shard once, in order, at the rate of the drive.
 *
 * Moves of one extent (1 MiB) are kept in flight through a queue, across the
 * ends of shards, and are handed out in file order where they landed.
 */
#ifndef SLC_STREAM_FEED_H
#define SLC_STREAM_FEED_H

#include "stream/dataset.h"

struct slc_feed;

/* One extent of a shard, where it landed. */
struct slc_extent {
	uint64_t shard;
	uint64_t off; /* in the file */
	uint64_t len;
	const uint8_t *ptr; /* valid until SLC_FEED_KEEP later extents came */
};
#define SLC_FEED_KEEP 3u

/*
 * `tick` is called between moves with the bytes handed out so far; a non-zero
 * answer makes slc_feed_next() return -ECANCELED. May be NULL. 0 or -errno.
 */
int slc_feed_open(struct slc_dataset *ds,
		  int (*tick)(void *user, uint64_t bytes), void *user,
		  struct slc_feed **out);
void slc_feed_close(struct slc_feed *feed);

/*
 * The next extent: 1, 0 after the last shard; -ECANCELED; -ESTALE for a file
 * that changed; -EIO and others of the queue, with the sentence.
 */
int slc_feed_next(struct slc_feed *feed, struct slc_extent *out);

#endif

/* SPDX-License-Identifier: MIT */
/* members.h - the named members of samples, found by reading headers only. */
#ifndef SLC_STREAM_MEMBERS_H
#define SLC_STREAM_MEMBERS_H

#include "stream/dataset.h"

struct slc_members;

/* A walk over a tar shard; holds its file open. 0 or -errno. */
int slc_members_open(struct slc_ctx *ctx, const struct slc_shard *sh,
		     struct slc_members **out);
void slc_members_close(struct slc_members *m);

/*
 * Calls `each` for every member of sample `local`; offsets in the piece are
 * those in the (inflated) shard, texts live during the call. A non-zero answer
 * of `each` ends the walk and is returned. Samples of a compressed shard are
 * asked in rising order. 0, -EBADMSG, -errno.
 */
int slc_members_each(struct slc_members *m, uint64_t local,
		     int (*each)(void *user, const struct slc_piece *piece),
		     void *user);

/* The key of one sample; its length uncut (n - 1 fit), or -errno. */
int slc_members_key(struct slc_ctx *ctx, const struct slc_shard *sh,
		    uint64_t local, char *buf, size_t n);

#endif

/* SPDX-License-Identifier: MIT */
/* listing.h - JSON files that name shards: manifests and index.json files. */
#ifndef SLC_STREAM_LISTING_H
#define SLC_STREAM_LISTING_H

#include "stream/collect.h"

enum slc_listing {
	SLC_LISTING_NONE = 0,
	SLC_LISTING_MANIFEST,	 /* "sluice_manifest" among its first bytes */
	SLC_LISTING_MDS,	 /* index.json with "shards" */
	SLC_LISTING_SAFETENSORS, /* *.safetensors.index.json */
};

/* Which of them the regular file at `path` is, or -errno. */
int slc_listing_kind(struct slc_ctx *ctx, const char *path);

/* Appends the shards that a listing of that kind names. 0 or -errno. */
int slc_listing_take(struct slc_ctx *ctx, const char *path, int kind,
		     const struct slc_taking *how, struct slc_finds *finds);

#endif

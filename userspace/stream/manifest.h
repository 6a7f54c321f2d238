/* SPDX-License-Identifier: MIT */
/* manifest.h - data.slc.json: the shards of a dataset and their checksums. */
#ifndef SLC_STREAM_MANIFEST_H
#define SLC_STREAM_MANIFEST_H

#include "stream/dataset.h"

#define SLC_MANIFEST_VERSION 1
#define SLC_JSON_MAX (1u << 30) /* bytes of a JSON file that is read whole */

/* What pack found out about one shard. */
struct slc_packed {
	uint32_t *extent_crc; /* nextents */
	uint32_t *sample_crc; /* one per sample */
	uint32_t nextents;
	uint32_t idx_crc;     /* Megatron */
	uint64_t idx_bytes;
};

/*
 * Writes the sample checksums beside `path`, then the manifest to it, each
 * whole or not at all; then removes the checksum file of the manifest that was
 * replaced. 0 or -errno, and then what was at `path` is as it was.
 */
int slc_manifest_write(struct slc_dataset *ds, const struct slc_packed *packed,
		       const char *path);

/*
 * 0 when pack may write to `path`: nothing is there, or a manifest. -EEXIST
 * protects anything else from being replaced by a slip of the keyboard.
 */
int slc_manifest_may_write(struct slc_ctx *ctx, const char *path);

/* Appends the shards of the manifest at `path`. 0 or -errno. */
int slc_manifest_take(struct slc_ctx *ctx, const char *path,
		      const struct slc_taking *how, struct slc_finds *finds);

/* Extents of a file of that many bytes. */
uint64_t slc_extents(uint64_t bytes);

#endif

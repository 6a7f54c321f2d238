/* SPDX-License-Identifier: MIT */
/* dataset.h - a dataset from inside: shards, tables, checksums. */
#ifndef SLC_STREAM_DATASET_H
#define SLC_STREAM_DATASET_H

#include <stdatomic.h>

#include <sluice/stream.h>

#include "format/format.h"
#include "format/inflate.h"
#include "stream/collect.h"
#include "stream/source_file.h"

#define SLC_EXTENT_BYTES (1u << 20) /* of a manifest checksum */

struct slc_shard {
	char *path;		/* of the file that holds the payload */
	char *idx;		/* Megatron: of the .idx beside it; else NULL */
	uint64_t record;	/* raw: bytes of a record; else 0 */
	struct slc_table table; /* table.format says which */
	uint64_t first;		/* dataset number of its first sample */
	uint64_t size;		/* bytes of the file at `path` */
	uint64_t inflated;	/* bytes after the codec; = size without one */
	int64_t mtime_ns;
	int64_t ctime_ns; /* moved too by a write that restores mtime */
	uint64_t dev, ino;
	uint32_t codec; /* enum slc_codec */
	uint32_t nextents;
	/* From the manifest, of stored bytes; NULL without one. */
	uint32_t *sample_crc; /* table.n */
	uint32_t *extent_crc; /* of each SLC_EXTENT_BYTES of the file */
};

/* Immutable once open, so any number of streams may share it unlocked. */
struct slc_dataset {
	struct slc_ctx *ctx;
	atomic_uint refs;
	struct slc_shard *shards;
	uint64_t nshards;
	uint64_t nsamples;
	uint64_t bytes;
	uint64_t index_bytes;
	uint64_t fingerprint;
	bool verified;
};

/* The shard of sample g < nsamples, by binary search. */
uint64_t slc_dataset_locate(const struct slc_dataset *ds, uint64_t g);

/*
 * Opens the file of a shard for moves and checks that it is still the file
 * that was indexed (dev, ino, size, mtime): -ESTALE with the sentence if not.
 */
int slc_shard_open(struct slc_dataset *ds, uint64_t shard, uint32_t flags,
		   struct slc_file **out);

/*
 * Reads the header or the index of what was found into *sh (zeroed by the
 * caller), and holds it against what the find was told; with `spare` as one of
 * many (slc_source_file_spare()). On success the arrays of *found are the
 * shard's. On failure *sh needs slc_shard_fini().
 */
int slc_shard_index(struct slc_ctx *ctx, struct slc_found *found, bool spare,
		    struct slc_shard *sh);
void slc_shard_fini(struct slc_shard *sh);

/*
 * What the index knows of sample `local`, all but its shard and key. An array
 * in Fortran order (table.fortran) has no rows to describe: sample 0 is then
 * all of it.
 */
void slc_shard_describe(const struct slc_shard *sh, uint64_t local,
			struct slc_sample_info *info);

#define SLC_FINGERPRINT_INIT 0xcbf29ce484222325u
/*
 * Goes on over one shard more: base name, format, size, record, codec, sample
 * count. No folder and no time, so a copy of a dataset is the same dataset.
 */
uint64_t slc_fingerprint(uint64_t h, const char *path,
			 const struct slc_format *format, uint64_t size,
			 uint64_t record, uint32_t codec, uint64_t samples);

/* The text key of a sample whose key is not in its bytes (all but tar). */
int slc_shard_key(const struct slc_shard *sh, uint64_t local, char *buf,
		  size_t n);

#endif

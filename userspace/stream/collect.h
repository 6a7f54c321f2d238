/* SPDX-License-Identifier: MIT */
/* collect.h - from the paths a user gives to the shards to read. */
#ifndef SLC_STREAM_COLLECT_H
#define SLC_STREAM_COLLECT_H

#include <sluice/sluice.h>

#include "format/format.h"

/* Whose word the expectations of a found shard are. */
enum slc_told {
	SLC_TOLD_NOTHING = 0,
	SLC_TOLD_INDEX,	   /* an index.json beside the shard: bytes, samples */
	SLC_TOLD_MANIFEST, /* a manifest: everything below */
};

/* A shard before it is read. */
struct slc_found {
	char *path; /* of the payload */
	char *idx;  /* Megatron: of its .idx; else NULL */
	const struct slc_format *format;
	uint64_t record; /* raw: bytes of a record */
	uint32_t codec;	 /* enum slc_codec */
	uint32_t told;	 /* enum slc_told */
	/* Expectations; SLC_SIZE_UNKNOWN where nothing was said. */
	uint64_t bytes, samples, inflated;
	int64_t mtime_ns;
	uint64_t idx_bytes;
	uint32_t idx_crc;
	uint32_t nextents;
	uint32_t *extent_crc; /* nextents */
	uint32_t *sample_crc; /* samples */
	/* slc_table.words of a table that only a read of all of the file gives
	 * (tar, compressed); or NULL */
	uint32_t *words;
	uint64_t nwords;
};

struct slc_finds {
	struct slc_found *v;
	uint64_t n, cap;
};

/* How the user wants files to be taken. */
struct slc_taking {
	const struct slc_format *format; /* NULL: each by name and magic */
	uint64_t record;
	bool lists_only; /* of a manifest take the paths, believe nothing */
};

/* Appends one empty find, which the list owns: NULL without memory. */
struct slc_found *slc_finds_add(struct slc_finds *finds);
void slc_finds_fini(struct slc_finds *finds);

/*
 * Appends the shards behind each path: a manifest, a file, a folder, an MDS
 * index.json or a model.safetensors.index.json. 0 or -errno with the sentence.
 */
int slc_collect(struct slc_ctx *ctx, const char *const *paths, uint64_t npaths,
		const struct slc_taking *how, struct slc_finds *finds);

/* "DIR/NAME" of the folder of `path`: malloc'd, NULL without memory. */
char *slc_path_beside(const char *path, const char *name);

/*
 * Reads a whole regular file of at most `max` bytes. *out is malloc'd with a
 * NUL after the *len bytes. 0, -EFBIG, -errno with the sentence.
 */
int slc_read_whole(struct slc_ctx *ctx, const char *path, uint64_t max,
		   uint8_t **out, uint64_t *len);

/* "FILE: FORMAT: offset N: what", or what an -errno of a parser means. */
int slc_fail_parse(struct slc_ctx *ctx, int err, const char *path,
		   const char *format, const struct slc_diag *diag);

#endif

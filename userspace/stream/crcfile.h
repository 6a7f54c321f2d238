/* SPDX-License-Identifier: MIT */
/*
 * crcfile.h - the file beside a manifest: a checksum per sample, and the
 * tables that only a read of a whole shard gives (tar, compressed).
 *
 *	0  "SLCCRC\r\n"	   8  u32 version 2    12 u32 CRC32C of the header
 *	16 u64 bytes of the file	       24 u64 shards
 *	32 u64 samples, all shards	       40 u64 0, 0, 0
 *	64 shards x { u64 samples, u64 words }
 *	   shards x { u32 crc[samples], u32 table[words] }
 *
 * Little endian. A checksum is the CRC32C of the stored bytes of a sample: of a
 * tar the headers too, so that a key can change as little as a picture can. The
 * header's CRC is taken with its own field as 0; the CRC of
 * the whole file is in the manifest.
 */
#ifndef SLC_STREAM_CRCFILE_H
#define SLC_STREAM_CRCFILE_H

#include "stream/atomic_file.h"
#include "stream/collect.h"

struct slc_crcfile_shard {
	uint64_t samples, nwords;
	const uint32_t *crc;   /* samples */
	const uint32_t *words; /* nwords */
};

/* Writes all of it; `f` then has its bytes and CRC. 0 or -errno. */
int slc_crcfile_write(struct slc_atomic_file *f,
		      const struct slc_crcfile_shard *shards, uint64_t nshards);

/*
 * Reads the file at `path` into sample_crc, words and nwords of `n` finds,
 * whose samples, format and codec are set. Memory is bounded by the size of
 * the file. 0, -EBADMSG when it is not the file of these finds, of this size
 * and CRC, -ENOENT, -ENOMEM.
 */
int slc_crcfile_read(struct slc_ctx *ctx, const char *path, uint64_t bytes,
		     uint32_t crc, struct slc_found *found, uint64_t n);

/* The words a find's table has in the file: 0 when its shard has its own. */
uint64_t slc_crcfile_words(const struct slc_format *format, uint32_t codec,
			   uint64_t samples);

#endif

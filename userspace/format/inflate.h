/* SPDX-License-Identifier: MIT */
/*
 * inflate.h - gzip and zstd as a state machine: bytes in, bytes out, no I/O.
 *
 * Memory is bounded whatever the input: zlib's 32 KiB window, or the 128 MiB
 * that a zstd frame may ask for at most. Output is made only as the caller
 * gives room for it, so a bomb costs what its reader asks and no more.
 */
#ifndef SLC_FORMAT_INFLATE_H
#define SLC_FORMAT_INFLATE_H

#include <stddef.h>
#include <stdint.h>

#include "format/source.h"

enum slc_codec { SLC_CODEC_NONE = 0, SLC_CODEC_GZIP, SLC_CODEC_ZSTD };

#define SLC_ZSTD_WINDOW_LOG 27 /* larger windows are refused */
/*
 * What a file may inflate to: so many times its size, and this. Deflate can
 * make no more by construction, 258 bytes of 2 bits; zstd can make 30000.
 */
#define SLC_INFLATE_RATIO 1032u
#define SLC_INFLATE_FREE (64u << 20) /* bytes */

struct slc_inflate;

/* The codec whose magic the first bytes have, or SLC_CODEC_NONE. */
uint32_t slc_codec_detect(const uint8_t *head, size_t n);
/* "gzip", "zstd", "" for none. Static. */
const char *slc_codec_name(uint32_t codec);

/* 0, -EINVAL (no such codec), -ENOMEM. Used by one thread at a time. */
int slc_inflate_open(uint32_t codec, struct slc_inflate **out);
void slc_inflate_close(struct slc_inflate *inf);
/* Back to the start of a stream; keeps the memory. */
int slc_inflate_reset(struct slc_inflate *inf);

/*
 * Takes up to *in_len bytes, makes up to *out_len; on return both hold what
 * was taken and made. With room for output there is progress for as long as
 * there is input; with none left (*in_len 0) what is still held inside comes
 * out, until *out_len comes back as 0. Streams laid end to end are one. 0, or
 * -EBADMSG, -ENOMEM with slc_inflate_what(); then only that again until reset.
 */
int slc_inflate_step(struct slc_inflate *inf, const uint8_t *in,
		     size_t *in_len, uint8_t *out, size_t *out_len);

/* All input was given: 0 when it ended where a stream ends, else -EBADMSG. */
int slc_inflate_finish(struct slc_inflate *inf);

/* What is wrong, one line; "" while nothing is. Life: the next call. */
const char *slc_inflate_what(const struct slc_inflate *inf);

/*
 * A source over the inflated bytes of another, forward only: base.size is
 * SLC_SIZE_UNKNOWN until the end was read. Damaged input is -EBADMSG, and so is
 * input of a known size that makes more than SLC_INFLATE_RATIO allows.
 */
struct slc_source_inflate {
	struct slc_source base;
	struct slc_source *from; /* borrowed */
	struct slc_inflate *inf;
	uint8_t *in;		/* one buffer of compressed bytes */
	size_t in_at, in_len;	/* what is left in it */
	uint64_t from_off;	/* where the next ones are */
	uint64_t made;		/* inflated bytes so far */
	uint64_t limit;		/* of them */
	int err;		/* sticky */
};
/* 0, -EINVAL, -ENOMEM. `from` must outlive the source. */
int slc_source_inflate_init(struct slc_source_inflate *src, uint32_t codec,
			    struct slc_source *from);
void slc_source_inflate_fini(struct slc_source_inflate *src);

#endif

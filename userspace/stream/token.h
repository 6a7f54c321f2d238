/* SPDX-License-Identifier: MIT */
/*
 * token.h - the resume token as text: "slc1." 116 hex digits "." 8 hex digits.
 *
 * The digits are the fields of struct slc_token in order, little-endian, and
 * then the CRC32C of all text before the last dot. Exactly one text stands for
 * each token: lower case, full length.
 */
#ifndef SLC_STREAM_TOKEN_H
#define SLC_STREAM_TOKEN_H

#include <sluice/stream.h>

#define SLC_TOKEN_VERSION 1

struct slc_token {
	uint64_t fingerprint; /* of the dataset */
	uint8_t shuffle, tail;
	uint64_t seed, epoch;
	uint64_t n;    /* samples of the dataset */
	uint64_t base; /* first position not handed out to any rank */
	uint64_t end;  /* as dealt to `world` ranks with `batch` */
	uint32_t world, batch;
};

/* Writes text and NUL; SLC_TOKEN_MAX bytes are enough. 0 or -ENOSPC. */
int slc_token_write(const struct slc_token *token, char *buf, size_t n);

/*
 * Reads a token back: 0, or -EINVAL with a sentence in `why` (n bytes). Checks
 * the text and that the fields agree with each other, not with any dataset.
 */
int slc_token_read(const char *text, struct slc_token *out, char *why,
		   size_t n);

/* What a caller said of the order, beside the token that holds it. */
#define SLC_SAID_SHUFFLE (1u << 0)
#define SLC_SAID_TAIL (1u << 1)
#define SLC_SAID_SEED (1u << 2)
#define SLC_SAID_EPOCH (1u << 3)

/*
 * Whether the fields of `attr` that were said are those of the token: 0, or
 * -EINVAL with a sentence in `why` (n bytes).
 */
int slc_token_agree(const struct slc_token *token,
		    const struct slc_stream_attr *attr, uint32_t said,
		    char *why, size_t n);

#endif

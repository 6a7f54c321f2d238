/* SPDX-License-Identifier: MIT */
/* format.h - the formats sluice knows, behind one table. */
#ifndef SLC_FORMAT_FORMAT_H
#define SLC_FORMAT_FORMAT_H

#include "format/table.h"

/* What a parser gets beside the bytes. */
struct slc_parse {
	struct slc_source *src; /* the file that describes the samples */
	uint64_t data_size;	/* Megatron: bytes of the .bin beside the .idx */
	uint64_t record;	/* raw: bytes of a record */
};

/*
 * One piece of a sample within its span. Texts lie in the span or are static,
 * without a NUL, as stored: WebDataset compares names in lower case.
 */
struct slc_piece {
	const char *name;
	uint32_t name_len;
	uint32_t key_len;
	const char *key; /* of the sample */
	const char *dir; /* not empty: stands before the key, with a '/' */
	uint32_t dir_len;
	uint32_t reserved;
	uint64_t off, len; /* of the content, in the span */
};

/*
 * The key of a piece with its dir, NUL terminated, cut to n - 1 bytes. Returns
 * the length it has uncut.
 */
size_t slc_piece_key(const struct slc_piece *piece, char *buf, size_t n);

struct slc_format {
	const char *name; /* Required. "safetensors" */
	/* Required. File name endings, NULL at the end: ".safetensors". */
	const char *const *endings;
	/* Optional. The first bytes (up to 512) are surely of this format. */
	bool (*magic)(const uint8_t *head, size_t n);
	/*
	 * Required. Fills *t (zeroed by the caller) with every check of the
	 * format, bounded in time and memory by the size of the input. 0,
	 * -EBADMSG with *diag, -ENOMEM, or the source's -errno. On failure
	 * *t needs no fini.
	 */
	int (*parse)(const struct slc_parse *in, struct slc_table *t,
		     struct slc_diag *diag);
	/* Optional. The name of a slc_tensor.dtype code. Static. */
	const char *(*dtype_name)(uint32_t dtype);
	/*
	 * Optional: absent, the payload of a sample is its span. Walks the
	 * pieces of a span in memory (tar members): *pos is 0 at first; returns
	 * 1 and the next piece, 0 at the end, -EBADMSG.
	 */
	int (*member)(const uint8_t *span, uint64_t len, uint64_t *pos,
		      struct slc_piece *out, struct slc_diag *diag);
};

extern const struct slc_format slc_format_safetensors, slc_format_gguf,
	slc_format_npy, slc_format_raw, slc_format_megatron, slc_format_tar,
	slc_format_mds;

/* By name ("tar"), or NULL. */
const struct slc_format *slc_format_by_name(const char *name);

/*
 * By the ending of the name, then by magic over the first bytes; NULL when
 * neither knows. ".gz", ".zst" and ".zstd" are taken off the name first.
 */
const struct slc_format *slc_format_detect(const char *path,
					   const uint8_t *head, size_t n);

/* Every known format, in the order that detection tries them; NULL ends it. */
extern const struct slc_format *const slc_formats[];

#endif

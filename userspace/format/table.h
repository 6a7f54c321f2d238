/* SPDX-License-Identifier: MIT */
/*
 * table.h - where the samples of one shard are: the result of every parser.
 *
 * One of five shapes, each a few bytes a sample, so that ten million samples
 * fit in memory. All offsets are in the (inflated) shard.
 */
#ifndef SLC_FORMAT_TABLE_H
#define SLC_FORMAT_TABLE_H

#include <stdbool.h>

#include "format/source.h"

struct slc_format;

enum slc_table_kind {
	SLC_TABLE_FIXED = 1, /* base + i * stride: npy rows, raw records */
	SLC_TABLE_OFFSETS,   /* u32 bounds[n + 1]: MDS */
	SLC_TABLE_LENGTHS,   /* u32 units[n], a u64 base every 64: Megatron */
	SLC_TABLE_BLOCKS,    /* u32 first and u32 count of 512 bytes: tar */
	SLC_TABLE_TENSORS,   /* safetensors, GGUF */
};

#define SLC_DIMS_MAX 64

struct slc_tensor {
	uint64_t off, len;  /* bytes in the file */
	uint64_t name;	    /* offset in slc_table.names, NUL terminated */
	uint64_t shape;	    /* index in slc_table.dims */
	uint32_t ndim;
	uint32_t dtype;	    /* the format's own code: format->dtype_name() */
};

struct slc_table {
	const struct slc_format *format;
	uint32_t kind; /* enum slc_table_kind */
	uint32_t unit; /* LENGTHS: bytes of a token. FIXED: bytes of an item */
	uint64_t n;    /* samples */
	uint64_t base; /* FIXED: offset of the first sample */
	uint64_t stride; /* FIXED: bytes of each sample */
	/* LENGTHS: sample i begins at anchors[i / 64] + the units before it in
	 * its group of 64, unless `starts` gives each (a file with holes). */
	uint32_t *words;   /* OFFSETS: n + 1. LENGTHS: n. BLOCKS: 2 n */
	uint64_t *anchors; /* LENGTHS: (n + 63) / 64 */
	/* LENGTHS with holes: 3 n, the low 16 of 48 bits first; else NULL */
	uint16_t *starts;
	struct slc_tensor *tensors; /* TENSORS: n, by rising offset */
	char *names;
	uint64_t *dims;
	/* FIXED (npy): dtype text and the shape of one sample. Any: "" and 0. */
	char dtype[16];
	uint32_t ndim;
	uint64_t shape[SLC_DIMS_MAX];
	bool fortran;	    /* npy in Fortran order: rows are not contiguous */
	uint64_t mem_bytes; /* what the arrays take */
};

/* Frees the arrays and zeroes the table. */
void slc_table_fini(struct slc_table *t);

/* Where sample i < n is. Bounds were checked when the table was made. */
void slc_table_span(const struct slc_table *t, uint64_t i, uint64_t *off,
		    uint64_t *len);

#endif

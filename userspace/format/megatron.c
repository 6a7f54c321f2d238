/* SPDX-License-Identifier: MIT */
/*
 * Megatron indexed dataset, the .idx file (FORMATS.md 1.2):
 *
 *	0  "MMIDIDX\0\0"   9  u64 version 1   17 u8 dtype
 *	18 u64 S sequences   26 u64 D document indices
 *	34 i32 lengths[S] | i64 pointers[S] | i64 documents[D] | i8 modes[S]?
 *
 * All little endian and unaligned. Whether modes are there only the size of
 * the file says. Samples are sequences: spans of the .bin beside it.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/format.h"

#define HEADER_BYTES 34
#define CHUNK_BYTES (1u << 20) /* a multiple of 8 */
#define GROUP 64	       /* sequences an anchor, as in table.h */
#define START_BYTES 6	       /* of a start where there are holes, as there */
#define START_MAX ((1ull << 48) - 1)

static const uint8_t idx_magic[9] = "MMIDIDX\0";

static const struct {
	char name[4];
	uint32_t bytes;
} dtypes[] = {
	[1] = { "u8", 1 },  [2] = { "i8", 1 },	[3] = { "i16", 2 },
	[4] = { "i32", 4 }, [5] = { "i64", 8 }, [6] = { "f64", 8 },
	[7] = { "f32", 4 }, [8] = { "u16", 2 },
};

struct idx {
	struct slc_source *src;
	struct slc_table *t;
	struct slc_diag *diag;
	uint8_t *chunk; /* CHUNK_BYTES */
	uint64_t data_size;
	uint64_t nseq, ndoc;
	uint64_t lengths, pointers, documents; /* offsets in the file */
	uint64_t end; /* of the sequence before, in the .bin */
};

static uint64_t le64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Where the arrays are, and that the file ends where they do. */
static int check_layout(struct idx *x)
{
	uint64_t seq_bytes, doc_bytes, size, with_modes;

	if (!slc_mul(x->nseq, 12, &seq_bytes) ||
	    !slc_mul(x->ndoc, 8, &doc_bytes) ||
	    !slc_add(seq_bytes, doc_bytes, &size) ||
	    !slc_add(size, HEADER_BYTES, &size) ||
	    !slc_add(size, x->nseq, &with_modes))
		return slc_bad(x->diag, 18,
			       "%llu sequences and %llu document indices do not fit in any file",
			       (unsigned long long)x->nseq,
			       (unsigned long long)x->ndoc);
	if (x->src->size != size && x->src->size != with_modes)
		return slc_bad(x->diag, min_u64(x->src->size, size),
			       "the file has %llu bytes, but %llu sequences and %llu document indices take %llu (%llu with modes)",
			       (unsigned long long)x->src->size,
			       (unsigned long long)x->nseq,
			       (unsigned long long)x->ndoc,
			       (unsigned long long)size,
			       (unsigned long long)with_modes);
	if (!x->ndoc)
		return slc_bad(x->diag, 26,
			       "the document count is 0: it must be the documents + 1");
	x->lengths = HEADER_BYTES;
	x->pointers = x->lengths + 4 * x->nseq;
	x->documents = x->pointers + 8 * x->nseq;
	return 0;
}

static int read_header(struct idx *x)
{
	uint8_t h[HEADER_BYTES];
	int err;

	if (x->src->size == SLC_SIZE_UNKNOWN)
		return slc_bad(x->diag, 0,
			       "a compressed .idx cannot be read: unpack it");
	err = slc_source_exact(x->src, 0, h, min_u64(x->src->size, 9),
			       "the magic", x->diag);
	if (err)
		return err;
	if (x->src->size < 9 || memcmp(h, idx_magic, sizeof(idx_magic)))
		return slc_bad(x->diag, 0,
			       "no MMIDIDX magic: not a Megatron index");
	err = slc_source_exact(x->src, 0, h, sizeof(h), "the header", x->diag);
	if (err)
		return err;
	if (le64(h + 9) != 1)
		return slc_bad(x->diag, 9,
			       "version %llu: only version 1 is known",
			       (unsigned long long)le64(h + 9));
	if (h[17] < 1 || h[17] >= sizeof(dtypes) / sizeof(dtypes[0]))
		return slc_bad(x->diag, 17,
			       "dtype code %u: known are 1 (u8) to 8 (u16)",
			       h[17]);
	x->t->unit = dtypes[h[17]].bytes;
	strcpy(x->t->dtype, dtypes[h[17]].name);
	x->nseq = le64(h + 18);
	x->ndoc = le64(h + 26);
	return check_layout(x);
}

static int read_lengths(struct idx *x)
{
	uint64_t done = 0;
	int err;

	/* The size of the file bounds nseq: this is a third of it at most. */
	x->t->words = malloc(x->nseq ? x->nseq * 4 : 1);
	if (!x->t->words)
		return -ENOMEM;
	while (done < x->nseq) {
		uint64_t n = min_u64(x->nseq - done, CHUNK_BYTES / 4);
		uint32_t *w = x->t->words + done;
		uint32_t signs = 0;

		err = slc_source_exact(x->src, x->lengths + 4 * done, w, 4 * n,
				       "the lengths", x->diag);
		if (err)
			return err;
		for (uint64_t i = 0; i < n; i++) {
			w[i] = le32toh(w[i]);
			signs |= w[i];
		}
		for (uint64_t i = 0; (signs >> 31) && i < n; i++)
			if (w[i] >> 31)
				return slc_bad(
					x->diag, x->lengths + 4 * (done + i),
					"sequence %llu has the negative length %d",
					(unsigned long long)(done + i),
					(int)w[i]);
		done += n;
	}
	return 0;
}

static void put_start(uint16_t *starts, uint64_t i, uint64_t off)
{
	for (int k = 0; k < 3; k++)
		starts[3 * i + (uint64_t)k] = (uint16_t)(off >> 16 * k);
}

/* The first hole: from here on each start is kept, those before included. */
static int keep_starts(struct idx *x, uint64_t upto)
{
	uint16_t *starts = malloc(x->nseq * START_BYTES);
	uint64_t off = 0;

	if (!starts)
		return -ENOMEM;
	for (uint64_t i = 0; i < upto; i++) {
		if (i % GROUP == 0)
			off = x->t->anchors[i / GROUP];
		put_start(starts, i, off);
		off += (uint64_t)x->t->words[i] * x->t->unit;
	}
	x->t->starts = starts;
	free(x->t->anchors);
	x->t->anchors = NULL;
	return 0;
}

static int bad_pointer(struct idx *x, uint64_t i, uint64_t ptr)
{
	uint64_t at = x->pointers + 8 * i;
	uint64_t len = (uint64_t)x->t->words[i] * x->t->unit;

	if (ptr >> 63)
		return slc_bad(x->diag, at,
			       "sequence %llu has the negative pointer %lld",
			       (unsigned long long)i, (long long)ptr);
	if (!slc_within(ptr, len, x->data_size))
		return slc_bad(x->diag, at,
			       "sequence %llu is bytes [%llu, +%llu) of a .bin of %llu bytes",
			       (unsigned long long)i, (unsigned long long)ptr,
			       (unsigned long long)len,
			       (unsigned long long)x->data_size);
	return slc_bad(x->diag, at,
		       "sequence %llu begins at %llu, before the one before it ends (%llu)",
		       (unsigned long long)i, (unsigned long long)ptr,
		       (unsigned long long)x->end);
}

static int take_pointer(struct idx *x, uint64_t i, uint64_t ptr)
{
	uint64_t len = (uint64_t)x->t->words[i] * x->t->unit;
	int err;

	/* A negative pointer is a huge one here. */
	if (!slc_within(ptr, len, x->data_size) || ptr < x->end)
		return bad_pointer(x, i, ptr);
	if (ptr != x->end && i && !x->t->starts) {
		err = keep_starts(x, i);
		if (err)
			return err;
	}
	if (x->t->starts && ptr > START_MAX)
		return slc_bad(x->diag, x->pointers + 8 * i,
			       "sequence %llu begins past 256 TiB, in a .bin with holes: use smaller shards",
			       (unsigned long long)i);
	if (x->t->starts)
		put_start(x->t->starts, i, ptr);
	else if (i % GROUP == 0)
		x->t->anchors[i / GROUP] = ptr;
	x->end = ptr + len;
	return 0;
}

static int read_pointers(struct idx *x)
{
	uint64_t groups = x->nseq / GROUP + 1, done = 0;
	int err;

	x->t->anchors = malloc(groups * 8);
	if (!x->t->anchors)
		return -ENOMEM;
	while (done < x->nseq) {
		uint64_t n = min_u64(x->nseq - done, CHUNK_BYTES / 8);

		err = slc_source_exact(x->src, x->pointers + 8 * done,
				       x->chunk, 8 * n, "the pointers",
				       x->diag);
		if (err)
			return err;
		for (uint64_t i = 0; i < n; i++) {
			err = take_pointer(x, done + i, le64(x->chunk + 8 * i));
			if (err)
				return err;
		}
		done += n;
	}
	return 0;
}

static int take_document(struct idx *x, uint64_t i, uint64_t v, uint64_t *last)
{
	uint64_t at = x->documents + 8 * i;

	if (!i && v)
		return slc_bad(x->diag, at,
			       "the first document begins at sequence %lld, not 0",
			       (long long)v);
	if (v > x->nseq)
		return slc_bad(x->diag, at,
			       "document index %llu is %lld: there are %llu sequences",
			       (unsigned long long)i, (long long)v,
			       (unsigned long long)x->nseq);
	if (v < *last)
		return slc_bad(x->diag, at,
			       "document index %llu is %llu, after %llu",
			       (unsigned long long)i, (unsigned long long)v,
			       (unsigned long long)*last);
	if (i == x->ndoc - 1 && v != x->nseq)
		return slc_bad(x->diag, at,
			       "the documents end at sequence %llu of %llu",
			       (unsigned long long)v,
			       (unsigned long long)x->nseq);
	*last = v;
	return 0;
}

static int read_documents(struct idx *x)
{
	uint64_t done = 0, last = 0;
	int err;

	while (done < x->ndoc) {
		uint64_t n = min_u64(x->ndoc - done, CHUNK_BYTES / 8);

		err = slc_source_exact(x->src, x->documents + 8 * done,
				       x->chunk, 8 * n,
				       "the document indices", x->diag);
		if (err)
			return err;
		for (uint64_t i = 0; i < n; i++) {
			err = take_document(x, done + i,
					    le64(x->chunk + 8 * i), &last);
			if (err)
				return err;
		}
		done += n;
	}
	return 0;
}

static int parse(const struct slc_parse *in, struct slc_table *t,
		 struct slc_diag *diag)
{
	struct idx x = { .src = in->src,
			 .t = t,
			 .diag = diag,
			 .data_size = in->data_size };
	int err;

	t->format = &slc_format_megatron;
	t->kind = SLC_TABLE_LENGTHS;
	err = read_header(&x);
	if (err)
		goto undo;
	x.chunk = malloc(CHUNK_BYTES);
	if (!x.chunk) {
		err = -ENOMEM;
		goto undo;
	}
	err = read_lengths(&x);
	if (!err)
		err = read_pointers(&x);
	if (!err)
		err = read_documents(&x);
	free(x.chunk);
	if (err)
		goto undo;
	t->n = x.nseq;
	t->mem_bytes = 4 * x.nseq + (t->starts ? START_BYTES * x.nseq :
						 8 * (x.nseq / GROUP + 1));
	return 0;
undo:
	slc_table_fini(t);
	return err;
}

static bool magic(const uint8_t *head, size_t n)
{
	return n >= sizeof(idx_magic) &&
	       !memcmp(head, idx_magic, sizeof(idx_magic));
}

static const char *dtype_name(uint32_t dtype)
{
	if (dtype < 1 || dtype >= sizeof(dtypes) / sizeof(dtypes[0]))
		return "";
	return dtypes[dtype].name;
}

const struct slc_format slc_format_megatron = {
	.name = "megatron",
	.endings = (const char *const[]){ ".idx", NULL },
	.magic = magic,
	.parse = parse,
	.dtype_name = dtype_name,
};

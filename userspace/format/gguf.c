/* SPDX-License-Identifier: MIT */
/*
 * GGUF version 3, little endian (ggml's gguf.md): header, key-value pairs,
 * tensor infos, then the tensors at multiples of general.alignment.
 *
 * The file says the fastest dimension first; the table gives shapes in C
 * order, slowest first, as numpy and safetensors do. Stricter than the text of
 * the format: names and keys come once, and the tensors lie back to back but
 * for the padding (as ggml's own reader demands), up to the end of the file.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/format.h"
#include "format/json.h"
#include "format/unique.h"

#define KEY_MAX 65535
#define KEYS_MAX 1000000
#define NAME_MAX_LEN 64
#define NDIMS_MAX 4
#define NESTING_MAX 64
#define WINDOW (1u << 16)

/* Elements and bytes of a block, by ggml_type; 0: there is no such type. */
static const struct {
	char name[8];
	uint16_t elements, bytes;
} types[] = {
	[0] = { "F32", 1, 4 },
	[1] = { "F16", 1, 2 },
	[2] = { "Q4_0", 32, 18 },
	[3] = { "Q4_1", 32, 20 },
	[6] = { "Q5_0", 32, 22 },
	[7] = { "Q5_1", 32, 24 },
	[8] = { "Q8_0", 32, 34 },
	[9] = { "Q8_1", 32, 36 },
	[10] = { "Q2_K", 256, 84 },
	[11] = { "Q3_K", 256, 110 },
	[12] = { "Q4_K", 256, 144 },
	[13] = { "Q5_K", 256, 176 },
	[14] = { "Q6_K", 256, 210 },
	[15] = { "Q8_K", 256, 292 },
	[16] = { "IQ2_XXS", 256, 66 },
	[17] = { "IQ2_XS", 256, 74 },
	[18] = { "IQ3_XXS", 256, 98 },
	[19] = { "IQ1_S", 256, 50 },
	[20] = { "IQ4_NL", 32, 18 },
	[21] = { "IQ3_S", 256, 110 },
	[22] = { "IQ2_S", 256, 82 },
	[23] = { "IQ4_XS", 256, 136 },
	[24] = { "I8", 1, 1 },
	[25] = { "I16", 1, 2 },
	[26] = { "I32", 1, 4 },
	[27] = { "I64", 1, 8 },
	[28] = { "F64", 1, 8 },
	[29] = { "IQ1_M", 256, 56 },
	[30] = { "BF16", 1, 2 },
	[34] = { "TQ1_0", 256, 54 },
	[35] = { "TQ2_0", 256, 66 },
	[39] = { "MXFP4", 32, 17 },
	[40] = { "NVFP4", 64, 36 },
	[41] = { "Q1_0", 128, 18 },
};
#define NTYPES (sizeof(types) / sizeof(types[0]))

enum kv_type { KV_U32 = 4, KV_BOOL = 7, KV_STRING = 8, KV_ARRAY = 9, KV_END = 13 };

/* Bytes of a value; strings and arrays say their own length. */
static const uint8_t kv_bytes[KV_END] = { 1, 1, 2, 2, 4, 4, 4, 1,
					  0, 0, 8, 8, 8 };

/*
 * Names one after another, each with a NUL and, in the arena of the keys, with
 * its offset in the file before it.
 */
struct arena {
	char *text;
	uint64_t len, room;
	bool offsets;
	struct slc_names names;
};

struct entry {
	struct slc_tensor t; /* off is relative to the data at first */
	uint64_t at_name, at_off; /* in the file */
};

struct parser {
	struct slc_source *src;
	struct slc_diag *diag;
	uint64_t pos; /* in the file: the next byte to read */
	uint8_t *window;
	uint64_t window_off, window_len;
	struct arena keys, names;
	struct entry *entries;
	uint64_t n, room;
	uint64_t *dims;
	uint64_t ndims, dims_room;
	uint64_t align;
};

static int no_memory(struct parser *p)
{
	slc_bad(p->diag, p->pos, "no memory for what the header lists");
	return -ENOMEM;
}

/* Fills the window from pos on, and never reads a byte twice. */
static int64_t refill(struct parser *p)
{
	uint64_t have = 0, end = p->window_off + p->window_len;
	int64_t got;

	if (p->pos < end) {
		have = end - p->pos;
		memmove(p->window, p->window + p->window_len - have, have);
	}
	got = p->src->read(p->src, p->pos + have, p->window + have,
			   WINDOW - have);
	if (got < 0)
		return got;
	p->window_off = p->pos;
	p->window_len = have + (uint64_t)got;
	return 0;
}

/* The next len <= WINDOW bytes, valid until the next take, in *out. */
static int take(struct parser *p, uint64_t len, const char *what,
		const uint8_t **out)
{
	if (!slc_within(p->pos - p->window_off, len, p->window_len)) {
		int64_t err = refill(p);

		if (err < 0) {
			slc_bad(p->diag, p->pos, "cannot read %s: %s", what,
				strerror((int)-err));
			return (int)err;
		}
		if (p->window_len < len)
			return slc_bad(p->diag, p->pos + p->window_len,
				       "the file ends inside %s", what);
	}
	*out = p->window + (p->pos - p->window_off);
	p->pos += len;
	return 0;
}

static int take_u64(struct parser *p, const char *what, uint64_t *out)
{
	const uint8_t *b;
	int err = take(p, 8, what, &b);

	if (err)
		return err;
	*out = 0;
	for (int i = 7; i >= 0; i--)
		*out = *out << 8 | b[i];
	return 0;
}

static int take_u32(struct parser *p, const char *what, uint32_t *out)
{
	const uint8_t *b;
	int err = take(p, 4, what, &b);

	if (!err)
		*out = b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 |
		       (uint32_t)b[3] << 24;
	return err;
}

/* `count` things of at least `each` bytes must fit in what is left. */
static int fits(struct parser *p, uint64_t at, uint64_t count, uint64_t each,
		const char *what)
{
	uint64_t bytes, end;

	if (!slc_mul(count, each, &bytes) || !slc_add(p->pos, bytes, &end) ||
	    end > p->src->size)
		return slc_bad(p->diag, at, "%llu %s do not fit in the file",
			       (unsigned long long)count, what);
	return 0;
}

static int skip(struct parser *p, uint64_t len, const char *what)
{
	const uint8_t *b;
	int err;

	if (!len)
		return 0;
	err = fits(p, p->pos, len, 1, "bytes");
	if (err)
		return err;
	p->pos += len - 1;
	return take(p, 1, what, &b);
}

/* A length and so many bytes of text, 1 to max of them, kept in the arena. */
static int take_name(struct parser *p, struct arena *a, uint64_t max,
		     const char *what)
{
	uint64_t len, at = p->pos, bad, need;
	const uint8_t *b;
	int err;

	err = take_u64(p, what, &len);
	if (err)
		return err;
	if (len > max)
		return slc_bad(p->diag, at, "%s of %llu bytes is over the limit of %llu",
			       what, (unsigned long long)len,
			       (unsigned long long)max);
	err = take(p, len, what, &b);
	if (err)
		return err;
	bad = slc_utf8_check(b, len);
	if (bad < len || memchr(b, 0, len))
		return slc_bad(p->diag, at + 8,
			       "%s has a NUL or bytes that are not UTF-8", what);
	need = len + 1 + (a->offsets ? sizeof(at) : 0);
	if (a->len > UINT32_MAX - need)
		return slc_bad(p->diag, at, "the names take more than 4 GiB");
	if (a->len + need > a->room) {
		uint64_t room = (a->len + need) * 2;
		char *text = realloc(a->text, room);

		if (!text)
			return no_memory(p);
		a->text = text;
		a->room = room;
	}
	if (a->offsets) {
		memcpy(a->text + a->len, &at, sizeof(at));
		a->len += sizeof(at);
	}
	memcpy(a->text + a->len, b, len);
	a->text[a->len + len] = 0;
	if (slc_names_add(&a->names, a->text, (uint32_t)a->len, (uint32_t)len))
		return no_memory(p);
	a->len += len + 1;
	return 0;
}

static int refuse_twice(struct parser *p, struct arena *a, const char *what)
{
	const struct slc_name *twice = slc_names_twice(&a->names, a->text);
	uint64_t at = 0;

	if (!twice)
		return 0;
	if (a->offsets)
		memcpy(&at, a->text + twice->off - sizeof(at), sizeof(at));
	for (uint64_t i = 0; !a->offsets && i < p->n; i++)
		if (p->entries[i].t.name == twice->off)
			at = p->entries[i].at_name;
	return slc_bad(p->diag, at, "%s \"%.60s\" comes twice", what,
		       a->text + twice->off);
}

static int skip_string(struct parser *p)
{
	uint64_t len;
	int err = take_u64(p, "a string", &len);

	return err ? err : skip(p, len, "a string");
}

static int skip_bools(struct parser *p, uint64_t count)
{
	const uint8_t *b;
	int err;

	while (count) {
		uint64_t n = count < WINDOW ? count : WINDOW;

		err = take(p, n, "a bool", &b);
		if (err)
			return err;
		for (uint64_t i = 0; i < n; i++)
			if (b[i] > 1)
				return slc_bad(p->diag, p->pos - n + i,
					       "a bool of %u, not 0 or 1",
					       b[i]);
		count -= n;
	}
	return 0;
}

static int skip_array(struct parser *p, uint32_t depth);

static int skip_values(struct parser *p, uint64_t at, uint32_t kind,
		       uint64_t count, uint32_t depth)
{
	uint64_t each;
	int err = 0;

	if (kind >= KV_END)
		return slc_bad(p->diag, at, "unknown value type %u", kind);
	each = kind == KV_STRING ? 8 : kind == KV_ARRAY ? 12 : kv_bytes[kind];
	err = fits(p, at, count, each, "values");
	if (err)
		return err;
	if (kind == KV_BOOL)
		return skip_bools(p, count);
	if (kind != KV_STRING && kind != KV_ARRAY)
		return skip(p, count * each, "a value");
	while (!err && count--)
		err = kind == KV_STRING ? skip_string(p) :
					  skip_array(p, depth + 1);
	return err;
}

static int skip_array(struct parser *p, uint32_t depth)
{
	uint64_t count, at = p->pos;
	uint32_t kind;
	int err;

	if (depth > NESTING_MAX)
		return slc_bad(p->diag, at,
			       "arrays nested deeper than %d levels",
			       NESTING_MAX);
	err = take_u32(p, "an array", &kind);
	if (!err)
		err = take_u64(p, "an array", &count);
	return err ? err : skip_values(p, at, kind, count, depth);
}

static int take_alignment(struct parser *p, uint64_t at, uint32_t kind)
{
	uint32_t align;
	int err;

	if (kind != KV_U32)
		return slc_bad(p->diag, at,
			       "general.alignment has the value type %u, not %u (u32)",
			       kind, KV_U32);
	err = take_u32(p, "general.alignment", &align);
	if (err)
		return err;
	if (!align || align % 8)
		return slc_bad(p->diag, at + 4,
			       "general.alignment is %u: not a multiple of 8",
			       align);
	p->align = align;
	return 0;
}

static int read_pair(struct parser *p)
{
	uint64_t at = p->pos;
	const char *key;
	uint32_t kind;
	int err;

	err = take_name(p, &p->keys, KEY_MAX, "a key");
	if (err)
		return err;
	key = p->keys.text + p->keys.names.at[p->keys.names.n - 1].off;
	if (!*key)
		return slc_bad(p->diag, at, "an empty key");
	at = p->pos;
	err = take_u32(p, "a value type", &kind);
	if (err)
		return err;
	if (!strcmp(key, "general.alignment"))
		return take_alignment(p, at, kind);
	if (kind == KV_ARRAY)
		return skip_array(p, 1);
	return skip_values(p, at, kind, 1, 0);
}

static int read_pairs(struct parser *p, uint64_t count)
{
	int err = 0;

	while (!err && count--)
		err = read_pair(p);
	return err;
}

/* dims in C order; *len is what they and the type need. */
static int read_shape(struct parser *p, struct entry *e)
{
	uint64_t dims[NDIMS_MAX], at = p->pos, items = 1;
	uint32_t kind;
	int err;

	err = take_u32(p, "a tensor", &e->t.ndim);
	if (err)
		return err;
	if (e->t.ndim > NDIMS_MAX)
		return slc_bad(p->diag, at, "a tensor of %u dimensions, more than %d",
			       e->t.ndim, NDIMS_MAX);
	for (uint32_t i = 0; i < e->t.ndim; i++) {
		err = take_u64(p, "a tensor", &dims[i]);
		if (err)
			return err;
		if (!slc_mul(items, dims[i], &items) || items > INT64_MAX ||
		    dims[i] > INT64_MAX)
			return slc_bad(p->diag, at,
				       "the shape is more than 2^63 elements");
	}
	at = p->pos;
	err = take_u32(p, "a tensor", &kind);
	if (err)
		return err;
	if (kind >= NTYPES || !types[kind].elements)
		return slc_bad(p->diag, at, "unknown tensor type %u", kind);
	e->t.dtype = kind;
	if ((e->t.ndim ? dims[0] : 1) % types[kind].elements)
		return slc_bad(p->diag, at,
			       "rows of %llu elements are not whole blocks of %u (%s)",
			       (unsigned long long)(e->t.ndim ? dims[0] : 1),
			       types[kind].elements, types[kind].name);
	if (!slc_mul(items / types[kind].elements, types[kind].bytes,
		     &e->t.len))
		return slc_bad(p->diag, at, "a tensor of more than 2^64 bytes");
	if (p->ndims + NDIMS_MAX > p->dims_room) {
		uint64_t room = p->dims_room ? p->dims_room * 2 : 64;
		uint64_t *more = realloc(p->dims, room * sizeof(*more));

		if (!more)
			return no_memory(p);
		p->dims = more;
		p->dims_room = room;
	}
	e->t.shape = p->ndims;
	for (uint32_t i = e->t.ndim; i > 0; i--)
		p->dims[p->ndims++] = dims[i - 1];
	return 0;
}

static int read_tensors(struct parser *p, uint64_t count)
{
	struct entry *e;
	int err = 0;

	for (uint64_t i = 0; !err && i < count; i++) {
		if (p->n == p->room) {
			uint64_t room = p->room ? p->room * 2 : 64;

			e = realloc(p->entries, room * sizeof(*e));
			if (!e)
				return no_memory(p);
			p->entries = e;
			p->room = room;
		}
		e = &p->entries[p->n];
		memset(e, 0, sizeof(*e));
		e->at_name = p->pos;
		e->t.name = p->names.len;
		err = take_name(p, &p->names, NAME_MAX_LEN, "a tensor name");
		if (!err)
			err = read_shape(p, e);
		e->at_off = p->pos;
		if (!err)
			err = take_u64(p, "a tensor", &e->t.off);
		if (!err && e->t.off % p->align)
			err = slc_bad(p->diag, e->at_off,
				      "offset %llu of \"%s\" is not a multiple of the alignment %llu",
				      (unsigned long long)e->t.off,
				      p->names.text + e->t.name,
				      (unsigned long long)p->align);
		p->n++;
	}
	return err;
}

static int by_span(const void *va, const void *vb)
{
	const struct entry *a = va, *b = vb;

	if (a->t.off != b->t.off)
		return a->t.off < b->t.off ? -1 : 1;
	if (a->t.len != b->t.len)
		return a->t.len < b->t.len ? -1 : 1;
	return a->at_name < b->at_name ? -1 : a->at_name > b->at_name;
}

/* align is a multiple of 8, not always a power of two. */
static bool pad(uint64_t v, uint64_t align, uint64_t *out)
{
	uint64_t over = v % align;

	return slc_add(v, over ? align - over : 0, out);
}

/* Back to back but for padding, and nothing behind the last. */
static int check_spans(struct parser *p)
{
	uint64_t data, expect = 0, end = p->pos, padded;

	if (!pad(p->pos, p->align, &data))
		return slc_bad(p->diag, p->pos, "no room for the data");
	padded = data;
	if (p->n)
		qsort(p->entries, p->n, sizeof(*p->entries), by_span);
	for (uint64_t i = 0; i < p->n; i++) {
		struct entry *e = &p->entries[i];

		if (e->t.off != expect)
			return slc_bad(p->diag, e->at_off, "offset %llu of \"%s\" %s (expected %llu)",
				       (unsigned long long)e->t.off,
				       p->names.text + e->t.name,
				       e->t.off < expect ?
					       "overlaps another tensor" :
					       "leaves a hole before it",
				       (unsigned long long)expect);
		if (!slc_add(data, e->t.off, &e->t.off) ||
		    !slc_add(e->t.off, e->t.len, &end) ||
		    !pad(end - data, p->align, &expect) ||
		    !slc_add(data, expect, &padded))
			return slc_bad(p->diag, e->at_off,
				       "\"%s\" ends past 2^64 bytes",
				       p->names.text + e->t.name);
	}
	return slc_source_ends(p->src, p->window_off + p->window_len, end,
			       padded, p->diag);
}

static int fill_table(struct parser *p, struct slc_table *t)
{
	t->tensors = malloc(p->n * sizeof(*t->tensors) + 1);
	if (!t->tensors)
		return no_memory(p);
	for (uint64_t i = 0; i < p->n; i++)
		t->tensors[i] = p->entries[i].t;
	t->format = &slc_format_gguf;
	t->kind = SLC_TABLE_TENSORS;
	t->n = p->n;
	t->names = p->names.text;
	t->dims = p->dims;
	p->names.text = NULL;
	p->dims = NULL;
	t->mem_bytes = p->n * sizeof(*t->tensors) + p->names.room +
		       p->dims_room * sizeof(*t->dims);
	return 0;
}

static int check_version(struct parser *p)
{
	const uint8_t *b;
	uint32_t version;
	int err;

	err = take(p, 4, "the magic", &b);
	if (err)
		return err;
	if (memcmp(b, "GGUF", 4))
		return slc_bad(p->diag, 0, "it does not begin with GGUF");
	err = take_u32(p, "the version", &version);
	if (err || version == 3)
		return err;
	if (version && !(version & 0xffff))
		return slc_bad(p->diag, 4,
			       "the version reads as %#x: this is a big-endian GGUF, only little endian is read",
			       version);
	return slc_bad(p->diag, 4, "version %u: only version 3 is read",
		       version);
}

static int read_all(struct parser *p)
{
	uint64_t tensors, pairs;
	int err;

	err = check_version(p);
	if (!err)
		err = take_u64(p, "the tensor count", &tensors);
	if (!err)
		err = take_u64(p, "the key count", &pairs);
	if (!err && pairs > KEYS_MAX)
		err = slc_bad(p->diag, 16, "%llu keys, more than %d",
			      (unsigned long long)pairs, KEYS_MAX);
	/* A key of one byte and its value; a tensor without dimensions. */
	if (!err)
		err = fits(p, 16, pairs, 8 + 1 + 4 + 1, "key-value pairs");
	if (!err)
		err = fits(p, 8, tensors, 8 + 4 + 4 + 8, "tensors");
	if (!err)
		err = read_pairs(p, pairs);
	if (!err)
		err = refuse_twice(p, &p->keys, "the key");
	if (!err)
		err = read_tensors(p, tensors);
	if (!err)
		err = refuse_twice(p, &p->names, "tensor");
	return err ? err : check_spans(p);
}

static int parse(const struct slc_parse *in, struct slc_table *t,
		 struct slc_diag *diag)
{
	struct parser p = { .src = in->src, .diag = diag, .align = 32 };
	int err;

	p.keys.offsets = true;
	p.window = malloc(WINDOW);
	err = p.window ? read_all(&p) : no_memory(&p);
	if (!err)
		err = fill_table(&p, t);
	free(p.window);
	free(p.keys.text);
	free(p.names.text);
	slc_names_fini(&p.keys.names);
	slc_names_fini(&p.names.names);
	free(p.entries);
	free(p.dims);
	return err;
}

static bool magic(const uint8_t *head, size_t n)
{
	return n >= 8 && !memcmp(head, "GGUF", 4);
}

static const char *dtype_name(uint32_t dtype)
{
	return dtype < NTYPES && types[dtype].elements ? types[dtype].name :
							 "?";
}

static const char *const endings[] = { ".gguf", NULL };

const struct slc_format slc_format_gguf = {
	.name = "gguf",
	.endings = endings,
	.magic = magic,
	.parse = parse,
	.dtype_name = dtype_name,
};

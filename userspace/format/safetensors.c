/* SPDX-License-Identifier: MIT */
/*
 * safetensors, in the order of checks of huggingface/safetensors
 * (SafeTensors::read_metadata, then Metadata::validate). Stricter than it:
 * duplicate names, NUL in a name, more than 64 dimensions or levels of JSON, a
 * million keys of __metadata__, a tensor written as a JSON array are refused.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/format.h"
#include "format/json.h"
#include "format/unique.h"

#define HEADER_MAX 100000000ull /* bytes; exactly so many are allowed */
#define METADATA_MAX 1000000	/* keys */

static const struct {
	char name[12];
	uint32_t bits;
} dtypes[] = {
	{ "BOOL", 8 }, { "F4", 4 }, { "F6_E2M3", 6 }, { "F6_E3M2", 6 },
	{ "U8", 8 }, { "I8", 8 }, { "F8_E5M2", 8 }, { "F8_E4M3", 8 },
	{ "F8_E8M0", 8 }, { "F8_E4M3FNUZ", 8 }, { "F8_E5M2FNUZ", 8 },
	{ "I16", 16 }, { "U16", 16 }, { "F16", 16 }, { "BF16", 16 },
	{ "I32", 32 }, { "U32", 32 }, { "F32", 32 }, { "C64", 64 },
	{ "F64", 64 }, { "I64", 64 }, { "U64", 64 },
};
#define NDTYPES (sizeof(dtypes) / sizeof(dtypes[0]))

/* A tensor while its header is read: where it was said, for the sentences. */
struct entry {
	struct slc_tensor t; /* off, len hold begin, end; name is in the text */
	uint32_t name_len;
	uint32_t at_name, at_shape, at_offsets; /* in the header */
};

struct parser {
	struct slc_json json;
	struct slc_diag *diag;
	struct entry *entries;
	uint64_t n, room;
	uint64_t *dims;
	uint64_t ndims, dims_room;
	struct slc_names tensors, metadata;
	uint64_t data; /* file offset of the byte buffer */
};

/* The name of an entry as far as a sentence has room for it. */
#define NAME_FMT "\"%.60s\""
#define NAME(p, e) ((const char *)(p)->json.text + (e)->t.name)

static int no_memory(struct parser *p)
{
	slc_bad(p->diag, p->json.base + p->json.pos,
		"no memory for the list of tensors");
	return -ENOMEM;
}

static int wrong_kind(struct parser *p, const struct slc_json_token *tok,
		      const char *what, const char *wanted)
{
	return slc_bad(p->diag, tok->off, "%s is %s, not %s", what,
		       slc_json_kind_name(tok->kind), wanted);
}

static int add_dim(struct parser *p, uint64_t dim)
{
	if (p->ndims == p->dims_room) {
		uint64_t room = p->dims_room ? p->dims_room * 2 : 64;
		uint64_t *dims = realloc(p->dims, room * sizeof(*dims));

		if (!dims)
			return no_memory(p);
		p->dims = dims;
		p->dims_room = room;
	}
	p->dims[p->ndims++] = dim;
	return 0;
}

static struct entry *add_entry(struct parser *p)
{
	if (p->n == p->room) {
		uint64_t room = p->room ? p->room * 2 : 64;
		struct entry *e = realloc(p->entries, room * sizeof(*e));

		if (!e)
			return NULL;
		p->entries = e;
		p->room = room;
	}
	memset(&p->entries[p->n], 0, sizeof(*p->entries));
	return &p->entries[p->n++];
}

static int read_dtype(struct parser *p, struct entry *e)
{
	struct slc_json_token tok;
	int err = slc_json_next(&p->json, &tok);

	if (err)
		return err;
	if (tok.kind != SLC_JSON_STRING)
		return wrong_kind(p, &tok, "dtype", "a string");
	for (uint32_t i = 0; i < NDTYPES; i++)
		if (tok.len == strlen(dtypes[i].name) &&
		    !memcmp(tok.text, dtypes[i].name, tok.len)) {
			e->t.dtype = i;
			return 0;
		}
	return slc_bad(p->diag, tok.off, "unknown dtype \"%.40s\" of " NAME_FMT,
		       tok.text, NAME(p, e));
}

/* A list of integers; the tokens' count is bounded by `max`. */
static int read_list(struct parser *p, const char *what, uint64_t *out,
		     uint32_t max, uint32_t *count)
{
	struct slc_json_token tok;
	uint32_t n = 0;
	int err;

	err = slc_json_next(&p->json, &tok);
	if (err)
		return err;
	if (tok.kind != SLC_JSON_ARRAY)
		return wrong_kind(p, &tok, what, "an array");
	for (;;) {
		err = slc_json_next(&p->json, &tok);
		if (err)
			return err;
		if (tok.kind == SLC_JSON_ARRAY_END)
			break;
		if (n == max)
			return slc_bad(p->diag, tok.off,
				       "more than %u numbers in %s", max, what);
		if (tok.kind != SLC_JSON_NUMBER)
			return wrong_kind(p, &tok, what, "a number");
		if (!slc_json_u64(&tok, &out[n++]))
			return slc_bad(p->diag, tok.off,
				       "%.*s in %s is not an integer from 0 to 2^64 - 1",
				       tok.len > 40 ? 40 : (int)tok.len,
				       tok.text, what);
	}
	*count = n;
	return 0;
}

static int read_shape(struct parser *p, struct entry *e)
{
	uint64_t shape[SLC_DIMS_MAX];
	int err;

	err = read_list(p, "shape", shape, SLC_DIMS_MAX, &e->t.ndim);
	e->t.shape = p->ndims;
	for (uint32_t i = 0; !err && i < e->t.ndim; i++)
		err = add_dim(p, shape[i]);
	return err;
}

static int read_offsets(struct parser *p, struct entry *e)
{
	uint64_t pair[2];
	uint32_t n;
	int err;

	err = read_list(p, "data_offsets", pair, 2, &n);
	if (err)
		return err;
	if (n != 2)
		return slc_bad(p->diag, p->json.base + e->at_offsets,
			       "data_offsets of " NAME_FMT " are %u numbers, not 2",
			       NAME(p, e), n);
	e->t.off = pair[0];
	e->t.len = pair[1];
	return 0;
}

static bool is(const struct slc_json_token *tok, const char *word)
{
	return tok->len == strlen(word) && !memcmp(tok->text, word, tok->len);
}

/* The members of one tensor object; unknown ones are passed over. */
static int read_fields(struct parser *p, struct entry *e)
{
	enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
	uint32_t seen = 0, which;
	struct slc_json_token tok;
	int err;

	for (;;) {
		err = slc_json_next(&p->json, &tok);
		if (err || tok.kind == SLC_JSON_OBJECT_END)
			break;
		which = is(&tok, "dtype") ? DTYPE : is(&tok, "shape") ? SHAPE :
			is(&tok, "data_offsets") ? OFFSETS : 0;
		if (seen & which)
			return slc_bad(p->diag, tok.off, "%s of " NAME_FMT
				       " comes twice", tok.text, NAME(p, e));
		seen |= which;
		if (which == DTYPE) {
			err = read_dtype(p, e);
		} else if (which == SHAPE) {
			e->at_shape = (uint32_t)(tok.off - p->json.base);
			err = read_shape(p, e);
		} else if (which == OFFSETS) {
			e->at_offsets = (uint32_t)(tok.off - p->json.base);
			err = read_offsets(p, e);
		} else {
			err = slc_json_next(&p->json, &tok);
			if (!err)
				err = slc_json_skip(&p->json, &tok);
		}
		if (err)
			break;
	}
	if (err || seen == ALL)
		return err;
	return slc_bad(p->diag, p->json.base + e->at_name, "tensor " NAME_FMT
		       " has no %s", NAME(p, e),
		       !(seen & DTYPE) ? "dtype" : !(seen & SHAPE) ? "shape" :
		       "data_offsets");
}

static int read_tensor(struct parser *p, const struct slc_json_token *key)
{
	uint64_t off = (uint64_t)(key->text - (const char *)p->json.text);
	struct slc_json_token tok;
	struct entry *e;
	int err;

	if (memchr(key->text, 0, key->len))
		return slc_bad(p->diag, key->off, "a NUL in the name " NAME_FMT,
			       key->text);
	e = add_entry(p);
	if (!e || slc_names_add(&p->tensors, (const char *)p->json.text,
				(uint32_t)off, (uint32_t)key->len))
		return no_memory(p);
	e->t.name = off;
	e->name_len = (uint32_t)key->len;
	e->at_name = (uint32_t)(key->off - p->json.base);
	err = slc_json_next(&p->json, &tok);
	if (err)
		return err;
	if (tok.kind != SLC_JSON_OBJECT)
		return slc_bad(p->diag, tok.off, "tensor " NAME_FMT
			       " is %s, not an object", NAME(p, e),
			       slc_json_kind_name(tok.kind));
	return read_fields(p, e);
}

static int read_metadata(struct parser *p)
{
	const char *text = (const char *)p->json.text;
	struct slc_json_token tok;
	int err = slc_json_next(&p->json, &tok);

	if (err || tok.kind == SLC_JSON_NULL)
		return err;
	if (tok.kind != SLC_JSON_OBJECT)
		return wrong_kind(p, &tok, "__metadata__", "an object");
	for (;;) {
		err = slc_json_next(&p->json, &tok);
		if (err || tok.kind == SLC_JSON_OBJECT_END)
			return err;
		if (p->metadata.n == METADATA_MAX)
			return slc_bad(p->diag, tok.off,
				       "more than %d keys in __metadata__",
				       METADATA_MAX);
		if (slc_names_add(&p->metadata, text,
				  (uint32_t)(tok.text - text),
				  (uint32_t)tok.len))
			return no_memory(p);
		err = slc_json_next(&p->json, &tok);
		if (err)
			return err;
		if (tok.kind != SLC_JSON_STRING)
			return wrong_kind(p, &tok, "a value of __metadata__",
					  "a string");
	}
}

static int refuse_twice(struct parser *p, struct slc_names *names,
			const char *what)
{
	const char *text = (const char *)p->json.text;
	const struct slc_name *twice = slc_names_twice(names, text);

	if (!twice)
		return 0;
	/* The name was decoded right behind its opening quote. */
	return slc_bad(p->diag, p->json.base + twice->off - 1,
		       "%s " NAME_FMT " comes twice", what, text + twice->off);
}

static int read_header(struct parser *p)
{
	struct slc_json_token tok;
	bool metadata = false;
	int err;

	err = slc_json_next(&p->json, &tok);
	if (err)
		return err;
	if (tok.kind != SLC_JSON_OBJECT)
		return wrong_kind(p, &tok, "the header", "an object");
	for (;;) {
		err = slc_json_next(&p->json, &tok);
		if (err || tok.kind == SLC_JSON_OBJECT_END)
			break;
		if (!is(&tok, "__metadata__")) {
			err = read_tensor(p, &tok);
		} else if (metadata) {
			err = slc_bad(p->diag, tok.off,
				      "__metadata__ comes twice");
		} else {
			metadata = true;
			err = read_metadata(p);
		}
		if (err)
			break;
	}
	if (!err)
		err = slc_json_next(&p->json, &tok);
	if (!err)
		err = refuse_twice(p, &p->tensors, "tensor");
	if (!err)
		err = refuse_twice(p, &p->metadata, "the __metadata__ key");
	return err;
}

static int by_span(const void *va, const void *vb)
{
	const struct entry *a = va, *b = vb;

	if (a->t.off != b->t.off)
		return a->t.off < b->t.off ? -1 : 1;
	if (a->t.len != b->t.len)
		return a->t.len < b->t.len ? -1 : 1;
	/* Empty tensors may share a place: the order of the header. */
	return a->at_name < b->at_name ? -1 : a->at_name > b->at_name;
}

static void sort_entries(struct parser *p)
{
	for (uint64_t i = 1; i < p->n; i++)
		if (by_span(&p->entries[i - 1], &p->entries[i]) > 0) {
			qsort(p->entries, p->n, sizeof(*p->entries), by_span);
			return;
		}
}

/* [begin, end) must follow `start`, and be what dtype and shape say. */
static int check_entry(struct parser *p, const struct entry *e, uint64_t start)
{
	uint64_t begin = e->t.off, end = e->t.len, bits = 1;
	uint64_t base = p->json.base;

	if (begin != start || end < begin)
		return slc_bad(p->diag, base + e->at_offsets, "data_offsets [%llu, %llu] of "
			       NAME_FMT ": %s (expected to begin at %llu)",
			       (unsigned long long)begin,
			       (unsigned long long)end, NAME(p, e),
			       begin == start ? "the end is before the begin" :
			       begin < start ? "they overlap another tensor" :
			       "there is a hole before them",
			       (unsigned long long)start);
	for (uint32_t i = 0; i < e->t.ndim; i++)
		if (!slc_mul(bits, p->dims[e->t.shape + i], &bits))
			goto overflow;
	if (!slc_mul(bits, dtypes[e->t.dtype].bits, &bits))
		goto overflow;
	if (bits % 8)
		return slc_bad(p->diag, base + e->at_shape, NAME_FMT
			       " of %llu bits does not end on a byte",
			       NAME(p, e), (unsigned long long)bits);
	if (end - begin != bits / 8)
		return slc_bad(p->diag, base + e->at_offsets, NAME_FMT
			       " has %llu bytes, but its dtype and shape need %llu",
			       NAME(p, e), (unsigned long long)(end - begin),
			       (unsigned long long)(bits / 8));
	return 0;
overflow:
	return slc_bad(p->diag, base + e->at_shape, "the shape of " NAME_FMT
		       " is more than 2^64 bits", NAME(p, e));
}

static int check_spans(struct parser *p, struct slc_source *src)
{
	uint64_t start = 0, end;
	int err;

	sort_entries(p);
	for (uint64_t i = 0; i < p->n; i++) {
		err = check_entry(p, &p->entries[i], start);
		if (err)
			return err;
		start = p->entries[i].t.len;
	}
	if (!slc_add(p->data, start, &end))
		return slc_bad(p->diag, p->json.base,
			       "the tensors need more than 2^64 bytes");
	return slc_source_ends(src, p->data, end, end, p->diag);
}

/* The entries become the table's arrays, the names packed in their order. */
static int fill_table(struct parser *p, struct slc_table *t)
{
	uint64_t bytes = 0, at = 0;

	for (uint64_t i = 0; i < p->n; i++)
		bytes += (uint64_t)p->entries[i].name_len + 1;
	t->names = malloc(bytes + 1);
	t->tensors = malloc(p->n * sizeof(*t->tensors) + 1);
	if (!t->names || !t->tensors) {
		free(t->names);
		free(t->tensors);
		t->names = NULL;
		t->tensors = NULL;
		return no_memory(p);
	}
	for (uint64_t i = 0; i < p->n; i++) {
		const struct entry *e = &p->entries[i];

		t->tensors[i] = e->t;
		t->tensors[i].off = p->data + e->t.off;
		t->tensors[i].len = e->t.len - e->t.off;
		t->tensors[i].name = at;
		memcpy(t->names + at, NAME(p, e), (uint64_t)e->name_len + 1);
		at += (uint64_t)e->name_len + 1;
	}
	t->names[at] = 0;
	t->kind = SLC_TABLE_TENSORS;
	t->n = p->n;
	t->dims = p->dims;
	p->dims = NULL;
	t->mem_bytes = bytes + p->n * sizeof(*t->tensors) +
		       p->ndims * sizeof(*t->dims);
	return 0;
}

static int load_header(struct slc_source *src, struct parser *p,
		       uint8_t **text, struct slc_diag *diag)
{
	uint8_t head[8];
	uint64_t len = 0;
	int err;

	err = slc_source_exact(src, 0, head, 8, "the header length", diag);
	if (err)
		return err;
	for (int i = 7; i >= 0; i--)
		len = len << 8 | head[i];
	if (len > HEADER_MAX)
		return slc_bad(diag, 0,
			       "a header of %llu bytes is over the limit of %llu",
			       (unsigned long long)len, HEADER_MAX);
	if (src->size != SLC_SIZE_UNKNOWN && len > src->size - 8)
		return slc_bad(diag, 0,
			       "a header of %llu bytes does not fit in a file of %llu",
			       (unsigned long long)len,
			       (unsigned long long)src->size);
	p->data = 8 + len;
	err = slc_source_load(src, 8, len, "the header", text, diag);
	if (err)
		return err;
	return slc_json_init(&p->json, *text, len, 8, diag);
}

static int parse(const struct slc_parse *in, struct slc_table *t,
		 struct slc_diag *diag)
{
	struct parser p = { .diag = diag };
	uint8_t *text = NULL;
	int err;

	err = load_header(in->src, &p, &text, diag);
	if (!err)
		err = read_header(&p);
	if (!err)
		err = check_spans(&p, in->src);
	if (!err)
		err = fill_table(&p, t);
	if (!err)
		t->format = &slc_format_safetensors;
	slc_names_fini(&p.tensors);
	slc_names_fini(&p.metadata);
	free(p.entries);
	free(p.dims);
	free(text);
	return err;
}

/* A length that a header can have, and the beginning of one. */
static bool magic(const uint8_t *head, size_t n)
{
	uint64_t len = 0;
	size_t i;

	if (n < 10)
		return false;
	for (i = 8; i > 0; i--)
		len = len << 8 | head[i - 1];
	return len >= 2 && len <= HEADER_MAX && head[8] == '{' &&
	       (head[9] == '"' || (head[9] == '}' && len < 4096));
}

static const char *dtype_name(uint32_t dtype)
{
	return dtype < NDTYPES ? dtypes[dtype].name : "?";
}

static const char *const endings[] = { ".safetensors", NULL };

const struct slc_format slc_format_safetensors = {
	.name = "safetensors",
	.endings = endings,
	.magic = magic,
	.parse = parse,
	.dtype_name = dtype_name,
};

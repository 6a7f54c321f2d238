/* SPDX-License-Identifier: MIT */
/*
 * .npy 1.0, 2.0 and 3.0 (numpy.lib.format). A sample is a row: one step of the
 * first dimension; an array without dimensions is one sample.
 *
 * Stricter than numpy: the file must end with the last item, a dictionary key
 * may come once, and there may not be more empty rows than bytes in the file.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/format.h"
#include "format/json.h"

#define MAGIC "\x93NUMPY"
#define MAGIC_LEN 6
#define HEADER_MAX 10000 /* numpy's limit for files that nobody vouches for */
#define NESTING_MAX 32	 /* of structured types */

/* The header as the literal of a Python dictionary. */
struct literal {
	const char *text;
	uint64_t len, pos;
	uint64_t base; /* file offset of text[0] */
	struct slc_diag *diag;
};

struct header {
	uint64_t item; /* bytes of one item */
	char dtype[16];
	bool fortran;
	uint32_t ndim;
	uint64_t shape[SLC_DIMS_MAX];
	uint64_t at_shape; /* in the file */
};

static int bad_here(struct literal *l, const char *what)
{
	if (l->pos >= l->len)
		return slc_bad(l->diag, l->base + l->len,
			       "the header ends where %s should be", what);
	return slc_bad(l->diag, l->base + l->pos,
		       "'%c' (0x%02x) in the header where %s should be",
		       l->text[l->pos], (uint8_t)l->text[l->pos], what);
}

static void skip_space(struct literal *l)
{
	while (l->pos < l->len && strchr(" \t\n\r\f", l->text[l->pos]) &&
	       l->text[l->pos])
		l->pos++;
}

/* The next character that is no space, 0 at the end. */
static char peek(struct literal *l)
{
	skip_space(l);
	return l->pos < l->len ? l->text[l->pos] : 0;
}

static bool take(struct literal *l, char c)
{
	if (peek(l) != c || l->pos >= l->len)
		return false;
	l->pos++;
	return true;
}

static bool take_word(struct literal *l, const char *word)
{
	uint64_t n = strlen(word);

	skip_space(l);
	if (!slc_within(l->pos, n, l->len) ||
	    memcmp(l->text + l->pos, word, n))
		return false;
	l->pos += n;
	return true;
}

struct span {
	const char *text;
	uint64_t len, at; /* at: file offset of the opening quote */
};

/* '...' or "...", with backslashes kept: only field names have them. */
static int string(struct literal *l, struct span *out)
{
	char quote = peek(l);
	uint64_t start = l->pos + 1;

	if (quote != '\'' && quote != '"')
		return bad_here(l, "a string");
	for (l->pos = start; l->pos < l->len; l->pos++) {
		char c = l->text[l->pos];

		if (c == '\n')
			break;
		if (c == '\\') {
			l->pos++;
			continue;
		}
		if (c != quote)
			continue;
		*out = (struct span){ l->text + start, l->pos - start,
				      l->base + start - 1 };
		l->pos++;
		return 0;
	}
	return slc_bad(l->diag, l->base + start - 1,
		       "a string in the header has no end");
}

static int integer(struct literal *l, uint64_t *out)
{
	uint64_t v = 0, start;

	skip_space(l);
	start = l->pos;
	for (; l->pos < l->len && l->text[l->pos] >= '0' &&
	       l->text[l->pos] <= '9'; l->pos++)
		if (!slc_mul(v, 10, &v) ||
		    !slc_add(v, (uint64_t)(l->text[l->pos] - '0'), &v) ||
		    v > INT64_MAX)
			return slc_bad(l->diag, l->base + start,
				       "a dimension of 2^63 or more");
	if (l->pos == start)
		return bad_here(l, "a dimension");
	if (l->pos < l->len && l->text[l->pos] == 'L')
		l->pos++; /* as Python 2 wrote it */
	*out = v;
	return 0;
}

/* A tuple of dimensions, or one alone if `bare`. */
static int dimensions(struct literal *l, bool bare, uint64_t *dims,
		      uint32_t *ndim)
{
	bool comma = true;
	uint32_t n = 0;
	int err;

	if (bare && peek(l) != '(') {
		*ndim = 1;
		return integer(l, dims);
	}
	if (!take(l, '('))
		return bad_here(l, "a tuple of dimensions");
	while (peek(l) != ')') {
		if (!comma)
			return bad_here(l, "',' or ')'");
		if (n == SLC_DIMS_MAX)
			return slc_bad(l->diag, l->base + l->pos,
				       "more than %d dimensions", SLC_DIMS_MAX);
		err = integer(l, &dims[n++]);
		if (err)
			return err;
		comma = take(l, ',');
	}
	if (n == 1 && !comma)
		return slc_bad(l->diag, l->base + l->pos,
			       "a tuple of one dimension needs a comma");
	l->pos++;
	*ndim = n;
	return 0;
}

/* Zero if any is zero, else the product; false when it does not fit. */
static bool product(const uint64_t *dims, uint32_t n, uint64_t item,
		    uint64_t *out)
{
	for (uint32_t i = 0; i < n; i++)
		if (!dims[i])
			item = 0;
	for (uint32_t i = 0; item && i < n; i++)
		if (!slc_mul(item, dims[i], &item))
			return false;
	*out = item;
	return item <= INT64_MAX;
}

static bool one_of(uint64_t v, const uint8_t *sizes)
{
	for (; *sizes; sizes++)
		if (v == *sizes)
			return true;
	return false;
}

/* "<f4": order, kind, size, and for times a unit. Bytes of one item. */
static int simple_type(struct literal *l, const struct span *s, uint64_t *item)
{
	static const uint8_t ints[] = { 1, 2, 4, 8, 0 },
			     floats[] = { 2, 4, 8, 12, 16, 0 },
			     complexes[] = { 8, 16, 24, 32, 0 };
	uint64_t i = s->len && strchr("<>|=", s->text[0]) && s->text[0], size = 0;
	uint64_t first;
	bool good = false;
	char kind;

	kind = i < s->len ? s->text[i++] : 0;
	if (kind == 'O')
		return slc_bad(l->diag, s->at,
			       "dtype '%.*s' is pickled Python objects: refused, they could run code",
			       s->len > 40 ? 40 : (int)s->len, s->text);
	for (first = i; i < s->len && s->text[i] >= '0' && s->text[i] <= '9';
	     i++) {
		size = size * 10 + (uint64_t)(s->text[i] - '0');
		if (size > INT32_MAX)
			break; /* numpy's largest item */
	}
	if (i == first)
		kind = 0;
	if (kind == 'm' || kind == 'M') {
		good = size == 8 && (i == s->len || (s->text[i] == '[' &&
			s->len - i > 2 && s->text[s->len - 1] == ']'));
		i = s->len;
	} else if (kind == 'b') {
		good = size == 1;
	} else if (kind == 'i' || kind == 'u') {
		good = one_of(size, ints);
	} else if (kind == 'f') {
		good = one_of(size, floats);
	} else if (kind == 'c') {
		good = one_of(size, complexes);
	} else if (kind == 'S' || kind == 'a' || kind == 'V') {
		good = true;
	} else if (kind == 'U') {
		size *= 4;
		good = true;
	}
	if (!good || i != s->len || size > INT32_MAX)
		return slc_bad(l->diag, s->at, "unknown dtype '%.*s'",
			       s->len > 40 ? 40 : (int)s->len, s->text);
	*item = size;
	return 0;
}

static int type(struct literal *l, uint32_t depth, uint64_t *item);

/* A name, or a (title, name). */
static int field_name(struct literal *l)
{
	struct span s;
	int err;

	if (!take(l, '('))
		return string(l, &s);
	err = string(l, &s);
	if (!err && !take(l, ','))
		err = bad_here(l, "','");
	if (!err)
		err = string(l, &s);
	if (!err && !take(l, ')'))
		err = bad_here(l, "')'");
	return err;
}

/* Adds `item` once for each element of a subarray to *sum. */
static int add_item(struct literal *l, uint64_t at, const uint64_t *dims,
		    uint32_t ndim, uint64_t item, uint64_t *sum)
{
	uint64_t bytes;

	if (!product(dims, ndim, item, &bytes) || !slc_add(*sum, bytes, sum) ||
	    *sum > INT32_MAX)
		return slc_bad(l->diag, at, "an item of 2^31 bytes or more");
	return 0;
}

/* ('name', type) or ('name', type, shape). */
static int field(struct literal *l, uint32_t depth, uint64_t *sum)
{
	uint64_t dims[SLC_DIMS_MAX], item, at;
	uint32_t ndim = 0;
	int err;

	if (!take(l, '('))
		return bad_here(l, "a field");
	at = l->base + l->pos - 1;
	err = field_name(l);
	if (!err && !take(l, ','))
		err = bad_here(l, "','");
	if (!err)
		err = type(l, depth + 1, &item);
	if (!err && take(l, ',') && peek(l) != ')')
		err = dimensions(l, true, dims, &ndim);
	if (!err && !take(l, ')'))
		err = bad_here(l, "')'");
	return err ? err : add_item(l, at, dims, ndim, item, sum);
}

/* [field, ...]: its fields stand back to back, gaps are fields too. */
static int structure(struct literal *l, uint32_t depth, uint64_t *item)
{
	bool comma = true;
	int err;

	*item = 0;
	l->pos++;
	while (peek(l) != ']') {
		if (!comma)
			return bad_here(l, "',' or ']'");
		err = field(l, depth, item);
		if (err)
			return err;
		comma = take(l, ',');
	}
	l->pos++;
	return 0;
}

/* (type, shape): a subarray. */
static int subarray(struct literal *l, uint32_t depth, uint64_t *item)
{
	uint64_t dims[SLC_DIMS_MAX], base, at = l->base + l->pos;
	uint32_t ndim;
	int err;

	l->pos++;
	err = type(l, depth + 1, &base);
	if (!err && !take(l, ','))
		err = bad_here(l, "','");
	if (!err)
		err = dimensions(l, true, dims, &ndim);
	if (!err) {
		take(l, ',');
		if (!take(l, ')'))
			err = bad_here(l, "')'");
	}
	*item = 0;
	return err ? err : add_item(l, at, dims, ndim, base, item);
}

static int type(struct literal *l, uint32_t depth, uint64_t *item)
{
	struct span s;
	char c = peek(l);
	int err;

	if (depth > NESTING_MAX)
		return slc_bad(l->diag, l->base + l->pos,
			       "a dtype nested deeper than %d levels",
			       NESTING_MAX);
	if (c == '[')
		return structure(l, depth, item);
	if (c == '(')
		return subarray(l, depth, item);
	err = string(l, &s);
	return err ? err : simple_type(l, &s, item);
}

/* descr: its text if simple, else "|V<bytes>". */
static int read_descr(struct literal *l, struct header *h)
{
	struct literal again;
	struct span s;
	int err;

	skip_space(l);
	again = *l;
	err = type(l, 0, &h->item);
	if (err)
		return err;
	if (peek(&again) == '[' || peek(&again) == '(') {
		snprintf(h->dtype, sizeof(h->dtype), "|V%llu",
			 (unsigned long long)h->item);
		return 0;
	}
	err = string(&again, &s);
	if (err)
		return err;
	if (s.len >= sizeof(h->dtype))
		return slc_bad(l->diag, s.at, "unknown dtype '%.40s'", s.text);
	memcpy(h->dtype, s.text, s.len);
	h->dtype[s.len] = 0;
	return 0;
}

static int read_value(struct literal *l, uint32_t which, struct header *h)
{
	if (which == 1)
		return read_descr(l, h);
	if (which == 4) {
		skip_space(l);
		h->at_shape = l->base + l->pos;
		return dimensions(l, false, h->shape, &h->ndim);
	}
	h->fortran = take_word(l, "True");
	if (!h->fortran && !take_word(l, "False"))
		return bad_here(l, "True or False");
	return 0;
}

static int read_dict(struct literal *l, struct header *h)
{
	static const char *const keys[] = { "descr", "fortran_order", "shape" };
	bool comma = true;
	uint32_t seen = 0;
	struct span s;
	int err;

	if (!take(l, '{'))
		return bad_here(l, "'{'");
	while (peek(l) != '}') {
		uint32_t i;

		if (!comma)
			return bad_here(l, "',' or '}'");
		err = string(l, &s);
		if (err)
			return err;
		for (i = 0; i < 3; i++)
			if (s.len == strlen(keys[i]) &&
			    !memcmp(s.text, keys[i], s.len))
				break;
		if (i == 3)
			return slc_bad(l->diag, s.at,
				       "unknown key '%.*s' in the header",
				       s.len > 40 ? 40 : (int)s.len, s.text);
		if (seen & 1u << i)
			return slc_bad(l->diag, s.at, "'%s' comes twice",
				       keys[i]);
		seen |= 1u << i;
		if (!take(l, ':'))
			return bad_here(l, "':'");
		err = read_value(l, 1u << i, h);
		if (err)
			return err;
		comma = take(l, ',');
	}
	l->pos++;
	for (uint32_t i = 0; i < 3; i++)
		if (!(seen & 1u << i))
			return slc_bad(l->diag, l->base + l->pos - 1,
				       "the header has no '%s'", keys[i]);
	skip_space(l);
	return l->pos < l->len ? bad_here(l, "the end") : 0;
}

/* Reads magic, version and the length; *data is where the items begin. */
static int load_header(struct slc_source *src, struct literal *l,
		       uint8_t **text, struct slc_diag *diag)
{
	uint8_t head[12];
	uint64_t len, at = 10;
	int err;

	err = slc_source_exact(src, 0, head, 10, "the magic and version", diag);
	if (err)
		return err;
	if (memcmp(head, MAGIC, MAGIC_LEN))
		return slc_bad(diag, 0, "it does not begin with \\x93NUMPY");
	if (head[6] < 1 || head[6] > 3 || head[7])
		return slc_bad(diag, 6,
			       "version %u.%u is none of 1.0, 2.0 and 3.0",
			       head[6], head[7]);
	len = head[8] | (uint64_t)head[9] << 8;
	if (head[6] > 1) {
		at = 12;
		err = slc_source_exact(src, 10, head + 10, 2,
				       "the header length", diag);
		if (err)
			return err;
		len |= (uint64_t)head[10] << 16 | (uint64_t)head[11] << 24;
	}
	if (len > HEADER_MAX)
		return slc_bad(diag, 8,
			       "a header of %llu bytes is over the limit of %d",
			       (unsigned long long)len, HEADER_MAX);
	err = slc_source_load(src, at, len, "the header", text, diag);
	if (err)
		return err;
	*l = (struct literal){ (const char *)*text, len, 0, at, diag };
	if (head[6] == 3 && slc_utf8_check(*text, len) < len)
		return slc_bad(diag, at + slc_utf8_check(*text, len),
			       "a byte that is not UTF-8 in the header");
	return 0;
}

/* Fortran order differs from C order when two dimensions are above one. */
static bool order_matters(const struct header *h)
{
	uint32_t wide = 0;

	for (uint32_t i = 0; i < h->ndim; i++) {
		if (!h->shape[i])
			return false;
		wide += h->shape[i] > 1;
	}
	return wide > 1;
}

static int fill_table(const struct header *h, struct slc_source *src,
		      uint64_t data, struct slc_table *t, struct slc_diag *diag)
{
	uint64_t rows = h->ndim ? h->shape[0] : 1, row, bytes, end;
	int err;

	if (!product(h->shape + 1, h->ndim ? h->ndim - 1 : 0, h->item, &row) ||
	    !slc_mul(rows, row, &bytes) || !slc_add(data, bytes, &end) ||
	    end > INT64_MAX)
		return slc_bad(diag, h->at_shape,
			       "the shape is more than 2^63 bytes");
	err = slc_source_ends(src, data, end, end, diag);
	if (err)
		return err;
	if (rows > end)
		return slc_bad(diag, h->at_shape,
			       "%llu rows of no bytes, more than the file has bytes",
			       (unsigned long long)rows);
	t->format = &slc_format_npy;
	t->kind = SLC_TABLE_FIXED;
	t->unit = (uint32_t)h->item;
	t->n = rows;
	t->base = data;
	t->stride = row;
	memcpy(t->dtype, h->dtype, sizeof(t->dtype));
	t->ndim = h->ndim ? h->ndim - 1 : 0;
	memcpy(t->shape, h->shape + 1, t->ndim * sizeof(t->shape[0]));
	t->fortran = h->fortran && order_matters(h);
	return 0;
}

static int parse(const struct slc_parse *in, struct slc_table *t,
		 struct slc_diag *diag)
{
	struct header h = { 0 };
	struct literal l;
	uint8_t *text = NULL;
	int err;

	err = load_header(in->src, &l, &text, diag);
	if (!err)
		err = read_dict(&l, &h);
	if (!err)
		err = fill_table(&h, in->src, l.base + l.len, t, diag);
	free(text);
	return err;
}

static bool magic(const uint8_t *head, size_t n)
{
	return n >= MAGIC_LEN && !memcmp(head, MAGIC, MAGIC_LEN);
}

static const char *const endings[] = { ".npy", NULL };

const struct slc_format slc_format_npy = {
	.name = "npy",
	.endings = endings,
	.magic = magic,
	.parse = parse,
};

/* SPDX-License-Identifier: MIT */
#include "format/json.h"

#include <string.h>

#include "base/checked.h"

/* What the grammar allows at the current place. */
enum expect {
	EXPECT_VALUE = 1,
	EXPECT_VALUE_OR_END, /* after [ */
	EXPECT_KEY,	     /* after , in an object */
	EXPECT_KEY_OR_END,   /* after { */
	EXPECT_COMMA_OR_END,
	EXPECT_NOTHING, /* after the top value */
};

/* Bytes of the sequence that `p` begins, or 0: Unicode 15, table 3-7. */
static unsigned int utf8_sequence(const uint8_t *p, uint64_t left)
{
	unsigned int n = p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 :
			 p[0] < 0xf5 ? 4 : 0;
	uint8_t low = 0x80, high = 0xbf;

	if (!n || left < n)
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0; /* shorter form exists */
	else if (p[0] == 0xed)
		high = 0x9f; /* surrogates */
	else if (p[0] == 0xf0)
		low = 0x90;
	else if (p[0] == 0xf4)
		high = 0x8f; /* past U+10FFFF */
	if (p[1] < low || p[1] > high)
		return 0;
	for (unsigned int i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

uint64_t slc_utf8_check(const void *text, uint64_t len)
{
	const uint8_t *p = text;
	uint64_t i = 0;

	while (i < len) {
		uint64_t eight;
		unsigned int n;

		if (len - i >= 8) {
			memcpy(&eight, p + i, 8);
			if (!(eight & 0x8080808080808080ull)) {
				i += 8;
				continue;
			}
		}
		if (p[i] < 0x80) {
			i++;
			continue;
		}
		n = utf8_sequence(p + i, len - i);
		if (!n)
			return i;
		i += n;
	}
	return len;
}

int slc_json_init(struct slc_json *j, void *text, uint64_t len, uint64_t base,
		  struct slc_diag *diag)
{
	uint64_t bad = slc_utf8_check(text, len);

	*j = (struct slc_json){ .text = text, .len = len, .base = base,
				.expect = EXPECT_VALUE, .diag = diag };
	if (bad < len)
		return slc_bad(diag, base + bad,
			       "byte 0x%02x is not UTF-8 in the JSON text",
			       j->text[bad]);
	return 0;
}

const char *slc_json_kind_name(uint32_t kind)
{
	static const char *const names[] = {
		[SLC_JSON_END] = "the end",
		[SLC_JSON_OBJECT] = "an object",
		[SLC_JSON_OBJECT_END] = "the end of an object",
		[SLC_JSON_ARRAY] = "an array",
		[SLC_JSON_ARRAY_END] = "the end of an array",
		[SLC_JSON_KEY] = "a key",
		[SLC_JSON_STRING] = "a string",
		[SLC_JSON_NUMBER] = "a number",
		[SLC_JSON_TRUE] = "true",
		[SLC_JSON_FALSE] = "false",
		[SLC_JSON_NULL] = "null",
	};

	return kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "?";
}

static int bad_here(struct slc_json *j, const char *what)
{
	if (j->pos >= j->len)
		return slc_bad(j->diag, j->base + j->len,
			       "the JSON text ends where %s should be", what);
	return slc_bad(j->diag, j->base + j->pos,
		       "'%c' (0x%02x) in the JSON text where %s should be",
		       j->text[j->pos], j->text[j->pos], what);
}

static void skip_space(struct slc_json *j)
{
	while (j->pos < j->len) {
		uint8_t c = j->text[j->pos];

		if (c != ' ' && c != '\n' && c != '\r' && c != '\t')
			return;
		j->pos++;
	}
}

/* Four hexadecimal digits at `at`: their value, or -1. */
static int hex4(const struct slc_json *j, uint64_t at)
{
	int v = 0;

	if (!slc_within(at, 4, j->len))
		return -1;
	for (int i = 0; i < 4; i++) {
		uint8_t c = j->text[at + i], low = c | 0x20;

		if (c >= '0' && c <= '9')
			v = v * 16 + (c - '0');
		else if (low >= 'a' && low <= 'f')
			v = v * 16 + (low - 'a' + 10);
		else
			return -1;
	}
	return v;
}

static uint64_t utf8_put(uint8_t *out, uint32_t cp)
{
	if (cp < 0x80) {
		out[0] = (uint8_t)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (uint8_t)(0xc0 | cp >> 6);
		out[1] = (uint8_t)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (uint8_t)(0xe0 | cp >> 12);
		out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | cp >> 18);
	out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (cp & 0x3f));
	return 4;
}

/* pos is behind \u; a pair of surrogates is one code point. */
static int unicode_escape(struct slc_json *j, uint64_t *w)
{
	uint64_t at = j->pos - 2;
	int high = hex4(j, j->pos), low;
	uint32_t cp;

	if (high < 0)
		return slc_bad(j->diag, j->base + at,
			       "\\u without four hexadecimal digits");
	j->pos += 4;
	cp = (uint32_t)high;
	if (high >= 0xdc00 && high <= 0xdfff)
		return slc_bad(j->diag, j->base + at,
			       "\\u%04x is half of a surrogate pair", high);
	if (high >= 0xd800 && high <= 0xdbff) {
		low = -1;
		if (slc_within(j->pos, 6, j->len) && j->text[j->pos] == '\\' &&
		    j->text[j->pos + 1] == 'u')
			low = hex4(j, j->pos + 2);
		if (low < 0xdc00 || low > 0xdfff)
			return slc_bad(j->diag, j->base + at,
				       "\\u%04x is half of a surrogate pair",
				       high);
		j->pos += 6;
		cp = 0x10000 + (((uint32_t)high - 0xd800) << 10) +
		     ((uint32_t)low - 0xdc00);
	}
	/* Six or twelve characters became at most three or four bytes. */
	*w += utf8_put(j->text + *w, cp);
	return 0;
}

static int escape(struct slc_json *j, uint64_t *w)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *hit;
	uint8_t c;

	if (j->pos + 1 >= j->len) {
		j->pos = j->len;
		return bad_here(j, "the end of an escape");
	}
	c = j->text[j->pos + 1];
	j->pos += 2;
	if (c == 'u')
		return unicode_escape(j, w);
	hit = c ? strchr(from, c) : NULL;
	if (!hit)
		return slc_bad(j->diag, j->base + j->pos - 2,
			       "\\%c is no escape of JSON", c);
	j->text[(*w)++] = (uint8_t)to[hit - from];
	return 0;
}

/* pos is at the opening quote. Decodes in place. */
static int string(struct slc_json *j, struct slc_json_token *tok)
{
	uint64_t start = ++j->pos, w = start;
	int err;

	while (j->pos < j->len) {
		uint8_t c = j->text[j->pos];

		if (c == '"') {
			tok->text = (const char *)j->text + start;
			tok->len = w - start;
			j->text[w] = 0; /* at the latest on the quote itself */
			j->pos++;
			return 0;
		}
		if (c < 0x20)
			return slc_bad(j->diag, j->base + j->pos,
				       "control character 0x%02x in a string",
				       c);
		if (c == '\\') {
			err = escape(j, &w);
			if (err)
				return err;
			continue;
		}
		j->text[w++] = c;
		j->pos++;
	}
	return slc_bad(j->diag, j->base + start - 1,
		       "the JSON text ends inside a string");
}

static bool digit_at(const struct slc_json *j)
{
	return j->pos < j->len && j->text[j->pos] >= '0' &&
	       j->text[j->pos] <= '9';
}

static int digits(struct slc_json *j)
{
	if (!digit_at(j))
		return bad_here(j, "a digit");
	while (digit_at(j))
		j->pos++;
	return 0;
}

static int number(struct slc_json *j, struct slc_json_token *tok)
{
	uint64_t start = j->pos;
	int err = 0;

	tok->text = (const char *)j->text + start;
	if (j->text[j->pos] == '-')
		j->pos++;
	if (j->pos < j->len && j->text[j->pos] == '0') {
		j->pos++;
		if (digit_at(j))
			return slc_bad(j->diag, j->base + start,
				       "a number that begins with 0");
	} else {
		err = digits(j);
	}
	if (!err && j->pos < j->len && j->text[j->pos] == '.') {
		j->pos++;
		err = digits(j);
	}
	if (!err && j->pos < j->len && (j->text[j->pos] | 0x20) == 'e') {
		j->pos++;
		if (j->pos < j->len &&
		    (j->text[j->pos] == '+' || j->text[j->pos] == '-'))
			j->pos++;
		err = digits(j);
	}
	tok->len = j->pos - start;
	return err;
}

static int word(struct slc_json *j, const char *text, uint32_t kind,
		struct slc_json_token *tok)
{
	uint64_t n = strlen(text);

	if (!slc_within(j->pos, n, j->len) || memcmp(j->text + j->pos, text, n))
		return bad_here(j, "a value");
	j->pos += n;
	tok->kind = kind;
	return 0;
}

static bool in_object(const struct slc_json *j)
{
	return j->depth && (j->objects >> (j->depth - 1) & 1);
}

static int enter(struct slc_json *j, bool object, struct slc_json_token *tok)
{
	if (j->depth == SLC_JSON_DEPTH)
		return slc_bad(j->diag, j->base + j->pos,
			       "JSON nested deeper than %d levels",
			       SLC_JSON_DEPTH);
	j->objects &= ~(1ull << j->depth);
	j->objects |= (uint64_t)object << j->depth;
	j->depth++;
	j->pos++;
	j->expect = object ? EXPECT_KEY_OR_END : EXPECT_VALUE_OR_END;
	tok->kind = object ? SLC_JSON_OBJECT : SLC_JSON_ARRAY;
	return 0;
}

static int leave(struct slc_json *j, struct slc_json_token *tok)
{
	tok->kind = in_object(j) ? SLC_JSON_OBJECT_END : SLC_JSON_ARRAY_END;
	j->pos++;
	j->depth--;
	j->expect = j->depth ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
	return 0;
}

static int value(struct slc_json *j, struct slc_json_token *tok)
{
	uint8_t c = j->pos < j->len ? j->text[j->pos] : 0;
	int err;

	switch (c) {
	case '{':
	case '[':
		return enter(j, c == '{', tok);
	case '"':
		tok->kind = SLC_JSON_STRING;
		err = string(j, tok);
		break;
	case '-':
	case '0' ... '9':
		tok->kind = SLC_JSON_NUMBER;
		err = number(j, tok);
		break;
	case 't':
		err = word(j, "true", SLC_JSON_TRUE, tok);
		break;
	case 'f':
		err = word(j, "false", SLC_JSON_FALSE, tok);
		break;
	case 'n':
		err = word(j, "null", SLC_JSON_NULL, tok);
		break;
	default:
		return bad_here(j, "a value");
	}
	j->expect = j->depth ? EXPECT_COMMA_OR_END : EXPECT_NOTHING;
	return err;
}

static int key(struct slc_json *j, struct slc_json_token *tok)
{
	int err;

	if (j->pos >= j->len || j->text[j->pos] != '"')
		return bad_here(j, "a key");
	tok->kind = SLC_JSON_KEY;
	err = string(j, tok);
	if (err)
		return err;
	skip_space(j);
	if (j->pos >= j->len || j->text[j->pos] != ':')
		return bad_here(j, "':'");
	j->pos++;
	j->expect = EXPECT_VALUE;
	return 0;
}

int slc_json_next(struct slc_json *j, struct slc_json_token *tok)
{
	uint8_t c;

	skip_space(j);
	c = j->pos < j->len ? j->text[j->pos] : 0;
	if (j->expect == EXPECT_COMMA_OR_END && c == ',') {
		j->pos++;
		skip_space(j);
		j->expect = in_object(j) ? EXPECT_KEY : EXPECT_VALUE;
	}
	*tok = (struct slc_json_token){ .off = j->base + j->pos };
	switch (j->expect) {
	case EXPECT_VALUE:
		return value(j, tok);
	case EXPECT_VALUE_OR_END:
		return c == ']' ? leave(j, tok) : value(j, tok);
	case EXPECT_KEY:
		return key(j, tok);
	case EXPECT_KEY_OR_END:
		return c == '}' ? leave(j, tok) : key(j, tok);
	case EXPECT_COMMA_OR_END:
		if (c == (in_object(j) ? '}' : ']'))
			return leave(j, tok);
		return bad_here(j, in_object(j) ? "',' or '}'" : "',' or ']'");
	default:
		if (j->pos < j->len)
			return bad_here(j, "the end");
		return 0;
	}
}

int slc_json_skip(struct slc_json *j, const struct slc_json_token *tok)
{
	struct slc_json_token t;
	uint32_t outside = j->depth - 1;
	int err = 0;

	if (tok->kind != SLC_JSON_OBJECT && tok->kind != SLC_JSON_ARRAY)
		return 0;
	while (!err && j->depth > outside)
		err = slc_json_next(j, &t);
	return err;
}

bool slc_json_u64(const struct slc_json_token *tok, uint64_t *out)
{
	uint64_t v = 0;

	if (tok->kind != SLC_JSON_NUMBER)
		return false;
	for (uint64_t i = 0; i < tok->len; i++) {
		if (tok->text[i] < '0' || tok->text[i] > '9')
			return false;
		if (!slc_mul(v, 10, &v) ||
		    !slc_add(v, (uint64_t)(tok->text[i] - '0'), &v))
			return false;
	}
	*out = v;
	return true;
}

/* SPDX-License-Identifier: MIT */
/*
 * json.h - a pull scanner for the JSON of safetensors headers (RFC 8259).
 *
 * Strict: no comments, no trailing commas, no leading zeros, no byte order
 * mark, no lone surrogates, UTF-8 throughout, at most 64 levels. It allocates
 * nothing: strings are decoded where they stand, so the text is overwritten.
 */
#ifndef SLC_FORMAT_JSON_H
#define SLC_FORMAT_JSON_H

#include <stdbool.h>

#include "format/source.h"

#define SLC_JSON_DEPTH 64

enum slc_json_kind {
	SLC_JSON_END = 0, /* the document is complete */
	SLC_JSON_OBJECT,
	SLC_JSON_OBJECT_END,
	SLC_JSON_ARRAY,
	SLC_JSON_ARRAY_END,
	SLC_JSON_KEY,
	SLC_JSON_STRING,
	SLC_JSON_NUMBER,
	SLC_JSON_TRUE,
	SLC_JSON_FALSE,
	SLC_JSON_NULL,
};

struct slc_json_token {
	uint32_t kind; /* enum slc_json_kind */
	/*
	 * KEY, STRING: the decoded text, with a NUL behind it (and possibly
	 * within). NUMBER: its characters. Valid as long as the text.
	 */
	const char *text;
	uint64_t len;
	uint64_t off; /* of the token in the file */
};

struct slc_json {
	uint8_t *text;
	uint64_t len, pos;
	uint64_t base;	  /* file offset of text[0] */
	uint64_t objects; /* bit d: the container at depth d + 1 is an object */
	uint32_t depth;
	uint32_t expect;  /* what may come next: json.c's own */
	struct slc_diag *diag;
};

/*
 * Begins on `len` bytes at `text`, which stand at `base` in the file. Checks
 * that all of it is UTF-8: 0 or -EBADMSG. `text` and `diag` must outlive *j.
 */
int slc_json_init(struct slc_json *j, void *text, uint64_t len, uint64_t base,
		  struct slc_diag *diag);

/* The next token: 0 or -EBADMSG with diag set. */
int slc_json_next(struct slc_json *j, struct slc_json_token *tok);

/* Passes over the rest of the value that `tok` began. */
int slc_json_skip(struct slc_json *j, const struct slc_json_token *tok);

/* A NUMBER that is an integer in [0, 2^64), without sign, point, exponent. */
bool slc_json_u64(const struct slc_json_token *tok, uint64_t *out);

/* "an object", "a string", ... for sentences. */
const char *slc_json_kind_name(uint32_t kind);

/* The offset of the first byte that is not UTF-8, or len. */
uint64_t slc_utf8_check(const void *text, uint64_t len);

#endif

/* SPDX-License-Identifier: MIT */
/* bytes.h - input for parsers, made in the test, and parsing from memory. */
#ifndef SLC_TESTS_BYTES_H
#define SLC_TESTS_BYTES_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"

struct bytes {
	uint8_t *p;
	size_t len, room;
};

static inline void put(struct bytes *b, const void *src, size_t n)
{
	if (b->len + n > b->room) {
		b->room = 2 * (b->len + n);
		b->p = realloc(b->p, b->room);
		if (!b->p)
			abort();
	}
	if (n)
		memcpy(b->p + b->len, src, n);
	b->len += n;
}

static inline void put_text(struct bytes *b, const char *text)
{
	put(b, text, strlen(text));
}

static inline void put_le(struct bytes *b, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t byte = (uint8_t)(v >> (8 * i));

		put(b, &byte, 1);
	}
}

static inline void put_zeros(struct bytes *b, size_t n)
{
	static const uint8_t zeros[4096];

	for (; n > sizeof(zeros); n -= sizeof(zeros))
		put(b, zeros, sizeof(zeros));
	put(b, zeros, n);
}

static inline void set_le(struct bytes *b, size_t at, uint64_t v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		b->p[at + i] = (uint8_t)(v >> (8 * i));
}

static inline void bytes_free(struct bytes *b)
{
	free(b->p);
	memset(b, 0, sizeof(*b));
}

/* The whole file, or false. */
static inline bool bytes_load(struct bytes *b, const char *path)
{
	FILE *f = fopen(path, "rb");
	uint8_t buf[4096];
	size_t n;

	if (!f)
		return false;
	while ((n = fread(buf, 1, sizeof(buf), f)) > 0)
		put(b, buf, n);
	fclose(f);
	return true;
}

/* The folder of sample files, or NULL where there is none. */
static inline const char *shared_dir(void)
{
	const char *dir = getenv("SLC_SHARED");
	char probe[4096];

	if (!dir)
		dir = "../shared";
	snprintf(probe, sizeof(probe), "%s/samples", dir);
	return access(probe, R_OK) ? NULL : dir;
}

struct parsed {
	int err;
	struct slc_table t;
	struct slc_diag diag;
};

/*
 * Parses the first `len` bytes out of a block of exactly that size, so that a
 * sanitizer sees the first byte read beyond it. parsed_free() afterwards.
 */
static inline struct parsed parse_bytes(const struct slc_format *format,
					const void *p, size_t len,
					uint64_t data_size)
{
	struct parsed r = { 0 };
	struct slc_source_mem src;
	struct slc_parse in = { &src.base, data_size, 0 };
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		abort();
	if (len)
		memcpy(copy, p, len);
	slc_source_mem_init(&src, copy, len);
	r.err = format->parse(&in, &r.t, &r.diag);
	free(copy);
	return r;
}

static inline void parsed_free(struct parsed *r)
{
	slc_table_fini(&r->t);
}

/* Memory that cannot be read from one place on. */
struct source_broken {
	struct slc_source base;
	struct slc_source_mem mem;
	uint64_t from;
	int err;
};

static inline int64_t source_broken_read(struct slc_source *src, uint64_t off,
					 void *buf, uint64_t len)
{
	struct source_broken *b = (struct source_broken *)src;

	if (len && off + len > b->from)
		return b->err;
	return b->mem.base.read(&b->mem.base, off, buf, len);
}

static inline void source_broken_init(struct source_broken *src,
				      const struct bytes *b, uint64_t from,
				      int err)
{
	slc_source_mem_init(&src->mem, b->p, b->len);
	src->base.read = source_broken_read;
	src->base.size = b->len;
	src->from = from;
	src->err = err;
}

/* All samples lie within [0, size), each at or after the one before. */
static inline bool spans_are_inside(const struct slc_table *t, uint64_t size)
{
	uint64_t last = 0;

	for (uint64_t i = 0; i < t->n; i++) {
		uint64_t off, len;

		slc_table_span(t, i, &off, &len);
		if (off < last || off > size || len > size - off)
			return false;
		last = off + len;
	}
	return true;
}

#endif

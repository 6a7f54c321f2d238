/* SPDX-License-Identifier: MIT */
/* parse.h - for the tests of parsers: bytes made by hand, what must hold. */
#ifndef SLC_TESTS_PARSE_H
#define SLC_TESTS_PARSE_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "format/format.h"
#include "ktap.h"
#include "nthfail.h"

/* gcc defines the first two, clang has the feature test. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || \
	__has_feature(memory_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* Bytes that grow. */
struct blob {
	uint8_t *at;
	uint64_t len, room;
};

static inline void blob_put(struct blob *b, const void *bytes, uint64_t len)
{
	if (b->len + len > b->room) {
		b->room = (b->len + len) * 2 + 64;
		b->at = realloc(b->at, b->room);
	}
	if (len)
		memcpy(b->at + b->len, bytes, len);
	b->len += len;
}

/* Not inlined: gcc then fears for its variables around setjmp. */
static __attribute__((noinline, unused)) void blob_le(struct blob *b, uint64_t v, int bytes)
{
	uint8_t le[8];

	for (int i = 0; i < bytes; i++)
		le[i] = (uint8_t)(v >> 8 * i);
	blob_put(b, le, (uint64_t)bytes);
}

static inline void blob_fill(struct blob *b, int c, uint64_t len)
{
	uint8_t byte = (uint8_t)c;

	while (len--)
		blob_put(b, &byte, 1);
}

__attribute__((format(printf, 2, 3))) static inline void
blob_say(struct blob *b, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	ASSERT_LT(n, (int)sizeof(text));
	blob_put(b, text, (uint64_t)n);
}

static inline void blob_free(struct blob *b)
{
	free(b->at);
	memset(b, 0, sizeof(*b));
}

/* A parse of bytes copied to memory of exactly their size, for ASan. */
struct parsed {
	int err;
	struct slc_table t;
	struct slc_diag diag;
};

static inline void parse_record(const struct slc_format *f, const void *bytes,
				uint64_t len, uint64_t record,
				struct parsed *out)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct slc_source_mem mem;
	struct slc_parse in = { .src = &mem.base, .record = record };

	if (len)
		memcpy(copy, bytes, len);
	memset(out, 0, sizeof(*out));
	slc_source_mem_init(&mem, copy, len);
	out->err = f->parse(&in, &out->t, &out->diag);
	free(copy);
}

static inline void parse_bytes(const struct slc_format *f, const void *bytes,
			       uint64_t len, struct parsed *out)
{
	parse_record(f, bytes, len, 0, out);
}

static inline void parsed_fini(struct parsed *p)
{
	if (!p->err)
		slc_table_fini(&p->t);
}

/* Refused at `off` with a sentence that has `what` in it. */
static inline void expect_refused(const struct slc_format *f, const void *bytes,
				  uint64_t len, uint64_t off, const char *what)
{
	struct parsed p;

	parse_bytes(f, bytes, len, &p);
	EXPECT_EQ(p.err, -EBADMSG);
	if (p.err) {
		EXPECT_HAS(p.diag.what, what);
		EXPECT_EQ(p.diag.off, off);
	}
	parsed_fini(&p);
}

/* Refused in whatever way, or a table that lies within the bytes. */
static inline void check_sane(const struct parsed *p, uint64_t size)
{
	if (p->err) {
		ASSERT_EQ(p->err, -EBADMSG);
		ASSERT_NE(p->diag.what[0], 0);
		ASSERT_TRUE(memchr(p->diag.what, 0, sizeof(p->diag.what)) !=
			    NULL);
		for (const char *c = p->diag.what; *c; c++)
			ASSERT_TRUE(*c >= ' ' && *c <= '~');
		return;
	}
	ASSERT_LE(p->t.n, size + 1);
	for (uint64_t i = 0; i < p->t.n; i++) {
		uint64_t off, len;

		slc_table_span(&p->t, i, &off, &len);
		ASSERT_LE(off, size);
		ASSERT_LE(len, size - off);
		if (p->t.kind == SLC_TABLE_TENSORS)
			ASSERT_LE(strlen(p->t.names + p->t.tensors[i].name),
				  size);
	}
}

/* How many of the truncations were accepted. */
static inline uint64_t each_truncation(const struct slc_format *f,
				       const struct blob *b)
{
	uint64_t accepted = 0;
	struct parsed p;

	for (uint64_t len = 0; len < b->len; len++) {
		parse_bytes(f, b->at, len, &p);
		check_sane(&p, len);
		accepted += !p.err;
		parsed_fini(&p);
	}
	return accepted;
}

/* Flips every bit before `end`; how many were accepted. */
static inline uint64_t each_bit_flip(const struct slc_format *f,
				     const struct blob *b, uint64_t end)
{
	uint64_t accepted = 0;
	struct parsed p;

	for (uint64_t bit = 0; bit < end * 8; bit++) {
		b->at[bit / 8] ^= (uint8_t)(1 << bit % 8);
		parse_bytes(f, b->at, b->len, &p);
		b->at[bit / 8] ^= (uint8_t)(1 << bit % 8);
		check_sane(&p, b->len);
		accepted += !p.err;
		parsed_fini(&p);
	}
	return accepted;
}

/* Every allocation fails once, and is said; then it works. */
static inline void each_allocation(const struct slc_format *f,
				   const struct blob *b)
{
	struct slc_source_mem mem;
	struct slc_parse in = { .src = &mem.base };
	struct slc_table t;
	struct slc_diag diag;
	int err;

	slc_source_mem_init(&mem, b->at, b->len);
	for (uint64_t n = 1;; n++) {
		ASSERT_LT(n, 1000);
		memset(&t, 0, sizeof(t));
		memset(&diag, 0, sizeof(diag));
		nthfail_arm(n);
		err = f->parse(&in, &t, &diag);
		if (!nthfail_disarm())
			break;
		ASSERT_EQ(err, -ENOMEM);
		ASSERT_HAS(diag.what, "no memory");
	}
	ASSERT_EQ(err, 0);
	slc_table_fini(&t);
}

/* Memory whose size is not told and that never goes back: an inflater. */
struct forward {
	struct slc_source base;
	const struct blob *b;
	uint64_t read_to;
	int64_t fail; /* what reads return from `fail_at` on */
	uint64_t fail_at;
};

static inline int64_t forward_read(struct slc_source *src, uint64_t off,
				   void *buf, uint64_t len)
{
	struct forward *f = (struct forward *)src;

	if (off < f->read_to)
		return -ESPIPE;
	if (f->fail && off + len > f->fail_at)
		return f->fail;
	if (off >= f->b->len)
		return 0;
	if (len > f->b->len - off)
		len = f->b->len - off;
	memcpy(buf, f->b->at + off, len);
	f->read_to = off + len;
	return (int64_t)len;
}

/* The same answer from a source that only goes forward, at any length. */
static inline void each_length_forward(const struct slc_format *f,
				       const struct blob *b)
{
	for (uint64_t len = 0; len <= b->len; len++) {
		struct blob cut = { b->at, len, 0 };
		struct forward src = { { forward_read, SLC_SIZE_UNKNOWN },
				       &cut, 0, 0, 0 };
		struct slc_parse in = { .src = &src.base };
		struct parsed p, q = { 0 };

		parse_bytes(f, b->at, len, &p);
		q.err = f->parse(&in, &q.t, &q.diag);
		ASSERT_EQ(q.err, p.err);
		check_sane(&q, len);
		if (!p.err) {
			ASSERT_EQ(q.t.n, p.t.n);
		}
		parsed_fini(&p);
		parsed_fini(&q);
	}
}

/* A read that fails is that error, not "malformed". */
static inline void each_read_failing(const struct slc_format *f,
				     const struct blob *b, uint64_t header)
{
	for (uint64_t at = 0; at < header; at++) {
		struct forward src = { { forward_read, b->len }, b, 0, -EIO,
				       at };
		struct slc_parse in = { .src = &src.base };
		struct parsed p = { 0 };

		p.err = f->parse(&in, &p.t, &p.diag);
		ASSERT_EQ(p.err, -EIO);
		ASSERT_HAS(p.diag.what, "Input/output error");
	}
}

/* The folder of sample files, or SKIP. */
static inline const char *samples(const char *name)
{
	static char path[4096];
	const char *shared = getenv("SLC_SHARED");

	snprintf(path, sizeof(path), "%s/samples/%s",
		 shared ? shared : "../shared", name);
	if (access(path, R_OK))
		SKIP("%.150s is not there", path);
	return path;
}

static inline void load(struct blob *b, const char *folder, const char *name)
{
	char path[8192], buf[4096];
	size_t n;
	FILE *fp;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fp = fopen(path, "rb");
	if (!fp)
		printf("# %s: %s\n", path, strerror(errno));
	ASSERT_NOT_NULL(fp);
	while ((n = fread(buf, 1, sizeof(buf), fp)) > 0)
		blob_put(b, buf, n);
	fclose(fp);
}

/* Of this process, in seconds: a busy machine does not change it. */
static inline double cpu_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

#endif

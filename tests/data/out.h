/* SPDX-License-Identifier: MIT */
/* out.h - what mkdata writes with: random bytes, files, text that grows. */
#ifndef SLC_TESTS_DATA_OUT_H
#define SLC_TESTS_DATA_OUT_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

#define OUT_BUF (1u << 20)

static const char *folder;

__attribute__((format(printf, 1, 2), noreturn)) static inline void
die(const char *fmt, ...)
{
	va_list ap;

	fputs("mkdata: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(1);
}

static inline void *need(void *p)
{
	if (!p)
		die("no memory");
	return p;
}

/* ---- random bytes: xoshiro256++ seeded by splitmix64 (Blackman, Vigna) ---- */

struct rng {
	uint64_t s[4];
};

static inline void rng_seed(struct rng *r, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = (seed += 0x9e3779b97f4a7c15ull);

		z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
		z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
		r->s[i] = z ^ (z >> 31);
	}
}

static inline uint64_t rotl(uint64_t v, int k)
{
	return v << k | v >> (64 - k);
}

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t *s = r->s, out = rotl(s[0] + s[3], 23) + s[0];
	uint64_t t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return out;
}

/* Uniform enough in [low, high]. */
static inline uint64_t rng_in(struct rng *r, uint64_t low, uint64_t high)
{
	return low + rng_next(r) % (high - low + 1);
}

/* What random words are made into. */
struct shape_of_bytes {
	uint64_t and, or;
};
static const struct shape_of_bytes any_bytes = { UINT64_MAX, 0 };
/* Numbers in [1, 2). */
static const struct shape_of_bytes f32_words = { 0x007fffff007fffffull,
						 0x3f8000003f800000ull };
static const struct shape_of_bytes bf16_words = { 0x007f007f007f007full,
						  0x3f803f803f803f80ull };
/* Token numbers of a vocabulary of 32768. */
static const struct shape_of_bytes u16_tokens = { 0x7fff7fff7fff7fffull, 0 };

/* ---- files ---- */

struct out {
	int fd;
	gzFile gz;    /* instead of fd */
	uint64_t len; /* bytes put in, before any compression */
	uint32_t have;
	uint8_t *buf;
	char path[4096];
};

static uint64_t total_bytes, total_files;

static inline void make_folder(const char *path)
{
	if (mkdir(path, 0777) && errno != EEXIST)
		die("%s: %s", path, strerror(errno));
}

__attribute__((format(printf, 3, 4))) static inline void
out_open(struct out *o, bool gz, const char *fmt, ...)
{
	char name[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	vsnprintf(name, sizeof(name), fmt, ap);
	va_end(ap);
	memset(o, 0, sizeof(*o));
	n = snprintf(o->path, sizeof(o->path), "%s/%s", folder, name);
	if (n < 0 || n >= (int)sizeof(o->path))
		die("%s: the path is too long", folder);
	*strrchr(o->path, '/') = 0;
	make_folder(o->path);
	o->path[strlen(o->path)] = '/';
	o->fd = open(o->path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (o->fd < 0)
		die("%s: %s", o->path, strerror(errno));
	if (gz)
		o->gz = need(gzdopen(o->fd, "wb1"));
	o->buf = need(malloc(OUT_BUF));
}

static inline void out_flush(struct out *o)
{
	uint32_t done = 0;

	while (done < o->have) {
		ssize_t n;

		if (o->gz)
			n = gzwrite(o->gz, o->buf + done, o->have - done);
		else
			n = write(o->fd, o->buf + done, o->have - done);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			die("%s: %s", o->path, strerror(errno));
		done += (uint32_t)n;
	}
	o->have = 0;
}

static inline void out_close(struct out *o)
{
	out_flush(o);
	if (o->gz ? gzclose(o->gz) != Z_OK : close(o->fd))
		die("%s: %s", o->path, strerror(errno));
	free(o->buf);
	total_bytes += o->len;
	total_files++;
}

static inline void put(struct out *o, const void *bytes, uint64_t len)
{
	const uint8_t *p = bytes;

	o->len += len;
	while (len) {
		uint32_t n = OUT_BUF - o->have;

		if (n > len)
			n = (uint32_t)len;
		memcpy(o->buf + o->have, p, n);
		o->have += n;
		p += n;
		len -= n;
		if (o->have == OUT_BUF)
			out_flush(o);
	}
}

static inline void put_le(struct out *o, uint64_t v, int bytes)
{
	uint8_t b[8];

	for (int i = 0; i < bytes; i++)
		b[i] = (uint8_t)(v >> 8 * i);
	put(o, b, (uint64_t)bytes);
}

static inline void put_fill(struct out *o, char c, uint64_t len)
{
	while (len--)
		put(o, &c, 1);
}

static inline void fill_random(struct rng *r, const struct shape_of_bytes *w,
			uint8_t *p, uint64_t len)
{
	uint64_t v;

	for (; len >= 8; p += 8, len -= 8) {
		v = (rng_next(r) & w->and) | w->or;
		memcpy(p, &v, 8);
	}
	v = (rng_next(r) & w->and) | w->or;
	memcpy(p, &v, len);
}

static inline void put_random(struct out *o, struct rng *r,
		       const struct shape_of_bytes *w, uint64_t len)
{
	o->len += len;
	while (len) {
		uint64_t n = OUT_BUF - o->have;

		if (n > len)
			n = len;
		fill_random(r, w, o->buf + o->have, n);
		o->have += (uint32_t)n;
		len -= n;
		if (o->have == OUT_BUF)
			out_flush(o);
	}
}

/* Text that grows: JSON headers. */
struct text {
	char *at;
	uint64_t len, room;
};

__attribute__((format(printf, 2, 3))) static inline void
say(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (t->room - t->len < 1024) {
		t->room = t->room * 2 + 4096;
		t->at = need(realloc(t->at, t->room));
	}
	va_start(ap, fmt);
	n = vsnprintf(t->at + t->len, t->room - t->len, fmt, ap);
	va_end(ap);
	if (n < 0 || n >= 1024)
		die("a line of a header is too long");
	t->len += (uint64_t)n;
}

#endif

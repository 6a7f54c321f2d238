/* SPDX-License-Identifier: MIT */
#include "stream/token.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "stream/order.h"

#define BODY 58 /* bytes of the fields */
#define HEAD "slc1."
#define TEXT (sizeof(HEAD) - 1 + 2 * BODY + 1 + 8)

static const char digits[] = "0123456789abcdef";

static uint8_t *put(uint8_t *p, uint64_t v, unsigned int bytes)
{
	while (bytes--) {
		*p++ = (uint8_t)v;
		v >>= 8;
	}
	return p;
}

static const uint8_t *take(const uint8_t *p, uint64_t *v, unsigned int bytes)
{
	*v = 0;
	for (unsigned int i = 0; i < bytes; i++)
		*v |= (uint64_t)p[i] << (8 * i);
	return p + bytes;
}

int slc_token_write(const struct slc_token *t, char *buf, size_t n)
{
	uint8_t body[BODY], *p = body;
	uint32_t crc;
	char *out = buf;

	if (n < TEXT + 1)
		return -ENOSPC;
	p = put(p, t->fingerprint, 8);
	p = put(p, t->shuffle, 1);
	p = put(p, t->tail, 1);
	p = put(p, t->seed, 8);
	p = put(p, t->epoch, 8);
	p = put(p, t->n, 8);
	p = put(p, t->base, 8);
	p = put(p, t->end, 8);
	p = put(p, t->world, 4);
	put(p, t->batch, 4);
	memcpy(out, HEAD, sizeof(HEAD) - 1);
	out += sizeof(HEAD) - 1;
	for (int i = 0; i < BODY; i++) {
		*out++ = digits[body[i] >> 4];
		*out++ = digits[body[i] & 15];
	}
	crc = slc_crc32c(0, buf, (uint64_t)(out - buf));
	snprintf(out, 10, ".%08x", crc);
	return 0;
}

__attribute__((format(printf, 3, 4))) static int
refuse(char *why, size_t n, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, n, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* The value of n lower-case hex digits, two a byte; false if any is not. */
static bool unhex(const char *s, uint8_t *out, size_t bytes)
{
	for (size_t i = 0; i < 2 * bytes; i++) {
		const char *d = s[i] ? strchr(digits, s[i]) : NULL;

		if (!d)
			return false;
		if (i & 1)
			out[i / 2] |= (uint8_t)(d - digits);
		else
			out[i / 2] = (uint8_t)((d - digits) << 4);
	}
	return true;
}

static void unpack(const uint8_t *p, struct slc_token *t)
{
	uint64_t shuffle, tail, world, batch;

	p = take(p, &t->fingerprint, 8);
	p = take(p, &shuffle, 1);
	p = take(p, &tail, 1);
	p = take(p, &t->seed, 8);
	p = take(p, &t->epoch, 8);
	p = take(p, &t->n, 8);
	p = take(p, &t->base, 8);
	p = take(p, &t->end, 8);
	p = take(p, &world, 4);
	take(p, &batch, 4);
	t->shuffle = (uint8_t)shuffle;
	t->tail = (uint8_t)tail;
	t->world = (uint32_t)world;
	t->batch = (uint32_t)batch;
}

/* A forged token passes the CRC; its fields must still be harmless. */
static bool plausible(const struct slc_token *t)
{
	uint64_t step = (uint64_t)t->world * t->batch;

	if (t->shuffle > SLC_SHUFFLE_FULL || t->tail > SLC_TAIL_PAD ||
	    !step || step > SLC_STEP_MAX || t->n > 1ull << 63)
		return false;
	return t->base <= t->end &&
	       t->end <= t->n + (t->tail == SLC_TAIL_PAD ? step - 1 : 0);
}

int slc_token_read(const char *text, struct slc_token *out, char *why,
		   size_t n)
{
	size_t len = strnlen(text, SLC_TOKEN_MAX);
	const size_t head = sizeof(HEAD) - 1;
	uint8_t body[BODY], sum[4];
	struct slc_token t;
	uint32_t crc;

	if (len >= SLC_TOKEN_MAX)
		return refuse(why, n,
			      "the resume token is longer than %d bytes: it is not one of sluice's",
			      SLC_TOKEN_MAX - 1);
	if (len < head || strncmp(text, "slc", 3) || text[4] != '.')
		return refuse(why, n,
			      "the resume token does not begin with \"%s\": it is not one of sluice's",
			      HEAD);
	if (strncmp(text, HEAD, head))
		return refuse(why, n,
			      "the resume token has version '%c', and this sluice knows version %d: use the sluice that wrote it",
			      text[3] > ' ' && text[3] < 0x7f ? text[3] : '?',
			      SLC_TOKEN_VERSION);
	if (len != TEXT || text[head + 2 * BODY] != '.')
		return refuse(why, n,
			      "the resume token has %zu characters where %zu belong: it was cut or changed, copy all of it",
			      len, TEXT);
	if (!unhex(text + head, body, BODY) ||
	    !unhex(text + head + 2 * BODY + 1, sum, 4))
		return refuse(why, n,
			      "the resume token has a character that is no lower-case hex digit: it was changed");
	crc = slc_crc32c(0, text, head + 2 * BODY);
	if (crc != ((uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 |
		    (uint32_t)sum[2] << 8 | sum[3]))
		return refuse(why, n,
			      "the checksum of the resume token does not match: it was changed");
	unpack(body, &t);
	if (!plausible(&t))
		return refuse(why, n,
			      "the fields of the resume token contradict each other: it was not written by sluice");
	*out = t;
	return 0;
}

static int differs(char *why, size_t n, const char *what, const char *held,
		   const char *asked)
{
	return refuse(why, n,
		      "the resume token holds %s %s and %s was asked for: leave it out to go on with the token's, or start without the token",
		      what, held, asked);
}

static int numbers(char *why, size_t n, const char *what, uint64_t held,
		   uint64_t asked)
{
	char h[24], a[24];

	snprintf(h, sizeof(h), "%" PRIu64, held);
	snprintf(a, sizeof(a), "%" PRIu64, asked);
	return differs(why, n, what, h, a);
}

int slc_token_agree(const struct slc_token *t, const struct slc_stream_attr *a,
		    uint32_t said, char *why, size_t n)
{
	static const char *const shuffles[] = { "none", "shard", "full" };
	static const char *const tails[] = { "uneven", "drop", "pad" };

	if ((said & SLC_SAID_SHUFFLE) && a->shuffle != t->shuffle)
		return differs(why, n, "shuffle", shuffles[t->shuffle],
			       shuffles[a->shuffle]);
	if ((said & SLC_SAID_TAIL) && a->tail != t->tail)
		return differs(why, n, "tail", tails[t->tail],
			       tails[a->tail]);
	if ((said & SLC_SAID_SEED) && a->seed != t->seed)
		return numbers(why, n, "seed", t->seed, a->seed);
	if ((said & SLC_SAID_EPOCH) && a->epoch != t->epoch)
		return numbers(why, n, "epoch", t->epoch, a->epoch);
	return 0;
}

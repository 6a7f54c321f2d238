/* SPDX-License-Identifier: MIT */
#include "stream/order.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <sluice/stream.h>

#include "base/checked.h"

#define SAMPLES_MAX (1ull << 63)

enum perm_use { USE_SAMPLES = 1, USE_SHARDS = 2 };

/* The finalizer of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014). */
static uint64_t mix64(uint64_t x)
{
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* The round function: 32 bits that depend on all of the key and of v. */
static inline uint32_t scramble(uint32_t v, uint64_t key)
{
	uint64_t x = (v ^ key) * 0x9e3779b97f4a7c15ull;

	x ^= x >> 32;
	x *= 0xd6e8feb86659fd93ull;
	return (uint32_t)(x >> 32);
}

/* ceil(sqrt(n)), n <= 2^63. */
static uint64_t root_up(uint64_t n)
{
	uint64_t lo = 1, hi = 1ull << 32;

	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		/* mid < 2^32: the square fits. */
		if (mid * mid >= n)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void slc_perm_init(struct slc_perm *perm, uint64_t n, uint64_t seed,
		   uint64_t epoch, uint64_t use)
{
	const uint64_t golden = 0x9e3779b97f4a7c15ull;
	uint64_t a = root_up(n);
	uint64_t state;

	perm->n = n;
	perm->a = (uint32_t)a;
	perm->b = (uint32_t)((n + a - 1) / a);
	/* Chained, not xored: (seed, epoch) pairs must not collide in bulk. */
	state = mix64(seed + golden);
	state = mix64(state ^ (epoch + 2 * golden));
	state = mix64(state ^ (use + 3 * golden));
	for (int i = 0; i < SLC_PERM_ROUNDS; i++)
		perm->key[i] = mix64(state += golden);
}

/*
 * l is in Z_a and r in Z_b; a round adds to one of them a number that depends
 * only on the other, so each can be undone and the whole is a bijection of
 * [0, a * b) (Black and Rogaway, "Ciphers with Arbitrary Finite Domains",
 * CT-RSA 2002, which also gives the cycle walk).
 */
static inline uint64_t feistel(const struct slc_perm *perm, uint64_t x)
{
	uint64_t a = perm->a, b = perm->b;
	uint64_t l = x / b, r = x % b;

	for (int i = 0; i < SLC_PERM_ROUNDS; i += 2) {
		l += ((uint64_t)scramble((uint32_t)r, perm->key[i]) * a) >> 32;
		l -= l >= a ? a : 0;
		r += ((uint64_t)scramble((uint32_t)l, perm->key[i + 1]) * b) >>
		     32;
		r -= r >= b ? b : 0;
	}
	return l * b + r;
}

uint64_t slc_perm_at(const struct slc_perm *perm, uint64_t i)
{
	/* Outside [0, n) there are less than a of a * b: walk until inside. */
	do
		i = feistel(perm, i);
	while (i >= perm->n);
	return i;
}

static int order_shards(struct slc_order *o, uint64_t seed, uint64_t epoch,
			const uint64_t *counts, uint64_t nshards)
{
	uint64_t *starts, end = 0;

	o->ends = calloc(nshards + 1, sizeof(*o->ends));
	o->firsts = calloc(nshards + 1, sizeof(*o->firsts));
	starts = calloc(nshards + 1, sizeof(*starts));
	if (!o->ends || !o->firsts || !starts) {
		free(starts);
		slc_order_fini(o);
		return -ENOMEM;
	}
	for (uint64_t i = 0; i < nshards; i++)
		starts[i + 1] = starts[i] + counts[i];
	if (nshards)
		slc_perm_init(&o->perm, nshards, seed, epoch, USE_SHARDS);
	for (uint64_t i = 0; i < nshards; i++) {
		uint64_t shard = slc_perm_at(&o->perm, i);

		end += counts[shard];
		o->ends[i] = end;
		o->firsts[i] = starts[shard];
	}
	o->nshards = nshards;
	free(starts);
	return 0;
}

int slc_order_init(struct slc_order *o, uint32_t shuffle, uint64_t seed,
		   uint64_t epoch, const uint64_t *counts, uint64_t nshards)
{
	memset(o, 0, sizeof(*o));
	for (uint64_t i = 0; i < nshards; i++)
		if (!slc_add(o->n, counts[i], &o->n) || o->n > SAMPLES_MAX)
			return -EINVAL;
	o->shuffle = shuffle;
	switch (shuffle) {
	case SLC_SHUFFLE_NONE:
		return 0;
	case SLC_SHUFFLE_SHARD:
		return order_shards(o, seed, epoch, counts, nshards);
	case SLC_SHUFFLE_FULL:
		if (o->n)
			slc_perm_init(&o->perm, o->n, seed, epoch, USE_SAMPLES);
		return 0;
	}
	return -EINVAL;
}

void slc_order_fini(struct slc_order *o)
{
	free(o->ends);
	free(o->firsts);
	memset(o, 0, sizeof(*o));
}

uint64_t slc_order_at(const struct slc_order *o, uint64_t p)
{
	uint64_t lo = 0, hi;

	if (o->shuffle == SLC_SHUFFLE_NONE)
		return p;
	if (o->shuffle == SLC_SHUFFLE_FULL)
		return slc_perm_at(&o->perm, p);
	/* The first shard in visiting order that ends after p. */
	hi = o->nshards;
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;

		if (o->ends[mid] > p)
			hi = mid;
		else
			lo = mid + 1;
	}
	return o->firsts[lo] + (p - (lo ? o->ends[lo - 1] : 0));
}

int slc_deal_init(struct slc_deal *d, uint32_t tail)
{
	uint64_t step = (uint64_t)d->world * d->batch;
	uint64_t left = d->base < d->n ? d->n - d->base : 0;
	uint64_t over;

	/* n <= 2^63 and step <= 2^62: no sum below can wrap. */
	if (!step || step > SLC_STEP_MAX || d->rank >= d->world ||
	    d->n > SAMPLES_MAX || tail > SLC_TAIL_PAD)
		return -EINVAL;
	if (d->base > d->n)
		d->base = d->n; /* within the repeats: all samples are out */
	over = left % step;
	d->end = d->base + left;
	if (tail == SLC_TAIL_DROP)
		d->end -= over;
	else if (tail == SLC_TAIL_PAD && over)
		d->end += step - over;
	return 0;
}

uint64_t slc_deal_count(const struct slc_deal *d)
{
	uint64_t first = d->base + d->rank;

	return first < d->end ? (d->end - first - 1) / d->world + 1 : 0;
}

uint64_t slc_deal_after(const struct slc_deal *d, uint64_t k)
{
	uint64_t taken;

	if (!slc_mul(k, d->world, &taken) || taken > d->end - d->base)
		return d->end;
	return d->base + taken;
}

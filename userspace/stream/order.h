/* SPDX-License-Identifier: MIT */
/*
 * order.h - which sample comes at which position, and which positions belong
 * to a rank. Pure arithmetic; the numbers are part of the resume token's
 * version: a change here is a new SLC_TOKEN_VERSION.
 */
#ifndef SLC_STREAM_ORDER_H
#define SLC_STREAM_ORDER_H

#include <stdint.h>

/* A keyed bijection of [0, n): a Feistel network over Z_a x Z_b. */
#define SLC_PERM_ROUNDS 6
struct slc_perm {
	uint64_t n;
	uint32_t a, b; /* n <= a * b < n + a, so cycle walks are rare */
	uint64_t key[SLC_PERM_ROUNDS];
};

/* 1 <= n <= 2^63. `use` separates permutations of one seed and epoch. */
void slc_perm_init(struct slc_perm *perm, uint64_t n, uint64_t seed,
		   uint64_t epoch, uint64_t use);
/* i < n. */
uint64_t slc_perm_at(const struct slc_perm *perm, uint64_t i);

struct slc_order {
	uint32_t shuffle; /* enum slc_shuffle */
	uint64_t n;	  /* samples */
	struct slc_perm perm;
	/* SLC_SHUFFLE_SHARD: of the shards in the order they are visited. */
	uint64_t nshards;
	uint64_t *ends;	  /* positions before the end of each */
	uint64_t *firsts; /* dataset number of the first sample of each */
};

/*
 * counts: samples of each shard, read during the call. 0, -ENOMEM, or -EINVAL
 * (an unknown shuffle; more than 2^63 samples).
 */
int slc_order_init(struct slc_order *order, uint32_t shuffle, uint64_t seed,
		   uint64_t epoch, const uint64_t *counts, uint64_t nshards);
void slc_order_fini(struct slc_order *order);
/* The dataset number of the sample at position p < n. */
uint64_t slc_order_at(const struct slc_order *order, uint64_t p);

/*
 * How positions are dealt: rank r takes base + r + k * world below `end`.
 * Positions from n on (SLC_TAIL_PAD) repeat the order from its start.
 */
#define SLC_STEP_MAX (1ull << 62) /* world x batch */
struct slc_deal {
	uint64_t n, base, end;
	uint32_t rank, world, batch;
};

/*
 * Fills deal->end (and holds base to n) from the tail policy, which is
 * applied to what is left, [base, n), so that on another world size nothing is
 * lost or comes twice (SLC_TAIL_UNEVEN). 0, or -EINVAL (rank, world, batch).
 */
int slc_deal_init(struct slc_deal *deal, uint32_t tail);
/* How many positions this rank has. */
uint64_t slc_deal_count(const struct slc_deal *deal);
/* The k-th position of this rank; over n for a repeat. */
static inline uint64_t slc_deal_at(const struct slc_deal *deal, uint64_t k)
{
	return deal->base + deal->rank + k * deal->world;
}
/* The first position nobody has when every rank has taken k. */
uint64_t slc_deal_after(const struct slc_deal *deal, uint64_t k);

#endif

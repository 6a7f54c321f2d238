// SPDX-License-Identifier: MIT
/* The order of samples and how it is dealt to ranks. */
#include <errno.h>

#include <sluice/stream.h>

#include "base/clock.h"
#include "ktap.h"
#include "stream/order.h"

static void expect_bijection(uint64_t n, uint64_t seed, uint64_t epoch)
{
	uint8_t *seen = calloc(1, n);
	struct slc_perm perm;

	ASSERT_NOT_NULL(seen);
	slc_perm_init(&perm, n, seed, epoch, 1);
	for (uint64_t i = 0; i < n; i++) {
		uint64_t v = slc_perm_at(&perm, i);

		ASSERT_LT(v, n);
		ASSERT_EQ(seen[v], 0);
		seen[v] = 1;
	}
	free(seen);
}

TEST_TIMEOUT(every_length_to_5000_is_a_bijection, 120)
{
	for (uint64_t n = 1; n <= 5000; n++)
		expect_bijection(n, n % 7, n % 3);
}

TEST(a_million_is_a_bijection_under_several_seeds)
{
	static const uint64_t seeds[] = { 0, 1, 42, UINT64_MAX };

	for (int i = 0; i < 4; i++)
		expect_bijection(1000003, seeds[i], (uint64_t)i);
}

TEST(lengths_to_two_to_the_63_stay_inside_and_do_not_collide)
{
	static const uint64_t lens[] = { 1ull << 32, (1ull << 32) + 1,
					 1ull << 53, (1ull << 63) - 1,
					 1ull << 63 };

	for (int i = 0; i < 5; i++) {
		struct slc_perm perm;
		uint64_t first;

		slc_perm_init(&perm, lens[i], 9, 9, 1);
		first = slc_perm_at(&perm, 0);
		for (uint64_t k = 1; k < 10000; k++) {
			uint64_t v = slc_perm_at(&perm, lens[i] - k);

			ASSERT_TRUE(v < lens[i]);
			ASSERT_NE(v, first);
		}
	}
}

/* The order is a promise to resume tokens: it may not change by accident. */
TEST(the_permutation_of_version_1_is_the_same_forever)
{
	static const uint64_t ten[10] = { 0, 3, 5, 4, 6, 9, 8, 2,
					  7, 1 };
	struct slc_perm perm;

	slc_perm_init(&perm, 10, 1, 0, 1);
	for (uint64_t i = 0; i < 10; i++)
		EXPECT_EQ(slc_perm_at(&perm, i), ten[i]);
	slc_perm_init(&perm, 10000000, 42, 3, 1);
	EXPECT_EQ(slc_perm_at(&perm, 0), 7177906);
	EXPECT_EQ(slc_perm_at(&perm, 9999999), 9651502);
}

/* Of a random permutation: steps n/3, one fixed point, both within 5 sigma. */
TEST(neighbours_are_as_far_apart_as_chance_has_them)
{
	const uint64_t n = 200000;

	for (uint64_t seed = 0; seed < 20; seed++) {
		uint64_t fixed = 0, near = 0;
		struct slc_perm perm;
		double sum = 0;

		slc_perm_init(&perm, n, seed, 0, 1);
		for (uint64_t i = 0; i + 1 < n; i++) {
			uint64_t a = slc_perm_at(&perm, i);
			uint64_t b = slc_perm_at(&perm, i + 1);
			uint64_t d = a > b ? a - b : b - a;

			sum += (double)d;
			fixed += a == i;
			near += d <= 10;
		}
		sum /= (double)(n - 1);
		/* sigma of |U - V| is n / sqrt(18); /sqrt(n) for the mean. */
		EXPECT_GT(sum, (double)n / 3 - 5 * (double)n / 4.24 / 447);
		EXPECT_LT(sum, (double)n / 3 + 5 * (double)n / 4.24 / 447);
		EXPECT_LT(fixed, 10);
		EXPECT_GT(near, 2); /* Poisson(20) */
		EXPECT_LT(near, 45);
	}
}

/* chi-squared over 64 x 64 cells of (place, sample), many epochs and seeds. */
TEST(every_sample_comes_early_and_late_alike)
{
	enum { N = 4096, CELLS = 64, ROUNDS = 40 };
	static uint32_t hits[CELLS][CELLS];
	double chi = 0, want = (double)N * ROUNDS / CELLS / CELLS;

	for (uint64_t e = 0; e < ROUNDS; e++) {
		struct slc_perm perm;

		slc_perm_init(&perm, N, 7, e, 1);
		for (uint64_t i = 0; i < N; i++)
			hits[i / 64][slc_perm_at(&perm, i) / 64]++;
	}
	for (int i = 0; i < CELLS; i++)
		for (int k = 0; k < CELLS; k++)
			chi += (hits[i][k] - want) * (hits[i][k] - want) / want;
	/* 63 * 63 = 3969 degrees of freedom: sigma 89. */
	EXPECT_GT(chi, 3969 - 6 * 89);
	EXPECT_LT(chi, 3969 + 6 * 89);
}

/* For tiny n all places of a sample are equally likely over the seeds. */
TEST(tiny_orders_are_mixed_too)
{
	for (uint64_t n = 2; n <= 9; n++) {
		const uint64_t rounds = 20000;
		uint32_t hits[9][9] = { { 0 } };

		for (uint64_t seed = 0; seed < rounds; seed++) {
			struct slc_perm perm;

			slc_perm_init(&perm, n, seed, 5, 1);
			for (uint64_t i = 0; i < n; i++)
				hits[i][slc_perm_at(&perm, i)]++;
		}
		for (uint64_t i = 0; i < n; i++)
			for (uint64_t k = 0; k < n; k++) {
				double part = hits[i][k] * (double)n / rounds;

				EXPECT_GT(part, 0.85);
				EXPECT_LT(part, 1.15);
			}
	}
}

TEST(epochs_and_seeds_agree_no_more_than_chance_has_it)
{
	const uint64_t n = 100000;

	for (uint64_t e = 1; e < 20; e++) {
		struct slc_perm zero, other, seed;
		uint64_t same = 0, shifted = 0;

		slc_perm_init(&zero, n, 11, 0, 1);
		slc_perm_init(&other, n, 11, e, 1);
		slc_perm_init(&seed, n, 11 + e, 0, 1);
		for (uint64_t i = 0; i < n; i++) {
			same += slc_perm_at(&zero, i) == slc_perm_at(&other, i);
			shifted += slc_perm_at(&zero, i) ==
				   slc_perm_at(&seed, i);
		}
		EXPECT_LT(same, 10); /* Poisson(1) */
		EXPECT_LT(shifted, 10);
	}
}

TEST(a_lookup_takes_well_under_a_microsecond)
{
	struct slc_perm perm;
	uint64_t sum = 0;
	int64_t begin;
	double ns;

	slc_perm_init(&perm, 10000000, 1, 1, 1);
	begin = slc_now_ns();
	for (uint64_t i = 0; i < 2000000; i++)
		sum += slc_perm_at(&perm, i);
	ns = (double)(slc_now_ns() - begin) / 2e6;
	printf("# %.1f ns a lookup (sum %llu)\n", ns, (unsigned long long)sum);
	EXPECT_LT(ns, 1000);
}

TEST(shard_order_keeps_each_shard_whole_and_in_order)
{
	static const uint64_t counts[] = { 3, 0, 1, 100, 7, 0, 31 };
	uint64_t first[8] = { 0 }, visited = 0;
	bool moved = false;

	for (int i = 0; i < 7; i++)
		first[i + 1] = first[i] + counts[i];
	for (uint64_t epoch = 0; epoch < 10; epoch++) {
		uint8_t seen[142] = { 0 };
		struct slc_order o;
		uint64_t p = 0;

		ASSERT_EQ(slc_order_init(&o, SLC_SHUFFLE_SHARD, 5, epoch,
					 counts, 7), 0);
		ASSERT_EQ(o.n, 142);
		while (p < o.n) {
			uint64_t g = slc_order_at(&o, p);
			int s = 0;

			while (g >= first[s + 1])
				s++;
			ASSERT_EQ(g, first[s]);
			moved |= first[s] != p;
			for (uint64_t k = 0; k < counts[s]; k++, p++) {
				ASSERT_EQ(slc_order_at(&o, p), g + k);
				ASSERT_EQ(seen[g + k]++, 0);
			}
			visited++;
		}
		slc_order_fini(&o);
	}
	EXPECT_TRUE(moved);
	EXPECT_EQ(visited, 50); /* 5 shards with samples, 10 epochs */
}

TEST(no_samples_and_unknown_shuffles_are_handled)
{
	static const uint64_t none[] = { 0, 0 };
	static const uint64_t huge[] = { 1ull << 63, 1 };
	struct slc_order o;

	for (uint32_t s = 0; s <= 2; s++) {
		ASSERT_EQ(slc_order_init(&o, s, 1, 1, none, 2), 0);
		EXPECT_EQ(o.n, 0);
		slc_order_fini(&o);
		ASSERT_EQ(slc_order_init(&o, s, 1, 1, none, 0), 0);
		slc_order_fini(&o);
	}
	EXPECT_EQ(slc_order_init(&o, 3, 1, 1, none, 2), -EINVAL);
	EXPECT_EQ(slc_order_init(&o, 0, 1, 1, huge, 2), -EINVAL);
}

static void take(const struct slc_deal *deal, uint64_t k, uint32_t *hits)
{
	uint64_t count = slc_deal_count(deal);

	for (uint64_t i = 0; i < count && i < k; i++)
		hits[slc_deal_at(deal, i) % deal->n]++;
}

static struct slc_deal deal_of(uint64_t n, uint64_t base, uint32_t rank,
			       uint32_t world, uint32_t batch, uint32_t tail)
{
	struct slc_deal d = { .n = n, .base = base, .rank = rank,
			      .world = world, .batch = batch };

	ASSERT_EQ(slc_deal_init(&d, tail), 0);
	return d;
}

TEST(ranks_of_any_world_share_every_position_once)
{
	for (uint64_t n = 0; n < 60; n++)
		for (uint32_t world = 1; world < 11; world++) {
			uint32_t hits[60] = { 0 };
			uint64_t most = 0, least = UINT64_MAX;

			for (uint32_t r = 0; r < world; r++) {
				struct slc_deal d = deal_of(n, 0, r, world, 3,
							    SLC_TAIL_UNEVEN);
				uint64_t count = slc_deal_count(&d);

				most = count > most ? count : most;
				least = count < least ? count : least;
				take(&d, UINT64_MAX, hits);
			}
			for (uint64_t i = 0; i < n; i++)
				ASSERT_EQ(hits[i], 1);
			ASSERT_LE(most - least, 1);
		}
}

TEST(drop_and_pad_give_every_rank_the_same_full_batches)
{
	for (uint64_t n = 1; n < 50; n++)
		for (uint32_t world = 1; world < 6; world++)
			for (uint32_t batch = 1; batch < 5; batch++) {
				uint64_t step = world * batch, sum = 0, pad = 0;
				uint32_t hits[50] = { 0 };
				struct slc_deal d;

				for (uint32_t r = 0; r < world; r++) {
					d = deal_of(n, 0, r, world, batch,
						    SLC_TAIL_DROP);
					ASSERT_EQ(slc_deal_count(&d) * world,
						  n - n % step);
					sum += slc_deal_count(&d);
					d = deal_of(n, 0, r, world, batch,
						    SLC_TAIL_PAD);
					pad += slc_deal_count(&d);
					ASSERT_EQ(slc_deal_count(&d) % batch, 0);
					take(&d, UINT64_MAX, hits);
				}
				ASSERT_EQ(sum, n - n % step);
				ASSERT_EQ(pad % step, 0);
				ASSERT_TRUE(pad >= n && pad < n + step);
				for (uint64_t i = 0; i < n; i++)
					ASSERT_GE(hits[i], 1);
			}
}

TEST(another_world_size_goes_on_with_exactly_the_rest)
{
	const uint64_t n = 1003;
	static const uint32_t worlds[] = { 1, 3, 4, 8, 64 };

	for (int w = 0; w < 5; w++)
		for (uint64_t k = 0; k < 260; k += 13) {
			uint32_t hits[1003] = { 0 };
			struct slc_deal d;
			uint64_t base = 0;

			for (uint32_t r = 0; r < 4; r++) {
				d = deal_of(n, 0, r, 4, 1, SLC_TAIL_UNEVEN);
				take(&d, k, hits);
				base = slc_deal_after(&d, k);
			}
			for (uint32_t r = 0; r < worlds[w]; r++) {
				d = deal_of(n, base, r, worlds[w], 1,
					    SLC_TAIL_UNEVEN);
				take(&d, UINT64_MAX, hits);
			}
			for (uint64_t i = 0; i < n; i++)
				ASSERT_EQ(hits[i], 1);
		}
}

TEST(numbers_that_would_wrap_are_refused)
{
	struct slc_deal d = { .n = 1ull << 63, .world = UINT32_MAX,
			      .batch = UINT32_MAX };

	EXPECT_EQ(slc_deal_init(&d, SLC_TAIL_PAD), -EINVAL);
	d.batch = 1 << 30;
	ASSERT_EQ(slc_deal_init(&d, SLC_TAIL_PAD), 0);
	EXPECT_TRUE(d.end >= d.n);
	EXPECT_TRUE(slc_deal_at(&d, slc_deal_count(&d) - 1) < d.end);
	EXPECT_TRUE(slc_deal_after(&d, UINT64_MAX) == d.end);
	d.world = 0;
	EXPECT_EQ(slc_deal_init(&d, SLC_TAIL_UNEVEN), -EINVAL);
	d.world = 2;
	d.rank = 2;
	EXPECT_EQ(slc_deal_init(&d, SLC_TAIL_UNEVEN), -EINVAL);
	d.rank = 0;
	EXPECT_EQ(slc_deal_init(&d, 3), -EINVAL);
}

TEST_HARNESS_MAIN

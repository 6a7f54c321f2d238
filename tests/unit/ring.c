// SPDX-License-Identifier: MIT
/* The ring of slots against a model that marks every byte. */
#include "ktap.h"
#include "stream/ring.h"

#define BASE 8192
#define SIZE 65536

struct slot {
	uint64_t off, len, span;
};

static uint32_t rnd(uint32_t *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* Takes and drops at random; no two live slots share a byte. */
TEST(live_slots_never_overlap_and_stay_inside)
{
	static uint8_t map[BASE + SIZE];
	static struct slot live[4096];
	uint32_t state = 1, head = 0, tail = 0, taken = 0;
	struct slc_ring r;

	slc_ring_init(&r, BASE, SIZE);
	for (int step = 0; step < 200000; step++) {
		struct slot s = { .len = 1 + rnd(&state) % 9000 };
		uint64_t align = 1ull << (rnd(&state) % 13);

		if (rnd(&state) % 2 &&
		    slc_ring_take(&r, s.len, align, &s.off, &s.span)) {
			ASSERT_EQ(s.off % align, 0);
			ASSERT_GE(s.off, BASE);
			ASSERT_LE(s.off + s.len, BASE + SIZE);
			for (uint64_t i = 0; i < s.len; i++)
				ASSERT_EQ(map[s.off + i]++, 0);
			live[tail++ % 4096] = s;
			taken++;
		} else if (head != tail) {
			s = live[head++ % 4096];
			memset(map + s.off, 0, s.len);
			slc_ring_drop(&r, s.span);
		}
		ASSERT_LE(r.used, SIZE);
	}
	EXPECT_GT(taken, 50000);
	while (head != tail)
		slc_ring_drop(&r, live[head++ % 4096].span);
	EXPECT_EQ(r.used, 0);
}

TEST(an_empty_ring_takes_anything_that_fits)
{
	uint64_t off, span;
	struct slc_ring r;

	slc_ring_init(&r, 4096, SIZE);
	ASSERT_TRUE(slc_ring_take(&r, 40000, 4096, &off, &span));
	slc_ring_drop(&r, span);
	ASSERT_TRUE(slc_ring_take(&r, SIZE, 4096, &off, &span));
	EXPECT_EQ(off, 4096);
	EXPECT_FALSE(slc_ring_take(&r, 1, 1, &off, &span));
	slc_ring_drop(&r, span);
	EXPECT_FALSE(slc_ring_take(&r, UINT64_MAX, 4096, &off, &span));
}

TEST(slots_of_one_size_fill_the_whole_ring)
{
	uint64_t off, span, n = 0;
	struct slc_ring r;

	slc_ring_init(&r, BASE, SIZE);
	while (slc_ring_take(&r, 4096, 4096, &off, &span))
		ASSERT_EQ(off, BASE + 4096 * n++);
	EXPECT_EQ(n, SIZE / 4096);
	slc_ring_drop(&r, 4096);
	ASSERT_TRUE(slc_ring_take(&r, 4096, 4096, &off, &span));
	EXPECT_EQ(off, BASE);
	EXPECT_FALSE(slc_ring_take(&r, 1, 1, &off, &span));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: MIT
/*
 * The splitter against a model: the I/Os it gives are carried out in any order
 * on a small memory, and every byte of it is then looked at.
 */
#include "queue/split.h"

#include <sluice/queue.h>

#include "ktap.h"

#define MEM_LEN 32768u
#define FILE_LEN 262144u
#define MAX_PIECES 4096

static unsigned char mem[MEM_LEN] __attribute__((aligned(4096)));
static unsigned char want[MEM_LEN], file[FILE_LEN];
static bool may_differ[MEM_LEN];
static struct slc_cut pieces[MAX_PIECES];
static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(uint64_t n)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed % n;
}

static struct slc_split split(const struct slc_run *runs, uint32_t n)
{
	return (struct slc_split){
		.runs = runs,
		.nruns = n,
		.addr = (uintptr_t)mem,
		.low = (uintptr_t)mem,
		.high = (uintptr_t)mem + MEM_LEN,
		.max_io = 16384,
		.max_bounce = 16384,
		.off_align = 512,
		.mem_align = 512,
	};
}

static int cut(struct slc_split *s)
{
	int n = 0;

	while (slc_split_next(s, &pieces[n])) {
		slc_split_take(s, &pieces[n]);
		ASSERT_LT(++n, MAX_PIECES);
	}
	ASSERT_TRUE(slc_split_done(s));
	return n;
}

/* What any I/O must be, whatever the move. */
static void check_piece(const struct slc_split *s, const struct slc_cut *p)
{
	ASSERT_LT(p->head, p->need);
	ASSERT_LE(p->need, p->len);
	ASSERT_LE(p->len, s->max_io);
	if (p->kind == SLC_CUT_BUFFERED) {
		ASSERT_EQ(p->head, 0u);
		ASSERT_EQ(p->need, p->len);
	} else {
		ASSERT_EQ(p->off % s->off_align, 0u);
		ASSERT_EQ(p->len % s->off_align, 0u);
		ASSERT_LT(p->head, s->off_align);
		ASSERT_LT(p->len - p->need, s->off_align);
	}
	if (p->kind == SLC_CUT_BOUNCE) {
		ASSERT_LE(p->len, s->max_bounce);
		return;
	}
	if (p->kind == SLC_CUT_DIRECT)
		ASSERT_EQ(p->addr % s->mem_align, 0u);
	ASSERT_GE(p->addr, s->low);
	ASSERT_LE(p->addr + p->len, s->high);
	if (!s->superset)
		ASSERT_TRUE(!p->head && p->need == p->len);
}

static void carry_out(const struct slc_cut *p)
{
	if (p->kind == SLC_CUT_BOUNCE)
		memcpy((void *)(uintptr_t)p->addr, file + p->off + p->head,
		       p->need - p->head);
	else
		memcpy((void *)(uintptr_t)p->addr, file + p->off, p->len);
}

/* Runs without overlap in memory, some touching their neighbours. */
static uint32_t make_runs(struct slc_run *runs, uint32_t max, bool touch_file)
{
	static const uint64_t steps[] = { 1, 64, 512, 4096 };
	uint64_t step = steps[rnd(4)], at = rnd(2000) / step * step;
	uint64_t off = rnd(FILE_LEN / 2) / step * step;
	uint32_t n = 0;

	while (n < max) {
		uint64_t len = rnd(8) ? rnd(5000) / step * step : 0;

		if (at + len > MEM_LEN)
			break;
		if (!touch_file || rnd(2))
			off = rnd(FILE_LEN - 10000) / step * step;
		if (off + len + 512 > FILE_LEN)
			off = 0;
		/* Half of them agree modulo 512 in file and memory. */
		if (rnd(2) && !touch_file)
			off = off - off % 512 + at % 512;
		runs[n++] = (struct slc_run){ off, at, len };
		off += len;
		at += len + (rnd(2) ? 0 : rnd(1500) / step * step);
	}
	return n;
}

static void model(struct slc_split *s, const struct slc_run *runs, uint32_t n)
{
	int i, npieces;
	uint32_t r;

	memset(mem, 0xa5, sizeof(mem));
	memset(want, 0xa5, sizeof(want));
	memset(may_differ, 0, sizeof(may_differ));
	for (r = 0; r < n; r++) {
		uint64_t lo = runs[r].dst_off, hi = lo + runs[r].len, b;

		if (!runs[r].len)
			continue;
		for (b = lo > 511 ? lo - 511 : 0; b < hi + 511 && b < MEM_LEN;
		     b++)
			may_differ[b] |= s->superset;
	}
	for (r = 0; r < n; r++)
		for (uint64_t b = 0; b < runs[r].len; b++) {
			want[runs[r].dst_off + b] = file[runs[r].src_off + b];
			may_differ[runs[r].dst_off + b] = false;
		}
	npieces = cut(s);
	for (i = 0; i < npieces; i++)
		check_piece(s, &pieces[i]);
	/* In any order: completions come so. */
	for (i = npieces; i > 0; i--) {
		int j = (int)rnd((uint64_t)i);

		carry_out(&pieces[j]);
		pieces[j] = pieces[i - 1];
	}
	for (uint32_t b = 0; b < MEM_LEN && memcmp(mem, want, MEM_LEN); b++)
		if (mem[b] != want[b] && !may_differ[b])
			ASSERT_EQ(mem[b], want[b]);
}

TEST(any_runs_land_exactly_in_any_order)
{
	struct slc_run runs[64];

	for (uint32_t i = 0; i < FILE_LEN; i++)
		file[i] = (unsigned char)rnd(256);
	for (int round = 0; round < 3000; round++) {
		uint32_t n = make_runs(runs, 1 + (uint32_t)rnd(64), rnd(2));
		struct slc_split s = split(runs, n);

		s.superset = rnd(2);
		s.max_io = 4096u << rnd(4);
		if (s.max_bounce > s.max_io)
			s.max_bounce = s.max_io;
		if (!rnd(4))
			s.off_align = 0;
		else if (!rnd(3))
			s.mem_align = 4;
		model(&s, runs, n);
	}
}

TEST(neighbours_on_both_sides_become_one_io)
{
	struct slc_run runs[8];
	struct slc_split s;

	for (int i = 0; i < 8; i++)
		runs[i] = (struct slc_run){ 4096 + 512u * i, 512u * i, 512 };
	s = split(runs, 8);
	ASSERT_EQ(cut(&s), 1);
	EXPECT_EQ(pieces[0].off, 4096u);
	EXPECT_EQ(pieces[0].len, 4096u);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_DIRECT);
	/* A gap in the file, or in memory, is a cut. */
	runs[4].src_off += 512;
	s = split(runs, 8);
	EXPECT_EQ(cut(&s), 3);
	runs[4].src_off -= 512;
	for (int i = 4; i < 8; i++)
		runs[i].dst_off += 512;
	s = split(runs, 8);
	EXPECT_EQ(cut(&s), 2);
}

TEST(unaligned_runs_that_touch_are_one_aligned_io)
{
	struct slc_run runs[] = { { 100, 100, 412 }, { 512, 512, 5 },
				  { 517, 517, 507 }, { 1024, 1024, 1 } };
	struct slc_split s = split(runs, 4);

	s.superset = true;
	ASSERT_EQ(cut(&s), 1);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_DIRECT);
	EXPECT_EQ(pieces[0].off, 0u);
	EXPECT_EQ(pieces[0].head, 100u);
	EXPECT_EQ(pieces[0].need, 1025u);
	EXPECT_EQ(pieces[0].len, 1536u);
}

TEST(coalescing_stops_at_max_io)
{
	struct slc_run runs[64];
	struct slc_split s;

	for (int i = 0; i < 64; i++)
		runs[i] = (struct slc_run){ 1024u * i, 1024u * i, 1024 };
	s = split(runs, 64);
	EXPECT_EQ(cut(&s), 4);
	for (int i = 0; i < 4; i++)
		EXPECT_EQ(pieces[i].len, 16384u);
}

TEST(a_small_unaligned_read_is_one_bounce)
{
	struct slc_run run = { 100, 4096, 4200 };
	struct slc_split s = split(&run, 1);

	ASSERT_EQ(cut(&s), 1);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_BOUNCE);
	EXPECT_EQ(pieces[0].len, 4608u);
}

TEST(a_large_unaligned_read_bounces_only_head_and_tail)
{
	struct slc_run run = { 100, 100, 60000 };
	struct slc_split s = split(&run, 1);

	s.max_io = 65536;
	ASSERT_EQ(cut(&s), 3);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_BOUNCE);
	EXPECT_EQ(pieces[0].len, 512u);
	EXPECT_EQ(pieces[1].kind, SLC_CUT_DIRECT);
	EXPECT_EQ(pieces[1].len, 59392u);
	EXPECT_EQ(pieces[2].kind, SLC_CUT_BOUNCE);
	EXPECT_EQ(pieces[2].len, 512u);
}

TEST(a_superset_stays_inside_the_region)
{
	struct slc_run first = { 1000, 488, 24 };
	struct slc_run last = { 512, MEM_LEN - 512, 500 };
	struct slc_split s = split(&first, 1);

	/* Memory 488 and file 1000 agree; the block begins at memory 0. */
	s.superset = true;
	cut(&s);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_DIRECT);
	s = split(&first, 1);
	s.superset = true;
	s.low += 8;
	cut(&s);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_BOUNCE);
	s = split(&last, 1);
	s.superset = true;
	cut(&s);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_DIRECT);
	s = split(&last, 1);
	s.superset = true;
	s.high -= 8;
	cut(&s);
	EXPECT_EQ(pieces[0].kind, SLC_CUT_BOUNCE);
}

TEST(runs_of_no_bytes_give_no_io)
{
	struct slc_run runs[] = { { 5, 5, 0 }, { 900000, 3, 0 } };
	struct slc_split s = split(runs, 2);

	EXPECT_EQ(cut(&s), 0);
	s = split(runs, 0);
	EXPECT_EQ(cut(&s), 0);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: MIT
/* The resume token: one text for each token, and nothing else is taken. */
#include <errno.h>

#include "base/ctx.h"
#include "ktap.h"
#include "stream/token.h"

static const struct slc_token sample = {
	.fingerprint = 0x0123456789abcdefull, .shuffle = SLC_SHUFFLE_FULL,
	.tail = SLC_TAIL_PAD, .seed = 42, .epoch = UINT64_MAX, .n = 1000,
	.base = 512, .end = 1024, .world = 8, .batch = 16,
};

TEST(what_is_written_is_read_back)
{
	char text[SLC_TOKEN_MAX], why[256], again[SLC_TOKEN_MAX];
	struct slc_token t;

	ASSERT_EQ(slc_token_write(&sample, text, sizeof(text)), 0);
	EXPECT_LT(strlen(text), SLC_TOKEN_MAX);
	EXPECT_NULL(strpbrk(text, " \t\n"));
	ASSERT_EQ(slc_token_read(text, &t, why, sizeof(why)), 0);
	EXPECT_EQ(t.fingerprint, sample.fingerprint);
	EXPECT_EQ(t.shuffle, sample.shuffle);
	EXPECT_EQ(t.tail, sample.tail);
	EXPECT_EQ(t.seed, sample.seed);
	EXPECT_EQ(t.epoch, sample.epoch);
	EXPECT_EQ(t.n, sample.n);
	EXPECT_EQ(t.base, sample.base);
	EXPECT_EQ(t.end, sample.end);
	EXPECT_EQ(t.world, sample.world);
	EXPECT_EQ(t.batch, sample.batch);
	ASSERT_EQ(slc_token_write(&t, again, sizeof(again)), 0);
	EXPECT_STREQ(text, again);
}

TEST(the_text_of_version_1_is_the_same_forever)
{
	char text[SLC_TOKEN_MAX];

	ASSERT_EQ(slc_token_write(&sample, text, sizeof(text)), 0);
	EXPECT_STREQ(text,
		     "slc1.efcdab896745230102022a00000000000000ffffffffffffffff"
		     "e8030000000000000002000000000000000400000000000008000000"
		     "10000000.26be684f");
}

TEST(a_short_buffer_is_enospc_and_untouched)
{
	char text[SLC_TOKEN_MAX], small[SLC_TOKEN_MAX];

	ASSERT_EQ(slc_token_write(&sample, text, sizeof(text)), 0);
	for (size_t n = 0; n <= strlen(text); n++) {
		memset(small, 'x', sizeof(small));
		ASSERT_EQ(slc_token_write(&sample, small, n), -ENOSPC);
		for (size_t i = 0; i < sizeof(small); i++)
			ASSERT_EQ(small[i], 'x');
	}
}

TEST(every_truncation_is_refused)
{
	char text[SLC_TOKEN_MAX], cut[SLC_TOKEN_MAX], why[256];
	struct slc_token t;

	ASSERT_EQ(slc_token_write(&sample, text, sizeof(text)), 0);
	for (size_t n = 0; n < strlen(text); n++) {
		memcpy(cut, text, n);
		cut[n] = '\0';
		why[0] = '\0';
		ASSERT_EQ(slc_token_read(cut, &t, why, sizeof(why)), -EINVAL);
		ASSERT_GT(strlen(why), 20);
	}
}

TEST(every_flipped_bit_and_every_other_byte_is_refused)
{
	char text[SLC_TOKEN_MAX], bad[SLC_TOKEN_MAX], why[256];
	struct slc_token t;

	ASSERT_EQ(slc_token_write(&sample, text, sizeof(text)), 0);
	for (size_t i = 0; i < strlen(text); i++)
		for (int c = 1; c < 256; c++) {
			memcpy(bad, text, sizeof(bad));
			if ((unsigned char)bad[i] == c)
				continue;
			bad[i] = (char)c;
			ASSERT_EQ(slc_token_read(bad, &t, why, sizeof(why)),
				  -EINVAL);
		}
}

TEST(other_versions_and_garbage_get_their_own_sentence)
{
	char text[2 * SLC_TOKEN_MAX], why[256];
	struct slc_token t;

	ASSERT_EQ(slc_token_write(&sample, text, sizeof(text)), 0);
	text[3] = '2';
	ASSERT_EQ(slc_token_read(text, &t, why, sizeof(why)), -EINVAL);
	EXPECT_HAS(why, "version '2'");
	ASSERT_EQ(slc_token_read("", &t, why, sizeof(why)), -EINVAL);
	ASSERT_EQ(slc_token_read("hello", &t, why, sizeof(why)), -EINVAL);
	EXPECT_HAS(why, "does not begin");
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	ASSERT_EQ(slc_token_read(text, &t, why, sizeof(why)), -EINVAL);
	EXPECT_HAS(why, "longer than 255");
}

TEST(a_forged_token_with_a_good_checksum_must_still_make_sense)
{
	struct slc_token bad[10], t;
	char text[SLC_TOKEN_MAX], why[256];

	for (int i = 0; i < 10; i++)
		bad[i] = sample;
	bad[0].shuffle = 3;
	bad[1].tail = 3;
	bad[2].world = 0;
	bad[3].batch = 0;
	bad[4].base = bad[4].end + 1;
	bad[5].end = bad[5].n + 8 * 16;
	bad[6].n = UINT64_MAX;
	bad[7].tail = SLC_TAIL_DROP; /* end past n */
	bad[8].tail = SLC_TAIL_UNEVEN;
	bad[9].n = 1ull << 63;
	bad[9].end = UINT64_MAX;
	bad[9].world = bad[9].batch = UINT32_MAX;
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(slc_token_write(&bad[i], text, sizeof(text)), 0);
		EXPECT_EQ(slc_token_read(text, &t, why, sizeof(why)), -EINVAL);
		EXPECT_HAS(why, "contradict");
	}
}

TEST_HARNESS_MAIN

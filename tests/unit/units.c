/* SPDX-License-Identifier: MIT */
/* Sizes, counts and times as the command reads and writes them. */
#include <errno.h>

#include "ktap.h"

#include "tools/units.h"

TEST(sizes_with_each_unit_are_read)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} t[] = {
		{ "0", 0 },
		{ "4096", 4096 },
		{ "1B", 1 },
		{ "64K", 65536 },
		{ "64k", 65536 },
		{ "64KiB", 65536 },
		{ "64kb", 64000 },
		{ "256M", 268435456 },
		{ "256mib", 268435456 },
		{ "1MB", 1000000 },
		{ "6G", 6442450944 },
		{ "6GB", 6000000000 },
		{ "1.5G", 1610612736 },
		{ "0.5K", 512 },
		{ "2T", 2199023255552 },
		{ "1TB", 1000000000000 },
		{ "18446744073709551615", UINT64_MAX },
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		v = 77;
		EXPECT_EQ(slc_parse_size(t[i].text, &v), 0);
		EXPECT_EQ(v, t[i].bytes);
	}
	/* The largest number of TiB below 2^64. */
	EXPECT_EQ(slc_parse_size("16777215T", &v), 0);
	EXPECT_EQ(v, 16777215ull << 40);
}

TEST(sizes_past_64_bits_are_refused_and_leave_the_result_alone)
{
	static const char *const t[] = {
		"18446744073709551616",
		"16777216T",
		"99999999999999999999999",
		"18014398509481984K",
		"18446744073709551615.5K",
	};
	uint64_t v = 77;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		EXPECT_EQ(slc_parse_size(t[i], &v), -ERANGE);
	EXPECT_EQ(v, 77);
}

TEST(what_is_no_size_is_refused)
{
	static const char *const t[] = {
		"",	"K",   "-1",  "+1",  " 1",   "1 ",  "1 K",  "1X",
		"1KK",	"1.K", ".5K", "1.5", "0x10", "1e3", "1,5G", "1K1",
		"1.5B", "1.2.3K",
	};
	uint64_t v = 77;

	for (size_t i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		if (slc_parse_size(t[i], &v) != -EINVAL)
			ktap_fail(__FILE__, __LINE__, "\"%s\" was read", t[i]);
	EXPECT_EQ(v, 77);
}

TEST(numbers_are_held_to_their_bounds)
{
	uint64_t v = 77;

	EXPECT_EQ(slc_parse_u64("12", 1, 12, &v), 0);
	EXPECT_EQ(v, 12);
	EXPECT_EQ(slc_parse_u64("13", 1, 12, &v), -ERANGE);
	EXPECT_EQ(slc_parse_u64("0", 1, 12, &v), -ERANGE);
	EXPECT_EQ(slc_parse_u64("1K", 1, 12, &v), -EINVAL);
	EXPECT_EQ(slc_parse_u64("-1", 0, UINT64_MAX, &v), -EINVAL);
	EXPECT_EQ(v, 12);
}

TEST(bytes_counts_and_times_are_written_short)
{
	char b[48];

	EXPECT_STREQ(slc_human_bytes(b, sizeof(b), 0), "0 B");
	EXPECT_STREQ(slc_human_bytes(b, sizeof(b), 1023), "1023 B");
	EXPECT_STREQ(slc_human_bytes(b, sizeof(b), 4096), "4 KiB");
	EXPECT_STREQ(slc_human_bytes(b, sizeof(b), 1500), "1.46 KiB");
	EXPECT_STREQ(slc_human_bytes(b, sizeof(b), 256u << 20), "256 MiB");
	EXPECT_STREQ(slc_human_bytes(b, sizeof(b), UINT64_MAX), "16.0 EiB");
	EXPECT_STREQ(slc_human_count(b, sizeof(b), 0), "0");
	EXPECT_STREQ(slc_human_count(b, sizeof(b), 999), "999");
	EXPECT_STREQ(slc_human_count(b, sizeof(b), 1234567), "1,234,567");
	EXPECT_STREQ(slc_human_time(b, sizeof(b), 850), "850 ns");
	EXPECT_STREQ(slc_human_time(b, sizeof(b), 12300), "12.3 us");
	EXPECT_STREQ(slc_human_time(b, sizeof(b), 45600000), "45.6 ms");
	EXPECT_STREQ(slc_human_time(b, sizeof(b), 3210000000), "3.21 s");
	EXPECT_STREQ(slc_human_time(b, sizeof(b), 125000000000), "2 min 05 s");
	EXPECT_STREQ(slc_human_time(b, sizeof(b), 3720000000000), "1 h 02 min");
}

TEST(rates_are_written_in_both_units)
{
	char b[48];

	EXPECT_STREQ(slc_human_rate(b, sizeof(b), 2.31e9),
		     "2.31 GB/s (2.15 GiB/s)");
	EXPECT_STREQ(slc_human_rate(b, sizeof(b), 0), "0.00 B/s (0.00 B/s)");
	EXPECT_STREQ(slc_short_rate(b, sizeof(b), 1e9), "1.00 GB/s");
	EXPECT_STREQ(slc_short_rate(b, sizeof(b), 999.9e6), "1.00 GB/s");
}

TEST(every_byte_is_escaped_to_a_text_of_its_own)
{
	char all[256][5] = { "" };

	for (int i = 0; i < 256; i++) {
		size_t n = slc_escape_byte(all[i], (unsigned char)i);

		ASSERT_GE(n, 1u);
		ASSERT_LE(n, 4u);
		ASSERT_EQ(all[i][n], '\0');
		/* None begins another: what is joined can be taken apart. */
		for (int j = 0; j < i; j++)
			ASSERT_NE(strncmp(all[i], all[j],
					  strlen(all[j]) < n ? strlen(all[j]) :
							       n), 0);
	}
	EXPECT_STREQ(all['a'], "a");
	EXPECT_STREQ(all['\\'], "\\\\");
	EXPECT_STREQ(all['\t'], "\\x09");
	EXPECT_STREQ(all[0], "\\x00");
	EXPECT_STREQ(all[0x7f], "\\x7f");
	EXPECT_STREQ(all[0xe9], "\xe9");
}

TEST(text_never_passes_its_buffer)
{
	char b[12];

	memset(b, 'x', sizeof(b));
	slc_human_rate(b, 8, 123456789.0);
	EXPECT_EQ(strlen(b), 7u);
	EXPECT_EQ(b[8], 'x');
	memset(b, 'x', sizeof(b));
	slc_human_count(b, 6, UINT64_MAX);
	EXPECT_LE(strlen(b), 5u);
	EXPECT_EQ(b[6], 'x');
}

TEST_HARNESS_MAIN

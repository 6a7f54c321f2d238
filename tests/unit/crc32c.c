// SPDX-License-Identifier: MIT
/* CRC32C against the vectors of RFC 3720 B.4 and a bitwise definition. */
#include <sluice/sluice.h>

#include "ktap.h"

static uint32_t bitwise(uint32_t crc, const uint8_t *p, size_t n)
{
	crc = ~crc;
	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = (crc >> 1) ^ ((crc & 1) ? 0x82f63b78u : 0);
	}
	return ~crc;
}

TEST(rfc3720_vectors_agree)
{
	uint8_t buf[32];

	memset(buf, 0, sizeof(buf));
	EXPECT_EQ(slc_crc32c(0, buf, 32), 0x8a9136aau);
	memset(buf, 0xff, sizeof(buf));
	EXPECT_EQ(slc_crc32c(0, buf, 32), 0x62a8ab43u);
	for (int i = 0; i < 32; i++)
		buf[i] = (uint8_t)i;
	EXPECT_EQ(slc_crc32c(0, buf, 32), 0x46dd794eu);
	EXPECT_EQ(slc_crc32c(0, "123456789", 9), 0xe3069283u);
}

TEST(every_length_to_300_equals_the_definition)
{
	uint8_t buf[300];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * 131 + 7);
	for (size_t n = 0; n <= sizeof(buf); n++)
		ASSERT_EQ(slc_crc32c(0, buf, n), bitwise(0, buf, n));
}

TEST(combine_of_two_pieces_is_the_crc_of_the_whole)
{
	uint8_t buf[1000];

	for (size_t i = 0; i < sizeof(buf); i++)
		buf[i] = (uint8_t)(i * i + 3);
	for (size_t cut = 0; cut <= sizeof(buf); cut += 13) {
		uint32_t a = slc_crc32c(0, buf, cut);
		uint32_t b = slc_crc32c(0, buf + cut, sizeof(buf) - cut);

		ASSERT_EQ(slc_crc32c_combine(a, b, sizeof(buf) - cut),
			  slc_crc32c(0, buf, sizeof(buf)));
		ASSERT_EQ(slc_crc32c(a, buf + cut, sizeof(buf) - cut),
			  slc_crc32c(0, buf, sizeof(buf)));
	}
}

TEST_HARNESS_MAIN

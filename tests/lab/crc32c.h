/* SPDX-License-Identifier: MIT */
/*
 * crc32c.h - slc_crc32c() for a static program, in place of the library's: ISA-L
 * has no static library. The same sum, bit by bit (RFC 3720, B.4).
 */
#ifndef SLC_TESTS_LAB_CRC32C_H
#define SLC_TESTS_LAB_CRC32C_H

#include <sluice/sluice.h>

uint32_t slc_crc32c(uint32_t crc, const void *data, size_t len)
{
	const unsigned char *p = data;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

#endif

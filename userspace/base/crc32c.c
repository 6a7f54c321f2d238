/* SPDX-License-Identifier: MIT */
/* CRC32C by ISA-L (crc32_iscsi), and its combination by GF(2) arithmetic. */
#include <sluice/sluice.h>

#include <isa-l/crc.h>
#include <limits.h>

uint32_t slc_crc32c(uint32_t crc, const void *bytes, uint64_t len)
{
	/* ISA-L takes an int length, and neither reads nor keeps const. */
	unsigned char *p = (unsigned char *)(uintptr_t)bytes;

	crc = ~crc;
	while (len) {
		int n = len > (1 << 30) ? 1 << 30 : (int)len;

		crc = crc32_iscsi(p, n, crc);
		p += n;
		len -= (uint64_t)n;
	}
	return ~crc;
}

/* a * b modulo the Castagnoli polynomial; bit 31 is x^0 (reflected). */
static uint32_t gf2_mul(uint32_t a, uint32_t b)
{
	uint32_t product = 0;
	int i;

	for (i = 0; i < 32; i++) {
		product ^= (b & 0x80000000u) ? a : 0;
		b <<= 1;
		a = (a >> 1) ^ ((a & 1) ? 0x82f63b78u : 0);
	}
	return product;
}

uint32_t slc_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b)
{
	uint32_t shift = 0x80000000u; /* x^0 */
	uint32_t power = 0x00800000u; /* x^8: one byte */

	/* crc(AB) = crc(A) * x^(8 len_b) + crc(B): init and final xor cancel. */
	for (; len_b; len_b >>= 1) {
		if (len_b & 1)
			shift = gf2_mul(shift, power);
		power = gf2_mul(power, power);
	}
	return gf2_mul(crc_a, shift) ^ crc_b;
}

/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz.h"

/* Makes the checksums right: else no mutation would get past them. */
static void mend(uint8_t *p, size_t size)
{
	for (size_t at = 0; at + 512 <= size; at += 512) {
		unsigned int sum = 0;

		if (memcmp(p + at + 257, "ustar", 5))
			continue;
		memset(p + at + 148, ' ', 8);
		for (int i = 0; i < 512; i++)
			sum += p[at + (size_t)i];
		snprintf((char *)p + at + 148, 8, "%06o", sum);
	}
}

/* Every member of a span, which it has to stay in. */
static uint64_t walk(const uint8_t *span, uint64_t len, int *res)
{
	const struct slc_format *f = &slc_format_tar;
	struct slc_diag diag = { 0 };
	struct slc_piece p;
	uint64_t pos = 0, last = 0, n = 0;
	char key[64];

	while ((*res = f->member(span, len, &pos, &p, &diag)) > 0) {
		FUZZ_MUST(pos > last && pos <= len);
		FUZZ_MUST(p.off <= len && p.len <= len - p.off);
		for (uint32_t i = 0; i < p.name_len; i++)
			FUZZ_MUST(p.name[i] != '/');
		FUZZ_MUST(slc_piece_key(&p, key, sizeof(key)) > 0);
		last = pos;
		n++;
	}
	if (*res)
		fuzz_check_diag(*res, &diag);
	return n;
}

/* The first byte: odd, take the headers as they are; even, mend them. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_parse in = { 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;
	struct slc_source_mem mem;
	uint8_t *p;
	int res;

	if (!size)
		return 0;
	p = malloc(size);
	memcpy(p, data + 1, --size);
	if (!(data[0] & 1))
		mend(p, size);
	fuzz_parse(&slc_format_tar, &in, p, size, UINT64_MAX);
	slc_source_mem_init(&mem, p, size);
	in.src = &mem.base;
	if (!slc_format_tar.parse(&in, &t, &diag))
		for (uint64_t i = 0; i < t.n; i++) {
			uint64_t off, len;

			slc_table_span(&t, i, &off, &len);
			FUZZ_MUST(walk(p + off, len, &res) && !res);
		}
	slc_table_fini(&t);
	walk(p, size, &res); /* of what is no sample, too */
	free(p);
	return 0;
}

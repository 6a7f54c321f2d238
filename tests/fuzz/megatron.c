/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz.h"

/* The first 8 bytes are the size of the .bin; the rest is the .idx. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_parse in = { 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag = { 0 };
	struct slc_source_mem mem;
	uint64_t last = 0;
	int err;

	if (size < 8)
		return 0;
	memcpy(&in.data_size, data, 8);
	slc_source_mem_init(&mem, data + 8, size - 8);
	in.src = &mem.base;
	err = slc_format_megatron.parse(&in, &t, &diag);
	if (err) {
		FUZZ_MUST(err == -EBADMSG);
		fuzz_check_diag(err, &diag);
		FUZZ_MUST(diag.off <= size - 8);
		return 0;
	}
	fuzz_check_table(&slc_format_megatron, &t, in.data_size, size - 8);
	for (uint64_t i = 0; i < t.n; i++) {
		uint64_t off, len;

		slc_table_span(&t, i, &off, &len);
		FUZZ_MUST(off >= last && !(len % t.unit));
		last = off + len;
	}
	slc_table_fini(&t);
	return 0;
}

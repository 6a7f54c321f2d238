// SPDX-License-Identifier: MIT
#include "fuzz/fuzz.h"

/* The first two bytes are the record size. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_parse in = { 0 };

	if (size < 2)
		return 0;
	in.record = data[0] | (uint64_t)data[1] << 8;
	fuzz_parse(&slc_format_raw, &in, data + 2, size - 2, UINT64_MAX);
	return 0;
}

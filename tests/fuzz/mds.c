/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_parse in = { 0 };

	fuzz_parse(&slc_format_mds, &in, data, size, UINT64_MAX);
	return 0;
}

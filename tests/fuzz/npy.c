// SPDX-License-Identifier: MIT
#include "fuzz/fuzz.h"

/*
 * Once as it is, and once as the dictionary alone: the first byte then says
 * the version and how many bytes of data follow.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_parse in = { 0 };
	uint64_t header, whole;
	uint8_t *file;

	fuzz_parse(&slc_format_npy, &in, data, size, UINT64_MAX);
	if (!size)
		return 0;
	header = size - 1;
	whole = 12 + header + data[0] / 2;
	file = calloc(1, whole);
	FUZZ_MUST(file);
	memcpy(file, "\x93NUMPY", 6);
	file[6] = 2 + data[0] % 2;
	for (int i = 0; i < 4; i++)
		file[8 + i] = (uint8_t)(header >> 8 * i);
	memcpy(file + 12, data + 1, header);
	fuzz_parse(&slc_format_npy, &in, file, whole, UINT64_MAX);
	free(file);
	return 0;
}

// SPDX-License-Identifier: MIT
#include "fuzz/fuzz.h"

/*
 * Once as it is, and once as the header alone: the first byte then says how
 * many bytes of data follow, so that mutations need not keep a length right.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_parse in = { 0 };
	uint64_t header, whole;
	uint8_t *file;

	fuzz_parse(&slc_format_safetensors, &in, data, size, UINT64_MAX);
	if (!size)
		return 0;
	header = size - 1;
	whole = 8 + header + data[0];
	file = calloc(1, whole);
	FUZZ_MUST(file);
	for (int i = 0; i < 8; i++)
		file[i] = (uint8_t)(header >> 8 * i);
	memcpy(file + 8, data + 1, header);
	fuzz_parse(&slc_format_safetensors, &in, file, whole, UINT64_MAX);
	free(file);
	return 0;
}

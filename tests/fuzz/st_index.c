/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz.h"

#include "format/st_index.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_diag diag = { 0 };
	struct slc_st_index x;
	int err = slc_st_index_parse(data, size, &x, &diag);

	if (err)
		fuzz_check_diag(err, &diag);
	for (uint64_t i = 0; i < x.nfiles; i++) {
		FUZZ_MUST(!strchr(x.files[i], '/') && strcmp(x.files[i], ".."));
		FUZZ_MUST(!i || strcmp(x.files[i - 1], x.files[i]) < 0);
	}
	for (uint64_t i = 0; i < x.nentries; i++) {
		FUZZ_MUST(x.entries[i].file < x.nfiles);
		FUZZ_MUST(slc_st_index_find(&x, x.entries[i].tensor) ==
			  (int64_t)x.entries[i].file);
	}
	slc_st_index_fini(&x);
	return 0;
}

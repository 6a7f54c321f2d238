/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz.h"

#include "format/mds_index.h"

static void check_path(const char *path)
{
	FUZZ_MUST(path[0] && path[0] != '/' && strcmp(path, ".."));
	FUZZ_MUST(strncmp(path, "../", 3) && !strstr(path, "/../"));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slc_diag diag = { 0 };
	struct slc_mds_index x;
	uint64_t samples = 0;
	int err = slc_mds_index_parse(data, size, &x, &diag);

	if (err)
		fuzz_check_diag(err, &diag);
	for (uint64_t i = 0; i < x.nshards; i++) {
		FUZZ_MUST(!err);
		check_path(x.shards[i].raw);
		if (x.shards[i].zip)
			check_path(x.shards[i].zip);
		FUZZ_MUST(!x.shards[i].zip == !x.shards[i].codec);
		FUZZ_MUST(x.shards[i].samples <= x.shards[i].raw_bytes);
		samples += x.shards[i].samples;
	}
	FUZZ_MUST(err || samples == x.samples);
	slc_mds_index_fini(&x);
	return 0;
}

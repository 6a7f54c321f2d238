/* SPDX-License-Identifier: MIT */
/* The checksum file of three shards, with checksums that are right. */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "format/inflate.h"
#include "stream/crcfile.h"

#define NSHARDS 3

static void read_as(uint8_t *bytes, size_t size, uint64_t samples)
{
	struct slc_found found[NSHARDS] = {
		{ .format = &slc_format_npy, .samples = samples },
		{ .format = &slc_format_tar, .samples = 2 },
		{ .format = &slc_format_mds, .samples = 3,
		  .codec = SLC_CODEC_ZSTD },
	};
	int fd = memfd_create("crcfile", MFD_CLOEXEC), err;
	char path[64];

	FUZZ_MUST(fd >= 0);
	FUZZ_MUST(write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = slc_crcfile_read(NULL, path, size, slc_crc32c(0, bytes, size),
			       found, NSHARDS);
	FUZZ_MUST(!err || err == -EBADMSG);
	if (!err) {
		FUZZ_MUST(found[1].nwords == 4 && found[2].nwords == 4);
		FUZZ_MUST(size == 64 + 16 * NSHARDS + 4 * (samples + 13));
	}
	for (int i = 0; i < NSHARDS; i++) {
		free(found[i].sample_crc);
		free(found[i].words);
	}
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *bytes = malloc(size + 1);
	uint64_t samples = 1;
	uint32_t crc;

	FUZZ_MUST(bytes);
	memcpy(bytes, data, size);
	if (size >= 64) {
		memset(bytes + 12, 0, 4);
		crc = slc_crc32c(0, bytes, 64);
		memcpy(bytes + 12, &crc, 4);
	}
	/* The number that the manifest says, and one that the file says. */
	read_as(bytes, size, samples);
	if (size >= 72) {
		memcpy(&samples, bytes + 64, 8);
		read_as(bytes, size, samples & INT64_MAX);
	}
	free(bytes);
	return 0;
}

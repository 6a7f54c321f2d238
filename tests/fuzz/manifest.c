/* SPDX-License-Identifier: MIT */
/*
 * Manifests: the input as it is, and again with a checksum that is right, so
 * that what it means is looked at too. The files it names are not opened.
 */
#include <fcntl.h>
#include <jansson.h>
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz/fuzz.h"
#include "stream/manifest.h"
#include "stream/manifest_json.h"

static void check_path(const char *path)
{
	size_t n = strlen(path);

	FUZZ_MUST(n && strncmp(path, "../", 3) && !strstr(path, "/../"));
	FUZZ_MUST(n < 3 || strcmp(path + n - 3, "/.."));
}

static void check_finds(const struct slc_finds *finds, bool lists_only,
			size_t size)
{
	FUZZ_MUST(finds->n <= size);
	for (uint64_t i = 0; i < finds->n; i++) {
		const struct slc_found *f = &finds->v[i];

		check_path(f->path);
		FUZZ_MUST(f->format);
		FUZZ_MUST((f->format == &slc_format_megatron) == !!f->idx);
		FUZZ_MUST((f->format == &slc_format_raw) == !!f->record);
		FUZZ_MUST(f->codec <= SLC_CODEC_ZSTD);
		if (lists_only)
			continue;
		FUZZ_MUST(f->told == SLC_TOLD_MANIFEST);
		FUZZ_MUST(f->nextents == slc_extents(f->bytes));
		FUZZ_MUST(f->nextents <= size / 8);
	}
}

static void take(const void *bytes, size_t size, bool lists_only)
{
	struct slc_taking how = { .lists_only = lists_only };
	struct slc_finds finds = { 0 };
	char path[64];
	int fd = memfd_create("manifest", MFD_CLOEXEC), err;

	FUZZ_MUST(fd >= 0);
	FUZZ_MUST(write(fd, bytes, size) == (ssize_t)size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	err = slc_manifest_take(NULL, path, &how, &finds);
	FUZZ_MUST(err <= 0);
	if (err)
		FUZZ_MUST(slc_last_error(NULL)[0]);
	else
		check_finds(&finds, lists_only, size);
	slc_finds_fini(&finds);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *root;
	uint32_t crc;
	char hex[16], *text;

	take(data, size, false);
	take(data, size, true);
	root = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES,
			  NULL);
	if (!json_is_object(root)) {
		json_decref(root);
		return 0;
	}
	json_object_del(root, "crc32c");
	FUZZ_MUST(!slc_manifest_crc(root, &crc));
	snprintf(hex, sizeof(hex), "%08x", crc);
	json_object_set_new(root, "crc32c", json_string(hex));
	text = json_dumps(root, 0);
	if (text)
		take(text, strlen(text), false);
	free(text);
	json_decref(root);
	return 0;
}

/* SPDX-License-Identifier: MIT */
/* What page sizes the kernel has, and what it really gave. */
#include "mem/pages.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "mem/node.h"

const char *slc_page_name(uint64_t page_size)
{
	return page_size == SLC_1G ? "1 GiB" :
	       page_size == SLC_2M ? "2 MiB" :
				     "base";
}

static int read_u64(const char *path, uint64_t *out)
{
	char text[32], *end;
	int err = slc_text_read(path, text, sizeof(text));

	if (err)
		return err;
	*out = strtoull(text, &end, 10);
	return end != text && !*end ? 0 : -EINVAL;
}

/* A file of the pool of the node, or of the whole machine with -1. */
static void pool_file(char *path, size_t size, uint64_t page_size, int node,
		      const char *file)
{
	char dir[64] = "/sys/kernel/mm";

	if (node >= 0)
		snprintf(dir, sizeof(dir), "/sys/devices/system/node/node%d",
			 node);
	snprintf(path, size, "%s/hugepages/hugepages-%" PRIu64 "kB/%s", dir,
		 page_size / 1024, file);
}

int slc_pool_free(uint64_t page_size, int node, uint64_t *npages, char *path,
		  size_t path_size)
{
	uint64_t all, held = 0;
	int err;

	pool_file(path, path_size, page_size, node, "free_hugepages");
	err = read_u64(path, &all);
	if (err == -ENOENT && node >= 0) {
		node = -1;
		pool_file(path, path_size, page_size, node, "free_hugepages");
		err = read_u64(path, &all);
	}
	if (err)
		return err;
	/* Reservations are counted for the whole machine only. */
	pool_file(path, path_size, page_size, -1, "resv_hugepages");
	err = read_u64(path, &held);
	if (err && err != -ENOENT)
		return err;
	pool_file(path, path_size, page_size, node, "nr_hugepages");
	*npages = all > held ? all - held : 0;
	return 0;
}

#define THP_FILE "/sys/kernel/mm/transparent_hugepage/enabled"

bool slc_thp_forbidden(char *why, size_t size)
{
	char text[100];
	int err = slc_text_read(THP_FILE, text, sizeof(text));

	if (err == -ENOENT)
		snprintf(why, size, "this kernel has no transparent huge pages");
	else if (err)
		slc_text_unread(THP_FILE, err, why, size);
	else if (strstr(text, "[never]"))
		snprintf(why, size,
			 "transparent huge pages are off (allow them with: echo madvise > " THP_FILE ")");
	else if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0)
		snprintf(why, size,
			 "transparent huge pages are off for this process (prctl PR_SET_THP_DISABLE)");
	else
		return false;
	return true;
}

int slc_thp_bytes(const void *addr, uint64_t len, uint64_t *bytes)
{
	uintptr_t from = (uintptr_t)addr, to = from + len, a, b;
	bool inside = false;
	uint64_t kib;
	char line[512];
	FILE *f;

	f = fopen("/proc/self/smaps", "re");
	if (!f)
		return -errno;
	*bytes = 0;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " ", &a, &b) == 2) {
			if (a >= to)
				break;
			inside = a >= from && b <= to;
		} else if (inside &&
			   (sscanf(line, "AnonHugePages: %" SCNu64, &kib) == 1 ||
			    sscanf(line, "ShmemPmdMapped: %" SCNu64, &kib) ==
				    1)) {
			*bytes += kib * 1024;
		}
	}
	fclose(f);
	return 0;
}

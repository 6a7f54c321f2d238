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

static bool read_u64(const char *dir, const char *file, uint64_t *out)
{
	char path[200], text[32], *end;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	if (slc_text_read(path, text, sizeof(text)))
		return false;
	*out = strtoull(text, &end, 10);
	return end != text && !*end;
}

bool slc_pool_free(uint64_t page_size, int node, uint64_t *npages, char *path,
		   size_t path_size)
{
	uint64_t all, held = 0;
	char dir[120], whole[100];

	snprintf(whole, sizeof(whole),
		 "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB",
		 page_size / 1024);
	snprintf(dir, sizeof(dir),
		 "/sys/devices/system/node/node%d/hugepages/hugepages-%" PRIu64
		 "kB",
		 node, page_size / 1024);
	if (node < 0 || !read_u64(dir, "free_hugepages", &all)) {
		snprintf(dir, sizeof(dir), "%s", whole);
		if (!read_u64(dir, "free_hugepages", &all))
			return false;
	}
	snprintf(path, path_size, "%s/nr_hugepages", dir);
	/* Reservations are counted for the whole machine only. */
	read_u64(whole, "resv_hugepages", &held);
	*npages = all > held ? all - held : 0;
	return true;
}

const char *slc_thp_forbidden(void)
{
	char text[100];
	int err = slc_text_read("/sys/kernel/mm/transparent_hugepage/enabled",
				text, sizeof(text));

	if (err == -ENOENT)
		return "this kernel has no transparent huge pages";
	if (err)
		return "/sys/kernel/mm/transparent_hugepage/enabled cannot be read (ulimit -n?), so there may be no transparent huge pages";
	if (strstr(text, "[never]"))
		return "transparent huge pages are off (allow them with: echo madvise > /sys/kernel/mm/transparent_hugepage/enabled)";
	if (prctl(PR_GET_THP_DISABLE, 0, 0, 0, 0) > 0)
		return "transparent huge pages are off for this process (prctl PR_SET_THP_DISABLE)";
	return NULL;
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

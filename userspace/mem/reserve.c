/* SPDX-License-Identifier: MIT */
/* Address space for a region, with a guard at each end. */
#include "mem/region.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"

int slc_region_reserve(struct slc_region *r, uint64_t len, uint64_t align)
{
	uint64_t guard = (uint64_t)sysconf(_SC_PAGESIZE), span, head, tail;
	unsigned char *p;

	if (!slc_add(len, 2 * guard + align, &span))
		return -ENOMEM;
	p = mmap(NULL, span, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	slc_align_up((uintptr_t)p + guard, align, &head);
	r->addr = p + (head - (uintptr_t)p);
	r->len = len;
	head = (uint64_t)(r->addr - p) - guard;
	tail = span - head - 2 * guard - len;
	/* hugetlb takes no partial unmap, but these are still plain pages. */
	if (head)
		munmap(p, head);
	if (tail)
		munmap(r->addr + len + guard, tail);
	r->map = p + head;
	r->map_len = len + 2 * guard;
	return 0;
}

void slc_region_unmap(struct slc_region *r)
{
	/* In a child of fork() something else may be at these addresses. */
	if (r->map && (!r->owner || r->owner == getpid()))
		munmap(r->map, r->map_len);
	r->map = NULL;
}

/* SPDX-License-Identifier: MIT */
/* pages.h - what page sizes the kernel has, and what it really gave. */
#ifndef SLC_MEM_PAGES_H
#define SLC_MEM_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLC_2M (1ull << 21)
#define SLC_1G (1ull << 30)

/* "2 MiB", "1 GiB". */
const char *slc_page_name(uint64_t page_size);

/*
 * Free hugetlb pages of that size on the node that nobody has reserved: 0, and
 * `path` gets the file that sizes the pool. -ENOENT if the kernel has no such
 * pool; another -errno if `path` cannot be read.
 */
int slc_pool_free(uint64_t page_size, int node, uint64_t *npages, char *path,
		  size_t path_size);

/* Whether no transparent huge page can be had, and why. */
bool slc_thp_forbidden(char *why, size_t size);

/*
 * Bytes of the mapping at [addr, addr + len), which must be a VMA of its own,
 * that are mapped by huge pages. 0, or -errno if the kernel does not say.
 */
int slc_thp_bytes(const void *addr, uint64_t len, uint64_t *bytes);

#endif

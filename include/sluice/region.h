/* SPDX-License-Identifier: MIT */
/*
 * region.h - pinned memory that is allocated once and lent to every engine.
 *
 * A region is reference counted: each queue, stream or caller that uses it
 * holds one reference, and the last put frees it. It knows its node, its page
 * size and what it was verified to be.
 */
#ifndef SLUICE_REGION_H
#define SLUICE_REGION_H

#include <sluice/sluice.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slc_region;

/*
 * A child of fork() does not have a region in its address space (a touch there
 * is SIGSEGV), so that fork never copies pinned pages. Only SLC_REGION_SHARED
 * ones are inherited.
 */

/* Flags of struct slc_region_attr. */
#define SLC_REGION_STRICT (1u << 0) /* a step down (pages, node, pin) fails */
#define SLC_REGION_SHARED (1u << 1) /* backed by a memfd, so it can be passed */
#define SLC_REGION_NOPIN (1u << 2)  /* populated, but not locked in memory */
/*
 * Memory of the kernel module: in physically contiguous runs of one node, and
 * with a dma-buf. Where it cannot be had (no module, no leave, no room, SHARED
 * or NOPIN), a step down to host memory. SLC_REGIONS=module in the environment
 * sets it for every region; "host" or nothing sets it for none.
 */
#define SLC_REGION_MODULE (1u << 3)
/*
 * With MODULE: attr.name names the region in the module (1 to 63 of
 * A-Z a-z 0-9 . _ -). If it is there and long enough it is opened, all of it,
 * with the bytes that it has; else it is made, readable and writable by this
 * user (0600). It stays when this process ends: "sluice region" lists and
 * removes such. Never a step down to host memory.
 */
#define SLC_REGION_NAMED (1u << 4)

struct slc_region_attr {
	size_t size;
	uint64_t flags;
	uint64_t len;	    /* bytes; rounded up to whole pages */
	uint64_t page_size; /* 4096, 2 MiB, 1 GiB; 0: 2 MiB if it can be had */
	int32_t node;	    /* NUMA node, or SLC_NODE_CALLER; 0 is node 0 */
	uint32_t threads;   /* that touch the pages; 0: one per CPU of the node,
			       and none for MODULE, whose pages are there: a
			       first touch maps 2 MiB */
	const char *name;   /* for logs, the memfd, NAMED; may be NULL */
};

enum slc_page_kind {
	SLC_PAGE_SMALL = 1, /* base pages */
	SLC_PAGE_THP,	    /* transparent huge pages by madvise */
	SLC_PAGE_HUGETLB,   /* from the reserved pool */
	SLC_PAGE_MODULE,    /* base pages in runs: see bytes_2m */
};

enum slc_pin_kind {
	SLC_PIN_NONE = 0,
	SLC_PIN_MLOCK,	 /* mlock(2) */
	SLC_PIN_HUGETLB, /* hugetlb pages are never swapped or migrated away */
	SLC_PIN_MODULE,	 /* the kernel's own pages, charged as locked ones */
};

struct slc_region_info {
	size_t size;
	uint64_t len;	      /* bytes mapped, a multiple of page_size */
	uint64_t page_size;   /* got, bytes; MODULE: of a run, if any is 2 MiB */
	uint32_t page_kind;   /* enum slc_page_kind */
	uint32_t pin_kind;    /* enum slc_pin_kind */
	int32_t node;	      /* bound to, or aimed at when `reason` says
				 that binding was refused; -1 without NUMA */
	uint32_t threads;     /* that touched it; 0: none did */
	uint64_t populate_ns; /* from mmap to pinned */
	int memfd;	      /* owned by the region, -1 if it has none */
	uint32_t reserved;
	char reason[512];     /* each step down in words; "" when there was none */
	int dmabuf_fd;	      /* owned by the region, -1 if it has none */
	uint32_t found;	      /* 1: NAMED, and it was there with its bytes */
	uint64_t bytes_2m;    /* MODULE: in contiguous runs of 2 MiB or longer */
	const char *dmabuf_reason; /* why there is no dma-buf; "". Static */
};

/* What move_pages(2) says of where the pages really are. */
struct slc_residency {
	size_t size;
	uint64_t bytes;		/* checked */
	uint64_t bytes_on_node; /* on the node the region was bound to */
	uint64_t bytes_elsewhere;
	uint64_t bytes_absent;	/* not resident */
	int32_t worst_node;	/* the other node with most bytes, or -1 */
	uint32_t reserved;
};

/*
 * Allocates, binds, touches in parallel on the node, and pins host memory.
 * Steps down from 1 GiB to 2 MiB to THP to base pages, and from pinned to
 * populated, each with a sentence in slc_region_info.reason and the log,
 * unless SLC_REGION_STRICT makes the first step an error. With page_size 0,
 * THP in place of hugetlb is told in the reason, and is no step down: both are
 * the 2 MiB that were asked for.
 *
 * Returns 0; -EINVAL (len 0, page size, flags, node, name), -ENOMEM (also when the
 * machine or a cgroup has less room: asked before, since past it comes the OOM
 * killer), -EPERM (RLIMIT_MEMLOCK or mbind under STRICT), -EMFILE, -EHWPOISON,
 * -E2BIG; under MODULE with STRICT or NAMED also what /dev/sluice answers:
 * -ENOENT (not loaded), -EACCES, -EPROTO (another version), -EDQUOT (a limit),
 * -ESHUTDOWN (drained), -EEXIST (of that name, but shorter), -EOPNOTSUPP.
 * Any thread; the caller's affinity and memory policy are as before
 * when it returns.
 */
int slc_region_alloc(struct slc_ctx *ctx, const struct slc_region_attr *attr,
		     struct slc_region **out);

/* Takes one more reference; returns `region`. Any thread. */
struct slc_region *slc_region_get(struct slc_region *region);

/* Drops one reference; the last frees the memory. NULL is ignored. */
void slc_region_put(struct slc_region *region);

/* First byte; valid while the caller holds a reference. */
void *slc_region_addr(const struct slc_region *region);

/* Bytes that may be used: attr.len rounded up to the page size tried last. */
uint64_t slc_region_len(const struct slc_region *region);

/* Fills *info (info->size set by the caller). 0 or -EINVAL. */
int slc_region_query(const struct slc_region *region,
		     struct slc_region_info *info);

/*
 * Asks move_pages(2) where every page is. Time grows with the number of pages
 * (about 0.1 us each). Memory of the module is mapped for it first. 0, -ENOSYS,
 * -EPERM (a container's filter), -ENOMEM, -ENODEV (revoked), -EINVAL. Any
 * thread.
 */
int slc_region_verify(const struct slc_region *region,
		      struct slc_residency *out);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/*
 * region.h - a region from inside: its life, and the provider behind it.
 *
 * A region is immutable once slc_region_alloc() has returned it; only the
 * reference count changes. So readers take no lock.
 */
#ifndef SLC_MEM_REGION_H
#define SLC_MEM_REGION_H

#include <sluice/region.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>

/* Where a region's bytes come from. */
struct slc_region_ops {
	const char *name;
	/*
	 * Required. Fills addr, len, info and what is its own. On failure it
	 * leaves nothing behind and has set the sentence.
	 */
	int (*alloc)(struct slc_region *r, const struct slc_region_attr *attr);
	/* Required. Undoes alloc. */
	void (*release)(struct slc_region *r);
};

struct slc_region {
	atomic_uint refs;
	struct slc_ctx *ctx; /* one reference */
	const struct slc_region_ops *ops;
	unsigned char *addr;
	uint64_t len;
	struct slc_region_info info; /* its len is filled by query */
	bool strict;

	/* All that is mapped, guard pages included. */
	void *map;
	uint64_t map_len;
	pid_t owner; /* the process that alone has the mapping; 0: inherited */
	bool all_huge; /* no page of it is smaller than info.page_size */
	bool lazy; /* its pages exist, and are mapped by the first touch */
};

extern const struct slc_region_ops slc_host_ops;
extern const struct slc_region_ops slc_module_ops;

/*
 * Takes address space for len bytes, aligned, with a page that cannot be
 * touched at each end: they stop a stray write, and keep the kernel from
 * merging the mapping with a neighbour, so that what /proc says of it is true.
 * Fills addr, len and map. 0 or -errno.
 */
int slc_region_reserve(struct slc_region *r, uint64_t len, uint64_t align);

/* Gives it back with what was mapped over it. */
void slc_region_unmap(struct slc_region *r);

/* The node that attr means, into info.node: -1 without NUMA. 0 or -errno. */
int slc_region_node(struct slc_region *r, const struct slc_region_attr *attr);

/*
 * Notes one step down: a sentence in info.reason and in the log, and 0; or,
 * under SLC_REGION_STRICT, the failure `err` with that sentence.
 */
int slc_region_step(struct slc_region *r, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Notes why it is as it is, where nothing that was asked for is missing. */
void slc_region_note(struct slc_region *r, const char *what);

#endif

// SPDX-License-Identifier: GPL-2.0
/* alloc.c - memory of the kernel's own: on one node, in long runs, zeroed. */
#include <linux/gfp.h>
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/mmzone.h>
#include <linux/nodemask.h>
#include <linux/nospec.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>

#include "fault.h"
#include "region.h"
#include "trace.h"

#define ALLOC_GFP (GFP_USER | __GFP_ACCOUNT | __GFP_ZERO | __GFP_COMP | \
		   __GFP_THISNODE | __GFP_NOWARN | __GFP_RETRY_MAYFAIL)

/* An extent is made of whole blocks, each as alloc_pages() gave it. */
static void alloc_free(struct sluice_region *region)
{
	for (unsigned long i = 0; i < region->nextents; i++) {
		struct page *page = region->extents[i].page;
		struct page *end = page + region->extents[i].npages;

		while (page < end) {
			unsigned long n = 1ul << compound_order(page);

			/* A DMA or O_DIRECT still under way holds its own. */
			put_page(page);
			page += n;
			cond_resched();
		}
	}
}

static int alloc_fill(struct sluice_region *region, int node,
		      unsigned int order, bool strict)
{
	unsigned long left = region->npages;

	while (left) {
		unsigned int now = min_t(unsigned int, order, ilog2(left));
		struct page *page;

		if (fatal_signal_pending(current))
			return -EINTR;
		if (sluice_region_room(region, 1))
			return -ENOMEM;
		page = SLUICE_TRY(alloc_pages_node(node, ALLOC_GFP, now), NULL);
		cond_resched();
		if (page) {
			sluice_region_add(region, page, 1ul << now);
			left -= 1ul << now;
			continue;
		}
		if (!now || strict)
			return fatal_signal_pending(current) ? -EINTR : -ENOMEM;
		order = now - 1;
	}
	return 0;
}

/* The struct's fields; *@node and *@order become what is meant. */
static int alloc_check(const struct sluice_alloc *alloc, int *node,
		       unsigned int *order)
{
	u64 run = alloc->run ?: SZ_2M;

	if ((alloc->flags & ~SLUICE_ALLOC_STRICT) || alloc->__reserved)
		return -EINVAL;
	if (!alloc->len || !PAGE_ALIGNED(alloc->len))
		return -EINVAL;
	if (run > SZ_2M)
		return -EOPNOTSUPP;
	if (run != PAGE_SIZE && run != SZ_2M)
		return -EINVAL;
	if ((alloc->flags & SLUICE_ALLOC_STRICT) && alloc->len % run)
		return -EINVAL;
	if (alloc->node < -1 || alloc->node >= MAX_NUMNODES)
		return -EINVAL;
	*node = alloc->node < 0 ? numa_mem_id() :
				  array_index_nospec(alloc->node, MAX_NUMNODES);
	if (!node_state(*node, N_MEMORY))
		return -EINVAL;
	if (alloc->name[0]) {
		if (sluice_name_check(alloc->name) || (alloc->mode & ~0777))
			return -EINVAL;
	} else if (alloc->mode) {
		return -EINVAL;
	}
	*order = get_order(run);
	return 0;
}

int sluice_call_alloc(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_alloc *alloc = &arg->alloc;
	struct sluice_region *region;
	unsigned int order;
	int node, ret;

	ret = alloc_check(alloc, &node, &order);
	if (ret)
		return ret;
	/* What can never be is not tried for minutes. */
	if (alloc->len >> PAGE_SHIFT > NODE_DATA(node)->node_present_pages)
		return -ENOMEM;
	ret = sluice_handle_open(handle);
	if (ret)
		return ret;
	region = sluice_region_new(SLUICE_KIND_ALLOC, alloc->len);
	if (IS_ERR(region))
		return PTR_ERR(region);
	handle->region = region;
	handle->fresh = true;
	region->free = alloc_free;
	if (alloc->name[0])
		ret = sluice_name_reserve(region, alloc->name, alloc->mode);
	if (!ret)
		ret = sluice_charge(&region->charge, region->npages);
	if (!ret)
		ret = alloc_fill(region, node, order,
				 alloc->flags & SLUICE_ALLOC_STRICT);
	if (ret)
		return ret;
	sluice_region_sort(region);
	sluice_region_seal(region);
	ret = sluice_handle_export(handle, true);
	if (ret)
		return ret;
	trace_sluice_alloc(region);
	alloc->id = region->id;
	alloc->fd = handle->fd;
	return 0;
}

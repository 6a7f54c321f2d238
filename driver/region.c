// SPDX-License-Identifier: GPL-2.0
/* region.c - the life of a region: its extents, its references, its end. */
#include <linux/file.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/sort.h>
#include <linux/wait_bit.h>
#include <linux/xarray.h>

#include "compat.h"
#include "fault.h"
#include "region.h"
#define CREATE_TRACE_POINTS
#include "trace.h"

DEFINE_SRCU(sluice_srcu);

/* Regions that have been given out, by id; under its lock none is freed. */
static DEFINE_XARRAY(regions);
static atomic64_t region_ids;

/* The caller holds the only reference, and adds extents, free and charge. */
struct sluice_region *sluice_region_new(enum sluice_kind kind, u64 len)
{
	struct sluice_region *region;

	region = SLUICE_TRY(kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT), NULL);
	if (!region)
		return ERR_PTR(-ENOMEM);
	region->id = atomic64_inc_return(&region_ids);
	/* So that publishing it cannot fail. */
	if (SLUICE_TRY(xa_reserve(&regions, region->id, GFP_KERNEL_ACCOUNT),
		       -ENOMEM)) {
		kfree(region);
		return ERR_PTR(-ENOMEM);
	}
	kref_init(&region->kref);
	region->kind = kind;
	region->writable = true;
	region->npages = len >> PAGE_SHIFT;
	region->node = NUMA_NO_NODE;
	region->maker = get_pid(task_tgid(current));
	get_task_comm(region->comm, current);
	region->uid = current_euid();
	region->gid = current_egid();
	dma_resv_init(&region->resv);
	INIT_LIST_HEAD(&region->maps);
	mutex_init(&region->lock);
	INIT_LIST_HEAD(&region->buffers);
	INIT_HLIST_NODE(&region->name_node);
	INIT_LIST_HEAD(&region->bar_node);
	return region;
}

/* Makes room for @more extents, so that adding them cannot fail. */
int sluice_region_room(struct sluice_region *region, unsigned long more)
{
	unsigned long room = max(region->room * 2, region->nextents + more);
	struct sluice_extent *extents;

	if (region->nextents + more <= region->room)
		return 0;
	extents = SLUICE_TRY(kvmalloc_array(room, sizeof(*extents),
					    GFP_KERNEL_ACCOUNT), NULL);
	if (!extents)
		return -ENOMEM;
	if (region->nextents)
		memcpy(extents, region->extents,
		       region->nextents * sizeof(*extents));
	kvfree(region->extents);
	region->extents = extents;
	region->room = room;
	return 0;
}

/* struct pages of neighbours need not be neighbours: both are asked. */
static bool extent_continues(const struct sluice_extent *extent,
			     const struct page *page)
{
	return extent->page + extent->npages == page &&
	       page_to_pfn(extent->page) + extent->npages == page_to_pfn(page) &&
	       page_to_nid(extent->page) == page_to_nid(page);
}

/* Adds pages behind the last; there is room. */
void sluice_region_add(struct sluice_region *region, struct page *page,
		       unsigned long npages)
{
	struct sluice_extent *last = region->extents + region->nextents - 1;
	unsigned long first = 0;

	if (region->nextents) {
		if (extent_continues(last, page)) {
			last->npages += npages;
			return;
		}
		first = last->first + last->npages;
	}
	region->extents[region->nextents++] = (struct sluice_extent){
		.page = page, .first = first, .npages = npages };
}

static int extent_cmp(const void *a, const void *b)
{
	unsigned long x = page_to_pfn(((const struct sluice_extent *)a)->page);
	unsigned long y = page_to_pfn(((const struct sluice_extent *)b)->page);

	return x < y ? -1 : x > y;
}

/* Brings pages of any order into that of memory, where neighbours merge. */
void sluice_region_sort(struct sluice_region *region)
{
	unsigned long n = region->nextents;

	sort(region->extents, n, sizeof(*region->extents), extent_cmp, NULL);
	region->nextents = 0;
	for (unsigned long i = 0; i < n; i++)
		sluice_region_add(region, region->extents[i].page,
				  region->extents[i].npages);
}

/* All pages are there: states the facts, and gives spare room back. */
void sluice_region_seal(struct sluice_region *region)
{
	unsigned long n = region->nextents;
	struct sluice_extent *exact;

	region->node = page_to_nid(region->extents->page);
	for (unsigned long i = 0; i < n; i++) {
		const struct sluice_extent *extent = &region->extents[i];

		if (extent->npages >= SZ_2M >> PAGE_SHIFT)
			region->pages_2m += extent->npages;
		if (page_to_nid(extent->page) != region->node)
			region->node = NUMA_NO_NODE;
	}
	if (n == region->room)
		return;
	exact = kvmalloc_array(n, sizeof(*exact), GFP_KERNEL_ACCOUNT);
	if (!exact)
		return; /* the larger one serves as well */
	memcpy(exact, region->extents, n * sizeof(*exact));
	kvfree(region->extents);
	region->extents = exact;
	region->room = n;
}

/* The extent of page number @page, which is below npages. */
const struct sluice_extent *sluice_region_find(const struct sluice_region *region,
					       unsigned long page)
{
	unsigned long low = 0, high = region->nextents;

	while (high - low > 1) {
		unsigned long mid = low + (high - low) / 2;

		if (region->extents[mid].first <= page)
			low = mid;
		else
			high = mid;
	}
	return &region->extents[low];
}

void sluice_region_get(struct sluice_region *region)
{
	kref_get(&region->kref);
}

static void region_release(struct kref *kref)
{
	struct sluice_region *region =
		container_of(kref, struct sluice_region, kref);

	xa_erase(&regions, region->id);
	sluice_name_drop(region);
	trace_sluice_free(region);
	if (region->free)
		region->free(region);
	sluice_uncharge(&region->charge);
	put_pid(region->maker);
	dma_resv_fini(&region->resv);
	mutex_destroy(&region->lock);
	kvfree(region->extents);
	kfree(region);
}

void sluice_region_put(struct sluice_region *region)
{
	kref_put(&region->kref, region_release);
}

/* Lets others find it by its id, and by its name if it has one. */
static void region_publish(struct sluice_region *region)
{
	xa_store(&regions, region->id, region, GFP_KERNEL);
	sluice_name_publish(region);
}

/*
 * A reference to the region of *@id, or, not @exact, of the smallest id above,
 * which is put there. NULL: none.
 */
struct sluice_region *sluice_region_next(u64 *id, bool exact)
{
	unsigned long index = *id;
	struct sluice_region *region;

	xa_lock(&regions);
	region = exact ? xa_load(&regions, index) :
			 xa_find_after(&regions, &index, ULONG_MAX, XA_PRESENT);
	while (region && !kref_get_unless_zero(&region->kref))
		region = exact ? NULL :
				 xa_find_after(&regions, &index, ULONG_MAX,
					       XA_PRESENT);
	xa_unlock(&regions);
	*id = index;
	return region;
}

/* True for the one caller that turns a live region into a dead one. */
bool sluice_region_kill(struct sluice_region *region)
{
	return atomic_cmpxchg(&region->dead, 0, 1) == 0;
}

void sluice_region_busy(struct sluice_region *region)
{
	atomic_inc(&region->busy);
}

/* The caller holds the region by something else than what it ends. */
void sluice_region_unbusy(struct sluice_region *region)
{
	if (atomic_dec_and_test(&region->busy))
		wake_up_var(&region->busy);
}

/*
 * Waits until no device and no ring has the memory, or a minute; true: none
 * has it, and as the region is dead none ever will.
 */
bool sluice_region_idle(struct sluice_region *region)
{
	return wait_var_event_timeout(&region->busy,
				      !atomic_read(&region->busy), 60 * HZ);
}

int sluice_handle_open(struct sluice_handle *handle)
{
	if (sluice_draining())
		return -ESHUTDOWN;
	handle->fd = SLUICE_TRY(get_unused_fd_flags(O_CLOEXEC), -EMFILE);
	return handle->fd < 0 ? handle->fd : 0;
}

int sluice_handle_export(struct sluice_handle *handle, bool writable)
{
	struct dma_buf *buf;

	buf = sluice_buffer_export(handle->region, writable);
	if (IS_ERR(buf))
		return PTR_ERR(buf);
	handle->buf = buf;
	return 0;
}

void sluice_handle_commit(struct sluice_handle *handle)
{
	if (!handle->buf)
		return;
	if (handle->fresh)
		region_publish(handle->region);
	sluice_region_put(handle->region);
	/* From here another thread may close it. */
	fd_install(handle->fd, handle->buf->file);
}

void sluice_handle_abort(struct sluice_handle *handle)
{
	if (handle->buf)
		dma_buf_put(handle->buf);
	if (handle->region)
		sluice_region_put(handle->region);
	if (handle->fd >= 0)
		put_unused_fd(handle->fd);
}

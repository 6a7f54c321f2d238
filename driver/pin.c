// SPDX-License-Identifier: GPL-2.0
/* pin.c - memory that the caller has already, pinned where it lies. */
#include <linux/backing-dev.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>

#include "compat.h"
#include "fault.h"
#include "region.h"
#include "trace.h"

/*
 * Pages at once: a pin of more that fails half-way leaks the first half on
 * kernels before 6.12 (aa6f8b2593b5), and a signal waits for it.
 */
#define PIN_PAGES (SZ_2M >> PAGE_SHIFT)

static void pin_free(struct sluice_region *region)
{
	for (unsigned long i = 0; i < region->nextents; i++) {
		unpin_user_page_range_dirty_lock(region->extents[i].page,
						 region->extents[i].npages,
						 region->writable);
		cond_resched();
	}
}

/*
 * Anonymous, shared and huge pages stay what they are. The page of a file may
 * be replaced, and written back while a device writes into it; a page of no
 * file is somebody's device memory.
 */
static int pin_allowed(struct page *page)
{
	struct folio *folio = page_folio(page);

	if (folio_test_anon(folio) || folio_test_swapbacked(folio) ||
	    folio_test_hugetlb(folio))
		return 0;
	return READ_ONCE(folio->mapping) ? -EOPNOTSUPP : -EFAULT;
}

/* Newer kernels refuse a file's pages themselves, without saying why. */
static int pin_refused(unsigned long addr, int ret)
{
	struct vm_area_struct *vma;

	if (ret != -EFAULT)
		return ret;
	if (mmap_read_lock_killable(current->mm))
		return -EINTR;
	vma = vma_lookup(current->mm, untagged_addr(addr));
	if (vma && vma->vm_file && mapping_can_writeback(vma->vm_file->f_mapping))
		ret = -EOPNOTSUPP;
	mmap_read_unlock(current->mm);
	return ret;
}

/* Adds @n pages that are pinned; those that may not be are unpinned. */
static int pin_add(struct sluice_region *region, struct page **pages, long n)
{
	for (long i = 0; i < n; i++) {
		int ret = pin_allowed(pages[i]);

		if (ret) {
			unpin_user_pages(pages + i, n - i);
			return ret;
		}
		sluice_region_add(region, pages[i], 1);
	}
	return 0;
}

static int pin_fill(struct sluice_region *region, unsigned long addr,
		    struct page **pages)
{
	unsigned int flags = FOLL_LONGTERM |
			     (region->writable ? FOLL_WRITE : SLUICE_GUP_READ);
	unsigned long left = region->npages;

	while (left) {
		long n = min_t(unsigned long, left, PIN_PAGES);
		int ret;

		if (fatal_signal_pending(current))
			return -EINTR;
		if (sluice_region_room(region, n))
			return -ENOMEM;
		n = SLUICE_TRY(pin_user_pages_fast(addr, n, flags, pages),
			       -ENOMEM);
		if (n <= 0)
			return pin_refused(addr, n ?: -EFAULT);
		ret = pin_add(region, pages, n);
		if (ret)
			return ret;
		left -= n;
		addr += n << PAGE_SHIFT;
		cond_resched();
	}
	return 0;
}

int sluice_call_pin(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_pin *pin = &arg->pin;
	struct sluice_region *region;
	struct page **pages;
	u64 end;
	int ret;

	if ((pin->flags & ~SLUICE_PIN_READ) || pin->__reserved)
		return -EINVAL;
	if (!pin->len || !PAGE_ALIGNED(pin->addr | pin->len) ||
	    check_add_overflow(pin->addr, pin->len, &end))
		return -EINVAL;
	if (!access_ok(u64_to_user_ptr(pin->addr), pin->len))
		return -EFAULT;
	ret = sluice_handle_open(handle);
	if (ret)
		return ret;
	region = sluice_region_new(SLUICE_KIND_PIN, pin->len);
	if (IS_ERR(region))
		return PTR_ERR(region);
	handle->region = region;
	handle->fresh = true;
	region->free = pin_free;
	region->writable = !(pin->flags & SLUICE_PIN_READ);
	ret = sluice_charge(&region->charge, region->npages);
	if (ret)
		return ret;
	pages = SLUICE_TRY(kmalloc_array(PIN_PAGES, sizeof(*pages), GFP_KERNEL),
			   NULL);
	if (!pages)
		return -ENOMEM;
	ret = pin_fill(region, pin->addr, pages);
	kfree(pages);
	if (ret)
		return ret;
	sluice_region_seal(region);
	ret = sluice_handle_export(handle, region->writable);
	if (ret)
		return ret;
	trace_sluice_pin(region);
	pin->id = region->id;
	pin->fd = handle->fd;
	return 0;
}

// SPDX-License-Identifier: GPL-2.0
/*
 * bar.c - peer memory: the largest BAR of a PCI function that an administrator
 * bound to this driver, given struct pages by the kernel's p2pdma.
 */
#include <linux/io.h>
#include <linux/memremap.h>
#include <linux/pci.h>
#include <linux/pci-p2pdma.h>
#include <linux/sched/signal.h>
#include <linux/sizes.h>
#include <linux/slab.h>

#include "compat.h"
#include "fault.h"
#include "region.h"
#include "trace.h"

#ifdef SLUICE_HAVE_PEER

struct sluice_bar {
	struct pci_dev *pdev;
	struct list_head node;    /* of bars */
	struct list_head regions; /* that were not revoked yet */
};

/* Guards bars, and their regions; who is on a list is bound. */
static DEFINE_MUTEX(bars_lock);
static LIST_HEAD(bars);

/* Each page that has no other user left goes back to the device's pool. */
static void bar_put_pages(struct sluice_region *region)
{
	struct page *page = region->extents->page;

	for (unsigned long i = 0; i < region->npages; i++)
		put_page(page + i);
}

static void bar_free(struct sluice_region *region)
{
	mutex_lock(&bars_lock);
	list_del_init(&region->bar_node);
	mutex_unlock(&bars_lock);
	if (region->nextents)
		bar_put_pages(region);
}

/* Nobody is to see what the last user left there. */
static int bar_zero(void *memory, size_t len)
{
	for (size_t done = 0; done < len; done += SZ_64K) {
		if (fatal_signal_pending(current))
			return -EINTR;
		memset_io((void __iomem *)memory + done, 0,
			  min_t(size_t, len - done, SZ_64K));
		cond_resched();
	}
	return 0;
}

/* Under bars_lock. */
static int bar_alloc(struct sluice_bar *bar, struct sluice_region *region)
{
	size_t len = (size_t)region->npages << PAGE_SHIFT;
	struct page *page;
	void *memory;

	if (sluice_region_room(region, 1))
		return -ENOMEM;
	memory = SLUICE_TRY(pci_alloc_p2pmem(bar->pdev, len), NULL);
	if (!memory)
		return -ENOSPC;
	/*
	 * A page in use has a reference of ours, and one of its own to the
	 * device's pages, which goes with it: so the BAR stays until the last
	 * page is back, whoever has it. That of the whole is given back.
	 */
	page = virt_to_page(memory);
	percpu_ref_get_many(&page_pgmap(page)->ref, region->npages - 1);
	for (unsigned long i = 0; i < region->npages; i++)
		set_page_count(page + i, 1);
	sluice_region_add(region, page, region->npages);
	region->pdev = bar->pdev;
	list_add(&region->bar_node, &bar->regions);
	return 0;
}

static struct sluice_bar *bar_find(u32 domain, u32 bdf)
{
	struct sluice_bar *bar;

	list_for_each_entry(bar, &bars, node)
		if (pci_domain_nr(bar->pdev->bus) == domain &&
		    pci_dev_id(bar->pdev) == bdf)
			return bar;
	return NULL;
}

int sluice_call_peer(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_peer *peer = &arg->peer;
	struct sluice_region *region;
	struct sluice_bar *bar;
	int idx, ret;

	if (peer->flags || peer->__reserved || peer->bdf > U16_MAX ||
	    peer->domain > INT_MAX || !peer->len || !PAGE_ALIGNED(peer->len))
		return -EINVAL;
	ret = sluice_handle_open(handle);
	if (ret)
		return ret;
	region = sluice_region_new(SLUICE_KIND_PEER, peer->len);
	if (IS_ERR(region))
		return PTR_ERR(region);
	handle->region = region;
	handle->fresh = true;
	region->free = bar_free;
	mutex_lock(&bars_lock);
	bar = bar_find(peer->domain, peer->bdf);
	ret = bar ? bar_alloc(bar, region) : -ENODEV;
	mutex_unlock(&bars_lock);
	if (ret)
		return ret;
	/* It may be unbound already: that waits for who is inside. */
	ret = sluice_region_enter(region, &idx);
	if (ret)
		return ret;
	ret = bar_zero(page_to_virt(region->extents->page), peer->len);
	if (!ret)
		sluice_region_seal(region);
	sluice_region_exit(idx);
	if (!ret)
		ret = sluice_handle_export(handle, true);
	if (ret)
		return ret;
	trace_sluice_alloc(region);
	peer->id = region->id;
	peer->fd = handle->fd;
	return 0;
}

int sluice_bar_reaches(const struct sluice_region *region, struct device *dev)
{
	return pci_p2pdma_distance(region->pdev, dev, false) < 0 ? -EOPNOTSUPP :
								   0;
}

/* Natural alignment of a BAR makes one of 2 MiB fit for struct pages. */
static int bar_largest(struct pci_dev *pdev)
{
	int best = -1;

	for (int i = 0; i < PCI_STD_NUM_BARS; i++) {
		if (!(pci_resource_flags(pdev, i) & IORESOURCE_MEM) ||
		    pci_resource_len(pdev, i) < SZ_2M)
			continue;
		if (best < 0 || pci_resource_len(pdev, i) >
				pci_resource_len(pdev, best))
			best = i;
	}
	return best;
}

static int bar_probe(struct pci_dev *pdev, const struct pci_device_id *id)
{
	struct sluice_bar *bar;
	int ret, which;

	which = bar_largest(pdev);
	if (which < 0)
		return dev_err_probe(&pdev->dev, -ENODEV,
				     "no memory BAR of 2 MiB or more\n");
	ret = pcim_enable_device(pdev);
	if (ret)
		return ret;
	bar = devm_kzalloc(&pdev->dev, sizeof(*bar), GFP_KERNEL);
	if (!bar)
		return -ENOMEM;
	ret = pci_p2pdma_add_resource(pdev, which, 0, 0);
	if (ret)
		return dev_err_probe(&pdev->dev, ret,
				     "BAR %d cannot be peer memory\n", which);
	bar->pdev = pdev;
	INIT_LIST_HEAD(&bar->regions);
	pci_set_drvdata(pdev, bar);
	mutex_lock(&bars_lock);
	list_add(&bar->node, &bars);
	mutex_unlock(&bars_lock);
	return 0;
}

/* A region of @bar that is to be revoked, with a reference. */
static struct sluice_region *bar_next(struct sluice_bar *bar)
{
	struct sluice_region *region = NULL;

	mutex_lock(&bars_lock);
	list_del_init(&bar->node);
	while (!list_empty(&bar->regions)) {
		region = list_first_entry(&bar->regions, struct sluice_region,
					  bar_node);
		list_del_init(&region->bar_node);
		/* Else its last user is giving the pages back just now. */
		if (kref_get_unless_zero(&region->kref))
			break;
		region = NULL;
	}
	mutex_unlock(&bars_lock);
	return region;
}

/*
 * The driver core takes the struct pages away after this, which waits for each
 * page. Neither a ring nor a device can be made to let go: they are waited for.
 */
static void bar_remove(struct pci_dev *pdev)
{
	struct sluice_bar *bar = pci_get_drvdata(pdev);
	struct sluice_region *region;

	while ((region = bar_next(bar))) {
		sluice_region_revoke(region);
		while (!sluice_region_idle(region))
			pci_info(pdev, "waits for who uses region %llu of %s[%d]\n",
				 region->id, region->comm,
				 pid_nr(region->maker));
		region->free = NULL;
		bar_put_pages(region);
		sluice_region_put(region);
	}
}

/* No table of ids: only driver_override binds. */
static struct pci_driver bar_driver = {
	.name = "sluice",
	.probe = bar_probe,
	.remove = bar_remove,
};

int sluice_bar_init(void)
{
	return pci_register_driver(&bar_driver);
}

void sluice_bar_exit(void)
{
	pci_unregister_driver(&bar_driver);
}

#else

int sluice_call_peer(union sluice_arg *arg, struct sluice_handle *handle)
{
	return -EOPNOTSUPP;
}

int sluice_bar_reaches(const struct sluice_region *region, struct device *dev)
{
	return -EOPNOTSUPP;
}

int sluice_bar_init(void)
{
	return 0;
}

void sluice_bar_exit(void)
{
}

#endif

// SPDX-License-Identifier: GPL-2.0
/* dmabuf.c - the handle of a region: mapped by the CPU, by devices, revoked. */
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>

#include "compat.h"
#include "fault.h"
#include "region.h"
#include "trace.h"

SLUICE_IMPORT_DMA_BUF;

/* A device's view of a region; in its list of maps. */
struct sluice_map {
	struct sg_table sgt;
	struct device *dev;
	enum dma_data_direction dir;
	struct list_head node;
};

static int buffer_attach(struct dma_buf *buf,
			 struct dma_buf_attachment *attachment)
{
	struct sluice_buffer *buffer = buf->priv;
	struct sluice_region *region = buffer->region;
	int idx, ret;

	ret = sluice_region_enter(region, &idx);
	if (ret)
		return ret;
	if (region->kind == SLUICE_KIND_PEER)
		ret = attachment->peer2peer ?
		      sluice_bar_reaches(region, attachment->dev) : -EOPNOTSUPP;
	if (!ret)
		atomic_inc(&region->attached);
	sluice_region_exit(idx);
	return ret;
}

static void buffer_detach(struct dma_buf *buf,
			  struct dma_buf_attachment *attachment)
{
	struct sluice_buffer *buffer = buf->priv;

	atomic_dec(&buffer->region->attached);
}

/* The memory never moves; it may only end. */
static int buffer_pin(struct dma_buf_attachment *attachment)
{
	struct sluice_buffer *buffer = attachment->dmabuf->priv;

	return sluice_region_dead(buffer->region) ? -ENODEV : 0;
}

static void buffer_unpin(struct dma_buf_attachment *attachment)
{
}

static unsigned long map_segments(const struct sluice_region *region,
				  unsigned long pages)
{
	unsigned long n = 0;

	for (unsigned long i = 0; i < region->nextents; i++)
		n += DIV_ROUND_UP(region->extents[i].npages, pages);
	return n;
}

/* A table of all extents, cut to what the device takes in one segment. */
static int map_fill(struct sg_table *sgt, const struct sluice_region *region,
		    struct device *dev)
{
	unsigned long most = max(dma_get_max_seg_size(dev) >> PAGE_SHIFT, 1u);
	unsigned long n = map_segments(region, most);
	struct scatterlist *sg;
	int ret;

	if (n > INT_MAX)
		return -EOVERFLOW;
	ret = SLUICE_TRY(sg_alloc_table(sgt, n, GFP_KERNEL), -ENOMEM);
	if (ret)
		return ret;
	sg = sgt->sgl;
	for (unsigned long i = 0; i < region->nextents; i++) {
		const struct sluice_extent *extent = &region->extents[i];
		unsigned long done, now;

		for (done = 0; done < extent->npages; done += now) {
			now = min(extent->npages - done, most);
			sg_set_page(sg, extent->page + done, now << PAGE_SHIFT,
				    0);
			sg = sg_next(sg);
		}
	}
	return 0;
}

/* dma_resv is held, so that revoke is before or after the whole. */
static struct sg_table *buffer_map(struct dma_buf_attachment *attachment,
				   enum dma_data_direction dir)
{
	struct sluice_buffer *buffer = attachment->dmabuf->priv;
	struct sluice_region *region = buffer->region;
	struct sluice_map *map;
	int ret;

	dma_resv_assert_held(&region->resv);
	if (sluice_region_dead(region))
		return ERR_PTR(-ENODEV);
	if (!buffer->writable && dir != DMA_TO_DEVICE)
		return ERR_PTR(-EACCES);
	map = SLUICE_TRY(kzalloc(sizeof(*map), GFP_KERNEL), NULL);
	if (!map)
		return ERR_PTR(-ENOMEM);
	map->dev = attachment->dev;
	map->dir = dir;
	ret = map_fill(&map->sgt, region, map->dev);
	if (ret)
		goto err_free;
	ret = SLUICE_TRY(dma_map_sgtable(map->dev, &map->sgt, dir, 0), -EIO);
	if (ret)
		goto err_table;
	list_add(&map->node, &region->maps);
	sluice_region_busy(region);
	trace_sluice_map(region, map->dev, dir);
	return &map->sgt;

err_table:
	sg_free_table(&map->sgt);
err_free:
	kfree(map);
	return ERR_PTR(ret);
}

static void buffer_unmap(struct dma_buf_attachment *attachment,
			 struct sg_table *sgt, enum dma_data_direction dir)
{
	struct sluice_map *map = container_of(sgt, struct sluice_map, sgt);
	struct sluice_buffer *buffer = attachment->dmabuf->priv;

	dma_resv_assert_held(&buffer->region->resv);
	dma_unmap_sgtable(map->dev, sgt, dir, 0);
	list_del(&map->node);
	sg_free_table(sgt);
	kfree(map);
	sluice_region_unbusy(buffer->region);
}

static int buffer_sync(struct dma_buf *buf, enum dma_data_direction dir,
		       void (*sync)(struct device *dev, struct sg_table *sgt,
				    enum dma_data_direction dir))
{
	struct sluice_buffer *buffer = buf->priv;
	struct sluice_region *region = buffer->region;
	struct sluice_map *map;
	int ret = 0;

	/* The CPU sees peer memory uncached, and no bounce buffer. */
	if (region->kind == SLUICE_KIND_PEER)
		return sluice_region_dead(region) ? -ENODEV : 0;
	dma_resv_lock(&region->resv, NULL);
	if (sluice_region_dead(region))
		ret = -ENODEV;
	else
		list_for_each_entry(map, &region->maps, node)
			sync(map->dev, &map->sgt, map->dir);
	dma_resv_unlock(&region->resv);
	return ret;
}

static int buffer_begin_cpu(struct dma_buf *buf, enum dma_data_direction dir)
{
	return buffer_sync(buf, dir, dma_sync_sgtable_for_cpu);
}

static int buffer_end_cpu(struct dma_buf *buf, enum dma_data_direction dir)
{
	return buffer_sync(buf, dir, dma_sync_sgtable_for_device);
}

static void vma_open(struct vm_area_struct *vma)
{
	struct sluice_buffer *buffer = vma->vm_private_data;

	atomic_inc(&buffer->region->vmas);
}

static void vma_close(struct vm_area_struct *vma)
{
	struct sluice_buffer *buffer = vma->vm_private_data;

	atomic_dec(&buffer->region->vmas);
}

/*
 * Pages with references, so that O_DIRECT, ibv_reg_mr() and io_uring take the
 * mapping. -EBUSY: up to a page that is there already. Returns how many.
 */
static unsigned long fault_pages(struct vm_area_struct *vma, unsigned long addr,
				 const struct sluice_region *region,
				 unsigned long first, unsigned long n, int *ret)
{
	const struct sluice_extent *extent = sluice_region_find(region, first);
	struct page *pages[32];
	unsigned long left = min_t(unsigned long, n, ARRAY_SIZE(pages));
	unsigned long count = left;

	for (unsigned long i = 0; i < count; i++) {
		if (first + i == extent->first + extent->npages)
			extent++;
		pages[i] = extent->page + (first + i - extent->first);
	}
	*ret = vm_insert_pages(vma, addr, pages, &left);
	return count - left;
}

/*
 * Pinned user memory cannot be mapped like that, for it is mapped already as
 * what it is: the mapping has page numbers, and nothing pins it.
 */
static unsigned long fault_pfns(struct vm_area_struct *vma, unsigned long addr,
				const struct sluice_region *region,
				unsigned long first, unsigned long n, int *ret)
{
	const struct sluice_extent *extent = sluice_region_find(region, first);
	unsigned long i, left;
	vm_fault_t fault;

	left = extent->first + extent->npages - first;
	n = min(n, left);
	for (i = 0; i < n; i++, addr += PAGE_SIZE) {
		fault = vmf_insert_pfn(vma, addr, page_to_pfn(extent->page) +
				       first - extent->first + i);
		if (fault != VM_FAULT_NOPAGE) {
			*ret = fault == VM_FAULT_OOM ? -ENOMEM : -EFAULT;
			break;
		}
	}
	return i;
}

/* Maps from the page that was touched up to the next 2 MiB. */
static vm_fault_t vma_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct sluice_buffer *buffer = vma->vm_private_data;
	struct sluice_region *region = buffer->region;
	unsigned long addr = ALIGN_DOWN(vmf->address, PAGE_SIZE);
	unsigned long end = min(ALIGN(addr + 1, SZ_2M), vma->vm_end);
	unsigned long done = 0, n, page = vmf->pgoff;
	int idx, ret = 0;

	if (page >= region->npages)
		return VM_FAULT_SIGBUS;
	n = min((end - addr) >> PAGE_SHIFT, region->npages - page);
	if (sluice_fault())
		return VM_FAULT_OOM;
	if (sluice_region_enter(region, &idx))
		return VM_FAULT_SIGBUS;
	while (done < n && !ret)
		done += (region->kind == SLUICE_KIND_PIN ?
			 fault_pfns : fault_pages)(vma,
				addr + (done << PAGE_SHIFT), region,
				page + done, n - done, &ret);
	sluice_region_exit(idx);
	if (done || ret == -EBUSY)
		return VM_FAULT_NOPAGE;
	return ret == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
}

static const struct vm_operations_struct vma_ops = {
	.open = vma_open,
	.close = vma_close,
	.fault = vma_fault,
};

static int buffer_mmap(struct dma_buf *buf, struct vm_area_struct *vma)
{
	struct sluice_buffer *buffer = buf->priv;
	struct sluice_region *region = buffer->region;
	unsigned long end;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (check_add_overflow(vma->vm_pgoff, vma_pages(vma), &end) ||
	    end > region->npages)
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;
	if (!buffer->writable && (vma->vm_flags & VM_WRITE))
		return -EACCES;
	if (sluice_region_dead(region))
		return -ENODEV;
	sluice_vm_flags(vma, VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY |
			(region->kind == SLUICE_KIND_PIN ? VM_PFNMAP :
							   VM_MIXEDMAP),
			VM_MAYEXEC | (buffer->writable ? 0 : VM_MAYWRITE));
	/* As the kernel's own mapping of it. */
	if (region->kind == SLUICE_KIND_PEER)
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
	vma->vm_private_data = buffer;
	vma->vm_ops = &vma_ops;
	vma_open(vma);
	return 0;
}

static void buffer_release(struct dma_buf *buf)
{
	struct sluice_buffer *buffer = buf->priv;
	struct sluice_region *region = buffer->region;

	mutex_lock(&region->lock);
	if (!list_empty(&buffer->node)) {
		list_del(&buffer->node);
		atomic_dec(&region->exports);
	}
	mutex_unlock(&region->lock);
	kfree(buffer);
	sluice_region_put(region);
}

static const struct dma_buf_ops buffer_ops = {
	.attach = buffer_attach,
	.detach = buffer_detach,
	.pin = buffer_pin,
	.unpin = buffer_unpin,
	.map_dma_buf = buffer_map,
	.unmap_dma_buf = buffer_unmap,
	.begin_cpu_access = buffer_begin_cpu,
	.end_cpu_access = buffer_end_cpu,
	.mmap = buffer_mmap,
	.release = buffer_release,
};

/* What /proc/PID/fdinfo shows of it. */
static int buffer_describe(struct dma_buf *buf,
			   const struct sluice_region *region)
{
	char name[SLUICE_NAME_MAX], *text;

	/* It may be taken away meanwhile, and kasprintf() reads it twice. */
	sluice_name_copy(region, name);
	text = SLUICE_TRY(kasprintf(GFP_KERNEL_ACCOUNT, "%llu %s", region->id,
				    name), NULL);
	if (!text)
		return -ENOMEM;
	spin_lock(&buf->name_lock);
	swap(*(char **)&buf->name, text);
	spin_unlock(&buf->name_lock);
	kfree(text);
	return 0;
}

/* A dma-buf over @region, that holds it. */
struct dma_buf *sluice_buffer_export(struct sluice_region *region,
				     bool writable)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct sluice_buffer *buffer;
	struct dma_buf *buf;
	int ret;

	buffer = SLUICE_TRY(kzalloc(sizeof(*buffer), GFP_KERNEL_ACCOUNT), NULL);
	if (!buffer)
		return ERR_PTR(-ENOMEM);
	buffer->region = region;
	buffer->writable = writable;
	INIT_LIST_HEAD(&buffer->node);
	info.ops = &buffer_ops;
	info.size = (size_t)region->npages << PAGE_SHIFT;
	info.flags = writable ? O_RDWR : O_RDONLY;
	info.resv = &region->resv;
	info.priv = buffer;
	buf = SLUICE_TRY(dma_buf_export(&info), ERR_PTR(-ENOMEM));
	if (IS_ERR(buf)) {
		kfree(buffer);
		return buf;
	}
	buffer->buf = buf;
	sluice_region_get(region); /* buffer_release() puts it */
	ret = buffer_describe(buf, region);
	mutex_lock(&region->lock);
	if (!ret && sluice_region_dead(region))
		ret = -ENODEV;
	if (!ret) {
		list_add(&buffer->node, &region->buffers);
		atomic_inc(&region->exports);
	}
	mutex_unlock(&region->lock);
	if (ret) {
		dma_buf_put(buf);
		return ERR_PTR(ret);
	}
	return buf;
}

/* The buffer of a descriptor, until dma_buf_put(->buf). */
struct sluice_buffer *sluice_buffer_get(int fd)
{
	struct dma_buf *buf = dma_buf_get(fd);

	if (IS_ERR(buf))
		return PTR_ERR(buf) == -EINVAL ? ERR_PTR(-ENOENT) :
						 ERR_CAST(buf);
	if (buf->ops != &buffer_ops) {
		dma_buf_put(buf);
		return ERR_PTR(-ENOENT);
	}
	return buf->priv;
}

/* The next buffer that was not told yet, with a reference to its dma-buf. */
static struct sluice_buffer *revoke_next(struct sluice_region *region)
{
	struct sluice_buffer *buffer, *found = NULL;

	mutex_lock(&region->lock);
	/* Those that were told are behind, and no new one comes. */
	while (!found) {
		buffer = list_first_entry_or_null(&region->buffers,
						  struct sluice_buffer, node);
		if (!buffer || buffer->told)
			break;
		buffer->told = true;
		list_move_tail(&buffer->node, &region->buffers);
		/* One that is being released has no user left. */
		if (sluice_buf_tryget(buffer->buf))
			found = buffer;
	}
	mutex_unlock(&region->lock);
	return found;
}

/*
 * Takes the region from all who use it: from now on touching a mapping is
 * SIGBUS, and new uses are -ENODEV. The memory stays as long as the region.
 */
void sluice_region_revoke(struct sluice_region *region)
{
	struct sluice_buffer *buffer;

	if (!sluice_region_kill(region))
		return;
	trace_sluice_revoke(region);
	/* Who saw it alive is done, and what they mapped is found below. */
	synchronize_srcu(&sluice_srcu);
	while ((buffer = revoke_next(region))) {
		struct dma_buf *buf = buffer->buf;

		unmap_mapping_range(buf->file->f_mapping, 0, 0, 1);
		dma_resv_lock(&region->resv, NULL);
		sluice_buf_invalidate(buf);
		dma_resv_unlock(&region->resv);
		dma_buf_put(buf);
	}
}

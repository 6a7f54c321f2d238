// SPDX-License-Identifier: GPL-2.0
/* importer.c - attaches to dma-bufs in the name of any PCI function. */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/pci.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/version.h>

#include "importer.h"

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
MODULE_IMPORT_NS("DMA_BUF");
#else
MODULE_IMPORT_NS(DMA_BUF);
#endif

struct importer {
	struct mutex lock; /* outside dma_resv; guards the first three */
	struct dma_buf *buf;
	struct dma_buf_attachment *attachment;
	struct device *dev;
	u32 flags;
	/* Guarded by dma_resv. */
	struct sg_table *sgt;
	enum dma_data_direction dir;
	u32 told;
};

static void importer_unmap(struct importer *im)
{
	if (im->sgt)
		dma_buf_unmap_attachment(im->attachment, im->sgt, im->dir);
	im->sgt = NULL;
}

static void importer_told(struct dma_buf_attachment *attachment)
{
	struct importer *im = attachment->importer_priv;

	im->told++;
	if (!(im->flags & IMPORTER_LAZY))
		importer_unmap(im);
}

static const struct dma_buf_attach_ops importer_ops = {
	.allow_peer2peer = true,
#ifdef HAVE_INVALIDATE
	.invalidate_mappings = importer_told,
#else
	.move_notify = importer_told,
#endif
};

/* Before 6.2 a static importer maps without dma_resv. */
static void importer_lock(struct importer *im)
{
#ifndef HAVE_UNLOCKED
	if (im->flags & IMPORTER_STATIC)
		return;
#endif
	dma_resv_lock(im->buf->resv, NULL);
}

static void importer_unlock(struct importer *im)
{
#ifndef HAVE_UNLOCKED
	if (im->flags & IMPORTER_STATIC)
		return;
#endif
	dma_resv_unlock(im->buf->resv);
}

static int importer_attach(struct importer *im, struct importer_attach *arg)
{
	struct dma_buf_attachment *attachment;
	struct dma_buf *buf;
	struct device *dev;

	arg->dev[sizeof(arg->dev) - 1] = 0;
	if (im->buf || (arg->flags & ~(IMPORTER_STATIC | IMPORTER_LAZY)))
		return -EINVAL;
	dev = bus_find_device_by_name(&pci_bus_type, NULL, arg->dev);
	if (!dev)
		return -ENODEV;
	buf = dma_buf_get(arg->fd);
	if (IS_ERR(buf)) {
		put_device(dev);
		return PTR_ERR(buf);
	}
	im->flags = arg->flags;
	if (arg->flags & IMPORTER_STATIC)
		attachment = dma_buf_attach(buf, dev);
	else
		attachment = dma_buf_dynamic_attach(buf, dev, &importer_ops, im);
	if (IS_ERR(attachment)) {
		dma_buf_put(buf);
		put_device(dev);
		return PTR_ERR(attachment);
	}
	im->told = 0;
	im->dev = dev;
	im->buf = buf;
	im->attachment = attachment;
	return 0;
}

static void importer_detach(struct importer *im)
{
	if (!im->buf)
		return;
	importer_lock(im);
	importer_unmap(im);
	importer_unlock(im);
	dma_buf_detach(im->buf, im->attachment);
	dma_buf_put(im->buf);
	put_device(im->dev);
	im->buf = NULL;
}

static void importer_state(const struct importer *im, struct importer_state *st)
{
	struct scatterlist *sg;
	int i;

	st->told = im->told;
	st->mapped = !!im->sgt;
	st->nents = 0;
	st->len = 0;
	if (!im->sgt)
		return;
	st->nents = im->sgt->nents;
	for_each_sgtable_dma_sg(im->sgt, sg, i)
		st->len += sg_dma_len(sg);
}

static int importer_map(struct importer *im, struct importer_state *st)
{
	struct sg_table *sgt;
	int ret = 0;

	if (!im->buf || st->dir > DMA_FROM_DEVICE)
		return -EINVAL;
	importer_lock(im);
	if (im->sgt) {
		ret = -EBUSY;
	} else {
		im->dir = st->dir;
		sgt = dma_buf_map_attachment(im->attachment, im->dir);
		if (IS_ERR(sgt))
			ret = PTR_ERR(sgt);
		else
			im->sgt = sgt;
	}
	importer_state(im, st);
	importer_unlock(im);
	return ret;
}

static long importer_call(struct importer *im, unsigned int cmd,
			  void __user *user)
{
	struct importer_attach attach;
	struct importer_state st;
	int ret = 0;

	switch (cmd) {
	case IMPORTER_ATTACH:
		if (copy_from_user(&attach, user, sizeof(attach)))
			return -EFAULT;
		return importer_attach(im, &attach);
	case IMPORTER_MAP:
	case IMPORTER_STATE:
		if (copy_from_user(&st, user, sizeof(st)))
			return -EFAULT;
		if (cmd == IMPORTER_MAP) {
			ret = importer_map(im, &st);
		} else if (im->buf) {
			importer_lock(im);
			importer_state(im, &st);
			importer_unlock(im);
		} else {
			return -EINVAL;
		}
		if (!ret && copy_to_user(user, &st, sizeof(st)))
			ret = -EFAULT;
		return ret;
	case IMPORTER_UNMAP:
		if (!im->buf)
			return -EINVAL;
		importer_lock(im);
		importer_unmap(im);
		importer_unlock(im);
		return 0;
	case IMPORTER_DETACH:
		importer_detach(im);
		return 0;
	}
	return -ENOTTY;
}

static long importer_ioctl(struct file *file, unsigned int cmd,
			   unsigned long user)
{
	struct importer *im = file->private_data;
	long ret;

	mutex_lock(&im->lock);
	ret = importer_call(im, cmd, (void __user *)user);
	mutex_unlock(&im->lock);
	return ret;
}

static int importer_open(struct inode *inode, struct file *file)
{
	struct importer *im = kzalloc(sizeof(*im), GFP_KERNEL);

	if (!im)
		return -ENOMEM;
	mutex_init(&im->lock);
	file->private_data = im;
	return nonseekable_open(inode, file);
}

static int importer_release(struct inode *inode, struct file *file)
{
	importer_detach(file->private_data);
	kfree(file->private_data);
	return 0;
}

static const struct file_operations importer_fops = {
	.owner = THIS_MODULE,
	.open = importer_open,
	.release = importer_release,
	.unlocked_ioctl = importer_ioctl,
};

static struct miscdevice importer_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "importer",
	.fops = &importer_fops,
	.mode = 0600,
};

module_misc_device(importer_device);

MODULE_DESCRIPTION("imports dma-bufs on request, for tests");
MODULE_LICENSE("GPL");

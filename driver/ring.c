// SPDX-License-Identifier: GPL-2.0
/* ring.c - a range of a region as a fixed buffer of somebody's io_uring. */
#include <linux/bvec.h>
#include <linux/capability.h>
#include <linux/mm.h>
#include <linux/slab.h>

#include "compat.h"
#ifdef SLUICE_HAVE_RING
#include <linux/io_uring/cmd.h>
#endif

#include "fault.h"
#include "region.h"

#ifdef SLUICE_HAVE_RING

/* The ring let go; it had the dma-buf, and so the region and this module. */
static void ring_release(void *priv)
{
	struct dma_buf *buf = priv;
	struct sluice_buffer *buffer = buf->priv;

	atomic_dec(&buffer->region->rings);
	sluice_region_unbusy(buffer->region);
	dma_buf_put(buf);
}

/* The extents of a range, each one piece; *@n is how many. */
static struct bio_vec *ring_pieces(const struct sluice_region *region,
				   unsigned long page, unsigned long npages,
				   unsigned int *n)
{
	const struct sluice_extent *first = sluice_region_find(region, page);
	const struct sluice_extent *last =
		sluice_region_find(region, page + npages - 1);
	struct bio_vec *pieces;

	*n = last - first + 1;
	pieces = SLUICE_TRY(kvmalloc_array(*n, sizeof(*pieces), GFP_KERNEL),
			    NULL);
	if (!pieces)
		return NULL;
	for (unsigned int i = 0; i < *n; i++, first++) {
		unsigned long skip = page - first->first;
		unsigned long now = min(first->npages - skip, npages);

		bvec_set_page(&pieces[i], first->page + skip,
			      now << PAGE_SHIFT, 0);
		page += now;
		npages -= now;
	}
	return pieces;
}

static int ring_register(struct io_uring_cmd *cmd, struct sluice_buffer *buffer,
			 const struct sluice_ring *ring,
			 unsigned int issue_flags)
{
	struct sluice_region *region = buffer->region;
	u8 dir = buffer->writable ? IO_BUF_DEST | IO_BUF_SOURCE : IO_BUF_SOURCE;
	struct dma_buf *buf = buffer->buf;
	struct bio_vec *pieces;
	unsigned int n;
	int ret;

	/*
	 * What a socket sends from a buffer, its NIC reads: without asking
	 * whether it reaches the peer, as a drive does.
	 */
	if (region->kind == SLUICE_KIND_PEER && !capable(CAP_SYS_RAWIO))
		dir = IO_BUF_DEST;
	pieces = ring_pieces(region, ring->page, ring->npages, &n);
	if (!pieces)
		return -ENOMEM;
	atomic_inc(&region->rings);
	sluice_region_busy(region);
	get_dma_buf(buf);
	ret = SLUICE_TRY(io_buffer_register_bvec(cmd, pieces, n, ring_release,
						 buf, dir, ring->index,
						 issue_flags), -ENOMEM);
	if (ret)
		ring_release(buf);
	kvfree(pieces);
	return ret;
}

int sluice_ring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	const struct sluice_ring *sqe = io_uring_sqe_cmd(cmd->sqe,
							 struct sluice_ring);
	/* The caller may still write into it: each field is read once. */
	const struct sluice_ring ring = {
		.fd = READ_ONCE(sqe->fd),
		.index = READ_ONCE(sqe->index),
		.page = READ_ONCE(sqe->page),
		.npages = READ_ONCE(sqe->npages),
	};
	struct sluice_buffer *buffer;
	int idx, ret;

	if (READ_ONCE(cmd->sqe->len) || READ_ONCE(cmd->sqe->addr))
		return -EINVAL;
	if (cmd->cmd_op == SLUICE_RING_UNREGISTER) {
		if (ring.fd || ring.page || ring.npages)
			return -EINVAL;
		return io_buffer_unregister(cmd, ring.index, issue_flags);
	}
	if (cmd->cmd_op != SLUICE_RING_REGISTER)
		return -ENOTTY;
	if (!ring.npages || ring.npages > UINT_MAX >> PAGE_SHIFT)
		return -EINVAL;
	if (sluice_draining())
		return -ESHUTDOWN;
	buffer = sluice_buffer_get(ring.fd);
	if (IS_ERR(buffer))
		return PTR_ERR(buffer);
	ret = -EINVAL;
	if ((u64)ring.page + ring.npages <= buffer->region->npages)
		ret = sluice_region_enter(buffer->region, &idx);
	if (!ret) {
		ret = ring_register(cmd, buffer, &ring, issue_flags);
		sluice_region_exit(idx);
	}
	dma_buf_put(buffer->buf);
	return ret;
}

#else

int sluice_ring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags)
{
	return -EOPNOTSUPP;
}

#endif

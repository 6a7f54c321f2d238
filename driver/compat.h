/* SPDX-License-Identifier: GPL-2.0 */
/*
 * compat.h - what differs between the kernels 6.1 to 7.3; no other file asks
 * which one it is. Kbuild looks for SLUICE_HAVE_* in the kernel's headers.
 */
#ifndef SLUICE_COMPAT_H
#define SLUICE_COMPAT_H

#include <linux/dma-buf.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/version.h>

#ifndef CONFIG_64BIT
#error "sluice is for 64-bit kernels"
#endif

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 13, 0)
#define SLUICE_IMPORT_DMA_BUF MODULE_IMPORT_NS("DMA_BUF")
#else
#define SLUICE_IMPORT_DMA_BUF MODULE_IMPORT_NS(DMA_BUF)
#endif

/* Before 6.10 the source of a trace string is named twice. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 10, 0)
#define sluice_assign_str(dst, src) __assign_str(dst)
#else
#define sluice_assign_str(dst, src) __assign_str(dst, src)
#endif

/* Sets and clears flags of a mapping that is being made. */
static inline void sluice_vm_flags(struct vm_area_struct *vma,
				   unsigned long set, unsigned long clear)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 3, 0)
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* A reference to a dma-buf whose last one may just be going. */
static inline bool sluice_buf_tryget(struct dma_buf *buf)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 7, 0)
	return get_file_active(&buf->file);
#else
	return get_file_rcu(buf->file);
#endif
}

/* Tells the importers that what they mapped is gone. */
static inline void sluice_buf_invalidate(struct dma_buf *buf)
{
#ifdef SLUICE_HAVE_INVALIDATE
	dma_buf_invalidate_mappings(buf);
#else
	dma_buf_move_notify(buf);
#endif
}

/*
 * How to pin pages that are only read. Before 6.2 a private mapping may show a
 * shared page that its owner's next write replaces: ask for the copy first.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define SLUICE_GUP_READ 0
#else
#define SLUICE_GUP_READ (FOLL_FORCE | FOLL_WRITE)
#endif

/*
 * From 6.15 on a free page of peer memory has no reference, and one whose last
 * reference goes returns to its device.
 */
#if !IS_ENABLED(CONFIG_PCI_P2PDMA)
#define SLUICE_PEER_WHY "this kernel was built without CONFIG_PCI_P2PDMA"
#elif LINUX_VERSION_CODE < KERNEL_VERSION(6, 15, 0)
#define SLUICE_PEER_WHY "peer memory needs Linux 6.15 or later"
#else
#define SLUICE_HAVE_PEER 1
#define SLUICE_PEER_WHY ""
#endif

#if !IS_ENABLED(CONFIG_IO_URING)
#define SLUICE_RING_WHY "this kernel was built without CONFIG_IO_URING"
#elif !defined(SLUICE_HAVE_BVEC)
#define SLUICE_RING_WHY \
	"this kernel does not let a module register io_uring buffers (Linux 7.3 does)"
#else
#define SLUICE_HAVE_RING 1
#define SLUICE_RING_WHY ""
#endif

#endif

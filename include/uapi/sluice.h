/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * sluice.h - what /dev/sluice understands.
 *
 * Every call takes one struct. It begins with its own size, set by the caller;
 * `flags` and `__reserved` must be zero where nothing else is said. A struct
 * may grow at its end: an older kernel accepts a longer one whose unknown tail
 * is zero, a newer kernel takes a shorter one as if its tail were zero.
 *
 * The errors that every call may give:
 *
 *  - ENOTTY: this call is not known.
 *  - EINVAL: the size is below the first version of the struct, or a flag or
 *    reserved field that must be zero is not.
 *  - E2BIG: the struct is longer than this kernel knows and its tail is not
 *    zero, or it is longer than a page.
 *  - EOPNOTSUPP: a known field has a value that this kernel cannot do.
 *  - EFAULT: the struct is not in the caller's memory.
 *
 * A call that fails has no effect.
 */
#ifndef _UAPI_SLUICE_H
#define _UAPI_SLUICE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SLUICE_TYPE 0xE7

enum {
	SLUICE_CMD_BASE = 0x40,
	SLUICE_CMD_INFO = SLUICE_CMD_BASE,
};

/* Grows when something that worked changes its meaning; never so far. */
#define SLUICE_ABI 1

/**
 * struct sluice_info - ioctl(SLUICE_INFO)
 * @size: sizeof(struct sluice_info)
 * @flags: must be 0
 * @abi: out: SLUICE_ABI of the module
 * @__reserved: must be 0
 * @features: out: bits of what this module on this kernel can do; none is
 *	defined yet
 * @page_size: out: bytes of a base page
 *
 * Asks the module who it is. Anyone who could open the device may.
 */
struct sluice_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 __reserved;
	__aligned_u64 features;
	__aligned_u64 page_size;
};
#define SLUICE_INFO _IO(SLUICE_TYPE, SLUICE_CMD_INFO)

#endif

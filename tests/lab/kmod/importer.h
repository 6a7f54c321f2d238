/* SPDX-License-Identifier: GPL-2.0 */
/* importer.h - /dev/importer: the other side of a dma-buf, told what to do. */
#ifndef SLC_TESTS_LAB_IMPORTER_H
#define SLC_TESTS_LAB_IMPORTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* As old drivers: it cannot be told that the memory is gone. */
#define IMPORTER_STATIC (1u << 0)
/* Keeps its mapping when it is told. */
#define IMPORTER_LAZY	(1u << 1)

/* One open file is one importer, of one dma-buf, for one PCI function. */
struct importer_attach {
	__s32 fd;
	__u32 flags;
	char dev[32]; /* 0000:03:00.0 */
};

struct importer_state {
	__u32 dir;    /* in, to map: enum dma_data_direction */
	__u32 mapped; /* out */
	__u32 nents;  /* out: of the mapping */
	__u32 told;   /* out: times that it was told */
	__u64 len;    /* out: bytes of the mapping */
};

#define IMPORTER_ATTACH _IOW('i', 1, struct importer_attach)
#define IMPORTER_MAP	_IOWR('i', 2, struct importer_state)
#define IMPORTER_STATE	_IOWR('i', 3, struct importer_state)
#define IMPORTER_UNMAP	_IO('i', 4)
#define IMPORTER_DETACH _IO('i', 5)

#endif

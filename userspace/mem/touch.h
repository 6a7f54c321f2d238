/* SPDX-License-Identifier: MIT */
/* touch.h - makes every page of a mapping present, with several threads. */
#ifndef SLC_MEM_TOUCH_H
#define SLC_MEM_TOUCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "mem/node.h"

struct slc_touch {
	unsigned char *addr;
	uint64_t len;
	size_t base_page;
	/*
	 * Also ask for huge pages 2 MiB by 2 MiB, as soon as one base page is
	 * there: how shared memory gets them where shmem_enabled is "never",
	 * and private memory where it is fragmented.
	 */
	bool collapse;
	/*
	 * Nothing but writing a zero is left on a kernel before 5.14. It must
	 * not be done to memory that is not new, nor to memory where a fault
	 * may be SIGBUS (hugetlb).
	 */
	bool may_fault;
	const struct slc_bits *cpus; /* the threads stay on these */
	unsigned int threads;	     /* at most this many */
};

/*
 * 0, or -ENOMEM, -EFAULT (a plain touch would be SIGBUS), -EHWPOISON,
 * -EOPNOTSUPP (this kernel has no MADV_POPULATE_WRITE and !may_fault). On
 * success *used is the number of threads that touched.
 */
int slc_touch(const struct slc_touch *t, unsigned int *used);

#endif

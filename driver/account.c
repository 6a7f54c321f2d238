// SPDX-License-Identifier: GPL-2.0
/*
 * account.c - locked pages, charged to a user before they are taken.
 *
 * The counter is the one that io_uring and iommufd use, user->locked_vm, so
 * that RLIMIT_MEMLOCK means the sum. CAP_IPC_LOCK passes that limit and is
 * charged all the same; the module's own limits hold for everybody.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

#include "account.h"
#include "fault.h"

static ulong max_bytes;
module_param(max_bytes, ulong, 0644);
MODULE_PARM_DESC(max_bytes, "bytes that all regions may have together (0: no limit)");

static ulong max_user_bytes;
module_param(max_user_bytes, ulong, 0644);
MODULE_PARM_DESC(max_user_bytes, "bytes that one user may have locked, io_uring's included (0: no limit)");

static atomic_long_t total_pages;

static unsigned long param_pages(const ulong *bytes)
{
	ulong value = READ_ONCE(*bytes);

	return value ? value >> PAGE_SHIFT : ULONG_MAX;
}

/* Adds, unless the sum would be above @limit. */
static bool counter_add(atomic_long_t *counter, unsigned long npages,
			unsigned long limit)
{
	long old = atomic_long_read(counter);

	do {
		if (npages > limit || (unsigned long)old > limit - npages)
			return false;
	} while (!atomic_long_try_cmpxchg(counter, &old, old + npages));
	return true;
}

/* @charge is zero. 0, or -EDQUOT. */
int sluice_charge(struct sluice_charge *charge, unsigned long npages)
{
	unsigned long limit = LONG_MAX;
	const struct cred *cred;

	if (sluice_fault())
		return -EDQUOT;
	if (!capable(CAP_IPC_LOCK))
		limit = min(limit, rlimit(RLIMIT_MEMLOCK) >> PAGE_SHIFT);
	limit = min(limit, param_pages(&max_user_bytes));
	if (!counter_add(&total_pages, npages,
			 min_t(unsigned long, LONG_MAX, param_pages(&max_bytes))))
		return -EDQUOT;
	/* Holds its user: no kernel before 6.2 lets a module do that itself. */
	cred = get_current_cred();
	if (!counter_add(&cred->user->locked_vm, npages, limit)) {
		put_cred(cred);
		atomic_long_sub(npages, &total_pages);
		return -EDQUOT;
	}
	charge->cred = cred;
	charge->npages = npages;
	return 0;
}

void sluice_uncharge(struct sluice_charge *charge)
{
	if (!charge->cred)
		return;
	atomic_long_sub(charge->npages, &charge->cred->user->locked_vm);
	atomic_long_sub(charge->npages, &total_pages);
	put_cred(charge->cred);
	charge->cred = NULL;
}

/* SPDX-License-Identifier: GPL-2.0 */
/*
 * fault.h - failures on request, in a module built with SLC_FAULT=1.
 *
 * A process writes n to /sys/kernel/debug/sluice/fail_nth; of the calls that
 * it makes from then on and that may fail, the nth does.
 */
#ifndef SLUICE_FAULT_H
#define SLUICE_FAULT_H

#include <linux/types.h>

struct dentry;

#ifdef SLUICE_FAULT
#define SLUICE_FAULT_WHY ""
bool sluice_fault(void);
void sluice_fault_debugfs(struct dentry *dir);
#else
#define SLUICE_FAULT_WHY "the module was built without SLC_FAULT=1"
static inline bool sluice_fault(void)
{
	return false;
}

static inline void sluice_fault_debugfs(struct dentry *dir)
{
}
#endif

/* @call, or @failed without calling it. */
#define SLUICE_TRY(call, failed) (sluice_fault() ? (failed) : (call))

#endif

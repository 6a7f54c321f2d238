// SPDX-License-Identifier: GPL-2.0
/* fault.c - failures on request: tests only. */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/spinlock.h>

#include "fault.h"

static DEFINE_SPINLOCK(fault_lock);
static u64 fault_left; /* calls until the one that fails; 0: none will */
static pid_t fault_tgid;

bool sluice_fault(void)
{
	bool fail = false;

	spin_lock(&fault_lock);
	if (fault_left && fault_tgid == current->tgid)
		fail = !--fault_left;
	spin_unlock(&fault_lock);
	return fail;
}

static int fault_get(void *data, u64 *value)
{
	spin_lock(&fault_lock);
	*value = fault_left;
	spin_unlock(&fault_lock);
	return 0;
}

static int fault_set(void *data, u64 value)
{
	spin_lock(&fault_lock);
	fault_left = value;
	fault_tgid = current->tgid;
	spin_unlock(&fault_lock);
	return 0;
}

DEFINE_DEBUGFS_ATTRIBUTE(fault_fops, fault_get, fault_set, "%llu\n");

void sluice_fault_debugfs(struct dentry *dir)
{
	debugfs_create_file_unsafe("fail_nth", 0600, dir, NULL, &fault_fops);
}

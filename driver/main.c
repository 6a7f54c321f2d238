// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - the device /dev/sluice and its table of calls.
 *
 * The module is off the data path: it only gives out memory, and the file that
 * was asked holds none of it.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include "fault.h"
#include "region.h"

static bool drain;
module_param(drain, bool, 0644);
MODULE_PARM_DESC(drain,
		 "give out nothing any more, so that the module can leave");

bool sluice_draining(void)
{
	return READ_ONCE(drain);
}

struct sluice_call {
	unsigned int cmd;
	u32 min_size; /* of the first version of the struct */
	u32 size;     /* of the version this module knows */
	bool answers; /* or it has an effect that cannot be taken back */
	sluice_call_fn *run;
};

#define SLUICE_CALL(_cmd, _run, _struct, _last, _answers)                      \
	[_IOC_NR(_cmd) - SLUICE_CMD_BASE] = {                                  \
		.cmd = (_cmd),                                                 \
		.min_size = offsetofend(_struct, _last) +                      \
			    BUILD_BUG_ON_ZERO(offsetof(_struct, size)) +       \
			    BUILD_BUG_ON_ZERO(sizeof(_struct) % 8) +           \
			    BUILD_BUG_ON_ZERO(sizeof(_struct) > PAGE_SIZE),    \
		.size = sizeof(_struct),                                       \
		.answers = (_answers),                                         \
		.run = (_run),                                                 \
	}

/* The last field named is that of the struct's first version. */
static const struct sluice_call sluice_calls[] = {
	SLUICE_CALL(SLUICE_INFO, sluice_call_info, struct sluice_info,
		    page_size, true),
	SLUICE_CALL(SLUICE_FEATURE, sluice_call_feature, struct sluice_feature,
		    why, true),
	SLUICE_CALL(SLUICE_ALLOC, sluice_call_alloc, struct sluice_alloc,
		    __reserved, true),
	SLUICE_CALL(SLUICE_PIN, sluice_call_pin, struct sluice_pin, __reserved,
		    true),
	SLUICE_CALL(SLUICE_PEER, sluice_call_peer, struct sluice_peer,
		    __reserved, true),
	SLUICE_CALL(SLUICE_OPEN, sluice_call_open, struct sluice_open,
		    __reserved, true),
	SLUICE_CALL(SLUICE_STAT, sluice_call_stat, struct sluice_stat, name,
		    true),
	SLUICE_CALL(SLUICE_RUNS, sluice_call_runs, struct sluice_runs, runs,
		    true),
	SLUICE_CALL(SLUICE_GRANT, sluice_call_grant, struct sluice_grant,
		    __reserved, false),
	SLUICE_CALL(SLUICE_REMOVE, sluice_call_remove, struct sluice_remove,
		    name, false),
};

static long sluice_ioctl(struct file *file, unsigned int cmd,
			 unsigned long user)
{
	unsigned int nr = _IOC_NR(cmd) - SLUICE_CMD_BASE;
	void __user *uarg = (void __user *)user;
	struct sluice_handle handle = { .fd = -1 };
	const struct sluice_call *call;
	union sluice_arg arg = {};
	u32 usize;
	int ret;

	if (nr >= ARRAY_SIZE(sluice_calls))
		return -ENOTTY;
	call = &sluice_calls[array_index_nospec(nr, ARRAY_SIZE(sluice_calls))];
	if (call->cmd != cmd)
		return -ENOTTY;
	if (get_user(usize, (u32 __user *)uarg))
		return -EFAULT;
	if (usize < call->min_size)
		return -EINVAL;
	if (usize > PAGE_SIZE)
		return -E2BIG;
	ret = copy_struct_from_user(&arg, call->size, uarg, usize);
	if (ret)
		return ret;
	/* The caller may have changed it since; the one that was checked. */
	arg.size = usize;
	ret = call->run(&arg, &handle);
	/* The answer first: a descriptor that was given cannot be taken back.
	 */
	if (!ret && call->answers &&
	    SLUICE_TRY(copy_to_user(uarg, &arg, min(usize, call->size)), 1))
		ret = -EFAULT;
	if (ret)
		sluice_handle_abort(&handle);
	else
		sluice_handle_commit(&handle);
	return ret;
}

static const struct file_operations sluice_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.unlocked_ioctl = sluice_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.uring_cmd = sluice_ring_cmd,
};

/* A udev rule gives the node to the group that may pin memory. */
static struct miscdevice sluice_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sluice",
	.fops = &sluice_fops,
	.mode = 0660,
};

static int __init sluice_init(void)
{
	int ret;

	sluice_stat_init();
	ret = sluice_bar_init();
	if (ret)
		goto err_stat;
	ret = misc_register(&sluice_device);
	if (ret)
		goto err_bar;
	return 0;

err_bar:
	sluice_bar_exit();
err_stat:
	sluice_stat_exit();
	return ret;
}

/* Nobody has a dma-buf any more: each held this module. */
static void __exit sluice_exit(void)
{
	misc_deregister(&sluice_device);
	sluice_bar_exit();
	sluice_stat_exit();
	sluice_name_exit();
}

module_init(sluice_init);
module_exit(sluice_exit);

MODULE_DESCRIPTION("memory for the data plane beneath AI trainers");
MODULE_LICENSE("GPL");

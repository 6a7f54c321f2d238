// SPDX-License-Identifier: GPL-2.0
/*
 * main.c - the device /dev/sluice and its table of calls.
 *
 * The module is off the data path: it answers who it is. Regions, pins and
 * dma-bufs will be objects of the open file, each in a file of its own.
 */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include <sluice.h>

/* One argument of any call; each begins with its size. */
union sluice_arg {
	__u32 size;
	struct sluice_info info;
};

struct sluice_call {
	unsigned int cmd;
	u32 min_size; /* of the first version of the struct */
	u32 size;     /* of the version this module knows */
	long (*run)(union sluice_arg *arg);
};

static long sluice_call_info(union sluice_arg *arg)
{
	struct sluice_info *info = &arg->info;

	if (info->flags || info->__reserved)
		return -EINVAL;
	info->abi = SLUICE_ABI;
	info->features = 0;
	info->page_size = PAGE_SIZE;
	return 0;
}

#define SLUICE_CALL(_cmd, _run, _struct, _last)                               \
	[_IOC_NR(_cmd) - SLUICE_CMD_BASE] = {                                 \
		.cmd = (_cmd),                                                \
		.min_size = offsetofend(_struct, _last) +                     \
			    BUILD_BUG_ON_ZERO(offsetof(_struct, size)) +      \
			    BUILD_BUG_ON_ZERO(sizeof(_struct) % 8) +          \
			    BUILD_BUG_ON_ZERO(sizeof(_struct) > PAGE_SIZE),   \
		.size = sizeof(_struct),                                      \
		.run = (_run),                                                \
	}

/* The last field named is that of the struct's first version. */
static const struct sluice_call sluice_calls[] = {
	SLUICE_CALL(SLUICE_INFO, sluice_call_info, struct sluice_info,
		    page_size),
};

static long sluice_ioctl(struct file *file, unsigned int cmd,
			 unsigned long user)
{
	unsigned int nr = _IOC_NR(cmd) - SLUICE_CMD_BASE;
	void __user *uarg = (void __user *)user;
	const struct sluice_call *call;
	union sluice_arg arg = {};
	u32 usize;
	long ret;

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
	ret = call->run(&arg);
	if (ret)
		return ret;
	if (copy_to_user(uarg, &arg, min(usize, call->size)))
		return -EFAULT;
	return 0;
}

static const struct file_operations sluice_fops = {
	.owner = THIS_MODULE,
	.open = nonseekable_open,
	.unlocked_ioctl = sluice_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};

/* A udev rule gives the node to the group that may pin memory. */
static struct miscdevice sluice_device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "sluice",
	.fops = &sluice_fops,
	.mode = 0660,
};

module_misc_device(sluice_device);

MODULE_DESCRIPTION("memory for the data plane beneath AI trainers");
MODULE_LICENSE("GPL");

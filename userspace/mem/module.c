/* SPDX-License-Identifier: MIT */
/* /dev/sluice: the kernel module's calls, and their errors in words. */
#include "mem/module.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "mem/node.h"

#define WHY SLC_MODULE_WHY
#define PARAMETERS "/sys/module/sluice/parameters/"

static int call(int dev, unsigned long cmd, void *arg)
{
	return ioctl(dev, cmd, arg) ? -errno : 0;
}

static int refuse_open(const char *path, int err, char *why)
{
	const char *fix = strerror(-err);

	switch (err) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		fix = "the module is not loaded (sudo modprobe sluice; not built yet: make module, then sudo insmod build/sluice.ko)";
		break;
	case -EACCES:
	case -EPERM:
		fix = "this user may not open it (its group may: sudo usermod -aG sluice $USER, and log in again)";
		break;
	case -EMFILE:
		fix = "no descriptor is left (raise ulimit -n)";
		break;
	}
	snprintf(why, WHY, "%s: %s", path, fix);
	return err;
}

static int greet(const char *path, int dev, struct sluice_info *info,
		 char *why)
{
	int err;

	*info = (struct sluice_info){ .size = sizeof(*info) };
	err = call(dev, SLUICE_INFO, info);
	if (err == -ENOTTY) {
		snprintf(why, WHY, "%s: no device of the module sluice", path);
	} else if (err) {
		snprintf(why, WHY, "%s: SLUICE_INFO: %s", path, strerror(-err));
	} else if (info->abi != SLUICE_ABI) {
		snprintf(why, WHY,
			 "%s: the module speaks ABI %u and this library %d (build both of one version, then: sudo rmmod sluice; sudo modprobe sluice)",
			 path, info->abi, SLUICE_ABI);
		err = -EPROTO;
	}
	return err;
}

int slc_module_open(const char *path, struct sluice_info *info, char *why)
{
	struct sluice_info unused;
	int dev, err;

	if (!path)
		path = SLC_MODULE_DEVICE;
	dev = open(path, O_RDWR | O_CLOEXEC);
	if (dev < 0)
		return refuse_open(path, -errno, why);
	err = greet(path, dev, info ? info : &unused, why);
	if (!err)
		return dev;
	close(dev);
	return err;
}

int slc_module_feature(int dev, struct sluice_feature *arg)
{
	arg->size = sizeof(*arg);
	return call(dev, SLUICE_FEATURE, arg);
}

int slc_module_alloc(int dev, struct sluice_alloc *arg)
{
	arg->size = sizeof(*arg);
	return call(dev, SLUICE_ALLOC, arg);
}

int slc_module_find(int dev, struct sluice_open *arg)
{
	arg->size = sizeof(*arg);
	return call(dev, SLUICE_OPEN, arg);
}

int slc_module_stat(int dev, struct sluice_stat *arg)
{
	arg->size = sizeof(*arg);
	return call(dev, SLUICE_STAT, arg);
}

int slc_module_runs(int dev, struct sluice_runs *arg)
{
	arg->size = sizeof(*arg);
	return call(dev, SLUICE_RUNS, arg);
}

int slc_module_grant(int dev, struct sluice_grant *arg)
{
	arg->size = sizeof(*arg);
	return call(dev, SLUICE_GRANT, arg);
}

int slc_module_remove(int dev, struct sluice_remove *arg)
{
	arg->size = sizeof(*arg);
	return call(dev, SLUICE_REMOVE, arg);
}

bool slc_module_name_ok(const char *name)
{
	size_t len = strlen(name);

	return len && len < SLUICE_NAME_MAX &&
	       strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
			    "abcdefghijklmnopqrstuvwxyz0123456789._-") == len;
}

/* ---- errors in words ---- */

static uint64_t parameter(const char *name)
{
	char path[128], text[32];

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	if (slc_text_read(path, text, sizeof(text)))
		return 0;
	return strtoull(text, NULL, 10);
}

static bool may_lock(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];

	return !syscall(SYS_capget, &head, data) &&
	       data[0].effective & 1u << CAP_IPC_LOCK;
}

/* Bytes of all regions, and of those that are this user's. */
static void sum_regions(int dev, uint64_t *all, uint64_t *mine)
{
	struct sluice_stat st = { .flags = SLUICE_STAT_NEXT, .fd = -1 };

	*all = *mine = 0;
	while (!slc_module_stat(dev, &st)) {
		if (st.kind == SLUICE_KIND_PEER)
			continue;
		*all += st.len;
		if (st.uid == geteuid())
			*mine += st.len;
	}
}

/* Which of the three limits it was. */
static void explain_quota(int dev, uint64_t len, char *why, size_t size)
{
	uint64_t most = parameter("max_bytes"), mine, all;
	uint64_t most_mine = parameter("max_user_bytes");
	struct rlimit lim = { RLIM_INFINITY, RLIM_INFINITY };

	sum_regions(dev, &all, &mine);
	getrlimit(RLIMIT_MEMLOCK, &lim);
	if (most && (len > most || all > most - len))
		snprintf(why, size,
			 "all regions together may have %" PRIu64 " bytes and have %" PRIu64 " (raise " PARAMETERS "max_bytes)",
			 most, all);
	else if (most_mine && (len > most_mine || mine > most_mine - len))
		snprintf(why, size,
			 "one user may lock %" PRIu64 " bytes and this one's regions have %" PRIu64 " (raise " PARAMETERS "max_user_bytes)",
			 most_mine, mine);
	else if (lim.rlim_cur != RLIM_INFINITY && !may_lock())
		snprintf(why, size,
			 "RLIMIT_MEMLOCK is %" PRIu64 " bytes, of which all regions, rings and pins of this user take their part (raise it with: ulimit -l)",
			 (uint64_t)lim.rlim_cur);
	else
		snprintf(why, size,
			 "this user's regions, rings and pins have what " PARAMETERS "max_user_bytes allows (%" PRIu64 " bytes)",
			 most_mine);
}

static void explain_memory(uint64_t len, int node, char *why, size_t size)
{
	if (node < 0)
		snprintf(why, size,
			 "no memory for %.1f MiB in such runs (echo 1 > /proc/sys/vm/compact_memory, or ask for less)",
			 (double)len / (1 << 20));
	else
		snprintf(why, size,
			 "node %d has no memory for %.1f MiB in such runs (echo 1 > /proc/sys/vm/compact_memory, or ask for less)",
			 node, (double)len / (1 << 20));
}

static const char *fixed_words(int err)
{
	switch (err) {
	case -ENOENT:
		return "no region of that name (sluice region list)";
	case -EEXIST:
		return "the name is taken (sluice region list)";
	case -EACCES:
		return "its mode does not let this user have it (its owner: sluice region grant)";
	case -EPERM:
		return "only its owner or root may do that";
	case -ESHUTDOWN:
		return "the module gives out nothing any more (echo 0 > " PARAMETERS "drain)";
	case -EMFILE:
	case -ENFILE:
		return "no descriptor is left (raise ulimit -n)";
	case -EOPNOTSUPP:
		return "the module does not support that here (sluice doctor --module)";
	case -ENODEV:
		return "it was revoked, or its device is gone";
	default:
		return strerror(-err);
	}
}

static void why_not(int dev, uint32_t index, char *why, size_t size)
{
	struct sluice_feature f = { .index = index };
	int err = slc_module_feature(dev, &f);

	if (err)
		snprintf(why, size, "the module cannot say (%s)",
			 strerror(-err));
	else
		snprintf(why, size, "%.*s",
			 f.works ? 0 : (int)sizeof(f.why) - 1, f.why);
}

void slc_module_why_not(int dev, uint32_t index, char *why)
{
	why_not(dev, index, why, WHY);
}

void slc_module_explain(int dev, int err, const char *name, uint64_t len,
			int node, char *why)
{
	size_t size = WHY;
	int n = 0;

	if (*name)
		n = snprintf(why, size, "region %.63s: ", name);
	why += n;
	size -= (size_t)n;
	*why = '\0';
	if (err == -EDQUOT)
		explain_quota(dev, len, why, size);
	else if (err == -ENOMEM)
		explain_memory(len, node, why, size);
	else if (err == -EINVAL && node >= 0)
		snprintf(why, size,
			 "node %d has no memory or is not there: see /sys/devices/system/node/has_memory",
			 node);
	else if (err == -EOPNOTSUPP)
		why_not(dev, SLUICE_FEATURE_ALLOC, why, size);
	if (!*why)
		snprintf(why, size, "%s", fixed_words(err));
}

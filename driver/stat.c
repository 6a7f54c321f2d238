// SPDX-License-Identifier: GPL-2.0
/* stat.c - what there is to know: of the module, of a region, of all. */
#include <linux/debugfs.h>
#include <linux/mm.h>
#include <linux/nospec.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "fault.h"
#include "region.h"

static const struct {
	const char *name, *why;
} features[] = {
	[SLUICE_FEATURE_ALLOC] = { "alloc", "" },
	[SLUICE_FEATURE_PIN] = { "pin", "" },
	[SLUICE_FEATURE_PEER] = { "peer", SLUICE_PEER_WHY },
	[SLUICE_FEATURE_RING] = { "ring", SLUICE_RING_WHY },
	[SLUICE_FEATURE_FAULT] = { "fault", SLUICE_FAULT_WHY },
};

static const char *const kinds[] = {
	[SLUICE_KIND_ALLOC] = "alloc",
	[SLUICE_KIND_PIN] = "pin",
	[SLUICE_KIND_PEER] = "peer",
};

int sluice_call_info(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_info *info = &arg->info;

	BUILD_BUG_ON(ARRAY_SIZE(features) != SLUICE_NFEATURES);
	if (info->flags || info->__reserved)
		return -EINVAL;
	info->abi = SLUICE_ABI;
	info->features = 0;
	for (int i = 0; i < SLUICE_NFEATURES; i++)
		if (!features[i].why[0])
			info->features |= 1ull << i;
	info->page_size = PAGE_SIZE;
	return 0;
}

int sluice_call_feature(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_feature *feature = &arg->feature;
	u32 index = feature->index;

	if (feature->flags)
		return -EINVAL;
	if (index >= SLUICE_NFEATURES)
		return -ENOENT;
	index = array_index_nospec(index, SLUICE_NFEATURES);
	feature->works = !features[index].why[0];
	memset(feature->name, 0, sizeof(feature->name));
	memset(feature->why, 0, sizeof(feature->why));
	strscpy(feature->name, features[index].name, sizeof(feature->name));
	strscpy(feature->why, features[index].why, sizeof(feature->why));
	return 0;
}

/* The maker's number in @ns, as long as it is there. */
static pid_t stat_pid(const struct sluice_region *region,
		      struct pid_namespace *ns)
{
	return pid_has_task(region->maker, PIDTYPE_TGID) ?
	       pid_nr_ns(region->maker, ns) : 0;
}

static void stat_fill(struct sluice_stat *stat, struct sluice_region *region,
		      struct user_namespace *users, struct pid_namespace *pids)
{
	stat->kind = region->kind;
	stat->id = region->id;
	stat->len = (u64)region->npages << PAGE_SHIFT;
	stat->bytes_2m = (u64)region->pages_2m << PAGE_SHIFT;
	stat->nruns = region->nextents;
	stat->node = region->node;
	stat->pid = stat_pid(region, pids);
	stat->dead = sluice_region_dead(region);
	stat->fds = atomic_read(&region->exports);
	stat->maps = atomic_read(&region->vmas);
	stat->attached = atomic_read(&region->attached);
	stat->rings = atomic_read(&region->rings);
	memcpy(stat->comm, region->comm, sizeof(stat->comm));
	sluice_name_stat(region, stat, users);
}

int sluice_call_stat(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_stat *stat = &arg->stat;
	bool next = stat->flags & SLUICE_STAT_NEXT;
	struct sluice_region *region;
	u64 id = stat->id;

	BUILD_BUG_ON(sizeof(stat->comm) != sizeof(region->comm));
	if ((stat->flags & ~SLUICE_STAT_NEXT) || stat->fd < -1 ||
	    (next && stat->fd != -1))
		return -EINVAL;
	if (stat->fd >= 0) {
		struct sluice_buffer *buffer = sluice_buffer_get(stat->fd);

		if (IS_ERR(buffer))
			return PTR_ERR(buffer);
		region = buffer->region;
		sluice_region_get(region);
		dma_buf_put(buffer->buf);
	} else {
		region = sluice_region_next(&id, !next);
		if (!region)
			return -ENOENT;
	}
	stat_fill(stat, region, current_user_ns(),
		  task_active_pid_ns(current));
	sluice_region_put(region);
	return 0;
}

/* The runs from the one that holds byte @off on; returns how many. */
static u32 runs_fill(const struct sluice_region *region, u64 off,
		     struct sluice_run *runs, u32 count)
{
	const struct sluice_extent *extent =
		sluice_region_find(region, off >> PAGE_SHIFT);
	const struct sluice_extent *end = region->extents + region->nextents;
	u32 n;

	for (n = 0; n < count && extent < end; n++, extent++)
		runs[n] = (struct sluice_run){
			.off = (u64)extent->first << PAGE_SHIFT,
			.len = (u64)extent->npages << PAGE_SHIFT,
			.node = page_to_nid(extent->page),
		};
	return n;
}

int sluice_call_runs(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_runs *arg_runs = &arg->runs;
	struct sluice_buffer *buffer;
	struct sluice_run *runs;
	u32 n = 0;
	int idx, ret;

	if (arg_runs->flags || !arg_runs->count ||
	    arg_runs->count > SLUICE_RUNS_MAX)
		return -EINVAL;
	runs = SLUICE_TRY(kvcalloc(arg_runs->count, sizeof(*runs),
				   GFP_KERNEL_ACCOUNT), NULL);
	if (!runs)
		return -ENOMEM;
	buffer = sluice_buffer_get(arg_runs->fd);
	if (IS_ERR(buffer)) {
		ret = PTR_ERR(buffer);
		goto out_free;
	}
	ret = sluice_region_enter(buffer->region, &idx);
	if (ret)
		goto out_put;
	if (arg_runs->off >> PAGE_SHIFT >= buffer->region->npages)
		ret = -EINVAL;
	else
		n = runs_fill(buffer->region, arg_runs->off, runs,
			      arg_runs->count);
	/* Not while writing to the caller: that may take as long as it likes. */
	sluice_region_exit(idx);
	if (!ret && SLUICE_TRY(copy_to_user(u64_to_user_ptr(arg_runs->runs),
					    runs, n * sizeof(*runs)), 1))
		ret = -EFAULT;
	arg_runs->count = n;
out_put:
	dma_buf_put(buffer->buf);
out_free:
	kvfree(runs);
	return ret;
}

static struct dentry *stat_dir;

static void *list_start(struct seq_file *m, loff_t *pos)
{
	u64 id = *pos;

	return sluice_region_next(&id, false);
}

static void *list_next(struct seq_file *m, void *v, loff_t *pos)
{
	struct sluice_region *region = v;
	u64 id = region->id;

	*pos = id;
	sluice_region_put(region);
	return sluice_region_next(&id, false);
}

static void list_stop(struct seq_file *m, void *v)
{
	if (v)
		sluice_region_put(v);
}

static int list_show(struct seq_file *m, void *v)
{
	struct sluice_stat stat = {};

	stat_fill(&stat, v, &init_user_ns, &init_pid_ns);
	seq_printf(m, "%llu %s %llu uid %u pid %d ", stat.id, kinds[stat.kind],
		   stat.len, stat.uid, stat.pid);
	/* A process names itself as it likes. */
	seq_escape(m, stat.comm, " \t\n\\");
	seq_printf(m, " fds %u maps %u attached %u rings %u runs %llu node %d%s%s%s\n",
		   stat.fds, stat.maps, stat.attached, stat.rings, stat.nruns,
		   stat.node, stat.dead ? " dead" : "",
		   stat.name[0] ? " name " : "", stat.name);
	return 0;
}

static const struct seq_operations list_sops = {
	.start = list_start,
	.next = list_next,
	.stop = list_stop,
	.show = list_show,
};
DEFINE_SEQ_ATTRIBUTE(list);

void sluice_stat_init(void)
{
	stat_dir = debugfs_create_dir("sluice", NULL);
	debugfs_create_file("regions", 0400, stat_dir, NULL, &list_fops);
	sluice_fault_debugfs(stat_dir);
}

void sluice_stat_exit(void)
{
	debugfs_remove_recursive(stat_dir);
}

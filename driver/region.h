/* SPDX-License-Identifier: GPL-2.0 */
/*
 * region.h - the one object of this module: memory that is lent.
 *
 * Who holds a region: each dma-buf exported over it, and its name. A mapping,
 * an importer and an io_uring hold the dma-buf. What ends a region is the last
 * of them; what ends its use before that is sluice_region_revoke().
 *
 * Locks, outermost first: mmap_lock > dma_resv of the region > its own mutex;
 * names_lock and bars_lock are innermost and nothing is called under them that
 * sleeps for long. Whoever touches the memory of a region does so between
 * sluice_region_enter() and _exit(), or holds its dma_resv and saw it alive;
 * revoke waits for the first and takes the second. No lock of ours is held when
 * importers are told.
 */
#ifndef SLUICE_REGION_H
#define SLUICE_REGION_H

#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/sched.h>
#include <linux/srcu.h>
#include <linux/uidgid.h>

#include <sluice.h>

#include "account.h"

/* Pages that follow each other in memory and lie on one node. */
struct sluice_extent {
	struct page *page;
	unsigned long first; /* its number in the region */
	unsigned long npages;
};

struct sluice_region {
	struct kref kref;
	u64 id;
	enum sluice_kind kind;
	bool writable;
	unsigned long npages;
	/* Gives the pages back; called once, of as many extents as there are. */
	void (*free)(struct sluice_region *region);

	/* Constant once the region is sealed. */
	struct sluice_extent *extents;
	unsigned long nextents, room;
	unsigned long pages_2m;
	int node;

	struct sluice_charge charge;
	struct pid *maker;
	char comm[TASK_COMM_LEN];

	atomic_t dead;
	atomic_t exports, vmas, attached, rings;
	/* DMA mappings and ring slots; sluice_region_idle() waits for none. */
	atomic_t busy;

	struct dma_resv resv; /* of all its dma-bufs; guards maps */
	struct list_head maps;
	struct mutex lock; /* guards buffers */
	struct list_head buffers;

	/* name.c: guarded by names_lock. */
	struct hlist_node name_node;
	bool name_open;
	char name[SLUICE_NAME_MAX];
	kuid_t uid;
	kgid_t gid;
	umode_t mode;

	/* bar.c */
	struct pci_dev *pdev;
	struct list_head bar_node;
};

/*
 * What a call that makes a descriptor has so far. sluice_handle_commit() gives
 * it to the caller, sluice_handle_abort() takes all of it back.
 */
struct sluice_handle {
	int fd;                       /* reserved, or -1 */
	struct sluice_region *region; /* one reference */
	struct dma_buf *buf;
	bool fresh; /* the region is not known to anybody yet */
};

int sluice_handle_open(struct sluice_handle *handle);
int sluice_handle_export(struct sluice_handle *handle, bool writable);
void sluice_handle_commit(struct sluice_handle *handle);
void sluice_handle_abort(struct sluice_handle *handle);

struct sluice_region *sluice_region_new(enum sluice_kind kind, u64 len);
int sluice_region_room(struct sluice_region *region, unsigned long more);
void sluice_region_add(struct sluice_region *region, struct page *page,
		       unsigned long npages);
void sluice_region_sort(struct sluice_region *region);
void sluice_region_seal(struct sluice_region *region);
const struct sluice_extent *sluice_region_find(const struct sluice_region *region,
					       unsigned long page);
void sluice_region_get(struct sluice_region *region);
void sluice_region_put(struct sluice_region *region);
struct sluice_region *sluice_region_next(u64 *id, bool exact);
bool sluice_region_kill(struct sluice_region *region);
void sluice_region_busy(struct sluice_region *region);
void sluice_region_unbusy(struct sluice_region *region);
bool sluice_region_idle(struct sluice_region *region);

extern struct srcu_struct sluice_srcu;

static inline bool sluice_region_dead(const struct sluice_region *region)
{
	return atomic_read(&region->dead);
}

/*
 * 0: the memory stays until _exit(), which is to be given @idx; or -ENODEV.
 * sparse, which cannot follow that, is told that each is balanced in itself.
 */
static inline int sluice_region_enter(const struct sluice_region *region,
				      int *idx)
{
	*idx = srcu_read_lock(&sluice_srcu);
	if (sluice_region_dead(region)) {
		srcu_read_unlock(&sluice_srcu, *idx);
		return -ENODEV;
	}
	__release(&sluice_srcu);
	return 0;
}

static inline void sluice_region_exit(int idx)
{
	__acquire(&sluice_srcu);
	srcu_read_unlock(&sluice_srcu, idx);
}

/* dmabuf.c */

/* One dma-buf over a region. */
struct sluice_buffer {
	struct sluice_region *region;
	struct dma_buf *buf;
	bool writable;
	bool told; /* by revoke; guarded by the region's lock */
	struct list_head node;
};

struct dma_buf *sluice_buffer_export(struct sluice_region *region,
				     bool writable);
struct sluice_buffer *sluice_buffer_get(int fd);
void sluice_region_revoke(struct sluice_region *region);

/* bar.c: -EOPNOTSUPP unless @dev reaches the memory of @region. */
int sluice_bar_reaches(const struct sluice_region *region, struct device *dev);
int sluice_bar_init(void);
void sluice_bar_exit(void);

/* name.c */
int sluice_name_check(const char *name);
int sluice_name_reserve(struct sluice_region *region, const char *name,
			umode_t mode);
void sluice_name_publish(struct sluice_region *region);
void sluice_name_drop(struct sluice_region *region);
void sluice_name_copy(const struct sluice_region *region, char *name);
void sluice_name_stat(const struct sluice_region *region,
		      struct sluice_stat *stat, struct user_namespace *ns);
void sluice_name_exit(void);

/* stat.c */
void sluice_stat_init(void);
void sluice_stat_exit(void);

/* ring.c */
struct io_uring_cmd;
int sluice_ring_cmd(struct io_uring_cmd *cmd, unsigned int issue_flags);

/* main.c: the parameter. */
bool sluice_draining(void);

/* The calls: @arg is a copy of the caller's struct, of this version. */
union sluice_arg {
	__u32 size;
	struct sluice_info info;
	struct sluice_feature feature;
	struct sluice_alloc alloc;
	struct sluice_pin pin;
	struct sluice_peer peer;
	struct sluice_open open;
	struct sluice_stat stat;
	struct sluice_runs runs;
	struct sluice_grant grant;
	struct sluice_remove remove;
};

typedef int sluice_call_fn(union sluice_arg *arg, struct sluice_handle *handle);
sluice_call_fn sluice_call_alloc, sluice_call_pin, sluice_call_peer,
	sluice_call_open, sluice_call_grant, sluice_call_remove,
	sluice_call_info, sluice_call_feature, sluice_call_stat,
	sluice_call_runs;

#endif

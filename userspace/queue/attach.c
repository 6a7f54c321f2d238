/* SPDX-License-Identifier: MIT */
#include "queue/attach.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "mem/module.h"

#define NFILES 4096u
#define NREGIONS 256u
#define IDLE_CHECKS 4 /* entries looked at for each new one */

static struct slc_att *at(const struct slc_att_table *t, int32_t i)
{
	return (struct slc_att *)(void *)(t->items + (size_t)i * t->stride);
}

static int32_t index_of(const struct slc_att_table *t, const struct slc_att *a)
{
	return (int32_t)((size_t)((const char *)a - t->items) / t->stride);
}

static int32_t *bucket_of(struct slc_att_table *t, const void *object)
{
	uint64_t h = (uint64_t)(uintptr_t)object * 0x9e3779b97f4a7c15ull;

	return &t->bucket[(h >> 32) & (SLC_ATT_BUCKETS - 1)];
}

static int table_init(struct slc_att_table *t, uint32_t n, size_t stride)
{
	uint32_t i;

	t->items = calloc(n, stride);
	if (!t->items)
		return -ENOMEM;
	t->stride = stride;
	t->n = n;
	t->hand = 0;
	t->last = NULL;
	t->free = 0;
	for (i = 0; i < n; i++)
		at(t, (int32_t)i)->next = i + 1 < n ? (int32_t)i + 1 : -1;
	for (i = 0; i < SLC_ATT_BUCKETS; i++)
		t->bucket[i] = -1;
	return 0;
}

static struct slc_att *table_find(struct slc_att_table *t, const void *object)
{
	int32_t i;

	if (t->last && t->last->object == object)
		return t->last;
	for (i = *bucket_of(t, object); i >= 0; i = at(t, i)->next)
		if (at(t, i)->object == object)
			return t->last = at(t, i);
	return NULL;
}

static struct slc_att *table_add(struct slc_att_table *t, void *object)
{
	int32_t *bucket = bucket_of(t, object), i = t->free;
	struct slc_att *a;

	if (i < 0)
		return NULL;
	a = at(t, i);
	t->free = a->next;
	a->object = object;
	a->users = 0;
	a->next = *bucket;
	*bucket = i;
	return t->last = a;
}

static void table_remove(struct slc_att_table *t, struct slc_att *a)
{
	int32_t me = index_of(t, a), *link = bucket_of(t, a->object);

	while (*link != me)
		link = &at(t, *link)->next;
	*link = a->next;
	a->object = NULL;
	a->next = t->free;
	t->free = me;
	if (t->last == a)
		t->last = NULL;
}

/* ---- files ---- */

static void drop_file(struct slc_attach *t, struct slc_file_att *fa)
{
	int d;

	for (d = 0; d < 2; d++)
		if (fa->slot[d] >= 0)
			t->ops->set_file(t->state, (uint32_t)fa->slot[d], -1);
	table_remove(&t->files, &fa->a);
	slc_file_put(fa->file);
}

/* Lets go of files that only this queue still knows. */
static void sweep_files(struct slc_attach *t, uint32_t n, bool even_if_known)
{
	while (n--) {
		struct slc_att *a = at(&t->files, (int32_t)t->files.hand);

		t->files.hand = (t->files.hand + 1) % t->files.n;
		if (a->object && !a->users &&
		    (even_if_known || slc_file_is_last(a->object))) {
			drop_file(t, (struct slc_file_att *)a);
			if (even_if_known)
				return;
		}
	}
}

struct slc_file_att *slc_attach_file(struct slc_attach *t,
				     struct slc_file *file)
{
	struct slc_att *a = table_find(&t->files, file);
	struct slc_file_att *fa = (struct slc_file_att *)a;

	if (fa)
		return fa;
	sweep_files(t, IDLE_CHECKS, false);
	if (t->files.free < 0)
		sweep_files(t, t->files.n, true);
	fa = (struct slc_file_att *)table_add(&t->files, file);
	if (!fa)
		return NULL;
	fa->file = slc_file_get(file);
	fa->slot[0] = fa->slot[1] = -1;
	fa->tried[0] = fa->tried[1] = false;
	fa->dio_refused = fa->poll_refused = false;
	fa->dio_writes = 0;
	fa->why_buffered = slc_reason(t->reasons, "%s", file->reason);
	fa->why_no_slot = t->ops->set_file ?
				  slc_reason(t->reasons, "%s",
					     t->caps.no_files) :
				  "";
	fa->why_edge = fa->why_phase = "";
	if (file->dio_fd >= 0) {
		fa->why_edge = slc_reason(
			t->reasons,
			"offset or length is not a multiple of %u for O_DIRECT",
			file->off_align);
		fa->why_phase = slc_reason(
			t->reasons,
			"file offset and memory address differ modulo %u for O_DIRECT",
			file->mem_align);
	}
	return fa;
}

int32_t slc_attach_slot(struct slc_attach *t, struct slc_file_att *fa,
			bool direct)
{
	uint32_t slot;
	int err;

	if (fa->tried[direct] || !t->caps.nfiles)
		return fa->slot[direct];
	fa->tried[direct] = true;
	slot = 2 * (uint32_t)index_of(&t->files, &fa->a) + direct;
	if (slot >= t->caps.nfiles) {
		fa->why_no_slot = slc_reason(
			t->reasons, "table of registered files is full (%u)",
			t->caps.nfiles / 2);
		return -1;
	}
	err = t->ops->set_file(t->state, slot,
			       direct ? fa->file->dio_fd : fa->file->fd);
	if (err)
		fa->why_no_slot = slc_reason(t->reasons,
					     "registering a file failed: %s",
					     strerror(-err));
	else
		fa->slot[direct] = (int32_t)slot;
	return fa->slot[direct];
}

void slc_attach_left_file(struct slc_attach *t, struct slc_file_att *fa)
{
	if (!--fa->a.users && slc_file_is_last(fa->file))
		drop_file(t, fa);
}

int slc_detach_file(struct slc_attach *t, struct slc_file *file)
{
	struct slc_att *a = table_find(&t->files, file);

	if (!a)
		return -ENOENT;
	if (a->users)
		return -EBUSY;
	drop_file(t, (struct slc_file_att *)a);
	return 0;
}

/* ---- regions ---- */

static uint32_t chunks(const struct slc_region_att *ra)
{
	return (uint32_t)((ra->len - 1) / SLC_BUF_CHUNK) + 1;
}

static void clear_buffers(struct slc_attach *t, int32_t slot, uint32_t n)
{
	while (n--) {
		t->ops->set_buffer(t->state, (uint32_t)slot + n, NULL, 0);
		t->buf_used[(uint32_t)slot + n] = false;
	}
}

static void drop_region(struct slc_attach *t, struct slc_region_att *ra)
{
	if (ra->slot >= 0)
		clear_buffers(t, ra->slot, chunks(ra));
	table_remove(&t->regions, &ra->a);
	slc_region_put(ra->region);
}

/* The first of n free slots in a row, or -1. */
static int32_t find_buffers(const struct slc_attach *t, uint32_t n)
{
	uint32_t i, row = 0;

	for (i = 0; i < t->caps.nbufs; i++) {
		row = t->buf_used[i] ? 0 : row + 1;
		if (row == n)
			return (int32_t)(i + 1 - n);
	}
	return -1;
}

static const char *refusal(struct slc_attach *t, uint64_t len, int err)
{
	struct rlimit rl;

	if (err == -ENOMEM && !getrlimit(RLIMIT_MEMLOCK, &rl) &&
	    rl.rlim_cur != RLIM_INFINITY)
		return slc_reason(
			t->reasons,
			"registering %llu MiB failed: ENOMEM, RLIMIT_MEMLOCK is %llu KiB",
			(unsigned long long)(len >> 20),
			(unsigned long long)(rl.rlim_cur >> 10));
	return slc_reason(t->reasons, "registering %llu MiB failed: %s",
			  (unsigned long long)(len >> 20), strerror(-err));
}

static int fill_slot(struct slc_attach *t, const struct slc_region_att *ra,
		     uint32_t slot, uint64_t off, int dmabuf, char *why)
{
	uint64_t len = ra->len - off;

	if (len > SLC_BUF_CHUNK)
		len = SLC_BUF_CHUNK;
	if (dmabuf < 0)
		return t->ops->set_buffer(t->state, slot, ra->addr + off, len);
	return t->ops->set_dmabuf(t->state, slot, dmabuf, off, len, why);
}

/* All slots from `slot` on, or none: by the dma-buf, or where it lies (-1). */
static int fill_slots(struct slc_attach *t, struct slc_region_att *ra,
		      int32_t slot, int dmabuf, char *why)
{
	uint32_t i, n = chunks(ra);
	int err;

	for (i = 0; i < n; i++) {
		err = fill_slot(t, ra, (uint32_t)slot + i, i * SLC_BUF_CHUNK,
				dmabuf, why);
		if (err) {
			clear_buffers(t, slot, i);
			return err;
		}
		t->buf_used[(uint32_t)slot + i] = true;
	}
	ra->slot = slot;
	ra->from_zero = dmabuf >= 0;
	return 0;
}

/* True when the module has put it into the table. */
static bool register_dmabuf(struct slc_attach *t, struct slc_region_att *ra,
			    int32_t slot)
{
	struct slc_region_info info = { .size = sizeof(info) };
	char why[SLC_MODULE_WHY];

	slc_region_query(ra->region, &info);
	if (info.dmabuf_fd < 0 || !t->ops->set_dmabuf)
		return false;
	if (!fill_slots(t, ra, slot, info.dmabuf_fd, why))
		return true;
	ra->why_plain = slc_reason(t->reasons,
				   "registered page by page, not by the module: %s",
				   why);
	return false;
}

static void register_region(struct slc_attach *t, struct slc_region_att *ra)
{
	int32_t slot;
	int err;

	if (!t->ops->set_buffer)
		return;
	if (!t->caps.nbufs) {
		ra->why_plain = slc_reason(t->reasons, "%s", t->caps.no_bufs);
		return;
	}
	slot = find_buffers(t, chunks(ra));
	if (slot < 0) {
		ra->why_plain = slc_reason(
			t->reasons, "table of registered buffers is full (%u)",
			t->caps.nbufs);
		return;
	}
	if (register_dmabuf(t, ra, slot))
		return;
	err = fill_slots(t, ra, slot, -1, NULL);
	if (err)
		ra->why_plain = refusal(t, ra->len, err);
}

static void sweep_regions(struct slc_attach *t)
{
	uint32_t i;

	for (i = 0; i < t->regions.n; i++) {
		struct slc_att *a = at(&t->regions, (int32_t)i);

		if (a->object && !a->users) {
			drop_region(t, (struct slc_region_att *)a);
			return;
		}
	}
}

struct slc_region_att *slc_attach_region(struct slc_attach *t,
					 struct slc_region *region)
{
	struct slc_att *a = table_find(&t->regions, region);
	struct slc_region_att *ra = (struct slc_region_att *)a;

	if (ra)
		return ra;
	if (t->regions.free < 0)
		sweep_regions(t);
	ra = (struct slc_region_att *)table_add(&t->regions, region);
	if (!ra)
		return NULL;
	ra->region = slc_region_get(region);
	ra->addr = slc_region_addr(region);
	ra->len = slc_region_len(region);
	ra->slot = -1;
	ra->from_zero = false;
	ra->why_plain = "";
	register_region(t, ra);
	return ra;
}

int slc_detach_region(struct slc_attach *t, struct slc_region *region)
{
	struct slc_att *a = table_find(&t->regions, region);

	if (!a)
		return -ENOENT;
	if (a->users)
		return -EBUSY;
	drop_region(t, (struct slc_region_att *)a);
	return 0;
}

/* ---- both ---- */

int slc_attach_init(struct slc_attach *t, const struct slc_engine_ops *ops,
		    void *state, const struct slc_engine_caps *caps)
{
	t->ops = ops;
	t->state = state;
	t->caps = *caps;
	if (t->caps.nbufs > sizeof(t->buf_used))
		t->caps.nbufs = sizeof(t->buf_used);
	memset(t->buf_used, 0, sizeof(t->buf_used));
	t->reasons = calloc(1, sizeof(*t->reasons));
	if (!t->reasons)
		return -ENOMEM;
	if (table_init(&t->files, NFILES, sizeof(struct slc_file_att)))
		goto free_reasons;
	if (table_init(&t->regions, NREGIONS, sizeof(struct slc_region_att)))
		goto free_files;
	return 0;

free_files:
	free(t->files.items);
free_reasons:
	free(t->reasons);
	return -ENOMEM;
}

void slc_attach_fini(struct slc_attach *t, bool forked)
{
	struct slc_region_att *ra;
	struct slc_file_att *fa;
	int32_t i;

	for (i = 0; i < (int32_t)t->files.n; i++) {
		fa = (struct slc_file_att *)at(&t->files, i);
		if (forked)
			fa->slot[0] = fa->slot[1] = -1;
		if (fa->a.object)
			drop_file(t, fa);
	}
	for (i = 0; i < (int32_t)t->regions.n; i++) {
		ra = (struct slc_region_att *)at(&t->regions, i);
		if (forked)
			ra->slot = -1;
		if (ra->a.object)
			drop_region(t, ra);
	}
	free(t->regions.items);
	free(t->files.items);
	free(t->reasons);
}

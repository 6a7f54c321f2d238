/* SPDX-License-Identifier: MIT */
/*
 * Host memory: maps it by the largest pages that can be had, binds it to a
 * node, locks it, touches it. Nothing here touches a page in a way that could
 * be a SIGBUS: what the kernel cannot give comes back as an errno of madvise.
 */
#include "mem/region.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <numaif.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/ctx.h"
#include "mem/node.h"
#include "mem/pages.h"
#include "mem/room.h"
#include "mem/touch.h"

#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif
#define MIB(bytes) ((double)(bytes) / (1 << 20))

/* From the largest pages to the smallest. */
struct rung {
	uint64_t page_size; /* 0: the base page */
	enum slc_page_kind kind;
	const char *words;
};

static const struct rung rungs[] = {
	{ SLC_1G, SLC_PAGE_HUGETLB, "1 GiB hugetlb pages" },
	{ SLC_2M, SLC_PAGE_HUGETLB, "2 MiB hugetlb pages" },
	{ SLC_2M, SLC_PAGE_THP, "transparent huge pages" },
	{ 0, SLC_PAGE_SMALL, "base pages" },
};
#define LAST_RUNG (sizeof(rungs) / sizeof(rungs[0]) - 1)

/* One attempt to give the region its memory. */
struct try {
	struct slc_region *r;
	const struct slc_region_attr *attr;
	const struct rung *rung;
	struct slc_bits cpus;
	size_t base_page;
	unsigned int threads;
	char why[400]; /* why this rung cannot be had */
};

static void release(struct slc_region *r)
{
	slc_region_unmap(r);
	if (r->info.memfd >= 0)
		close(r->info.memfd);
	r->info.memfd = -1;
}

int slc_region_node(struct slc_region *r, const struct slc_region_attr *attr)
{
	struct slc_bits nodes;
	char why[160];
	int here, err;

	if (attr->node < SLC_NODE_CALLER)
		return slc_fail(r->ctx, -EINVAL,
				"node %d: use a node's number, or -1 for the caller's",
				attr->node);
	err = slc_nodes_with_memory(&nodes);
	if (err) {
		r->info.node = -1;
		slc_text_unread(SLC_NODES_FILE, err, why, sizeof(why));
		if (err != -ENOENT)
			return slc_region_step(r, err,
					       "%s: the memory is bound to no node",
					       why);
		if (attr->node > 0)
			return slc_fail(r->ctx, -EINVAL,
					"node %d: this kernel has no NUMA nodes, ask for 0 or -1",
					attr->node);
		return 0;
	}
	here = attr->node >= 0 ? attr->node : slc_node_of_caller();
	r->info.node = here;
	if (slc_bit(&nodes, (unsigned int)here))
		return 0;
	if (attr->node >= 0)
		return slc_fail(r->ctx, -EINVAL,
				"node %d has no memory or is not there: see /sys/devices/system/node/has_memory",
				attr->node);
	/* The caller's node has CPUs only: the kernel takes the nearest. */
	return slc_region_step(r, -ENOMEM,
			       "node %d, where the caller runs, has no memory: using the nearest that has",
			       here);
}

static const struct rung *first_rung(uint64_t page_size)
{
	switch (page_size) {
	case SLC_1G:
		return &rungs[0];
	case 0:
	case SLC_2M:
		return &rungs[1];
	}
	return &rungs[LAST_RUNG];
}

static int make_memfd(struct try *t)
{
	unsigned int flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	struct slc_region *r = t->r;
	char name[200];
	int fd;

	if (t->rung->kind == SLC_PAGE_HUGETLB)
		flags |= MFD_HUGETLB |
			 (unsigned int)__builtin_ctzll(t->rung->page_size)
				 << MFD_HUGE_SHIFT;
	snprintf(name, sizeof(name), "sluice:%s",
		 t->attr->name ? t->attr->name : "region");
	fd = memfd_create(name, flags);
	if (fd < 0)
		return -errno;
	r->info.memfd = fd;
	if (ftruncate(fd, (off_t)r->len))
		return -errno;
	return 0;
}

/* Puts memory of the rung's kind over the reserved addresses. */
static int map_memory(struct try *t)
{
	struct slc_region *r = t->r;
	int flags = MAP_FIXED, fd = -1, err;

	if (t->attr->flags & SLC_REGION_SHARED) {
		err = make_memfd(t);
		if (err)
			return err;
		fd = r->info.memfd;
		flags |= MAP_SHARED;
	} else {
		flags |= MAP_PRIVATE | MAP_ANONYMOUS;
		if (t->rung->kind == SLC_PAGE_HUGETLB)
			flags |= MAP_HUGETLB |
				 __builtin_ctzll(t->rung->page_size)
					 << MFD_HUGE_SHIFT;
	}
	if (mmap(r->addr, r->len, PROT_READ | PROT_WRITE, flags, fd, 0) ==
	    MAP_FAILED)
		return -errno;
	/* The size is a promise from here on: no one can cut it under us. */
	if (fd >= 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW))
		return -errno;
	/* A child would get copies of pinned pages at fork, all at once: a
	 * trainer's fork would be slow, or -ENOMEM where they are hugetlb. */
	if (fd < 0) {
		if (madvise(r->addr, r->len, MADV_DONTFORK))
			return -errno;
		r->owner = getpid();
	}
	if (t->rung->kind == SLC_PAGE_THP)
		madvise(r->addr, r->len, MADV_HUGEPAGE); /* checked afterwards */
	else if (t->rung->kind == SLC_PAGE_SMALL)
		madvise(r->addr, r->len, MADV_NOHUGEPAGE);
	return 0;
}

/*
 * MPOL_BIND makes the kernel drop page cache of that node rather than go
 * elsewhere; but past the end of the node's memory it calls the OOM killer, so
 * what cannot fit is only preferred there.
 */
static int bind_node(struct try *t)
{
	unsigned long mask[SLC_MAX_NODES / SLC_WORD_BITS + 1] = { 0 };
	struct slc_region *r = t->r;
	int node = r->info.node, mode = MPOL_BIND, err;
	uint64_t room;

	if (node < 0 || node >= SLC_MAX_NODES)
		return 0;
	mask[(size_t)node / SLC_WORD_BITS] |=
		1ul << ((size_t)node % SLC_WORD_BITS);
	if (t->rung->kind != SLC_PAGE_HUGETLB) {
		room = slc_node_available(node);
		if (room && room < r->len) {
			err = slc_region_step(r, -ENOMEM,
					      "node %d has %.0f MiB to spare of the %.0f asked: the rest goes to other nodes",
					      node, MIB(room), MIB(r->len));
			if (err)
				return err;
			mode = MPOL_PREFERRED;
		}
	}
	if (!mbind(r->addr, r->len, mode, mask, SLC_MAX_NODES + 1, 0))
		return 0;
	err = -errno;
	return slc_region_step(r, err,
			       "the kernel does not bind memory to node %d (mbind: %s%s): the threads that touch it run there instead",
			       node, strerror(-err),
			       err == -EPERM ? ", in a container allow it with CAP_SYS_NICE" : "");
}

/* Locks before the touch: pages are then born locked, which costs nothing. */
static int pin(struct try *t)
{
	struct slc_region *r = t->r;
	struct rlimit lim = { 0 };
	int err;

	r->info.pin_kind = SLC_PIN_NONE;
	if (t->rung->kind == SLC_PAGE_HUGETLB) {
		r->info.pin_kind = SLC_PIN_HUGETLB;
		return 0;
	}
	if (t->attr->flags & SLC_REGION_NOPIN)
		return 0;
	if (!mlock2(r->addr, r->len, MLOCK_ONFAULT)) {
		r->info.pin_kind = SLC_PIN_MLOCK;
		return 0;
	}
	err = errno;
	getrlimit(RLIMIT_MEMLOCK, &lim);
	return slc_region_step(r, -EPERM,
			       "%" PRIu64 " bytes cannot be pinned, RLIMIT_MEMLOCK is %" PRIu64 " (mlock: %s; raise it with: ulimit -l %" PRIu64 "): populated, not pinned",
			       r->len, (uint64_t)lim.rlim_cur, strerror(err),
			       r->len / 1024);
}

static int touch_all(struct try *t, bool collapse)
{
	struct slc_region *r = t->r;
	bool shared = t->attr->flags & SLC_REGION_SHARED;
	struct slc_touch touch = {
		.addr = r->addr,
		.len = r->len,
		.base_page = t->base_page,
		.collapse = collapse,
		.may_fault = t->rung->kind != SLC_PAGE_HUGETLB && !shared,
		.cpus = &t->cpus,
		.threads = t->threads,
	};
	int err = slc_touch(&touch, &r->info.threads);

	/* An old kernel: once the file has its pages a fault cannot fail. */
	if (err == -EOPNOTSUPP && t->rung->kind != SLC_PAGE_HUGETLB) {
		if (fallocate(r->info.memfd, 0, 0, (off_t)r->len))
			return -errno;
		touch.may_fault = true;
		err = slc_touch(&touch, &r->info.threads);
	}
	return err;
}

static int populate(struct try *t)
{
	return touch_all(t, t->attr->flags & SLC_REGION_SHARED &&
				    t->rung->kind == SLC_PAGE_THP);
}

/* Says it when the kernel gave fewer huge pages than asked. */
static int check_thp(struct try *t)
{
	struct slc_region *r = t->r;
	uint64_t huge = 0;
	int err;

	r->all_huge = false;
	err = slc_thp_bytes(r->addr, r->len, &huge);
	if (!err && huge < r->len && !(t->attr->flags & SLC_REGION_SHARED)) {
		/* A fault gives up early; a collapse compacts memory first. */
		touch_all(t, true);
		err = slc_thp_bytes(r->addr, r->len, &huge);
	}
	if (err)
		return slc_region_step(r, -EOPNOTSUPP,
				       "/proc/self/smaps cannot be read (%s): how much is in huge pages is unknown",
				       strerror(-err));
	if (huge >= r->len) {
		r->all_huge = !(t->attr->flags & SLC_REGION_NOPIN);
		return 0;
	}
	if (!huge) {
		r->info.page_kind = SLC_PAGE_SMALL;
		r->info.page_size = t->base_page;
	}
	return slc_region_step(r, -ENOMEM,
			       "%.0f of %.0f MiB are in huge pages, the rest in base pages (memory is fragmented: echo 1 > /proc/sys/vm/compact_memory, or reserve hugetlb pages)",
			       MIB(huge), MIB(r->len));
}

/* A reason in t->why why this rung is not worth trying, or 0. */
static int look(struct try *t, uint64_t len)
{
	const struct rung *rung = t->rung;
	uint64_t have, need;
	char path[160];
	int err;

	if (rung->kind == SLC_PAGE_THP)
		return slc_thp_forbidden(t->why, sizeof(t->why)) ? -ENOMEM : 0;
	if (rung->kind != SLC_PAGE_HUGETLB)
		return 0;
	need = len / rung->page_size;
	err = slc_pool_free(rung->page_size, t->r->info.node, &have, path,
			    sizeof(path));
	if (err == -ENOENT)
		snprintf(t->why, sizeof(t->why),
			 "this kernel has no %s hugetlb pages",
			 slc_page_name(rung->page_size));
	else if (err)
		slc_text_unread(path, err, t->why, sizeof(t->why));
	if (err)
		return -ENOMEM;
	if (have >= need)
		return 0;
	snprintf(t->why, sizeof(t->why),
		 "not enough free %s hugetlb pages on node %d (%" PRIu64 " free, %" PRIu64 " needed; reserve with: echo %" PRIu64 " > %s)",
		 slc_page_name(rung->page_size),
		 t->r->info.node < 0 ? 0 : t->r->info.node, have, need, need,
		 path);
	return -ENOMEM;
}

/* Everything from addresses to touched pages; on failure release() is due. */
static int build(struct try *t, uint64_t len, uint64_t page, const char **doing)
{
	int err;

	*doing = "map";
	err = slc_region_reserve(t->r, len, page);
	if (!err)
		err = map_memory(t);
	if (err)
		return err;
	*doing = NULL; /* these two say themselves what is wrong */
	err = bind_node(t);
	if (!err)
		err = pin(t);
	if (err)
		return err;
	*doing = "populate";
	err = populate(t);
	if (err)
		return err;
	*doing = NULL;
	return t->rung->kind == SLC_PAGE_THP ? check_thp(t) : 0;
}

/*
 * Gives the region memory of t->rung. 1: this rung cannot be had, t->why says
 * so and nothing is left of it. 0 or -errno as for the whole.
 */
static int climb(struct try *t)
{
	struct slc_region *r = t->r;
	uint64_t page = t->rung->page_size ? t->rung->page_size : t->base_page;
	size_t said = strlen(r->info.reason);
	const char *doing;
	struct slc_room room;
	uint64_t len;
	int err;

	if (!slc_align_up(t->attr->len, page, &len) || len > INT64_MAX)
		return slc_fail(r->ctx, -ENOMEM,
				"%" PRIu64 " bytes are more than there can be",
				t->attr->len);
	if (look(t, len))
		return 1;
	/* Past the room is the OOM killer, not an error of the kernel. */
	slc_room(&room);
	if (t->rung->kind != SLC_PAGE_HUGETLB && len > room.bytes)
		return slc_fail(r->ctx, -ENOMEM,
				"%.0f MiB asked, but %s leaves %.0f MiB: ask for less",
				MIB(len), room.who, MIB(room.bytes));
	r->info.page_size = page;
	r->info.page_kind = t->rung->kind;
	r->all_huge = t->rung->kind == SLC_PAGE_HUGETLB;
	err = build(t, len, page, &doing);
	if (!err)
		return 0;
	release(r);
	if (!doing)
		return err;
	snprintf(t->why, sizeof(t->why), "cannot %s %.1f MiB of %s: %s", doing,
		 MIB(len), t->rung->words, strerror(-err));
	if (t->rung->kind == SLC_PAGE_HUGETLB) {
		/* Only a pool runs empty while there is memory of other kinds.
		 * What this rung said goes with it; the next says it again.
		 */
		r->info.reason[said] = 0;
		return 1;
	}
	return slc_fail(r->ctx, err == -EFAULT ? -ENOMEM : err,
			"%s (see free, ulimit -v and /proc/sys/vm/overcommit_memory)",
			t->why);
}

/* With several nodes the kernel may still have gone elsewhere: ask it. */
static int check_node(struct try *t)
{
	struct slc_residency res = { .size = sizeof(res) };
	struct slc_region *r = t->r;
	struct slc_bits nodes;

	if (r->info.node < 0 || slc_nodes_with_memory(&nodes) ||
	    slc_bits_count(&nodes) < 2)
		return 0;
	if (slc_region_verify(r, &res))
		return slc_region_step(r, -EOPNOTSUPP,
				       "that the memory is on node %d is not verified: %s",
				       r->info.node, slc_last_error(r->ctx));
	if (!res.bytes_elsewhere)
		return 0;
	return slc_region_step(r, -ENOMEM,
			       "%.0f of %.0f MiB are not on node %d but elsewhere, most on node %d",
			       MIB(res.bytes_elsewhere), MIB(r->len),
			       r->info.node, res.worst_node);
}

/* Says why the next rung is tried, or fails under STRICT. */
static int next_rung(struct try *t)
{
	char what[512];

	snprintf(what, sizeof(what), "%s: stepping down to %s", t->why,
		 t->rung[1].words);
	/* "2 MiB if it can be had" is still what the caller gets. */
	if (!t->attr->page_size && t->rung[1].kind == SLC_PAGE_THP) {
		slc_region_note(t->r, what);
		return 0;
	}
	return slc_region_step(t->r, -ENOMEM, "%s", what);
}

static int alloc(struct slc_region *r, const struct slc_region_attr *attr)
{
	struct try t = { .r = r, .attr = attr };
	int64_t began = slc_now_ns();
	int err;

	t.base_page = (size_t)sysconf(_SC_PAGESIZE);
	t.rung = first_rung(attr->page_size);
	err = slc_region_node(r, attr);
	if (err)
		return err;
	t.threads = slc_node_cpus(r->info.node, &t.cpus);
	if (attr->threads)
		t.threads = attr->threads;
	for (; (err = climb(&t)) == 1; t.rung++) {
		err = next_rung(&t);
		if (err)
			return err;
	}
	if (err)
		return err;
	err = check_node(&t);
	if (err) {
		release(r);
		return err;
	}
	r->info.populate_ns = (uint64_t)(slc_now_ns() - began);
	slc_log(r->ctx, SLC_LOG_INFO,
		"region %s: %.1f MiB of %s on node %d in %.1f ms by %u threads",
		attr->name ? attr->name : "", MIB(r->len), t.rung->words,
		r->info.node, (double)r->info.populate_ns / 1e6,
		r->info.threads);
	return 0;
}

const struct slc_region_ops slc_host_ops = {
	.name = "host",
	.alloc = alloc,
	.release = release,
};

/* SPDX-License-Identifier: MIT */
/*
 * Memory of the kernel module: allocated there, or found there by its name, and
 * mapped here through its dma-buf. Its pages exist before they are mapped; a
 * first touch only maps them, 2 MiB at a time.
 */
#include "mem/region.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/clock.h"
#include "base/ctx.h"
#include "mem/module.h"
#include "mem/node.h"
#include "mem/pages.h"
#include "mem/touch.h"

#define MIB(bytes) ((double)(bytes) / (1 << 20))
/* Who makes and who removes a name may race with us this often. */
#define TRIES 8

struct get {
	struct slc_region *r;
	const struct slc_region_attr *attr;
	int dev;
	uint64_t run; /* bytes of physically contiguous memory aimed for */
	uint64_t len;
	uint64_t base_page;
	char why[SLC_MODULE_WHY];
};

static void release(struct slc_region *r)
{
	slc_region_unmap(r);
	if (r->info.dmabuf_fd >= 0)
		close(r->info.dmabuf_fd);
	r->info.dmabuf_fd = -1;
}

static const char *name_of(const struct get *g)
{
	return g->attr->flags & SLC_REGION_NAMED ? g->attr->name : "";
}

static int refused(struct get *g, int err)
{
	struct slc_region *r = g->r;

	slc_module_explain(g->dev, err, name_of(g), g->len, r->info.node,
			   g->why);
	return slc_fail(r->ctx, err, "%s", g->why);
}

/* What a region of the module cannot be, and what it is to be. */
static int plan(struct get *g)
{
	const struct slc_region_attr *attr = g->attr;
	struct slc_region *r = g->r;
	int err;

	if (attr->flags & SLC_REGION_SHARED)
		return slc_fail(r->ctx, -EOPNOTSUPP,
				"memory of the module has a dma-buf, not a memfd: it cannot be SLC_REGION_SHARED");
	if (attr->flags & SLC_REGION_NOPIN)
		return slc_fail(r->ctx, -EOPNOTSUPP,
				"memory of the module is always pinned: it cannot be SLC_REGION_NOPIN");
	g->base_page = (uint64_t)sysconf(_SC_PAGESIZE);
	g->run = attr->page_size && attr->page_size < SLC_2M ? g->base_page :
							       SLC_2M;
	if (!slc_align_up(attr->len, g->run, &g->len) || g->len > INT64_MAX)
		return slc_fail(r->ctx, -ENOMEM,
				"%" PRIu64 " bytes are more than there can be",
				attr->len);
	err = slc_region_node(r, attr);
	if (err || attr->page_size <= SLC_2M)
		return err;
	return slc_region_step(r, -EOPNOTSUPP,
			       "the module aims for runs of 2 MiB, not of %s: 2 MiB it is",
			       slc_page_name(attr->page_size));
}

/* New memory. 0 or -errno, without a sentence. */
static int make(struct get *g)
{
	struct slc_region *r = g->r;
	struct sluice_alloc a = { .len = g->len,
				  .run = g->run,
				  .node = r->info.node };
	int err;

	if (r->strict)
		a.flags = SLUICE_ALLOC_STRICT;
	if (g->attr->flags & SLC_REGION_NAMED) {
		snprintf(a.name, sizeof(a.name), "%s", g->attr->name);
		a.mode = 0600;
	}
	err = slc_module_alloc(g->dev, &a);
	if (err)
		return err;
	r->info.dmabuf_fd = a.fd;
	return 0;
}

/* The memory of that name. 0 or -errno, without a sentence. */
static int find(struct get *g)
{
	struct slc_region *r = g->r;
	struct sluice_open o = { 0 };
	int err;

	snprintf(o.name, sizeof(o.name), "%s", g->attr->name);
	err = slc_module_find(g->dev, &o);
	if (err)
		return err;
	r->info.dmabuf_fd = o.fd;
	r->info.found = 1;
	g->len = o.len;
	return 0;
}

static int find_or_make(struct get *g)
{
	const struct slc_region_attr *attr = g->attr;
	int err = -ENOENT;

	for (int i = 0; i < TRIES; i++) {
		err = find(g);
		if (err == -ENOENT)
			err = make(g);
		if (err != -EEXIST)
			break;
	}
	if (err)
		return refused(g, err);
	if (g->len < attr->len)
		return slc_fail(g->r->ctx, -EEXIST,
				"region %s: it has %" PRIu64 " bytes and %" PRIu64 " are asked (sluice region remove %s, or take another name)",
				attr->name, g->len, attr->len, attr->name);
	return 0;
}

/* What was got, as the module knows it. */
static int learn(struct get *g)
{
	struct slc_region *r = g->r;
	struct sluice_stat st = { .fd = r->info.dmabuf_fd };
	int asked = r->info.node, err = slc_module_stat(g->dev, &st);

	if (err)
		return refused(g, err);
	r->info.bytes_2m = st.bytes_2m;
	r->info.page_kind = SLC_PAGE_MODULE;
	r->info.pin_kind = SLC_PIN_MODULE;
	r->info.page_size = g->run == SLC_2M && st.bytes_2m &&
					    !(g->len % SLC_2M) ?
				    SLC_2M :
				    g->base_page;
	if (st.node >= 0 || r->info.found)
		r->info.node = st.node;
	if (g->attr->node >= 0 && asked >= 0 && r->info.node != asked) {
		err = slc_region_step(r, -ENOMEM,
				      "region %s was made on node %d, not on %d",
				      name_of(g), st.node, asked);
		if (err)
			return err;
	}
	if (g->run < SLC_2M || st.bytes_2m >= g->len)
		return 0;
	return slc_region_step(r, -ENOMEM,
			       "%.1f of %.1f MiB are in runs of 2 MiB, the rest in shorter ones (memory is fragmented: echo 1 > /proc/sys/vm/compact_memory before it is made)",
			       MIB(st.bytes_2m), MIB(g->len));
}

static int map(struct get *g)
{
	struct slc_region *r = g->r;
	int err;

	err = slc_region_reserve(r, g->len, g->len < SLC_2M ? g->base_page :
							      SLC_2M);
	if (!err && mmap(r->addr, r->len, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, r->info.dmabuf_fd,
			 0) == MAP_FAILED)
		err = -errno;
	if (err)
		return slc_fail(r->ctx, err,
				"cannot map %.1f MiB of the module's memory: %s (see ulimit -v)",
				MIB(g->len), strerror(-err));
	/* The kernel leaves it out of a child of fork(). */
	r->owner = getpid();
	r->lazy = true;
	return 0;
}

/* Maps every page at once, where threads were asked to. */
static int touch(struct get *g)
{
	struct slc_region *r = g->r;
	struct slc_bits cpus;
	struct slc_touch t = { .addr = r->addr,
			       .len = r->len,
			       .base_page = g->base_page,
			       .cpus = &cpus,
			       .threads = g->attr->threads };
	int err;

	if (!t.threads)
		return 0;
	slc_node_cpus(r->info.node, &cpus);
	err = slc_touch(&t, &r->info.threads);
	if (err)
		return slc_fail(r->ctx, err,
				"cannot touch %.1f MiB of the module's memory: %s",
				MIB(r->len), strerror(-err));
	return 0;
}

static int obtain(struct get *g)
{
	int err;

	if (g->attr->flags & SLC_REGION_NAMED) {
		err = find_or_make(g);
	} else {
		err = make(g);
		if (err)
			return refused(g, err);
	}
	return err ? err : learn(g);
}

static int alloc(struct slc_region *r, const struct slc_region_attr *attr)
{
	struct get g = { .r = r, .attr = attr };
	int64_t began = slc_now_ns();
	int err = plan(&g);

	if (err)
		return err;
	g.dev = slc_module_open(NULL, NULL, g.why);
	if (g.dev < 0)
		return slc_fail(r->ctx, g.dev, "%s", g.why);
	err = obtain(&g);
	close(g.dev);
	if (!err)
		err = map(&g);
	if (!err)
		err = touch(&g);
	if (err) {
		release(r);
		return err;
	}
	r->info.dmabuf_reason = "";
	r->info.populate_ns = (uint64_t)(slc_now_ns() - began);
	slc_log(r->ctx, SLC_LOG_INFO,
		"region %s: %.1f MiB of the module on node %d, %s in %.1f ms",
		attr->name ? attr->name : "", MIB(r->len), r->info.node,
		r->info.found ? "found" : "made",
		(double)r->info.populate_ns / 1e6);
	return 0;
}

const struct slc_region_ops slc_module_ops = {
	.name = "module",
	.alloc = alloc,
	.release = release,
};

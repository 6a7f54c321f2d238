/* SPDX-License-Identifier: MIT */
/* Where the pages of a region really are. */
#include "mem/region.h"

#include <errno.h>
#include <numaif.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/ctx.h"
#include "mem/node.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#define BATCH 1024

struct count {
	uint64_t on_node[SLC_MAX_NODES]; /* bytes */
	uint64_t absent;
};

static int ask(const struct slc_region *r, uint64_t step, struct count *c)
{
	void *pages[BATCH];
	int where[BATCH];
	uint64_t off = 0;

	while (off < r->len) {
		unsigned long n = 0;

		for (; n < BATCH && off < r->len; n++, off += step)
			pages[n] = r->addr + off;
		/* No nodes given: it moves nothing and says where each is. */
		if (move_pages(0, n, pages, NULL, where, 0) < 0)
			return -errno;
		for (unsigned long i = 0; i < n; i++) {
			if (where[i] >= 0 && where[i] < SLC_MAX_NODES)
				c->on_node[where[i]] += step;
			else
				c->absent += step;
		}
	}
	return 0;
}

/* Maps what is there and not mapped yet, so that it can be asked about. */
static int map_all(const struct slc_region *r)
{
	int err;

	do
		err = madvise(r->addr, r->len, MADV_POPULATE_READ) ? -errno : 0;
	while (err == -EINTR);
	return err;
}

static int look(const struct slc_region *region, struct count *c)
{
	uint64_t step = region->all_huge ? region->info.page_size :
					   (uint64_t)sysconf(_SC_PAGESIZE);
	int err;

	if (region->lazy) {
		err = map_all(region);
		if (err)
			return slc_fail(region->ctx, err == -EFAULT ? -ENODEV : err,
					"cannot map the pages to see where they are: %s",
					err == -EFAULT ? "the region was revoked" :
							 strerror(-err));
	}
	err = ask(region, step, c);
	if (err)
		return slc_fail(region->ctx, err,
				"move_pages cannot say where the pages are: %s%s",
				strerror(-err),
				err == -EPERM ?
					" (a container's seccomp filter? allow it with CAP_SYS_NICE)" :
					"");
	return 0;
}

int slc_region_verify(const struct slc_region *region,
		      struct slc_residency *out)
{
	struct slc_residency res = { .size = out->size, .worst_node = -1 };
	struct count c = { .absent = 0 };
	int saved = errno;
	uint64_t most = 0;
	int err;

	if (out->size < sizeof(res))
		return slc_fail(region->ctx, -EINVAL,
				"slc_residency.size is %zu: set it to sizeof(struct slc_residency)",
				out->size);
	err = look(region, &c);
	errno = saved;
	if (err)
		return err;
	res.bytes = region->len;
	res.bytes_absent = c.absent;
	for (int n = 0; n < SLC_MAX_NODES; n++) {
		/* Without NUMA the machine is the node. */
		if (n == region->info.node || region->info.node < 0) {
			res.bytes_on_node += c.on_node[n];
			continue;
		}
		res.bytes_elsewhere += c.on_node[n];
		if (c.on_node[n] > most) {
			most = c.on_node[n];
			res.worst_node = n;
		}
	}
	memcpy(out, &res, sizeof(res));
	return 0;
}

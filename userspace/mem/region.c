/* SPDX-License-Identifier: MIT */
/* The life of a region, and what it says of itself. */
#include "mem/region.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <unistd.h>

#include "base/ctx.h"
#include "mem/module.h"
#include "mem/pages.h"

#define KNOWN_FLAGS                                                          \
	((uint64_t)(SLC_REGION_STRICT | SLC_REGION_SHARED | SLC_REGION_NOPIN | \
		    SLC_REGION_MODULE | SLC_REGION_NAMED))

static void add_reason(struct slc_region *r, const char *what)
{
	char *reason = r->info.reason;
	size_t used = strlen(reason);

	snprintf(reason + used, sizeof(r->info.reason) - used, "%s%s",
		 used ? "; " : "", what);
}

int slc_region_step(struct slc_region *r, int err, const char *fmt, ...)
{
	char what[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	if (r->strict)
		return slc_fail(r->ctx, err, "%s (strict: no step down)", what);
	add_reason(r, what);
	slc_log(r->ctx, SLC_LOG_WARN, "region: %s", what);
	return 0;
}

void slc_region_note(struct slc_region *r, const char *what)
{
	add_reason(r, what);
	slc_log(r->ctx, SLC_LOG_INFO, "region: %s", what);
}

static int check_name(struct slc_ctx *ctx, const struct slc_region_attr *a)
{
	if (!(a->flags & SLC_REGION_MODULE))
		return slc_fail(ctx, -EINVAL,
				"SLC_REGION_NAMED without SLC_REGION_MODULE: only the module keeps names");
	if (!a->name || !slc_module_name_ok(a->name))
		return slc_fail(ctx, -EINVAL,
				"slc_region_attr.name is \"%s\": the name of a region has 1 to %d of A-Z a-z 0-9 . _ -",
				a->name ? a->name : "", SLUICE_NAME_MAX - 1);
	return 0;
}

static int check_attr(struct slc_ctx *ctx, const struct slc_region_attr *a)
{
	if (a->flags & ~KNOWN_FLAGS)
		return slc_fail(ctx, -EINVAL,
				"slc_region_attr.flags is %#llx: only %#llx are known",
				(unsigned long long)a->flags,
				(unsigned long long)KNOWN_FLAGS);
	if (!a->len)
		return slc_fail(ctx, -EINVAL,
				"slc_region_attr.len is 0: say how many bytes");
	if (a->page_size && a->page_size != 4096 && a->page_size != SLC_2M &&
	    a->page_size != SLC_1G &&
	    a->page_size != (uint64_t)sysconf(_SC_PAGESIZE))
		return slc_fail(ctx, -EINVAL,
				"page size %llu: use 4096, 2097152, 1073741824 or 0 for the best",
				(unsigned long long)a->page_size);
	return a->flags & SLC_REGION_NAMED ? check_name(ctx, a) : 0;
}

/* Asked for, or by SLC_REGIONS. 0 or -EINVAL. */
static int wants_module(const struct slc_region *r,
			const struct slc_region_attr *a, bool *yes)
{
	const char *value = getenv("SLC_REGIONS");

	*yes = a->flags & SLC_REGION_MODULE;
	if (!value || !*value || !strcmp(value, "host"))
		return 0;
	if (strcmp(value, "module"))
		return slc_fail(r->ctx, -EINVAL,
				"SLC_REGIONS is \"%s\": module or host",
				value);
	*yes = true;
	return 0;
}

/* No memory yet. */
static void blank(struct slc_region *r)
{
	r->info = (struct slc_region_info){
		.memfd = -1,
		.dmabuf_fd = -1,
		.dmabuf_reason =
			"memory of the host has no dma-buf: SLC_REGION_MODULE asks for one that has",
	};
}

static int give_memory(struct slc_region *r, const struct slc_region_attr *a)
{
	bool module;
	int err;

	blank(r);
	err = wants_module(r, a, &module);
	if (err)
		return err;
	if (module) {
		r->ops = &slc_module_ops;
		err = r->ops->alloc(r, a);
		/* Who names a region wants that one and no other. */
		if (!err || r->strict || a->flags & SLC_REGION_NAMED)
			return err;
		blank(r);
		slc_region_step(r, err, "%s: host memory instead",
				slc_last_error(r->ctx));
	}
	r->ops = &slc_host_ops;
	return r->ops->alloc(r, a);
}

static int region_alloc(struct slc_ctx *ctx, const struct slc_region_attr *attr,
			struct slc_region **out)
{
	struct slc_region_attr a;
	struct slc_region *r;
	int err;

	err = slc_need(ctx, "slc_region_alloc", "ctx", ctx);
	if (!err)
		err = slc_need(ctx, "slc_region_alloc", "out", out);
	if (!err)
		err = slc_attr_copy(ctx, &a, sizeof(a), attr,
				    "slc_region_attr");
	if (!err)
		err = check_attr(ctx, &a);
	if (err)
		return err;
	r = calloc(1, sizeof(*r));
	if (!r)
		return slc_fail(ctx, -ENOMEM, "no memory for a region's record");
	atomic_init(&r->refs, 1);
	r->ctx = slc_ctx_get(ctx);
	r->strict = a.flags & SLC_REGION_STRICT;
	err = give_memory(r, &a);
	if (err)
		goto free_record;
	*out = r;
	return 0;

free_record:
	slc_ctx_close(r->ctx);
	free(r);
	return err;
}

int slc_region_alloc(struct slc_ctx *ctx, const struct slc_region_attr *attr,
		     struct slc_region **out)
{
	int saved = errno;
	int err = region_alloc(ctx, attr, out);

	errno = saved;
	return err;
}

struct slc_region *slc_region_get(struct slc_region *region)
{
	atomic_fetch_add_explicit(&region->refs, 1, memory_order_relaxed);
	return region;
}

void slc_region_put(struct slc_region *region)
{
	int saved = errno;

	/* Release pairs with the acquire of whoever drops the last reference:
	 * every access made under another reference is over before the unmap.
	 */
	if (!region || atomic_fetch_sub_explicit(&region->refs, 1,
						 memory_order_acq_rel) != 1)
		return;
	region->ops->release(region);
	slc_ctx_close(region->ctx);
	free(region);
	errno = saved;
}

void *slc_region_addr(const struct slc_region *region)
{
	return region->addr;
}

uint64_t slc_region_len(const struct slc_region *region)
{
	return region->len;
}

int slc_region_query(const struct slc_region *region,
		     struct slc_region_info *info)
{
	struct slc_region_info full = region->info;
	size_t size = info->size;

	if (size < sizeof(size))
		return slc_fail(region->ctx, -EINVAL,
				"slc_region_info.size is %zu: set it to sizeof(struct slc_region_info)",
				size);
	full.len = region->len;
	full.size = size;
	/* A newer caller's tail, which this library does not know, is zero. */
	if (size > sizeof(full)) {
		memset((char *)info + sizeof(full), 0, size - sizeof(full));
		size = sizeof(full);
	}
	memcpy(info, &full, size);
	return 0;
}

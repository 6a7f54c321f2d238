/* SPDX-License-Identifier: MIT */
#include "ctx.h"

#include <errno.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct slc_ctx {
	atomic_uint refs;
	slc_log_fn log;
	void *log_user;
};

static _Thread_local char last_error[1024];

const char *slc_last_error(const struct slc_ctx *ctx)
{
	(void)ctx;
	return last_error;
}

int slc_fail(struct slc_ctx *ctx, int err, const char *fmt, ...)
{
	/* Formatted aside: an argument may be slc_last_error() itself. */
	char msg[sizeof(last_error)];
	int saved = errno;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	memcpy(last_error, msg, sizeof(msg));
	slc_log(ctx, SLC_LOG_DEBUG, "%s", msg);
	errno = saved;
	return err;
}

void slc_log(struct slc_ctx *ctx, enum slc_log_level level, const char *fmt,
	     ...)
{
	char msg[1024];
	int saved = errno;
	va_list ap;

	if (!ctx || !ctx->log)
		return;
	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	ctx->log(ctx->log_user, level, msg);
	errno = saved;
}

int slc_need(struct slc_ctx *ctx, const char *call, const char *name,
	     const void *argument)
{
	return argument ? 0 : slc_fail(ctx, -EINVAL, "%s: %s is NULL", call,
				       name);
}

int slc_attr_copy(struct slc_ctx *ctx, void *dst, size_t dst_size,
		  const void *src, const char *what)
{
	const unsigned char *bytes = src;
	size_t size, i;

	memset(dst, 0, dst_size);
	if (!src)
		return 0;
	memcpy(&size, src, sizeof(size));
	if (size < sizeof(size))
		return slc_fail(ctx, -EINVAL,
				"%s.size is %zu: set it to sizeof(struct %s)",
				what, size, what);
	for (i = dst_size; i < size; i++)
		if (bytes[i])
			return slc_fail(ctx, -E2BIG,
					"%s has a field at byte %zu that libsluice %s does not know: update the library",
					what, i, slc_version());
	memcpy(dst, src, size < dst_size ? size : dst_size);
	return 0;
}

int slc_ctx_open(const struct slc_ctx_attr *attr, struct slc_ctx **out)
{
	struct slc_ctx_attr a;
	struct slc_ctx *ctx;
	int err;

	err = slc_need(NULL, "slc_ctx_open", "out", out);
	if (!err)
		err = slc_attr_copy(NULL, &a, sizeof(a), attr, "slc_ctx_attr");
	if (err)
		return err;
	if (a.flags)
		return slc_fail(NULL, -EINVAL,
				"slc_ctx_attr.flags is %#llx: no flag is known",
				(unsigned long long)a.flags);
	ctx = calloc(1, sizeof(*ctx));
	if (!ctx)
		return slc_fail(NULL, -ENOMEM, "no memory for a context");
	atomic_init(&ctx->refs, 1);
	ctx->log = a.log;
	ctx->log_user = a.log_user;
	*out = ctx;
	return 0;
}

struct slc_ctx *slc_ctx_get(struct slc_ctx *ctx)
{
	atomic_fetch_add_explicit(&ctx->refs, 1, memory_order_relaxed);
	return ctx;
}

void slc_ctx_close(struct slc_ctx *ctx)
{
	/* Release pairs with the acquire of whoever drops the last reference. */
	if (ctx && atomic_fetch_sub_explicit(&ctx->refs, 1,
					     memory_order_acq_rel) == 1)
		free(ctx);
}

#define SLC_STR(x) #x
#define SLC_XSTR(x) SLC_STR(x)

const char *slc_version(void)
{
	return SLC_XSTR(SLC_VERSION_MAJOR) "." SLC_XSTR(
		SLC_VERSION_MINOR) "." SLC_XSTR(SLC_VERSION_PATCH);
}

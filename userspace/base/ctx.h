/* SPDX-License-Identifier: MIT */
/* ctx.h - the context from inside: references, errors, log. */
#ifndef SLC_BASE_CTX_H
#define SLC_BASE_CTX_H

#include <sluice/sluice.h>

struct slc_ctx *slc_ctx_get(struct slc_ctx *ctx);

/*
 * Records the sentence that slc_last_error() gives in this thread and returns
 * `err`, so that a failure is one line: return slc_fail(ctx, -EINVAL, "...").
 * Keeps errno.
 */
int slc_fail(struct slc_ctx *ctx, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Whether an argument that `call` cannot do without is there: 0, or -EINVAL with
 * the sentence that its `name` is NULL.
 */
int slc_need(struct slc_ctx *ctx, const char *call, const char *name,
	     const void *argument);

/* Sends one message to the log hook, if there is one. Keeps errno. */
void slc_log(struct slc_ctx *ctx, enum slc_log_level level, const char *fmt,
	     ...) __attribute__((format(printf, 3, 4)));

/*
 * Checks an attr struct: its size is known, its unknown tail is zero. Copies
 * it into `dst` (dst_size bytes, zero-filled past the caller's). 0, -EINVAL,
 * -E2BIG, with the sentence set.
 */
int slc_attr_copy(struct slc_ctx *ctx, void *dst, size_t dst_size,
		  const void *src, const char *what);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * sluice.h - context, errors, routes, version.
 *
 * Conventions of every call in these headers:
 *  - A fallible function returns 0 or a count, or -errno; it never touches
 *    errno. Results go out through pointers that are written only on success.
 *  - slc_last_error() then says in one sentence what happened and what to do.
 *  - An attr struct begins with its own size, set by the caller to
 *    sizeof(attr); fields past what the library knows must be zero (-E2BIG).
 *    A zeroed attr with only `size` set asks for the defaults, and so does an
 *    attr of NULL; but `node` 0 is node 0: the caller's is SLC_NODE_CALLER.
 *  - A pointer must not be NULL unless its description says what NULL means.
 *    The calls that open or allocate answer one that is missing with -EINVAL;
 *    the others trust their caller. close and put take NULL for nothing.
 *  - Lengths and offsets are bytes in uint64_t; times are nanoseconds.
 */
#ifndef SLUICE_SLUICE_H
#define SLUICE_SLUICE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SLC_VERSION_MAJOR 0
#define SLC_VERSION_MINOR 1
#define SLC_VERSION_PATCH 0

/*
 * A node number that means "the node of the CPU the caller runs on". It is not
 * 0, so that a zeroed attr asks for node 0: set `node` in every attr.
 */
#define SLC_NODE_CALLER (-1)

/* No timeout: wait until something happens. */
#define SLC_FOREVER (-1)

struct slc_ctx;

enum slc_log_level {
	SLC_LOG_ERROR = 0,
	SLC_LOG_WARN,
	SLC_LOG_INFO,
	SLC_LOG_DEBUG,
};

/*
 * Called for each message, from any thread that uses the context, never from
 * the byte path of a healthy move. `msg` is valid during the call only.
 */
typedef void (*slc_log_fn)(void *user, enum slc_log_level level,
			   const char *msg);

/* How bytes travelled. Stable numbers: they are in JSON, metrics and tokens. */
enum slc_route {
	SLC_ROUTE_NONE = 0,
	SLC_ROUTE_URING_DIRECT = 1,   /* io_uring, O_DIRECT */
	SLC_ROUTE_URING_BUFFERED = 2, /* io_uring through the page cache */
	SLC_ROUTE_SYNC_DIRECT = 3,    /* pread/pwrite, O_DIRECT */
	SLC_ROUTE_SYNC_BUFFERED = 4,  /* pread/pwrite through the page cache */
	SLC_ROUTE_BOUNCE = 5,	      /* through a buffer of sluice's own */
	SLC_ROUTE_MEMCPY = 6,	      /* host memory to host memory */
	SLC_ROUTE_COUNT,
};

/* The stable name of a route ("uring-direct"), "unknown" past the last. */
const char *slc_route_name(uint32_t route);

struct slc_ctx_attr {
	size_t size;
	uint64_t flags;	 /* must be 0 */
	slc_log_fn log;	 /* NULL: silent. The library prints nothing itself */
	void *log_user;	 /* handed to log; must outlive the context */
};

/*
 * Opens a context: the root that every other object keeps a reference to.
 *
 * @attr: may be NULL for the defaults. Read during the call only.
 * @out: owned by the caller; slc_ctx_close() drops it.
 *
 * Returns 0, -ENOMEM, -EINVAL (flags, no out), -E2BIG (attr newer than the library).
 * Any thread.
 */
int slc_ctx_open(const struct slc_ctx_attr *attr, struct slc_ctx **out);

/*
 * Drops the caller's reference. Objects made from the context keep it alive,
 * so the order of closing does not matter. NULL is ignored.
 */
void slc_ctx_close(struct slc_ctx *ctx);

/*
 * One sentence on the last failure in the calling thread: what, where, why and
 * what to do. Never NULL; "" when nothing failed. Valid until the next call
 * that fails in this thread. `ctx` may be NULL (for a failed slc_ctx_open()).
 */
const char *slc_last_error(const struct slc_ctx *ctx);

/* "0.1.0". */
const char *slc_version(void);

/*
 * CRC32C (Castagnoli, RFC 3720 appendix B.4; reflected, init and final xor
 * 0xffffffff) of `len` bytes, going on from `crc` (0 to begin). Any thread.
 */
uint32_t slc_crc32c(uint32_t crc, const void *bytes, uint64_t len);

/*
 * The CRC32C of A followed by B, from crc(A), crc(B) and the length of B.
 * Pure arithmetic, O(log len_b).
 */
uint32_t slc_crc32c_combine(uint32_t crc_a, uint32_t crc_b, uint64_t len_b);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/* The queue: opening, submit, poll, cancel, close. */
#include "queue/queue.h"

#include "base/clock.h"
#include "base/ctx.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define DEPTH 128u
#define DEPTH_MAX 4096u
#define MOVES_MAX (1u << 20)
#define MAX_IO (1u << 20)
#define MAX_IO_LIMIT (1u << 30)
#define PAGE 4096u

static bool in_child(const struct slc_queue *q)
{
	return q->here ? !*q->here : q->pid != getpid();
}

static int check_owner(const struct slc_queue *q, const char *call)
{
	if (__builtin_expect(in_child(q), 0))
		return slc_fail(q->ctx, -EPERM,
				"%s: this queue belongs to the process that opened it: open another one after fork",
				call);
	if (__builtin_expect(!pthread_equal(q->owner, pthread_self()), 0))
		return slc_fail(q->ctx, -EPERM,
				"%s: this queue belongs to the thread that opened it",
				call);
	return 0;
}

/* ---- opening ---- */

static int check_attr(struct slc_ctx *ctx, struct slc_queue_attr *a)
{
	if (a->flags & ~(uint64_t)(SLC_QUEUE_SQPOLL | SLC_QUEUE_IOPOLL))
		return slc_fail(ctx, -EINVAL,
				"slc_queue_attr.flags %#llx: unknown bits",
				(unsigned long long)a->flags);
	if (!a->depth)
		a->depth = DEPTH;
	if (a->depth > DEPTH_MAX)
		return slc_fail(ctx, -EINVAL,
				"slc_queue_attr.depth %u: at most %u", a->depth,
				DEPTH_MAX);
	if (!a->moves)
		a->moves = 2 * a->depth;
	if (a->moves > MOVES_MAX)
		return slc_fail(ctx, -EINVAL,
				"slc_queue_attr.moves %u: at most %u", a->moves,
				MOVES_MAX);
	if (!a->max_io)
		a->max_io = MAX_IO;
	if (a->max_io > MAX_IO_LIMIT)
		return slc_fail(ctx, -EINVAL,
				"slc_queue_attr.max_io %u: at most %u",
				a->max_io, MAX_IO_LIMIT);
	a->max_io = (a->max_io + PAGE - 1) / PAGE * PAGE;
	return 0;
}

/*
 * Opens the engine that was named, or the first of the list that opens. why[]
 * then says why it is not the first; "" when it is.
 */
static int open_engine(struct slc_ctx *ctx, const struct slc_queue_attr *a,
		       const struct slc_engine_ops **ops, void **state,
		       struct slc_engine_caps *caps, char *why, size_t size)
{
	const char *name = a->engine, *by = "the caller";
	int i, err = -EINVAL;

	if (!name) {
		name = getenv("SLC_ENGINE");
		by = "SLC_ENGINE";
	}
	if (name && !*name)
		name = NULL;
	why[0] = '\0';
	for (i = 0; slc_engines[i]; i++) {
		if (name && strcmp(name, slc_engines[i]->name))
			continue;
		memset(caps, 0, sizeof(*caps));
		if (name && i)
			snprintf(why, size, "engine %s asked for by %s", name,
				 by);
		*ops = slc_engines[i];
		err = (*ops)->open(a->depth, a->flags, state, caps,
				   why + strlen(why), size - strlen(why));
		if (!err)
			return 0;
		if (name || !slc_engines[i + 1])
			return slc_fail(ctx, err, "engine %s: %s",
					slc_engines[i]->name, why);
		slc_log(ctx, SLC_LOG_WARN, "%s; using %s", why,
			slc_engines[i + 1]->name);
		snprintf(why + strlen(why), size - strlen(why), "; using %s",
			 slc_engines[i + 1]->name);
	}
	return slc_fail(ctx, -EINVAL,
			"no engine \"%s\": uring or sync (asked for by %s)",
			name, by);
}

static int alloc_tables(struct slc_queue *q)
{
	uint32_t i;

	q->ios = calloc(q->depth, sizeof(*q->ios));
	q->landed = calloc(q->depth, sizeof(*q->landed));
	q->mvs = calloc(q->moves, sizeof(*q->mvs));
	if (!q->ios || !q->landed || !q->mvs)
		return slc_fail(q->ctx, -ENOMEM,
				"no memory for a queue of %u I/Os and %u moves",
				q->depth, q->moves);
	for (i = q->depth; i--;) {
		q->ios[i].next = q->free_io;
		q->free_io = &q->ios[i];
	}
	for (i = q->moves; i--;) {
		q->mvs[i].next = q->free_mv;
		q->free_mv = &q->mvs[i];
	}
	return 0;
}

static void free_tables(struct slc_queue *q)
{
	free(q->mvs);
	free(q->landed);
	free(q->ios);
}

static uint32_t bounce_units(uint32_t depth)
{
	return depth < 8 ? 8 :
	       depth < SLC_BOUNCE_UNITS ? depth : SLC_BOUNCE_UNITS;
}

uint64_t slc_queue_own_bytes(uint32_t depth)
{
	return (uint64_t)bounce_units(depth ? depth : DEPTH) * SLC_BOUNCE_UNIT;
}

static int alloc_bounce(struct slc_queue *q, int32_t node)
{
	uint32_t i, units = bounce_units(q->depth);
	struct slc_region_attr attr = { .size = sizeof(attr),
					.node = node,
					.threads = 1,
					.name = "sluice-bounce" };
	int err;

	attr.len = slc_queue_own_bytes(q->depth);
	attr.page_size = units == SLC_BOUNCE_UNITS ? 0 : PAGE;
	err = slc_region_alloc(q->ctx, &attr, &q->bounce);
	if (err)
		return err;
	for (i = 0; i < units; i++)
		q->bounce_free[i / 64] |= 1ull << (i % 64);
	return 0;
}

/* A page that reads 0 in a forked child: MADV_WIPEONFORK. */
static int mark_process(struct slc_queue *q)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return slc_fail(q->ctx, -errno, "no memory for a queue: mmap: %s",
				strerror(errno));
	q->pid = getpid();
	if (madvise(p, PAGE, MADV_WIPEONFORK)) {
		slc_log(q->ctx, SLC_LOG_INFO,
			"queue: MADV_WIPEONFORK: %s: asking for the process id instead",
			strerror(errno));
		munmap(p, PAGE);
		return 0;
	}
	q->here = p;
	*q->here = 1;
	return 0;
}

static void unmark_process(struct slc_queue *q)
{
	if (q->here)
		munmap(q->here, PAGE);
}

static int open_with_engine(struct slc_queue *q, const struct slc_queue_attr *a)
{
	const struct slc_engine_ops *ops = NULL;
	struct slc_engine_caps caps, unused;
	char why[SLC_REASON_MAX];
	void *state = NULL;
	int err;

	err = open_engine(q->ctx, a, &ops, &state, &caps, why, sizeof(why));
	if (err)
		return err;
	err = slc_sync_ops.open(q->depth, 0, &q->sync_state, &unused, why,
				0);
	if (err) {
		err = slc_fail(q->ctx, err, "no memory for a queue");
		goto close_engine;
	}
	err = slc_attach_init(&q->att, ops, state, &caps);
	if (err) {
		err = slc_fail(q->ctx, err, "no memory for a queue's tables");
		goto close_sync;
	}
	q->reason = slc_reason(q->att.reasons, "%s", why);
	q->bounce_att = slc_attach_region(&q->att, q->bounce);
	q->bounce_att->a.users++; /* never evicted */
	return 0;

close_sync:
	slc_sync_ops.close(q->sync_state);
close_engine:
	ops->close(state);
	return err;
}

static int open_queue(struct slc_ctx *ctx, const struct slc_queue_attr *attr,
		      struct slc_queue **out)
{
	struct slc_queue_attr a;
	struct slc_queue *q;
	int err;

	err = slc_need(ctx, "slc_queue_open", "ctx", ctx);
	if (!err)
		err = slc_need(ctx, "slc_queue_open", "out", out);
	if (!err)
		err = slc_attr_copy(ctx, &a, sizeof(a), attr,
				    "slc_queue_attr");
	if (!err)
		err = check_attr(ctx, &a);
	if (err)
		return err;
	q = calloc(1, sizeof(*q));
	if (!q)
		return slc_fail(ctx, -ENOMEM, "no memory for a queue");
	q->ctx = ctx;
	q->flags = a.flags;
	q->depth = a.depth;
	q->moves = a.moves;
	q->max_io = a.max_io;
	q->owner = pthread_self();
	err = alloc_tables(q);
	if (err)
		goto free_tables;
	err = mark_process(q);
	if (err)
		goto free_tables;
	err = alloc_bounce(q, a.node);
	if (err)
		goto unmark;
	err = open_with_engine(q, &a);
	if (err)
		goto put_bounce;
	slc_ctx_get(ctx);
	*out = q;
	return 0;

put_bounce:
	slc_region_put(q->bounce);
unmark:
	unmark_process(q);
free_tables:
	free_tables(q);
	free(q);
	return err;
}

int slc_queue_open(struct slc_ctx *ctx, const struct slc_queue_attr *attr,
		   struct slc_queue **out)
{
	int saved = errno;
	int err = open_queue(ctx, attr, out);

	errno = saved;
	return err;
}

int slc_queue_query(const struct slc_queue *q, struct slc_queue_info *info)
{
	struct slc_region_info bounce = { .size = sizeof(bounce) };
	struct slc_queue_info full = {
		.engine = q->att.ops->name,
		.reason = q->reason,
		.depth = q->depth,
		.moves = q->moves,
		.max_io = q->max_io,
		.features = q->att.caps.features,
	};

	slc_region_query(q->bounce, &bounce);
	if (bounce.pin_kind != SLC_PIN_NONE)
		full.own_bytes = bounce.len;
	if (info->size < sizeof(info->size))
		return slc_fail(q->ctx, -EINVAL,
				"slc_queue_info.size is %zu: set it to sizeof(struct slc_queue_info)",
				info->size);
	full.size = info->size;
	memcpy(info, &full,
	       info->size < sizeof(full) ? info->size : sizeof(full));
	return 0;
}

/* ---- attach and detach ---- */

int slc_queue_attach_region(struct slc_queue *q, struct slc_region *region)
{
	int err = check_owner(q, "slc_queue_attach_region");

	if (err)
		return err;
	if (!region)
		return slc_fail(q->ctx, -EINVAL, "attach: no region");
	slc_attach_region(&q->att, region);
	return 0;
}

int slc_queue_attach_file(struct slc_queue *q, struct slc_file *file)
{
	int err = check_owner(q, "slc_queue_attach_file");
	struct slc_file_att *fa;

	if (err)
		return err;
	if (!file)
		return slc_fail(q->ctx, -EINVAL, "attach: no file");
	fa = slc_attach_file(&q->att, file);
	if (fa)
		slc_attach_slot(&q->att, fa, file->dio_fd >= 0);
	return 0;
}

static int detached(struct slc_queue *q, int err, const char *what)
{
	if (err == -EBUSY)
		return slc_fail(q->ctx, err,
				"detach: a move still uses the %s: poll it first",
				what);
	if (err)
		return slc_fail(q->ctx, err,
				"detach: this queue has not met the %s", what);
	return 0;
}

int slc_queue_detach_region(struct slc_queue *q, struct slc_region *region)
{
	int err = check_owner(q, "slc_queue_detach_region");

	if (err)
		return err;
	return detached(q, slc_detach_region(&q->att, region), "region");
}

int slc_queue_detach_file(struct slc_queue *q, struct slc_file *file)
{
	int err = check_owner(q, "slc_queue_detach_file");

	if (err)
		return err;
	return detached(q, slc_detach_file(&q->att, file), "file");
}

/* ---- submit ---- */

int slc_queue_submit(struct slc_queue *q, const struct slc_move *mv, uint32_t n)
{
	int err = check_owner(q, "slc_queue_submit");
	uint32_t i;

	if (err)
		return err;
	for (i = 0; i < n; i++) {
		err = slc_accept(q, &mv[i]);
		if (err)
			break;
	}
	slc_flight_pump(q);
	return i || err == -EAGAIN ? (int)i : err;
}

/* ---- poll ---- */

static uint32_t crc_of(const struct slc_mv *mv)
{
	const struct slc_split *s = &mv->split;
	uint32_t i, crc = 0;

	for (i = 0; i < s->nruns; i++)
		crc = slc_crc32c(crc,
				 (char *)(uintptr_t)s->addr +
					 (s->write ? s->runs[i].src_off :
						     s->runs[i].dst_off),
				 s->runs[i].len);
	return crc;
}

/* The route of most of the bytes. */
static uint32_t route_of(const struct slc_queue *q, const struct slc_mv *mv)
{
	const struct slc_engine_ops *ops = mv->blocking ? &slc_sync_ops :
							  q->att.ops;
	uint64_t direct = mv->total - mv->bounced - mv->buffered;

	if (!mv->fa)
		return SLC_ROUTE_MEMCPY;
	if (!mv->total)
		return SLC_ROUTE_NONE;
	if (!mv->split.off_align)
		return ops->buffered;
	if (direct >= mv->bounced && direct >= mv->buffered)
		return ops->direct;
	return mv->bounced >= mv->buffered ? SLC_ROUTE_BOUNCE : ops->buffered;
}

static const char *reason_of(struct slc_queue *q, const struct slc_mv *mv)
{
	if (!mv->fa)
		return "";
	return slc_reason_join(q->att.reasons, q->reason, mv->why,
			       mv->fa->why_no_slot, mv->ra->why_plain);
}

/* Hands one finished move to the caller. */
static void take(struct slc_queue *q, struct slc_done *done)
{
	struct slc_mv *mv = q->done;

	q->done = mv->next;
	if (!q->done)
		q->done_last = NULL;
	q->ndone--;
	done->user_data = mv->user_data;
	done->route = route_of(q, mv);
	done->reason = reason_of(q, mv);
	/* An I/O turned to another route on its way. */
	if (!mv->err && (mv->flags & SLC_MOVE_STRICT) && mv->fa &&
	    (mv->bounced || mv->buffered || mv->blocking))
		mv->err = -ENOTSUP;
	done->result = mv->err ? mv->err : (int64_t)mv->total;
	done->fail_off = mv->err ? mv->fail_off : 0;
	done->crc = (mv->flags & SLC_MOVE_CRC) && !mv->err ? crc_of(mv) : 0;
	mv->ra->a.users--;
	if (mv->ra_src)
		mv->ra_src->a.users--;
	if (mv->fa)
		slc_attach_left_file(&q->att, mv->fa);
	mv->state = SLC_MV_FREE;
	mv->next = q->free_mv;
	q->free_mv = mv;
}

/* Ends the moves whose deadline has passed; finds the next one. */
static void expire(struct slc_queue *q, int64_t now)
{
	int64_t next = INT64_MAX;
	uint32_t i;

	for (i = 0; i < q->moves; i++) {
		struct slc_mv *mv = &q->mvs[i];

		if ((mv->state != SLC_MV_TODO && mv->state != SLC_MV_FLYING) ||
		    !mv->deadline_ns || mv->err == -ETIMEDOUT)
			continue;
		if (mv->deadline_ns <= now) {
			mv->err = 0;
			slc_flight_stop(q, mv, -ETIMEDOUT);
		} else if (mv->deadline_ns < next) {
			next = mv->deadline_ns;
		}
	}
	q->next_deadline_ns = next;
}

static int nap(int64_t ns)
{
	struct timespec ts = { .tv_sec = ns / 1000000000,
			       .tv_nsec = ns % 1000000000 };

	return nanosleep(&ts, NULL) ? -EINTR : 0;
}

static int land(struct slc_queue *q, const struct slc_engine_ops *ops,
		void *state, uint32_t min, int64_t timeout_ns)
{
	int i, n = ops->wait(state, q->landed, q->depth, min, timeout_ns);

	for (i = 0; i < n; i++)
		slc_flight_landed(q, q->landed[i].io, q->landed[i].res);
	return n;
}

/*
 * Waits once for I/Os that `want` moves need. `end` is absolute, or
 * SLC_FOREVER; want 0 does not wait. 0, -EINTR, -ETIME, -errno.
 */
static int wait_once(struct slc_queue *q, uint32_t want, int64_t end)
{
	bool timed = want && (end != SLC_FOREVER || q->armed || q->again);
	int64_t now = 0, until = INT64_MAX, left = want ? SLC_FOREVER : 0;
	int n;

	if (timed || (q->armed && !want)) {
		now = slc_now_ns();
		if (q->armed && q->next_deadline_ns <= now) {
			expire(q, now);
			return 0;
		}
	}
	if (timed) {
		if (end != SLC_FOREVER)
			until = end;
		if (q->armed && q->next_deadline_ns < until)
			until = q->next_deadline_ns;
		if (q->again && slc_flight_next_try(q) < until)
			until = slc_flight_next_try(q);
		left = until > now ? until - now : 0;
	}
	if (q->nblocking) {
		n = land(q, &slc_sync_ops, q->sync_state, 1, 0);
		left = 0;
	} else if (!q->flying && !q->unsent) {
		return left > 0 ? nap(left) : 0;
	}
	/* While moves queue up for room, room is worth more than a batch. */
	if (q->todo && want > q->flying / 4)
		want = q->flying / 4 ? q->flying / 4 : 1;
	q->unsent = 0;
	n = land(q, q->att.ops, q->att.state, want, left);
	return n < 0 ? n : 0;
}

int slc_queue_poll(struct slc_queue *q, struct slc_done *done, uint32_t max,
		   uint32_t min, int64_t timeout_ns)
{
	int64_t end = timeout_ns < 0 ? SLC_FOREVER : 0;
	int err = check_owner(q, "slc_queue_poll");
	bool looked = false;
	uint32_t n;

	if (err)
		return err;
	if (min > max)
		min = max;
	if (timeout_ns > 0 &&
	    __builtin_add_overflow(slc_now_ns(), timeout_ns, &end))
		end = SLC_FOREVER;
	for (;; looked = true) {
		uint32_t want = min > q->ndone && timeout_ns ?
					min - q->ndone :
					0;

		slc_flight_pump(q);
		if (!q->live || (looked && !want))
			break;
		if (q->ndone >= min)
			want = 0;
		err = wait_once(q, want, end);
		if (err < 0)
			break;
		if (want && end != SLC_FOREVER && slc_now_ns() >= end)
			timeout_ns = 0; /* out, with what is there */
	}
	/* What the last landings made room for should not wait for the caller. */
	if (q->unsent && 2 * q->unsent >= q->flying && q->att.caps.async) {
		q->unsent = 0;
		land(q, q->att.ops, q->att.state, 0, 0);
	}
	for (n = 0; n < max && q->done; n++)
		take(q, &done[n]);
	if (!n && err < 0)
		return slc_fail(q->ctx, err, "slc_queue_poll: %s%s",
				strerror(-err),
				err != -EINTR && q->att.ops == &slc_uring_ops ?
					" (SLC_ENGINE=sync does without io_uring)" : "");
	return (int)n;
}

/* ---- cancel and close ---- */

int slc_queue_cancel(struct slc_queue *q, uint64_t user_data)
{
	int err = check_owner(q, "slc_queue_cancel"), n = 0;
	uint32_t i;

	if (err)
		return err;
	for (i = 0; i < q->moves; i++) {
		struct slc_mv *mv = &q->mvs[i];

		if (mv->user_data != user_data ||
		    (mv->state != SLC_MV_TODO && mv->state != SLC_MV_FLYING))
			continue;
		slc_flight_stop(q, mv, -ECANCELED);
		n++;
	}
	return n;
}

/* Until no I/O is on its way. */
static void settle(struct slc_queue *q)
{
	uint32_t i;
	int err = 0;

	q->closing = true;
	for (i = 0; i < q->moves; i++)
		if (q->mvs[i].state == SLC_MV_TODO ||
		    q->mvs[i].state == SLC_MV_FLYING)
			slc_flight_stop(q, &q->mvs[i], -ECANCELED);
	while ((q->flying || q->nblocking) && (!err || err == -EINTR))
		err = wait_once(q, 1, SLC_FOREVER);
}

void slc_queue_close(struct slc_queue *q)
{
	int saved = errno;
	bool forked;

	if (!q)
		return;
	forked = in_child(q);
	if (!forked)
		settle(q);
	slc_attach_fini(&q->att, forked);
	slc_sync_ops.close(q->sync_state);
	q->att.ops->close(q->att.state);
	slc_region_put(q->bounce);
	unmark_process(q);
	free_tables(q);
	slc_ctx_close(q->ctx);
	free(q);
	errno = saved;
}

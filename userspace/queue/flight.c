/* SPDX-License-Identifier: MIT */
/* Moves in flight: their I/Os, and what becomes of each. */
#include "queue/queue.h"

#include "base/clock.h"
#include "base/ctx.h"

#include <errno.h>
#include <string.h>

/* -EAGAIN and -EINTR in a row: at once, then after a growing pause. */
#define TRIES_AT_ONCE 3
#define TRIES_MAX 64 /* about 3 s */
#define PAUSE_NS 1000000ll	/* doubled up to */
#define PAUSE_MAX_NS 50000000ll

/* ---- the bounce area: a bitmap of units, a run never crosses a word ---- */

static bool bounce_get(struct slc_queue *q, struct slc_io *io, uint32_t len)
{
	uint32_t n = (len + SLC_BOUNCE_UNIT - 1) / SLC_BOUNCE_UNIT, w, i;

	for (w = 0; w < SLC_BOUNCE_UNITS / 64; w++) {
		uint64_t row = q->bounce_free[w];

		for (i = 1; i < n; i++)
			row &= q->bounce_free[w] >> i;
		if (!row)
			continue;
		i = (uint32_t)__builtin_ctzll(row);
		q->bounce_free[w] &= ~(((1ull << n) - 1) << i);
		io->unit = (uint8_t)(w * 64 + i);
		io->nunits = (uint8_t)n;
		return true;
	}
	return false;
}

static void bounce_put(struct slc_queue *q, struct slc_io *io)
{
	q->bounce_free[io->unit / 64] |= ((1ull << io->nunits) - 1)
					 << (io->unit % 64);
}

/* ---- the end of a move ---- */

static void leave_todo(struct slc_queue *q, struct slc_mv *mv)
{
	if (mv->state != SLC_MV_TODO)
		return;
	if (mv->prev)
		mv->prev->next = mv->next;
	else
		q->todo = mv->next;
	if (mv->next)
		mv->next->prev = mv->prev;
	else
		q->todo_last = mv->prev;
	mv->state = SLC_MV_FLYING;
}

/* The sentence of a move that failed. */
static void tell(struct slc_queue *q, const struct slc_mv *mv)
{
	const char *path = mv->fa->file->path;
	unsigned long long off = mv->fail_off;

	if (mv->err == -ENODATA)
		slc_fail(q->ctx, mv->err,
			 "%s: ends at offset %llu, before the bytes that were asked: truncated or replaced?",
			 path, off);
	else
		slc_fail(q->ctx, mv->err, "%s: offset %llu: %s", path, off,
			 strerror(-mv->err));
}

/* Nothing of it is in flight or to be started any more. */
static void finish(struct slc_queue *q, struct slc_mv *mv)
{
	leave_todo(q, mv);
	if (mv->err && mv->fa && !q->closing)
		tell(q, mv);
	if (mv->dio_write)
		mv->fa->dio_writes--;
	if (mv->deadline_ns)
		q->armed--;
	q->live--;
	mv->state = SLC_MV_DONE;
	mv->next = NULL;
	if (q->done_last)
		q->done_last->next = mv;
	else
		q->done = mv;
	q->done_last = mv;
	q->ndone++;
}

static void finish_if_landed(struct slc_queue *q, struct slc_mv *mv)
{
	if (mv->state == SLC_MV_FLYING && !mv->pending)
		finish(q, mv);
}

/*
 * The move fails at that offset of the file; what is in flight lands first.
 * Of several failures the one at the lowest offset is told.
 */
static void fail(struct slc_queue *q, struct slc_mv *mv, int err, uint64_t off)
{
	if (!mv->err || (mv->err != -ETIMEDOUT && mv->err != -ECANCELED &&
			 off < mv->fail_off)) {
		mv->err = err;
		mv->fail_off = off;
	}
	leave_todo(q, mv);
}

static void free_io(struct slc_queue *q, struct slc_io *io)
{
	if (io->bounced)
		bounce_put(q, io);
	io->mv->pending--;
	io->next = q->free_io;
	q->free_io = io;
}

/* ---- starting ---- */

static const char no_polling[] = "this device has no queues that can be polled";

/* One more reason, once. */
static void add_why(struct slc_queue *q, struct slc_mv *mv, const char *why)
{
	if (!strstr(mv->why, why))
		mv->why = slc_reason_join(q->att.reasons, mv->why, why, "", "");
}

static void set_target(struct slc_queue *q, struct slc_io *io)
{
	struct slc_mv *mv = io->mv;
	struct slc_region_att *ra = io->bounced ? q->bounce_att : mv->ra;

	io->fd = io->direct ? mv->fa->file->dio_fd : mv->fa->file->fd;
	io->file_slot = slc_attach_slot(&q->att, mv->fa, io->direct);
	io->buf_slot = slc_attach_buffer(ra, io->addr, io->len);
	io->buf_zero = io->buf_slot < 0 ? 0 : slc_attach_zero(ra, io->addr);
	if (!(q->att.caps.features & SLC_QUEUE_HAS_IOPOLL))
		return;
	/* A device that is polled knows no page cache. */
	if (!io->direct)
		io->blocking = true;
	if (mv->fa->poll_refused) {
		io->blocking = true;
		add_why(q, mv, no_polling);
	}
}

static void start(struct slc_queue *q, struct slc_io *io)
{
	int err;

	io->cancelled = false;
	if (io->blocking) {
		io->mv->blocking = true;
		io->flying = true;
		q->nblocking++;
		slc_sync_ops.start(q->sync_state, io);
		return;
	}
	err = q->att.ops->start(q->att.state, io);
	if (!err) {
		io->flying = true;
		q->flying++;
		q->unsent++;
		return;
	}
	/* Full: it waits its turn with those that try again. */
	io->not_before_ns = 0;
	io->next = q->again;
	q->again = io;
}

static void fill_io(struct slc_queue *q, struct slc_io *io, struct slc_mv *mv,
		    const struct slc_cut *p)
{
	io->off = p->off;
	io->len = p->len;
	io->have = 0;
	io->head = p->head;
	io->need = p->need;
	io->write = mv->kind == SLC_MV_WRITE;
	io->direct = p->kind != SLC_CUT_BUFFERED;
	io->blocking = false;
	io->tries = 0;
	io->mv = mv;
	io->bounced = p->kind == SLC_CUT_BOUNCE;
	if (io->bounced) {
		io->addr = q->bounce_att->addr +
			   (uint64_t)io->unit * SLC_BOUNCE_UNIT;
		io->user = (char *)(uintptr_t)p->addr;
	} else {
		io->addr = (char *)(uintptr_t)p->addr;
	}
	set_target(q, io);
}

/* Why a piece that could have been in place is not. */
static void note_bounce(struct slc_mv *mv, const struct slc_cut *p)
{
	if (!mv->why[0])
		mv->why = (p->addr - p->head) & (mv->split.mem_align - 1) ?
				  mv->fa->why_phase :
				  mv->fa->why_edge;
}

static bool is_best(const struct slc_queue *q, const struct slc_cut *p)
{
	return p->kind == SLC_CUT_DIRECT &&
	       q->att.ops->direct == SLC_ROUTE_URING_DIRECT;
}

/* Starts the next I/O of a move. False: it has to wait. */
static bool start_one(struct slc_queue *q, struct slc_mv *mv)
{
	struct slc_cut p;
	struct slc_io *io;

	if (!slc_split_next(&mv->split, &p)) {
		leave_todo(q, mv);
		finish_if_landed(q, mv);
		return true;
	}
	if (p.kind == SLC_CUT_BOUNCE)
		note_bounce(mv, &p);
	if ((mv->flags & SLC_MOVE_STRICT) && !is_best(q, &p)) {
		fail(q, mv, -ENOTSUP, p.off + p.head);
		finish_if_landed(q, mv);
		return true;
	}
	/* See struct slc_file.wrote_buffered. */
	if (p.kind == SLC_CUT_BUFFERED && mv->kind == SLC_MV_WRITE &&
	    mv->fa->dio_writes)
		return false;
	io = q->free_io;
	if (!io || (p.kind == SLC_CUT_BOUNCE && !bounce_get(q, io, p.len)))
		return false;
	q->free_io = io->next;
	if (p.kind == SLC_CUT_BOUNCE)
		mv->bounced += p.need - p.head;
	else if (p.kind == SLC_CUT_BUFFERED)
		mv->buffered += p.need;
	fill_io(q, io, mv, &p);
	mv->pending++;
	slc_split_take(&mv->split, &p);
	start(q, io);
	if (slc_split_done(&mv->split))
		leave_todo(q, mv);
	return true;
}

static void copy(struct slc_queue *q, struct slc_mv *mv)
{
	const struct slc_run *r = mv->split.runs;
	uint32_t i;

	/* A run may overlap itself, within one region. */
	for (i = 0; i < mv->split.nruns; i++)
		memmove((char *)(uintptr_t)mv->split.addr + r[i].dst_off,
			mv->copy_src + r[i].src_off, r[i].len);
	finish(q, mv);
}

static void start_again(struct slc_queue *q)
{
	struct slc_io *io, *list = q->again;
	int64_t now = slc_now_ns();

	q->again = NULL;
	while ((io = list)) {
		list = io->next;
		if (io->not_before_ns > now) {
			io->next = q->again;
			q->again = io;
		} else {
			start(q, io);
		}
	}
}

void slc_flight_pump(struct slc_queue *q)
{
	struct slc_mv *mv;

	if (q->again)
		start_again(q);
	while ((mv = q->todo)) {
		if (mv->kind == SLC_MV_COPY)
			copy(q, mv);
		else if (!start_one(q, mv))
			return;
	}
}

int64_t slc_flight_next_try(const struct slc_queue *q)
{
	int64_t first = INT64_MAX;
	const struct slc_io *io;

	for (io = q->again; io; io = io->next)
		if (io->not_before_ns < first)
			first = io->not_before_ns;
	return first;
}

/* ---- landing ---- */

static void try_later(struct slc_queue *q, struct slc_io *io)
{
	int64_t pause = PAUSE_NS;
	uint32_t n = io->tries++;

	if (n < TRIES_AT_ONCE) {
		start(q, io);
		return;
	}
	n -= TRIES_AT_ONCE;
	pause = n < 6 ? pause << n : PAUSE_MAX_NS;
	io->not_before_ns =
		slc_now_ns() + (pause < PAUSE_MAX_NS ? pause : PAUSE_MAX_NS);
	io->next = q->again;
	q->again = io;
}

/* From here on through the page cache, which takes any alignment. */
static void go_buffered(struct slc_queue *q, struct slc_io *io,
			const char *why)
{
	struct slc_mv *mv = io->mv;

	add_why(q, mv, why);
	mv->buffered += io->need - io->head;
	if (io->bounced)
		mv->bounced -= io->need - io->head;
	if (io->write)
		atomic_store_explicit(&mv->fa->file->wrote_buffered, true,
				      memory_order_relaxed);
	io->direct = false;
	io->tries = 0;
	set_target(q, io);
	start(q, io);
}

static void end_of_file(struct slc_queue *q, struct slc_io *io)
{
	uint64_t at = io->off + io->have;
	int64_t end = slc_file_end(io->mv->fa->file);

	/* Asked beyond the end, the kernel does not say where it is. */
	if (end >= 0 && (uint64_t)end < at)
		at = (uint64_t)end;
	fail(q, io->mv, -ENODATA, at);
}

static void failed(struct slc_queue *q, struct slc_io *io, int32_t res)
{
	struct slc_mv *mv = io->mv;
	struct slc_file_att *fa = mv->fa;

	if ((res == -EAGAIN || res == -EINTR) && io->tries < TRIES_MAX) {
		try_later(q, io);
		return;
	}
	if (res == -EINVAL && io->direct) {
		fa->dio_refused = true;
		fa->why_buffered = slc_reason(
			q->att.reasons,
			"O_DIRECT failed on the way with EINVAL: page cache");
		if (!(mv->flags & SLC_MOVE_STRICT)) {
			go_buffered(q, io, fa->why_buffered);
			return;
		}
		mv->why = fa->why_buffered;
		res = -ENOTSUP;
	}
	if (res == -EOPNOTSUPP && !io->blocking &&
	    (q->att.caps.features & SLC_QUEUE_HAS_IOPOLL) &&
	    !(mv->flags & SLC_MOVE_STRICT)) {
		io->blocking = true;
		fa->poll_refused = true;
		add_why(q, mv, no_polling);
		start(q, io);
		return;
	}
	fail(q, mv, res, io->off + io->have);
	free_io(q, io);
}

/* Short of what is needed: go on from there. */
static void go_on(struct slc_queue *q, struct slc_io *io)
{
	const struct slc_file *file = io->mv->fa->file;

	io->tries = 0;
	if (io->direct &&
	    (((io->off + io->have) & (file->off_align - 1)) ||
	     ((uintptr_t)(io->addr + io->have) & (file->mem_align - 1)))) {
		/* Most likely the file ends here, and that shows exactly. */
		go_buffered(q, io,
			    slc_reason(q->att.reasons,
				       "O_DIRECT stopped short of a block: the rest through the page cache"));
		return;
	}
	start(q, io);
}

/* The move has failed already: this may be at a lower offset. */
static void also_failed(struct slc_queue *q, struct slc_io *io, int32_t res)
{
	if (!res && !io->write)
		end_of_file(q, io);
	else if (res < 0 && res != -EAGAIN && res != -EINTR &&
		 res != -ECANCELED)
		fail(q, io->mv, res, io->off + io->have);
}

static void landed_whole(struct slc_queue *q, struct slc_io *io)
{
	if (io->bounced)
		memcpy(io->user, io->addr + io->head, io->need - io->head);
	free_io(q, io);
}

void slc_flight_landed(struct slc_queue *q, struct slc_io *io, int32_t res)
{
	struct slc_mv *mv = io->mv;

	if (!io->flying) {
		slc_log(q->ctx, SLC_LOG_ERROR,
			"an I/O completed twice: the second is ignored");
		return;
	}
	io->flying = false;
	if (io->blocking)
		q->nblocking--;
	else
		q->flying--;
	if (res > 0 && (uint32_t)res <= io->len - io->have &&
	    io->have + (uint32_t)res >= io->need) {
		landed_whole(q, io);
	} else if (mv->err) {
		also_failed(q, io, res);
		free_io(q, io);
	} else if (mv->asked) {
		fail(q, mv, -ECANCELED, io->off + io->have);
		free_io(q, io);
	} else if (res < 0) {
		failed(q, io, res);
	} else if ((uint32_t)res > io->len - io->have || (!res && io->write)) {
		fail(q, mv, -EIO, io->off + io->have);
		free_io(q, io);
	} else if (!res) {
		end_of_file(q, io);
		free_io(q, io);
	} else {
		io->have += (uint32_t)res;
		go_on(q, io);
	}
	finish_if_landed(q, mv);
}

static void forget_tries(struct slc_queue *q, struct slc_mv *mv)
{
	struct slc_io **link = &q->again;

	while (*link) {
		struct slc_io *io = *link;

		if (io->mv != mv) {
			link = &io->next;
			continue;
		}
		*link = io->next;
		free_io(q, io);
	}
}

void slc_flight_stop(struct slc_queue *q, struct slc_mv *mv, int err)
{
	uint32_t i, waiting = mv->pending;

	forget_tries(q, mv);
	/* All of it is on the way: a cancelled move may still come true. */
	if (err == -ECANCELED && mv->state == SLC_MV_FLYING && !mv->err &&
	    waiting == mv->pending)
		mv->asked = true;
	else
		fail(q, mv, err, mv->fa ? mv->split.file_off : 0);
	for (i = 0; i < q->depth && mv->pending; i++) {
		struct slc_io *io = &q->ios[i];

		if (!io->flying || io->mv != mv)
			continue;
		io->cancelled = true;
		if (io->blocking) {
			slc_sync_ops.cancel(q->sync_state, io);
		} else if (q->att.ops->cancel) {
			q->att.ops->cancel(q->att.state, io);
			q->unsent++;
		}
	}
	finish_if_landed(q, mv);
}

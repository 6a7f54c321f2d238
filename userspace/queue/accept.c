/* SPDX-License-Identifier: MIT */
/* What a move must be to be accepted, and how it will be cut. */
#include "queue/queue.h"

#include "base/checked.h"
#include "base/ctx.h"

#include <errno.h>

#define MOVE_FLAGS (SLC_MOVE_CRC | SLC_MOVE_SUPERSET | SLC_MOVE_STRICT)
#define PAGE 4096u

/* What a walk over the runs found. */
struct survey {
	uint64_t total;
	bool ascending; /* in memory, without overlap */
	uint64_t misfit; /* low bits of any offset or length in the file */
	uint64_t mem_misfit; /* low bits of any address */
};

static int wrong(struct slc_queue *q, const char *what)
{
	return slc_fail(q->ctx, -EINVAL, "slc_queue_submit: %s", what);
}

/* Every run within [off, off + size) of its place; off and size are good. */
static bool run_fits(uint64_t base, uint64_t off, uint64_t len, uint64_t size,
		     uint64_t *at)
{
	return slc_add(base, off, at) && slc_within(*at, len, size);
}

static int look_over(struct slc_queue *q, const struct slc_move *move,
		     const struct slc_mv *mv, struct survey *v)
{
	bool write = mv->kind == SLC_MV_WRITE;
	uint64_t src_size = mv->kind == SLC_MV_READ ? INT64_MAX :
			    mv->kind == SLC_MV_COPY ? mv->ra_src->len :
						      mv->ra->len;
	uint64_t dst_size = write ? INT64_MAX : mv->ra->len;
	uint64_t src, dst, mem, file, prev = 0;
	uint32_t i;

	v->total = v->misfit = v->mem_misfit = 0;
	v->ascending = true;
	for (i = 0; i < mv->split.nruns; i++) {
		const struct slc_run *r = &mv->split.runs[i];

		if (!run_fits(move->src.off, r->src_off, r->len, src_size,
			      &src))
			return slc_fail(q->ctx, -EINVAL,
					"slc_queue_submit: run %u reads %llu bytes at %llu, past the end of its source (%llu)",
					i, (unsigned long long)r->len,
					(unsigned long long)src,
					(unsigned long long)src_size);
		if (!run_fits(move->dst.off, r->dst_off, r->len, dst_size,
			      &dst))
			return slc_fail(q->ctx, -EINVAL,
					"slc_queue_submit: run %u writes %llu bytes at %llu, past the end of its destination (%llu)",
					i, (unsigned long long)r->len,
					(unsigned long long)dst,
					(unsigned long long)dst_size);
		if (!slc_add(v->total, r->len, &v->total) ||
		    v->total > INT64_MAX)
			return wrong(q, "the lengths of the runs overflow");
		if (!r->len)
			continue;
		mem = write ? src : dst;
		file = write ? dst : src;
		v->misfit |= file | r->len;
		v->mem_misfit |= mem; /* regions begin on a page */
		if (mem < prev)
			v->ascending = false;
		prev = mem + r->len;
	}
	return 0;
}

static int kind_of(struct slc_queue *q, const struct slc_move *move)
{
	uint32_t src = move->src.kind, dst = move->dst.kind;

	if (move->flags & ~MOVE_FLAGS)
		return wrong(q, "unknown bits in slc_move.flags");
	if (move->nruns && !move->runs)
		return wrong(q, "nruns without runs");
	if ((src != SLC_PLACE_FILE && src != SLC_PLACE_REGION) ||
	    (dst != SLC_PLACE_FILE && dst != SLC_PLACE_REGION))
		return wrong(q, "a place is neither a file nor a region");
	if (!(src == SLC_PLACE_FILE ? (void *)move->src.file :
				      (void *)move->src.region) ||
	    !(dst == SLC_PLACE_FILE ? (void *)move->dst.file :
				      (void *)move->dst.region))
		return wrong(q, "a place has no file or region");
	if (src == SLC_PLACE_FILE && dst == SLC_PLACE_FILE)
		return wrong(q, "file to file: move through a region");
	if (src == SLC_PLACE_FILE && !(move->src.file->flags & SLC_FILE_READ))
		return wrong(q, "the source was not opened with SLC_FILE_READ");
	if (dst == SLC_PLACE_FILE && !(move->dst.file->flags & SLC_FILE_WRITE))
		return wrong(q,
			     "the destination was not opened with SLC_FILE_WRITE");
	return src == SLC_PLACE_FILE ? SLC_MV_READ :
	       dst == SLC_PLACE_FILE ? SLC_MV_WRITE : SLC_MV_COPY;
}

/* Whether the move goes around the page cache; mv->why says why not. */
static bool goes_direct(struct slc_queue *q, struct slc_mv *mv,
			const struct survey *v)
{
	struct slc_file_att *fa = mv->fa;
	const struct slc_file *file = fa->file;
	uint32_t align;

	if (file->dio_fd < 0 || fa->dio_refused) {
		mv->why = fa->why_buffered;
		return false;
	}
	if (mv->kind == SLC_MV_READ)
		return true;
	if (atomic_load_explicit(&file->wrote_buffered,
				 memory_order_relaxed)) {
		mv->why = slc_reason(q->att.reasons,
				     "page cache: an earlier write to this file went through it");
		return false;
	}
	/* By whole pages: a direct write next to a dirty page's bytes within
	 * one page would race with its writeback. */
	align = file->off_align > PAGE ? file->off_align : PAGE;
	if ((v->misfit & (align - 1)) || (v->mem_misfit & (file->mem_align - 1))) {
		mv->why = slc_reason(q->att.reasons,
				     "page cache: a write whose offset, length or address is not a multiple of %u",
				     align);
		return false;
	}
	return true;
}

static void plan(struct slc_queue *q, struct slc_mv *mv, const struct survey *v)
{
	struct slc_file *file = mv->fa->file;
	struct slc_split *s = &mv->split;

	s->low = (uint64_t)(uintptr_t)mv->ra->addr;
	s->high = s->low + mv->ra->len;
	s->write = mv->kind == SLC_MV_WRITE;
	s->max_io = q->max_io;
	s->max_bounce = q->max_io < SLC_BOUNCE_MAX ? q->max_io : SLC_BOUNCE_MAX;
	s->superset = (mv->flags & SLC_MOVE_SUPERSET) && v->ascending;
	s->off_align = s->mem_align = 0;
	if (goes_direct(q, mv, v)) {
		s->off_align = file->off_align;
		s->mem_align = file->mem_align;
		if (s->write) {
			mv->fa->dio_writes++;
			mv->dio_write = true;
		}
	} else if (s->write) {
		atomic_store_explicit(&file->wrote_buffered, true,
				      memory_order_relaxed);
	}
}

/* Finds the places' attachments; -EAGAIN when their tables are in use. */
static int meet(struct slc_queue *q, const struct slc_move *move,
		struct slc_mv *mv)
{
	const struct slc_place *file = &move->src, *mem = &move->dst;

	mv->fa = NULL;
	mv->ra_src = NULL;
	if (mv->kind == SLC_MV_WRITE) {
		file = &move->dst;
		mem = &move->src;
	}
	mv->ra = slc_attach_region(&q->att, mem->region);
	if (!mv->ra)
		return -EAGAIN;
	/* Held from here on, so that meeting the other cannot evict it. */
	mv->ra->a.users++;
	if (mv->kind == SLC_MV_COPY) {
		mv->ra_src = slc_attach_region(&q->att, move->src.region);
		if (!mv->ra_src) {
			mv->ra->a.users--;
			return -EAGAIN;
		}
		mv->ra_src->a.users++;
	} else {
		mv->fa = slc_attach_file(&q->att, file->file);
		if (!mv->fa) {
			mv->ra->a.users--;
			return -EAGAIN;
		}
		mv->fa->a.users++;
		mv->split.file_off = file->off;
	}
	mv->split.addr = (uint64_t)(uintptr_t)mv->ra->addr + mem->off;
	return 0;
}

static void part(struct slc_queue *q, struct slc_mv *mv)
{
	mv->ra->a.users--;
	if (mv->ra_src)
		mv->ra_src->a.users--;
	if (mv->fa)
		slc_attach_left_file(&q->att, mv->fa);
}

static void enlist(struct slc_queue *q, struct slc_mv *mv)
{
	q->free_mv = mv->next;
	mv->state = SLC_MV_TODO;
	mv->next = NULL;
	mv->prev = q->todo_last;
	if (q->todo_last)
		q->todo_last->next = mv;
	else
		q->todo = mv;
	q->todo_last = mv;
	q->live++;
	if (mv->deadline_ns) {
		if (!q->armed++ || mv->deadline_ns < q->next_deadline_ns)
			q->next_deadline_ns = mv->deadline_ns;
	}
}

int slc_accept(struct slc_queue *q, const struct slc_move *move)
{
	struct slc_mv *mv = q->free_mv;
	struct survey v;
	int kind, err;

	if (!mv)
		return -EAGAIN;
	kind = kind_of(q, move);
	if (kind < 0)
		return kind;
	mv->kind = (uint8_t)kind;
	mv->one = (struct slc_run){ .len = move->len };
	mv->split.runs = move->nruns ? move->runs : &mv->one;
	mv->split.nruns = move->nruns ? move->nruns : 1;
	mv->split.run = 0;
	mv->split.pos = 0;
	err = meet(q, move, mv);
	if (err)
		return err;
	err = look_over(q, move, mv, &v);
	if (err) {
		part(q, mv);
		return err;
	}
	if (mv->ra_src)
		mv->copy_src = mv->ra_src->addr + move->src.off;
	mv->user_data = move->user_data;
	mv->flags = move->flags;
	mv->deadline_ns = move->deadline_ns;
	mv->total = v.total;
	mv->bounced = mv->buffered = mv->fail_off = 0;
	mv->why = "";
	mv->pending = 0;
	mv->err = 0;
	mv->asked = mv->blocking = mv->dio_write = false;
	if (mv->fa)
		plan(q, mv, &v);
	else
		mv->split.write = false;
	enlist(q, mv);
	return 0;
}

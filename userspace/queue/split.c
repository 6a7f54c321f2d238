/* SPDX-License-Identifier: MIT */
#include "queue/split.h"

#include "base/checked.h"

/* Unaligned reads up to this are one I/O by a bounce buffer, not three. */
#define SMALL (16u << 10)

/* Bytes that touch in the file and in memory, from the cursor on. */
struct extent {
	uint64_t off, addr, len;
	uint32_t last;	/* the run that the last byte is in */
	bool to_end;	/* reaches the end of that run, and no further */
};

static uint64_t run_off(const struct slc_split *s, uint32_t i)
{
	return s->file_off +
	       (s->write ? s->runs[i].dst_off : s->runs[i].src_off);
}

static uint64_t run_addr(const struct slc_split *s, uint32_t i)
{
	return s->addr + (s->write ? s->runs[i].src_off : s->runs[i].dst_off);
}

/* Coalesces the runs from the cursor on, up to max_io bytes. */
static void find_extent(const struct slc_split *s, struct extent *x)
{
	uint32_t i = s->run;

	x->off = run_off(s, i) + s->pos;
	x->addr = run_addr(s, i) + s->pos;
	x->len = s->runs[i].len - s->pos;
	x->last = i;
	while (x->len < s->max_io && ++i < s->nruns) {
		if (!s->runs[i].len)
			continue;
		if (run_off(s, i) != x->off + x->len ||
		    run_addr(s, i) != x->addr + x->len)
			break;
		x->len += s->runs[i].len;
		x->last = i;
	}
	x->to_end = x->len <= s->max_io;
	if (!x->to_end)
		x->len = s->max_io;
}

/* The lowest address that may be overwritten before the extent. */
static uint64_t room_before(const struct slc_split *s, const struct extent *x)
{
	uint32_t i = s->run;

	if (s->pos)
		return x->addr;
	while (i--)
		if (s->runs[i].len)
			return run_addr(s, i) + s->runs[i].len;
	return s->low;
}

/* The address up to which the bytes after the extent may be overwritten. */
static uint64_t room_after(const struct slc_split *s, const struct extent *x)
{
	uint32_t i;

	for (i = x->last + 1; i < s->nruns; i++)
		if (s->runs[i].len)
			return run_addr(s, i);
	return s->high;
}

static void bounce(const struct slc_split *s, const struct extent *x,
		   uint32_t head, uint64_t n, struct slc_cut *p)
{
	if (n > s->max_bounce - head)
		n = s->max_bounce - head;
	p->kind = SLC_CUT_BOUNCE;
	p->off = x->off - head;
	p->addr = x->addr;
	p->head = head;
	p->need = head + (uint32_t)n;
	p->len = (p->need + s->off_align - 1) & ~(s->off_align - 1);
}

static void in_place(const struct extent *x, uint32_t head, uint32_t need,
		     uint32_t len, struct slc_cut *p)
{
	p->kind = SLC_CUT_DIRECT;
	p->off = x->off - head;
	p->addr = x->addr - head;
	p->head = head;
	p->need = need;
	p->len = len;
}

static void direct(const struct slc_split *s, const struct extent *x,
		   struct slc_cut *p)
{
	uint32_t head = (uint32_t)x->off & (s->off_align - 1);
	uint32_t tail, total, up;
	uint64_t room;

	if ((x->addr - head) & (s->mem_align - 1)) {
		bounce(s, x, head, x->len, p);
		return;
	}
	if (head && !(s->superset && x->addr - head >= room_before(s, x))) {
		bounce(s, x, head,
		       x->len + head <= SMALL ? x->len : s->off_align - head,
		       p);
		return;
	}
	/* What is cut off here begins aligned, so it needs no head. */
	total = x->len > s->max_io - head ? s->max_io :
					    head + (uint32_t)x->len;
	tail = total & (s->off_align - 1);
	if (!tail) {
		in_place(x, head, total, total, p);
		return;
	}
	up = total - tail + s->off_align;
	if (s->superset && x->to_end) {
		room = room_after(s, x);
		if (room >= x->addr && up - head <= room - x->addr) {
			in_place(x, head, total, up, p);
			return;
		}
	}
	if (total <= SMALL)
		bounce(s, x, head, x->len, p);
	else
		in_place(x, head, total - tail, total - tail, p);
}

bool slc_split_done(struct slc_split *s)
{
	while (s->run < s->nruns && s->pos == s->runs[s->run].len) {
		s->run++;
		s->pos = 0;
	}
	return s->run == s->nruns;
}

bool slc_split_next(struct slc_split *s, struct slc_cut *p)
{
	struct extent x;

	if (slc_split_done(s))
		return false;
	find_extent(s, &x);
	if (s->off_align) {
		direct(s, &x, p);
		return true;
	}
	p->kind = SLC_CUT_BUFFERED;
	p->off = x.off;
	p->addr = x.addr;
	p->head = 0;
	p->need = p->len = (uint32_t)x.len;
	return true;
}

void slc_split_take(struct slc_split *s, const struct slc_cut *p)
{
	uint64_t n = p->need - p->head;

	while (n) {
		uint64_t left = s->runs[s->run].len - s->pos;

		if (n < left) {
			s->pos += n;
			return;
		}
		n -= left;
		s->run++;
		s->pos = 0;
	}
}

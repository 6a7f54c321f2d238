/* SPDX-License-Identifier: MIT */
/* Makes every page of a mapping present, with several threads. */
#include "mem/touch.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/mman.h>

#include "base/crew.h"
#include "mem/pages.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif

/*
 * A chunk is what a thread takes at a time: large enough that taking is free,
 * small enough that the threads end together. Below SOLO bytes starting a
 * thread costs more than it brings.
 */
#define CHUNK (16ull << 20)
#define SOLO (8ull << 20)

struct work {
	const struct slc_touch *t;
	atomic_int err;
};

static int advise(void *addr, uint64_t len, int what)
{
	int err;

	do
		err = madvise(addr, len, what) ? -errno : 0;
	while (err == -EINTR);
	return err;
}

static void fault_in(const struct slc_touch *t, uint64_t off, uint64_t len)
{
	/* The memory is new: it is zero, and nobody else has it yet. */
	volatile unsigned char *p = t->addr;

	for (uint64_t i = off; i < off + len; i += t->base_page)
		p[i] = 0;
}

/*
 * One base page in each 2 MiB, which is what a collapse starts from; then one
 * call for all, as each call makes every CPU drain its lists of new pages.
 * What it refuses gets base pages afterwards, and is counted by the caller.
 */
static void collapse(const struct slc_touch *t, uint64_t off, uint64_t len)
{
	len -= len % SLC_2M;
	for (uint64_t i = off; i < off + len; i += SLC_2M)
		if (advise(t->addr + i, t->base_page, MADV_POPULATE_WRITE))
			return;
	if (len)
		advise(t->addr + off, len, MADV_COLLAPSE);
}

static int touch_chunk(const struct slc_touch *t, uint64_t off, uint64_t len)
{
	int err;

	if (t->collapse)
		collapse(t, off, len);
	err = advise(t->addr + off, len, MADV_POPULATE_WRITE);
	if (err != -EINVAL)
		return err;
	if (!t->may_fault)
		return -EOPNOTSUPP;
	fault_in(t, off, len);
	return 0;
}

static int touch_nth(void *user, uint64_t i)
{
	struct work *w = user;
	uint64_t off = i * CHUNK, left = w->t->len - off;
	int err = touch_chunk(w->t, off, left < CHUNK ? left : CHUNK);

	/* Whichever failure is last will do. */
	if (err)
		atomic_store_explicit(&w->err, err, memory_order_relaxed);
	return err;
}

int slc_touch(const struct slc_touch *t, unsigned int *used)
{
	uint64_t chunks = (t->len + CHUNK - 1) / CHUNK;
	bool bound = slc_bits_count(t->cpus);
	struct work w = { .t = t };

	atomic_init(&w.err, 0);
	*used = 0;
	/* Threads of their own: the caller's affinity is never changed. */
	if (t->len >= SOLO)
		*used = slc_crew(t->threads,
				 bound ? (const cpu_set_t *)t->cpus->w : NULL,
				 sizeof(t->cpus->w), chunks, touch_nth, &w);
	if (!*used) {
		*used = 1;
		for (uint64_t i = 0; i < chunks && !touch_nth(&w, i); i++)
			;
	}
	return atomic_load_explicit(&w.err, memory_order_relaxed);
}

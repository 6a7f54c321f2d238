/* SPDX-License-Identifier: MIT */
/* Makes every page of a mapping present, with several threads. */
#include "mem/touch.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

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
#define STACK (256u << 10)

struct work {
	const struct slc_touch *t;
	atomic_ullong next; /* offset of the first chunk nobody has taken */
	atomic_int err;	    /* the first failure; stops everybody */
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

static void *touch_some(void *arg)
{
	struct work *w = arg;
	const struct slc_touch *t = w->t;
	int err;

	while (!atomic_load_explicit(&w->err, memory_order_relaxed)) {
		uint64_t off = atomic_fetch_add_explicit(&w->next, CHUNK,
							 memory_order_relaxed);

		if (off >= t->len)
			break;
		err = touch_chunk(t, off,
				  t->len - off < CHUNK ? t->len - off : CHUNK);
		/* The join publishes it; whichever failure is last will do. */
		if (err)
			atomic_store_explicit(&w->err, err,
					      memory_order_relaxed);
	}
	return NULL;
}

static int start(pthread_t *id, const pthread_attr_t *attr, struct work *w)
{
	sigset_t all, before;
	int err;

	/* The program's signals are not for these threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(id, attr, touch_some, w);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

/* Threads of their own, so that the caller's affinity is never changed. */
static unsigned int touch_by_threads(struct work *w, unsigned int n)
{
	const struct slc_touch *t = w->t;
	pthread_t *ids = calloc(n, sizeof(*ids));
	pthread_attr_t attr;
	unsigned int started = 0;

	if (!ids)
		return 0;
	if (pthread_attr_init(&attr))
		goto free_ids;
	pthread_attr_setstacksize(&attr, STACK);
	if (slc_bits_count(t->cpus))
		pthread_attr_setaffinity_np(&attr, sizeof(t->cpus->w),
					    (const cpu_set_t *)t->cpus->w);
	/* Fewer threads than wished are slower, and nothing worse. */
	while (started < n && !start(&ids[started], &attr, w))
		started++;
	for (unsigned int i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	pthread_attr_destroy(&attr);
free_ids:
	free(ids);
	return started;
}

int slc_touch(const struct slc_touch *t, unsigned int *used)
{
	uint64_t chunks = (t->len + CHUNK - 1) / CHUNK;
	unsigned int n = t->threads;
	struct work w = { .t = t };

	atomic_init(&w.next, 0);
	atomic_init(&w.err, 0);
	if (n > chunks)
		n = (unsigned int)chunks;
	*used = t->len < SOLO ? 0 : touch_by_threads(&w, n);
	if (!*used) {
		touch_some(&w);
		*used = 1;
	}
	return atomic_load_explicit(&w.err, memory_order_relaxed);
}

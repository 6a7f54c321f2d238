/* SPDX-License-Identifier: MIT */
#include "base/crew.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#define STACK (256u << 10)

struct crew {
	uint64_t n;
	int (*job)(void *user, uint64_t i);
	void *user;
	atomic_ullong next; /* the first that nobody has taken */
	atomic_bool stop;
};

static void *work(void *arg)
{
	struct crew *c = arg;

	while (!atomic_load_explicit(&c->stop, memory_order_relaxed)) {
		uint64_t i = atomic_fetch_add_explicit(&c->next, 1,
						       memory_order_relaxed);

		if (i >= c->n)
			break;
		/* What a job leaves behind is published by the join. */
		if (c->job(c->user, i))
			atomic_store_explicit(&c->stop, true,
					      memory_order_relaxed);
	}
	return NULL;
}

static int start(pthread_t *id, const pthread_attr_t *attr, struct crew *c)
{
	sigset_t all, before;
	int err;

	/* The program's signals are not for these threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(id, attr, work, c);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return err;
}

unsigned int slc_crew(unsigned int threads, const cpu_set_t *cpus,
		      size_t cpus_len, uint64_t n,
		      int (*job)(void *user, uint64_t i), void *user)
{
	struct crew c = { .n = n, .job = job, .user = user };
	unsigned int started = 0;
	pthread_attr_t attr;
	pthread_t *ids;

	if (threads > n)
		threads = (unsigned int)n;
	ids = calloc(threads, sizeof(*ids));
	if (!ids)
		return 0;
	if (pthread_attr_init(&attr))
		goto free_ids;
	atomic_init(&c.next, 0);
	atomic_init(&c.stop, false);
	pthread_attr_setstacksize(&attr, STACK);
	if (cpus)
		pthread_attr_setaffinity_np(&attr, cpus_len, cpus);
	/* Fewer threads than wished are slower, and nothing worse. */
	while (started < threads && !start(&ids[started], &attr, &c))
		started++;
	for (unsigned int i = 0; i < started; i++)
		pthread_join(ids[i], NULL);
	pthread_attr_destroy(&attr);
free_ids:
	free(ids);
	return started;
}

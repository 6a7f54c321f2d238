/* SPDX-License-Identifier: MIT */
/* WRAP: pthread_create */
/* Crews: every job once, in order of taking, whatever threads there are. */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>

#include "base/crew.h"
#include "ktap.h"
#include "nthfail.h"

#define JOBS 1000

static unsigned int allowed = UINT_MAX; /* threads that may start */

int __real_pthread_create(pthread_t *id, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg)
{
	if (!allowed)
		return EAGAIN;
	allowed--;
	return __real_pthread_create(id, attr, run, arg);
}

struct tally {
	atomic_uint done[JOBS];
	uint64_t bad; /* the job that fails */
};

static int count(void *user, uint64_t i)
{
	struct tally *t = user;

	atomic_fetch_add(&t->done[i], 1);
	return i == t->bad;
}

static unsigned int run(struct tally *t, unsigned int threads, uint64_t n)
{
	return slc_crew(threads, NULL, 0, n, count, t);
}

TEST(every_job_is_done_once_by_as_many_threads_as_are_wished)
{
	struct tally t = { .bad = JOBS };

	EXPECT_EQ(run(&t, 7, JOBS), 7);
	for (int i = 0; i < JOBS; i++)
		ASSERT_EQ(t.done[i], 1);
	EXPECT_EQ(run(&t, 7, 3), 3);
	EXPECT_EQ(run(&t, 7, 0), 0);
	EXPECT_EQ(t.done[2], 2);
	EXPECT_EQ(t.done[3], 1);
}

TEST(threads_that_do_not_start_leave_their_jobs_to_the_others)
{
	struct tally t = { .bad = JOBS };

	allowed = 2;
	EXPECT_EQ(run(&t, 7, JOBS), 2);
	for (int i = 0; i < JOBS; i++)
		ASSERT_EQ(t.done[i], 1);
}

TEST(without_a_thread_or_memory_no_job_is_done)
{
	struct tally t = { .bad = JOBS };

	allowed = 0;
	EXPECT_EQ(run(&t, 7, JOBS), 0);
	allowed = UINT_MAX;
	nthfail_arm(1);
	EXPECT_EQ(run(&t, 7, JOBS), 0);
	EXPECT_TRUE(nthfail_disarm());
	for (int i = 0; i < JOBS; i++)
		ASSERT_EQ(t.done[i], 0);
}

TEST(a_job_that_fails_ends_the_taking_and_all_before_it_are_done)
{
	struct tally alone = { .bad = 5 };

	EXPECT_EQ(run(&alone, 1, JOBS), 1);
	EXPECT_EQ(alone.done[5], 1);
	EXPECT_EQ(alone.done[6], 0);
	for (uint64_t bad = 0; bad < 300; bad += 7) {
		struct tally t = { .bad = bad };

		EXPECT_EQ(run(&t, 4, JOBS), 4);
		for (uint64_t i = 0; i <= bad; i++)
			ASSERT_EQ(t.done[i], 1);
	}
}

struct watch {
	cpu_set_t cpus;
	atomic_uint elsewhere, open_to_signals;
};

static int look(void *user, uint64_t i)
{
	struct watch *w = user;
	sigset_t now;

	(void)i;
	if (!CPU_ISSET((size_t)sched_getcpu(), &w->cpus))
		atomic_fetch_add(&w->elsewhere, 1);
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	if (!sigismember(&now, SIGINT) || !sigismember(&now, SIGTERM))
		atomic_fetch_add(&w->open_to_signals, 1);
	return 0;
}

TEST(threads_stay_on_the_cpus_and_take_no_signal)
{
	struct watch w = { .elsewhere = 0 };
	sigset_t now;
	cpu_set_t may;
	size_t cpu = 0;

	ASSERT_EQ(sched_getaffinity(0, sizeof(may), &may), 0);
	while (!CPU_ISSET(cpu, &may))
		cpu++;
	CPU_ZERO(&w.cpus);
	CPU_SET(cpu, &w.cpus);
	EXPECT_EQ(slc_crew(3, &w.cpus, sizeof(w.cpus), 1000, look, &w), 3);
	EXPECT_EQ(w.elsewhere, 0);
	EXPECT_EQ(w.open_to_signals, 0);
	/* The caller is as it was. */
	pthread_sigmask(SIG_BLOCK, NULL, &now);
	EXPECT_FALSE(sigismember(&now, SIGINT));
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: MIT
/* What a queue waits for, and what ends its wait: an engine that holds I/Os
 * back against deadlines, cancels, signals and close. */
#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "base/clock.h"
#include "fake_engine.h"

static double cpu_s(void)
{
	struct rusage ru;

	getrusage(RUSAGE_SELF, &ru);
	return (double)ru.ru_utime.tv_sec + (double)ru.ru_stime.tv_sec +
	       (double)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;
}

TEST_F(engine, eagain_for_ever_ends_by_the_deadline_without_a_hot_loop)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 100000,
			       .deadline_ns = slc_now_ns() + 500000000 };
	double cpu = cpu_s();
	struct slc_done d;

	script.every = 1;
	script.res = -EAGAIN;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, -ETIMEDOUT);
	EXPECT_LT(slc_now_ns(), mv.deadline_ns + 1000000000);
	EXPECT_LT(script.started, 100u);
	EXPECT_LT(cpu_s() - cpu, 0.2);
}

TEST_F(engine, eagain_for_ever_without_a_deadline_ends_too)
{
	int64_t begin = slc_now_ns();
	struct slc_done d;

	script.every = 1;
	script.res = -EAGAIN;
	d = move(self, 0, 4096, 0);
	EXPECT_EQ(d.result, -EAGAIN);
	EXPECT_LT(slc_now_ns() - begin, 15000000000);
}

TEST_F(engine, a_hanging_io_ends_by_its_deadline_once)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 1000000,
			       .user_data = 9 };
	struct slc_done d;
	int64_t late;

	script.hold = true;
	mv.deadline_ns = slc_now_ns() + 50000000;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	late = slc_now_ns() - mv.deadline_ns;
	EXPECT_EQ(d.result, -ETIMEDOUT);
	EXPECT_GE(late, 0);
	EXPECT_LT(late, 500000000);
	EXPECT_GT(script.cancels, 0u);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 0), 0);
	script.hold = false;
	EXPECT_EQ(move(self, 0, 4096, 0).result, 4096);
}

TEST_F(engine, what_cannot_be_cancelled_is_waited_for)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 60000,
			       .user_data = 9 };
	struct slc_done d;

	/* By deadline: no completion as long as the disk has the buffer. */
	script.hold_disk = true;
	mv.deadline_ns = slc_now_ns() + 20000000;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 100000000), 0);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, -ETIMEDOUT);
	/* By cancel: its true result, as it did end well. */
	script.hold_disk = true;
	mv.deadline_ns = 0;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 0, 0), 0);
	EXPECT_EQ(slc_queue_cancel(self->q, 9), 1);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 100000000), 0);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, 60000);
	EXPECT_EQ(memcmp(self->mem, self->want, 60000), 0);
}

TEST_F(engine, cancel_of_a_hanging_move_is_ecanceled_once)
{
	struct slc_move mv[3];
	struct slc_done d[4];

	for (int i = 0; i < 3; i++)
		mv[i] = (struct slc_move){
			.src = slc_at_file(self->file, 0),
			.dst = slc_at_region(self->region, 0),
			.len = 1000000,
			.user_data = (uint64_t)i,
		};
	script.hold = true;
	ASSERT_EQ(slc_queue_submit(self->q, mv, 3), 3);
	EXPECT_EQ(slc_queue_cancel(self->q, 0), 1);
	/* The first leaves, and the others get on. */
	ASSERT_EQ(slc_queue_poll(self->q, d, 4, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d[0].result, -ECANCELED);
	EXPECT_EQ(d[0].user_data, 0u);
	/* Not yet started at all: ends at once. */
	EXPECT_EQ(slc_queue_cancel(self->q, 2), 1);
	ASSERT_EQ(slc_queue_poll(self->q, d, 4, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d[0].user_data, 2u);
	EXPECT_EQ(d[0].result, -ECANCELED);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, d, 4, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d[0].result, 1000000);
	EXPECT_EQ(memcmp(self->mem, self->want, 1000000), 0);
}

TEST_F(engine, a_failed_move_ends_only_when_all_of_it_has_landed)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 500000 };
	struct slc_done d;

	script.hold_disk = true;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(nheld, 8u);
	/* One of them fails, seven are still out. */
	nheld--;
	pocket[npocket++] =
		(struct slc_landed){ .io = held[nheld], .res = -EIO };
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, 50000000), 0);
	EXPECT_EQ(nheld, 7u);
	release_held();
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, -EIO);
}

TEST_F(engine, closing_gives_hanging_ios_their_end)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 1000000 };

	script.hold = true;
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	slc_queue_close(self->q);
	self->q = NULL;
	EXPECT_EQ(nheld, 0u);
}

static void on_alarm(int sig)
{
	(void)sig;
}

TEST_F(engine, a_signal_while_waiting_is_eintr)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = 4096 };
	struct sigaction sa = { .sa_handler = on_alarm };
	/* Again and again: on a busy machine the first may come too early. */
	struct itimerval it = { .it_value.tv_usec = 50000,
				.it_interval.tv_usec = 50000 };
	struct itimerval off = { .it_value.tv_usec = 0 };
	struct slc_done d;

	/* Waiting for the next try, with nothing in the engine. */
	script.every = 1;
	script.res = -EAGAIN;
	sigaction(SIGALRM, &sa, NULL);
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	setitimer(ITIMER_REAL, &it, NULL);
	EXPECT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), -EINTR);
	setitimer(ITIMER_REAL, &off, NULL);
	script.every = 0;
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, 4096);
}

TEST_HARNESS_MAIN

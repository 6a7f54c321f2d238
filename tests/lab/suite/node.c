/* SPDX-License-Identifier: MIT */
/* Memory is really on the node that was asked for, or there is none. */
/* LAB: numa */
#include "tests/lab/driver.h"

#define LEN (8 * MIB)

DRIVER_FIXTURE(node)

static int alloc_on(int dev, uint64_t len, int node)
{
	struct sluice_alloc a = { .size = sizeof(a), .len = len, .node = node };
	int ret = call(dev, SLUICE_ALLOC, &a);

	return ret ? ret : a.fd;
}

/* Every page of a mapping lies on @node, as the kernel's move_pages(2) sees it. */
static void expect_on(char *p, uint64_t len, int node)
{
	for (uint64_t at = 0; at < len; at += PAGE) {
		void *page = p + at;
		int status = -1;

		p[at] = 1;
		ASSERT_EQ(syscall(SYS_move_pages, 0, 1ul, &page, NULL, &status, 0), 0);
		ASSERT_EQ(status, node);
	}
}

TEST_F(node, that_is_asked_for_is_the_one_that_is_got)
{
	for (int node = 0; node < 2; node++) {
		int fd = alloc_on(self->dev, LEN, node);
		struct sluice_run run;
		struct sluice_runs r = { .size = sizeof(r), .fd = fd, .count = 1,
					 .runs = (uintptr_t)&run };
		struct sluice_stat s;
		char *p;

		ASSERT_GE(fd, 0);
		ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
		EXPECT_EQ(s.node, node);
		ASSERT_EQ(call(self->dev, SLUICE_RUNS, &r), 0);
		EXPECT_EQ(run.node, node);
		p = map_fd(fd, LEN);
		ASSERT_TRUE(p != MAP_FAILED);
		expect_on(p, LEN, node);
		munmap(p, LEN);
		close(fd);
	}
}

TEST_F(node, of_the_caller_is_meant_by_minus_1)
{
	for (unsigned int cpu = 0; cpu < 4; cpu += 2) {
		struct sluice_stat s;
		cpu_set_t set;
		int fd;

		CPU_ZERO(&set);
		CPU_SET(cpu, &set);
		ASSERT_EQ(sched_setaffinity(0, sizeof(set), &set), 0);
		fd = alloc_on(self->dev, LEN, -1);
		ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
		EXPECT_EQ(s.node, cpu / 2);
		close(fd);
	}
}

TEST_F(node, that_is_full_gives_nothing_of_the_other)
{
	int fds[64], n = 0;

	while (n < 64) {
		struct sluice_stat s;

		fds[n] = alloc_on(self->dev, 32 * MIB, 1);
		if (fds[n] < 0)
			break;
		ASSERT_EQ(stat_fd(self->dev, fds[n], &s), 0);
		EXPECT_EQ(s.node, 1);
		n++;
	}
	EXPECT_LT(n, 64);
	EXPECT_EQ(fds[n], -ENOMEM);
	while (n)
		close(fds[--n]);
}

TEST_F(node, of_pinned_memory_is_told_too)
{
	for (unsigned int cpu = 0; cpu < 4; cpu += 2) {
		char *own = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		unsigned long mask = 1ul << cpu / 2;
		struct sluice_stat s;
		int fd;

		/* 2 is MPOL_BIND. */
		ASSERT_EQ(syscall(SYS_mbind, own, LEN, 2, &mask, 64ul, 0), 0);
		fd = pin_fd(self->dev, own, LEN, 0);
		ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
		EXPECT_EQ(s.node, cpu / 2);
		munmap(own, LEN);
		close(fd);
	}
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* A server that starts anew has its memory at once: measured. */
/* LAB: basic 11G */
#include <sys/sysinfo.h>

#include "tests/lab/driver.h"

DRIVER_FIXTURE(reopen)

TEST_F_TIMEOUT(reopen, of_8_gib_by_name_takes_less_than_10_ms, 200)
{
	const char *kernel = getenv("LAB_KERNEL");
	/* The debug kernel looks at every access to memory. */
	uint64_t len = kernel && !strcmp(kernel, "debug") ? 512 * MIB : 8192 * MIB;
	double made = seconds(), opened;
	struct sysinfo info;
	struct sluice_stat s;
	int fd, status;
	char *p;

	ASSERT_EQ(sysinfo(&info), 0);
	while (len > info.freeram / 10 * 9)
		len /= 2;
	status = IN_CHILD(int mine = alloc_named(self->dev, len, "pool", 0600);
			  char *q = mine < 0 ? MAP_FAILED : map_fd(mine, len);
			  if (q == MAP_FAILED) _exit(1);
			  q[0] = 'a'; q[len - 1] = 'z';
			  kill(getpid(), SIGKILL); 0);
	made = seconds() - made;
	ASSERT_EQ(status, 128 + SIGKILL);

	opened = seconds();
	fd = open_named(self->dev, "pool", 0);
	ASSERT_GE(fd, 0);
	p = map_fd(fd, len);
	ASSERT_TRUE(p != MAP_FAILED);
	EXPECT_EQ(p[0], 'a');
	EXPECT_EQ(p[len - 1], 'z');
	opened = seconds() - opened;
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	printf("# %llu MiB (%llu in runs of 2 MiB): made in %.1f ms, opened again "
	       "in %.3f ms\n", (unsigned long long)(len / MIB),
	       (unsigned long long)(s.bytes_2m / MIB), made * 1e3, opened * 1e3);
	EXPECT_LT(opened, 0.010);

	opened = seconds();
	for (uint64_t at = 0; at < len; at += PAGE)
		*(volatile char *)(p + at);
	printf("# all its pages touched in %.1f ms\n", (seconds() - opened) * 1e3);
	munmap(p, len);
	close(fd);
	EXPECT_EQ(remove_named(self->dev, "pool", 0), 0);
}

TEST_HARNESS_MAIN

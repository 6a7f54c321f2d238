/* SPDX-License-Identifier: MIT */
/* kill -9 at any point of anything: within a second nothing is left. */
/* LAB: basic switch 300s */
#include "tests/lab/driver.h"

#define LEN (2 * MIB)

DRIVER_FIXTURE(killed)

/* Until it is killed; @seed differs from one to the next. */
static void busy(int dev, unsigned int seed)
{
	char *own = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), name[32];
	int fds[8] = { -1, -1, -1, -1, -1, -1, -1, -1 };

	for (;;) {
		uint64_t len;
		int i;

		seed = seed * 1664525 + 1013904223;
		i = seed >> 24 & 7;
		len = (uint64_t)((seed >> 8 & 511) + 1) * PAGE;
		snprintf(name, sizeof(name), "kill%u", seed >> 20 & 3);
		if (fds[i] >= 0)
			close(fds[i]);
		switch (seed >> 28) {
		case 0: case 1: case 2:
			fds[i] = alloc_fd(dev, len);
			break;
		case 3: case 4: case 5:
			fds[i] = pin_fd(dev, own, len > LEN ? LEN : len,
					seed & 1024 ? SLUICE_PIN_READ : 0);
			break;
		case 6:
			fds[i] = alloc_named(dev, len, name, 0666);
			break;
		case 7: case 8:
			fds[i] = open_named(dev, name, 0);
			break;
		case 9:
			fds[i] = -1;
			remove_named(dev, name, seed & 2048 ?
				     SLUICE_REMOVE_REVOKE : 0);
			break;
		default: {
			char *p = fds[i] < 0 ? MAP_FAILED : map_fd(fds[i], PAGE);

			fds[i] = alloc_fd(dev, PAGE);
			p = map_fd(fds[i], PAGE);
			if (p != MAP_FAILED)
				p[0] = 1;
		}
		}
	}
}

TEST_F_TIMEOUT(killed, at_a_thousand_random_points_leaves_nothing, 280)
{
	const char *limit = getenv("LAB_LONG");
	int rounds = limit && *limit ? 10000 : 1000;
	/* A kernel without sysctl counts a second late. */
	double wait = access("/proc/sys/vm/stat_refresh", F_OK) ? 3 : 1;
	unsigned int seed = 12345;

	signal(SIGBUS, SIG_IGN);
	for (int i = 0; i < rounds; i++) {
		pid_t pid = fork();
		double t;

		seed = seed * 1664525 + 1013904223;
		if (!pid) {
			signal(SIGBUS, SIG_DFL);
			busy(self->dev, seed);
		}
		usleep(seed >> 20);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		if (i % 50)
			continue;
		for (int j = 0; j < 4; j++) {
			char name[32];

			snprintf(name, sizeof(name), "kill%d", j);
			remove_named(self->dev, name, 0);
		}
		t = seconds();
		while (seconds() - t < wait && (pinned_now() != self->pinned ||
					     regions_now(self->dev) != self->regions))
			usleep(1000);
		ASSERT_EQ(pinned_now(), self->pinned);
		ASSERT_EQ(regions_now(self->dev), self->regions);
	}
	for (int j = 0; j < 4; j++) {
		char name[32];

		snprintf(name, sizeof(name), "kill%d", j);
		remove_named(self->dev, name, 0);
	}
}

TEST_HARNESS_MAIN

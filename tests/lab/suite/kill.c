/* SPDX-License-Identifier: MIT */
/* kill -9 at any point of anything: within a second nothing is left. */
/* LAB: basic switch 300s */
#include <liburing.h>

#include "tests/lab/driver.h"

#define LEN (2 * MIB)

DRIVER_FIXTURE(killed)

/* The ring keeps it, also after the process is gone. */
static void put_in(struct io_uring *ring, int dev, int fd, unsigned int index)
{
	struct sluice_ring arg = { .fd = fd, .index = index, .npages = 1 };
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;

	if (!sqe)
		return;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = dev;
	sqe->cmd_op = SLUICE_RING_REGISTER;
	memcpy(sqe->cmd, &arg, sizeof(arg));
	if (io_uring_submit_and_wait(ring, 1) == 1 && !io_uring_peek_cqe(ring, &cqe))
		io_uring_cqe_seen(ring, cqe);
}

/* Until it is killed; @seed differs from one to the next. */
static void busy(int dev, unsigned int seed)
{
	char *own = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), name[32];
	struct io_uring ring;
	bool has_ring = !io_uring_queue_init(4, &ring, 0) &&
			!io_uring_register_buffers_sparse(&ring, 8);
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
		case 10:
			fds[i] = alloc_fd(dev, len);
			if (has_ring)
				put_in(&ring, dev, fds[i], (unsigned int)i);
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
	const char *kernel = getenv("LAB_KERNEL");
	/* The debug kernel is ten times slower. */
	int slow = kernel && !strcmp(kernel, "debug") ? 10 : 1;
	int rounds = (limit && *limit ? 10000 : 1000) / slow;
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
		if (i % (50 / slow))
			continue;
		for (int j = 0; j < 4; j++) {
			char name[32];

			snprintf(name, sizeof(name), "kill%d", j);
			remove_named(self->dev, name, 0);
		}
		t = seconds();
		while (seconds() - t < 1 && (pinned_now() != self->pinned ||
					     regions_now(self->dev) != self->regions))
			usleep(1000);
		ASSERT_EQ(pinned_soon(self->pinned), self->pinned);
		ASSERT_EQ(regions_now(self->dev), self->regions);
	}
	for (int j = 0; j < 4; j++) {
		char name[32];

		snprintf(name, sizeof(name), "kill%d", j);
		remove_named(self->dev, name, 0);
	}
}

TEST_HARNESS_MAIN

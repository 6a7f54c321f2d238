/* SPDX-License-Identifier: MIT */
/* Calls of chance, by two processes of two threads each: nothing breaks. */
/* LAB: basic switch */
#include <liburing.h>
#include <pthread.h>

#include "tests/lab/driver.h"

DRIVER_FIXTURE(fuzz)

static _Thread_local uint32_t state;

static uint32_t chance(uint32_t below)
{
	state ^= state << 13;
	state ^= state >> 17;
	state ^= state << 5;
	return state % below;
}

/* What a field may say: bounds, near misses, noise. */
static uint64_t value(void *own)
{
	static const uint64_t some[] = { 0, 1, 2, 3, 7, 64, 4095, 4096, 4097, 8192,
		2 * MIB, 2 * MIB + 4096, 1ull << 31, 1ull << 32, 1ull << 63,
		UINT64_MAX, UINT64_MAX - 4095, INT64_MAX, UINT32_MAX, INT32_MAX };

	switch (chance(4)) {
	case 0:
		return (uint64_t)chance(64);
	case 1:
		return (uintptr_t)own + chance(8) * PAGE;
	case 2:
		return (uint64_t)state << 32 | chance(UINT32_MAX);
	default:
		return some[chance(sizeof(some) / sizeof(some[0]))];
	}
}

/* The struct of a call, that both threads write: it changes while it is read. */
static uint32_t shared[1024];

/* Calls that were refused and that worked, in all processes. */
static _Atomic long *outcomes;

static void ring_call(int dev, struct io_uring *ring)
{
	struct sluice_ring arg = { .fd = dev + 1 + (int)chance(16),
				   .index = chance(6), .page = chance(4),
				   .npages = chance(4) };
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;

	if (!sqe)
		return;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_URING_CMD;
	sqe->fd = dev;
	sqe->cmd_op = chance(4);
	if (chance(3) == 0)
		memset(&arg, 0, sizeof(arg));
	if (chance(8) == 0)
		arg.page = (uint32_t)value(NULL);
	if (chance(8) == 0)
		arg.npages = (uint32_t)value(NULL);
	memcpy(sqe->cmd, &arg, sizeof(arg));
	if (io_uring_submit_and_wait(ring, 1) == 1 && !io_uring_peek_cqe(ring, &cqe))
		io_uring_cqe_seen(ring, cqe);
}

static void one(int dev, void *own)
{
	static const uint32_t sizes[] = {
		sizeof(struct sluice_info), sizeof(struct sluice_feature),
		sizeof(struct sluice_alloc), sizeof(struct sluice_pin),
		sizeof(struct sluice_peer), sizeof(struct sluice_open),
		sizeof(struct sluice_stat), sizeof(struct sluice_runs),
		sizeof(struct sluice_grant), sizeof(struct sluice_remove),
	};
	uint32_t nr = chance(10), mine[1024] = { 0 };
	uint32_t *words = chance(4) ? mine : shared;

	words[0] = chance(8) ? sizes[nr] : (uint32_t)value(own);
	for (uint32_t n = chance(8); n; n--) {
		uint32_t at = 1 + chance(sizes[nr] / 4 - 1);
		uint64_t v = value(own);

		words[at] = (uint32_t)v;
		if (chance(2) && at + 1 < sizes[nr] / 4)
			words[at + 1] = (uint32_t)(v >> 32);
	}
	if (chance(2)) { /* something that nearly works */
		struct sluice_alloc *a = (void *)words;
		struct sluice_pin *p = (void *)words;

		if (nr == 2) {
			a->len = (chance(64) + 1) * PAGE;
			a->node = -1;
			a->flags = 0;
			a->mode = 0;
			a->run = chance(2) ? PAGE : 0;
			memset(a->name, 0, sizeof(a->name));
			if (chance(2)) {
				a->name[0] = (char)('a' + chance(4));
				a->mode = 0666;
			}
		} else if (nr == 3) {
			p->addr = (uintptr_t)own + chance(64) * PAGE;
			p->len = (chance(64) + 1) * PAGE;
			p->flags = chance(2);
		} else if (nr == 5 || nr == 8 || nr == 9) {
			char *name = (char *)words + 8;

			memset(name, 0, SLUICE_NAME_MAX);
			name[0] = (char)('a' + chance(4));
		} else if (nr >= 6) {
			words[2] = (uint32_t)dev + 1 + chance(8);
		}
	}
	outcomes[!ioctl(dev, _IO(SLUICE_TYPE, SLUICE_CMD_BASE + nr), words)]++;
	if (chance(8) == 0) {
		int fd = dev + 1 + (int)chance(16);
		char *p = mmap(NULL, (chance(8) + 1) * PAGE,
			       chance(2) ? PROT_READ : PROT_READ | PROT_WRITE,
			       MAP_SHARED, fd, chance(8) * PAGE);

		if (p != MAP_FAILED) {
			volatile char c = p[0];

			(void)c;
			if (chance(4))
				munmap(p, PAGE);
		}
	}
	if (chance(4) == 0)
		close(dev + 1 + (int)chance(16));
}

struct fuzzer {
	int dev;
	uint32_t seed;
	double end;
	void *own;
};

static void *fuzz_thread(void *arg)
{
	struct fuzzer *fuzzer = arg;
	struct io_uring ring;
	bool has_ring = !io_uring_queue_init(4, &ring, 0) &&
			!io_uring_register_buffers_sparse(&ring, 4);

	/* Where no close() of chance finds it. */
	if (has_ring) {
		int fd = fcntl(ring.ring_fd, F_DUPFD_CLOEXEC, 100);

		close(ring.ring_fd);
		ring.ring_fd = ring.enter_ring_fd = fd;
	}
	state = fuzzer->seed | 1;
	while (seconds() < fuzzer->end)
		for (int i = 0; i < 256; i++) {
			one(fuzzer->dev, fuzzer->own);
			if (has_ring && chance(16) == 0)
				ring_call(fuzzer->dev, &ring);
		}
	return NULL;
}

static void fuzz(int dev, uint32_t seed, double end)
{
	struct fuzzer two[2] = { { dev, seed, end, NULL },
				 { dev, ~seed, end, NULL } };
	pthread_t thread;

	two[0].own = two[1].own = mmap(NULL, 128 * PAGE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pthread_create(&thread, NULL, fuzz_thread, &two[1]))
		_exit(1);
	fuzz_thread(&two[0]);
	pthread_join(thread, NULL);
	_exit(0);
}

TEST_F_TIMEOUT(fuzz, of_every_call_breaks_nothing, 1700)
{
	const char *limit = getenv("LAB_SECONDS"), *again = getenv("LAB_SEED");
	double end = seconds() + (limit ? atof(limit) : 10);
	uint32_t seed = again && *again ? (uint32_t)strtoul(again, NULL, 0) :
					  (uint32_t)time(NULL);
	int restarts = 0;

	printf("# seed %u\n", seed);
	outcomes = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(outcomes != MAP_FAILED);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", "67108864"), 0);
	while (seconds() < end) {
		pid_t pids[2];

		/* Who touches a revoked mapping is killed, and replaced. */
		for (int i = 0; i < 2; i++) {
			seed = seed * 1664525 + 1013904223;
			pids[i] = fork();
			if (!pids[i])
				fuzz(self->dev, seed | 1, end);
		}
		for (int i = 0; i < 2; i++) {
			int status;

			waitpid(pids[i], &status, 0);
			EXPECT_TRUE(status == 0 || (WIFSIGNALED(status) &&
						    WTERMSIG(status) == SIGBUS));
			restarts += status != 0;
		}
	}
	printf("# %ld calls worked, %ld were refused, %d processes had SIGBUS\n",
	       outcomes[1], outcomes[0], restarts);
	EXPECT_GT(outcomes[0], 100);
	EXPECT_GT(outcomes[1], 100);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", "0"), 0);
	/* Names of chance are of one character, or of the noise that passed. */
	for (;;) {
		struct sluice_stat s = { .size = sizeof(s), .flags = SLUICE_STAT_NEXT,
					 .fd = -1 };

		while (!call(self->dev, SLUICE_STAT, &s) && !s.name[0])
			;
		if (!s.name[0] || remove_named(self->dev, s.name, 0))
			break;
	}
	/* Rings let go after their process is gone. */
	for (int i = 0; i < 300 && regions_now(self->dev) != self->regions; i++)
		usleep(10000);
}

TEST_HARNESS_MAIN

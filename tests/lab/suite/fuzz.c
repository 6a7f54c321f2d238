/* SPDX-License-Identifier: MIT */
/* Calls of chance, by two processes at once: whatever comes, nothing breaks. */
/* LAB: basic switch */
#include "tests/lab/driver.h"

DRIVER_FIXTURE(fuzz)

static uint32_t state;
static volatile uint32_t *works; /* of each call how many did; shared */

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

static void one(int dev, void *own)
{
	static const uint32_t sizes[] = {
		sizeof(struct sluice_info), sizeof(struct sluice_feature),
		sizeof(struct sluice_alloc), sizeof(struct sluice_pin),
		sizeof(struct sluice_peer), sizeof(struct sluice_open),
		sizeof(struct sluice_stat), sizeof(struct sluice_runs),
		sizeof(struct sluice_grant), sizeof(struct sluice_remove),
	};
	uint32_t nr = chance(10), words[1024] = { 0 };

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
	if (!ioctl(dev, _IO(SLUICE_TYPE, SLUICE_CMD_BASE + nr), words))
		works[nr]++;
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

static void fuzz(int dev, uint32_t seed, double end)
{
	char *own = mmap(NULL, 128 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	state = seed;
	while (seconds() < end)
		for (int i = 0; i < 256; i++)
			one(dev, own);
	_exit(0);
}

TEST_F_TIMEOUT(fuzz, of_every_call_breaks_nothing, 1700)
{
	const char *limit = getenv("LAB_SECONDS");
	double end = seconds() + (limit ? atof(limit) : 10);
	uint32_t seed = (uint32_t)time(NULL);
	int restarts = 0;

	works = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	ASSERT_TRUE(works != MAP_FAILED);
	printf("# seed %u\n", seed);
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
			EXPECT_TRUE(status == 0 || WTERMSIG(status) == SIGBUS);
			restarts += status != 0;
		}
	}
	printf("# %d were stopped by SIGBUS; calls that worked:", restarts);
	for (int i = 0; i < 10; i++)
		printf(" %u", works[i]);
	printf("\n");
	/* Chance that hits nothing proves nothing; of peers there are none. */
	for (int i = 0; i < 10; i++)
		if (SLUICE_CMD_BASE + i != SLUICE_CMD_PEER)
			EXPECT_GT(works[i], 100);
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
}

TEST_HARNESS_MAIN

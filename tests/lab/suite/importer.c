/* SPDX-License-Identifier: MIT */
/* A region from the other side: attached, mapped and lost by a device. */
/* LAB: basic switch */
#include <linux/dma-buf.h>

#include "tests/lab/driver.h"
#include "tests/lab/bar.h"
#include "tests/lab/kmod/importer.h"

#define LEN (4 * MIB + PAGE)

enum { BIDIRECTIONAL, TO_DEVICE, FROM_DEVICE };

FIXTURE(importer)
{
	int dev, regions, fds, fd, im;
	char pci[32];
};

FIXTURE_VARIANT(importer)
{
	unsigned int flags;
};

FIXTURE_VARIANT_ADD(importer, dynamic) { 0 };
FIXTURE_VARIANT_ADD(importer, old) { IMPORTER_STATIC };

FIXTURE_SETUP(importer)
{
	self->dev = driver_open();
	if (self->dev < 0)
		SKIP("/dev/sluice: %s", strerror(errno));
	self->im = open("/dev/importer", O_RDWR | O_CLOEXEC);
	if (self->im < 0)
		SKIP("/dev/importer: %s", strerror(errno));
	/* The SATA controller that every q35 machine has. */
	ASSERT_EQ(pci_find("0x8086", "0x2922", self->pci, sizeof(self->pci)), 0);
	self->regions = regions_now(self->dev);
	self->fds = fds_now();
	self->fd = alloc_fd(self->dev, LEN);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(importer)
{
	if (self->dev < 0 || self->im < 0)
		return;
	close(self->fd);
	ioctl(self->im, IMPORTER_DETACH);
	EXPECT_EQ(regions_now(self->dev), self->regions);
	EXPECT_EQ(fds_now(), self->fds);
	close(self->im);
	close(self->dev);
}

static int attach(int im, int fd, unsigned int flags, const char *pci)
{
	struct importer_attach a = { .fd = fd, .flags = flags };

	strncpy(a.dev, pci, sizeof(a.dev));
	return call(im, IMPORTER_ATTACH, &a);
}

static int map(int im, unsigned int dir, struct importer_state *state)
{
	memset(state, 0, sizeof(*state));
	state->dir = dir;
	return call(im, IMPORTER_MAP, state);
}

TEST_F(importer, maps_all_of_a_region)
{
	struct importer_state st;
	struct sluice_stat s;

	ASSERT_EQ(attach(self->im, self->fd, variant->flags, self->pci), 0);
	for (unsigned int dir = BIDIRECTIONAL; dir <= FROM_DEVICE; dir++) {
		ASSERT_EQ(map(self->im, dir, &st), 0);
		EXPECT_EQ(st.len, LEN);
		ASSERT_EQ(stat_fd(self->dev, self->fd, &s), 0);
		EXPECT_EQ(s.attached, 1);
		ASSERT_EQ(ioctl(self->im, IMPORTER_UNMAP), 0);
	}
	ASSERT_EQ(ioctl(self->im, IMPORTER_DETACH), 0);
	ASSERT_EQ(stat_fd(self->dev, self->fd, &s), 0);
	EXPECT_EQ(s.attached, 0);
}

TEST_F(importer, is_synchronised_with_the_cpu)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW };
	struct importer_state st;

	ASSERT_EQ(attach(self->im, self->fd, variant->flags, self->pci), 0);
	ASSERT_EQ(map(self->im, BIDIRECTIONAL, &st), 0);
	EXPECT_EQ(ioctl(self->fd, DMA_BUF_IOCTL_SYNC, &sync), 0);
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	EXPECT_EQ(ioctl(self->fd, DMA_BUF_IOCTL_SYNC, &sync), 0);
}

TEST_F(importer, holds_the_region_without_a_descriptor)
{
	struct importer_state st;
	struct sluice_stat s;

	ASSERT_EQ(stat_fd(self->dev, self->fd, &s), 0);
	ASSERT_EQ(attach(self->im, self->fd, variant->flags, self->pci), 0);
	ASSERT_EQ(map(self->im, BIDIRECTIONAL, &st), 0);
	close(self->fd);
	self->fd = -1;
	EXPECT_EQ(stat_id(self->dev, s.id, &s), 0);
	ASSERT_EQ(ioctl(self->im, IMPORTER_DETACH), 0);
	EXPECT_EQ(stat_id(self->dev, s.id, &s), -ENOENT);
}

TEST_F(importer, may_not_write_what_is_to_be_read_only)
{
	char *own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fds[2], named = alloc_named(self->dev, PAGE, "im", 0600);

	fds[0] = pin_fd(self->dev, own, PAGE, SLUICE_PIN_READ);
	fds[1] = open_named(self->dev, "im", SLUICE_OPEN_READ);
	for (int i = 0; i < 2; i++) {
		struct importer_state st;
		int ret = attach(self->im, fds[i], variant->flags, self->pci);

		/* Before 6.2 an old importer maps when it attaches. */
		if (ret == -EACCES && variant->flags)
			continue;
		ASSERT_EQ(ret, 0);
		EXPECT_EQ(map(self->im, BIDIRECTIONAL, &st), -EACCES);
		EXPECT_EQ(map(self->im, FROM_DEVICE, &st), -EACCES);
		EXPECT_EQ(map(self->im, TO_DEVICE, &st), 0);
		EXPECT_EQ(st.len, PAGE);
		ASSERT_EQ(ioctl(self->im, IMPORTER_DETACH), 0);
	}
	EXPECT_EQ(remove_named(self->dev, "im", 0), 0);
	close(named);
	close(fds[0]);
	close(fds[1]);
	munmap(own, PAGE);
}

TEST_F(importer, is_told_of_revoke_and_maps_no_more)
{
	int fd = alloc_named(self->dev, LEN, "im", 0600);
	struct importer_state st;
	struct sluice_stat s;

	ASSERT_EQ(attach(self->im, fd, variant->flags, self->pci), 0);
	ASSERT_EQ(map(self->im, BIDIRECTIONAL, &st), 0);
	ASSERT_EQ(remove_named(self->dev, "im", SLUICE_REMOVE_REVOKE), 0);
	ASSERT_EQ(call(self->im, IMPORTER_STATE, &st), 0);
	EXPECT_EQ(st.told, variant->flags ? 0 : 1);
	/* Who cannot be told keeps what it has: the memory is still there. */
	EXPECT_EQ(st.mapped, variant->flags ? 1 : 0);
	ASSERT_EQ(ioctl(self->im, IMPORTER_UNMAP), 0);
	if (!variant->flags)
		EXPECT_EQ(map(self->im, BIDIRECTIONAL, &st), -ENODEV);
	ASSERT_EQ(ioctl(self->im, IMPORTER_DETACH), 0);
	EXPECT_EQ(attach(self->im, fd, variant->flags, self->pci), -ENODEV);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.attached, 0);
	close(fd);
}

TEST_F(importer, of_a_killed_process_lets_go)
{
	int status;

	status = IN_CHILD(int im = open("/dev/importer", O_RDWR);
			  struct importer_state st;
			  int fd = alloc_fd(self->dev, LEN);
			  if (attach(im, fd, variant->flags, self->pci)) _exit(1);
			  if (map(im, BIDIRECTIONAL, &st)) _exit(2);
			  kill(getpid(), SIGKILL); 0);
	EXPECT_EQ(status, 128 + SIGKILL);
	EXPECT_EQ(regions_now(self->dev), self->regions + 1);
}

/* Attach, map, unmap and detach against revoke. */
TEST_F_TIMEOUT(importer, comes_and_goes_while_regions_are_revoked, 240)
{
	const char *limit = getenv("LAB_SECONDS");
	double end = seconds() + (limit ? atof(limit) / 2 : 5);
	long rounds = 0;

	while (seconds() < end) {
		int fd = alloc_named(self->dev, 2 * PAGE, "im", 0600);
		pid_t pids[2];

		ASSERT_GE(fd, 0);
		for (int i = 0; i < 2; i++) {
			pids[i] = fork();
			if (pids[i])
				continue;
			for (;;) {
				int im = open("/dev/importer", O_RDWR);
				struct importer_state st;
				int ret = attach(im, fd, variant->flags, self->pci);

				if (!ret)
					ret = map(im, BIDIRECTIONAL, &st);
				close(im);
				if (ret)
					_exit(ret != -ENODEV);
			}
		}
		usleep((useconds_t)(rounds % 20) * 200);
		EXPECT_EQ(remove_named(self->dev, "im", SLUICE_REMOVE_REVOKE), 0);
		for (int i = 0; i < 2; i++) {
			int status = -1;

			waitpid(pids[i], &status, 0);
			EXPECT_EQ(status, 0);
		}
		close(fd);
		rounds++;
	}
	EXPECT_GT(rounds, 0);
}

TEST_HARNESS_MAIN

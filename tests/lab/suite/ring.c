/* SPDX-License-Identifier: MIT */
/* A region as a fixed buffer of an io_uring: right bytes, lifetimes, its cost. */
/* LAB: basic switch 4G */
#include <liburing.h>

#include "tests/lab/driver.h"
#include "tests/lab/sqe.h"

#define LEN (4 * MIB)

FIXTURE(ring)
{
	int dev, regions, fds, fd;
	long pinned;
	struct io_uring ring;
};

FIXTURE_NO_VARIANT(ring);

FIXTURE_SETUP(ring)
{
	self->fd = -1;
	self->dev = driver_open();
	if (self->dev < 0)
		SKIP("/dev/sluice: %s", strerror(errno));
	self->regions = regions_now(self->dev);
	self->fds = fds_now();
	self->pinned = pinned_now();
	ASSERT_EQ(io_uring_queue_init(8, &self->ring, 0), 0);
	ASSERT_EQ(io_uring_register_buffers_sparse(&self->ring, 4), 0);
	self->fd = alloc_fd(self->dev, LEN);
	ASSERT_GE(self->fd, 0);
}

FIXTURE_TEARDOWN(ring)
{
	if (self->dev < 0)
		return;
	close(self->fd);
	if (self->ring.ring_fd > 0)
		io_uring_queue_exit(&self->ring);
	/* The ring ends a little later. */
	for (int i = 0; i < 1000 && (regions_now(self->dev) != self->regions ||
				     pinned_now() != self->pinned); i++)
		usleep(10000);
	EXPECT_EQ(regions_now(self->dev), self->regions);
	EXPECT_EQ(pinned_soon(self->pinned), self->pinned);
	EXPECT_EQ(fds_now(), self->fds);
	close(self->dev);
}

static int put_in(struct io_uring *ring, int dev, int fd, unsigned int index,
		  unsigned int page, unsigned int npages)
{
	struct sluice_ring arg = { .fd = fd, .index = index, .page = page,
				   .npages = npages };

	command(ring, dev, SLUICE_RING_REGISTER, &arg);
	return complete(ring);
}

static int take_out(struct io_uring *ring, int dev, unsigned int index)
{
	struct sluice_ring arg = { .index = index };

	command(ring, dev, SLUICE_RING_UNREGISTER, &arg);
	return complete(ring);
}

static int fixed(struct io_uring *ring, bool read, int file, unsigned int index,
		 uint64_t at, unsigned int len, uint64_t off)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	if (read)
		io_uring_prep_read_fixed(sqe, file, (void *)at, len, off, (int)index);
	else
		io_uring_prep_write_fixed(sqe, file, (void *)at, len, off, (int)index);
	return complete(ring);
}

static unsigned int rings(int dev, int fd)
{
	struct sluice_stat s;

	return stat_fd(dev, fd, &s) ? 99 : s.rings;
}

#define NEEDS_RING                                                            \
	do {                                                                  \
		if (!feature(self->dev, SLUICE_FEATURE_RING))                 \
			SKIP("this kernel does not let a module do it");      \
	} while (0)

TEST_F(ring, says_so_where_the_kernel_cannot)
{
	if (feature(self->dev, SLUICE_FEATURE_RING))
		SKIP("this kernel can");
	EXPECT_EQ(put_in(&self->ring, self->dev, self->fd, 0, 0, 1), -EOPNOTSUPP);
}

TEST_F(ring, reads_and_writes_a_file_through_a_region)
{
	NEEDS_RING;
	int file = memfd_create("f", 0);
	uint64_t *p = map_fd(self->fd, LEN);

	ASSERT_EQ(put_in(&self->ring, self->dev, self->fd, 2, 0, LEN / PAGE), 0);
	EXPECT_EQ(rings(self->dev, self->fd), 1);
	for (size_t i = 0; i < LEN / 8; i++)
		p[i] = i * 0x9e3779b97f4a7c15;
	for (uint64_t at = 0; at < LEN; at += MIB)
		ASSERT_EQ(fixed(&self->ring, false, file, 2, at, MIB, at), MIB);
	memset(p, 0xee, LEN);
	for (uint64_t at = 0; at < LEN; at += MIB)
		ASSERT_EQ(fixed(&self->ring, true, file, 2, at, MIB, at), MIB);
	for (size_t i = 0; i < LEN / 8; i++)
		if (p[i] != i * 0x9e3779b97f4a7c15)
			ASSERT_EQ(p[i], i * 0x9e3779b97f4a7c15);
	EXPECT_EQ(take_out(&self->ring, self->dev, 2), 0);
	EXPECT_EQ(rings(self->dev, self->fd), 0);
	munmap(p, LEN);
	close(file);
}

TEST_F(ring, buffer_begins_at_its_first_page_and_ends_at_its_last)
{
	NEEDS_RING;
	int file = memfd_create("f", 0);
	char *p = map_fd(self->fd, LEN), page[PAGE];

	memset(page, 'x', sizeof(page));
	ASSERT_EQ(pwrite(file, page, PAGE, 0), PAGE);
	memset(p, '.', LEN);
	ASSERT_EQ(put_in(&self->ring, self->dev, self->fd, 0, 600, 2), 0);
	EXPECT_EQ(fixed(&self->ring, true, file, 0, 100, 50, 0), 50);
	EXPECT_EQ(p[600 * PAGE + 99], '.');
	EXPECT_EQ(p[600 * PAGE + 100], 'x');
	EXPECT_EQ(p[600 * PAGE + 149], 'x');
	EXPECT_EQ(p[600 * PAGE + 150], '.');
	EXPECT_EQ(fixed(&self->ring, true, file, 0, 2 * PAGE - 1, 2, 0), -EFAULT);
	EXPECT_EQ(fixed(&self->ring, true, file, 0, 2 * PAGE, 1, 0), -EFAULT);
	EXPECT_EQ(fixed(&self->ring, true, file, 0, UINT64_MAX, 2, 0), -EFAULT);
	EXPECT_EQ(fixed(&self->ring, true, file, 1, 0, 1, 0), -EFAULT);
	munmap(p, LEN);
	close(file);
}

TEST_F(ring, refuses_what_is_no_range_of_a_region_and_no_place_of_the_table)
{
	NEEDS_RING;
	int dev = self->dev, fd = self->fd, null = open("/dev/null", O_RDWR);
	struct sluice_ring arg = { .fd = fd, .npages = 1 };

	EXPECT_EQ(put_in(&self->ring, dev, fd, 0, 0, 0), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, fd, 0, 0, LEN / PAGE + 1), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, fd, 0, LEN / PAGE, 1), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, fd, 0, UINT32_MAX, 2), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, fd, 0, 0, 1 << 20), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, fd, 0, 0, UINT32_MAX), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, fd, 4, 0, 1), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, fd, UINT32_MAX, 0, 1), -EINVAL);
	EXPECT_EQ(put_in(&self->ring, dev, null, 0, 0, 1), -ENOENT);
	EXPECT_EQ(put_in(&self->ring, dev, -1, 0, 0, 1), -EBADF);
	ASSERT_EQ(put_in(&self->ring, dev, fd, 0, 0, 1), 0);
	EXPECT_EQ(put_in(&self->ring, dev, fd, 0, 0, 1), -EBUSY);
	EXPECT_EQ(rings(dev, fd), 1);
	EXPECT_EQ(take_out(&self->ring, dev, 1), -EINVAL);
	EXPECT_EQ(take_out(&self->ring, dev, UINT32_MAX), -EINVAL);
	EXPECT_EQ(take_out(&self->ring, dev, 0), 0);
	EXPECT_EQ(take_out(&self->ring, dev, 0), -EINVAL);
	for (unsigned int op = 0; op < 32; op++) {
		if (op == SLUICE_RING_REGISTER || op == SLUICE_RING_UNREGISTER)
			continue;
		command(&self->ring, dev, op, &arg);
		EXPECT_EQ(complete(&self->ring), -ENOTTY);
	}
	command(&self->ring, dev, SLUICE_RING_UNREGISTER, &arg);
	EXPECT_EQ(complete(&self->ring), -EINVAL);
	command(&self->ring, dev, SLUICE_RING_REGISTER, &arg)->len = 1;
	EXPECT_EQ(complete(&self->ring), -EINVAL);
	close(null);
}

TEST_F(ring, buffer_of_a_read_only_descriptor_is_a_source_only)
{
	NEEDS_RING;
	int file = memfd_create("f", 0);
	int fd = alloc_named(self->dev, PAGE, "ring", 0600);
	int ro = open_named(self->dev, "ring", SLUICE_OPEN_READ);
	char *p = map_fd(fd, PAGE), byte;

	EXPECT_EQ(remove_named(self->dev, "ring", 0), 0);
	close(fd);
	ASSERT_EQ(ftruncate(file, PAGE), 0);
	strcpy(p, "r");
	ASSERT_EQ(put_in(&self->ring, self->dev, ro, 0, 0, 1), 0);
	EXPECT_EQ(fixed(&self->ring, false, file, 0, 0, 1, 0), 1);
	EXPECT_EQ(pread(file, &byte, 1, 0), 1);
	EXPECT_EQ(byte, 'r');
	EXPECT_EQ(fixed(&self->ring, true, file, 0, 0, PAGE, 0), -EFAULT);
	EXPECT_STREQ(p, "r");
	munmap(p, PAGE);
	close(ro);
	close(file);
}

TEST_F(ring, holds_the_region_until_it_lets_go)
{
	NEEDS_RING;
	int file = memfd_create("f", 0);
	char data[PAGE];
	struct sluice_stat s;

	memset(data, 'd', PAGE);
	ASSERT_EQ(pwrite(file, data, PAGE, 0), PAGE);
	ASSERT_EQ(stat_fd(self->dev, self->fd, &s), 0);
	ASSERT_EQ(put_in(&self->ring, self->dev, self->fd, 3, 0, LEN / PAGE), 0);
	close(self->fd);
	self->fd = -1;
	ASSERT_EQ(stat_id(self->dev, s.id, &s), 0);
	EXPECT_EQ(s.rings, 1);
	EXPECT_EQ(fixed(&self->ring, true, file, 3, LEN - PAGE, PAGE, 0), PAGE);
	memset(data, 0, PAGE);
	EXPECT_EQ(fixed(&self->ring, false, file, 3, LEN - PAGE, PAGE, 0), PAGE);
	EXPECT_EQ(pread(file, data, PAGE, 0), PAGE);
	EXPECT_EQ(data[PAGE - 1], 'd');
	EXPECT_EQ(take_out(&self->ring, self->dev, 3), 0);
	for (int i = 0; i < 300 && !stat_id(self->dev, s.id, &s); i++)
		usleep(10000);
	EXPECT_EQ(stat_id(self->dev, s.id, &s), -ENOENT);
	close(file);
}

TEST_F(ring, of_a_killed_process_lets_go)
{
	NEEDS_RING;
	struct sluice_stat s;
	int status;

	status = IN_CHILD(struct io_uring ring;
			  io_uring_queue_init(8, &ring, 0);
			  io_uring_register_buffers_sparse(&ring, 64);
			  for (unsigned int i = 0; i < 64; i++)
				put_in(&ring, self->dev, self->fd, i, i, 8);
			  if (rings(self->dev, self->fd) != 64) _exit(1);
			  kill(getpid(), SIGKILL); 0);
	EXPECT_EQ(status, 128 + SIGKILL);
	for (int i = 0; i < 300 && rings(self->dev, self->fd); i++)
		usleep(10000);
	ASSERT_EQ(stat_fd(self->dev, self->fd, &s), 0);
	EXPECT_EQ(s.rings, 0);
	EXPECT_EQ(s.fds, 1);
}

TEST_F(ring, takes_no_region_that_was_revoked)
{
	NEEDS_RING;
	int fd = alloc_named(self->dev, PAGE, "ring", 0600);

	ASSERT_EQ(put_in(&self->ring, self->dev, fd, 0, 0, 1), 0);
	ASSERT_EQ(remove_named(self->dev, "ring", SLUICE_REMOVE_REVOKE), 0);
	EXPECT_EQ(put_in(&self->ring, self->dev, fd, 1, 0, 1), -ENODEV);
	EXPECT_EQ(take_out(&self->ring, self->dev, 0), 0);
	close(fd);
}

TEST_F(ring, takes_pinned_memory_too)
{
	char *own = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = pin_fd(self->dev, own, LEN, 0), file = memfd_create("f", 0);

	ASSERT_GE(fd, 0);
	memset(own, 'o', LEN);
	if (feature(self->dev, SLUICE_FEATURE_RING)) {
		ASSERT_EQ(put_in(&self->ring, self->dev, fd, 0, 1, 1023), 0);
		EXPECT_EQ(fixed(&self->ring, false, file, 0, 0, MIB, 0), MIB);
		own[PAGE] = 0;
		EXPECT_EQ(fixed(&self->ring, true, file, 0, 0, 16, 0), 16);
		EXPECT_EQ(own[PAGE], 'o');
		EXPECT_EQ(take_out(&self->ring, self->dev, 0), 0);
	}
	munmap(own, LEN);
	close(fd);
	close(file);
}

/* Best of a few, in seconds, after making the memory present. */
static double registering(void *own, uint64_t len, int advice)
{
	struct iovec iov = { own, len };
	double best = 1e9;

	madvise(own, len, advice);
	memset(own, 1, len);
	for (int i = 0; i < 3; i++) {
		struct io_uring ring;
		double t;

		if (io_uring_queue_init(4, &ring, 0))
			return 0;
		t = seconds();
		if (io_uring_register_buffers(&ring, &iov, 1))
			return 0;
		t = seconds() - t;
		best = t < best ? t : best;
		io_uring_queue_exit(&ring);
	}
	return best;
}

TEST_F_TIMEOUT(ring, registers_a_region_a_hundred_times_faster_than_by_pinning, 240)
{
	NEEDS_RING;
	const char *kernel = getenv("LAB_KERNEL");
	/* The debug kernel looks at every access to memory. */
	const uint64_t len = kernel && !strcmp(kernel, "debug") ? 256 * MIB :
								1024 * MIB;
	double best = 1e9, small, huge;
	int fd = alloc_fd(self->dev, len);
	void *own;

	if (fd < 0)
		SKIP("no %llu MiB of memory: %s",
		     (unsigned long long)(len / MIB), strerror(-fd));
	for (int i = 0; i < 5; i++) {
		double t = seconds();

		ASSERT_EQ(put_in(&self->ring, self->dev, fd, 0, 0,
				 (unsigned int)(len / PAGE)), 0);
		t = seconds() - t;
		best = t < best ? t : best;
		ASSERT_EQ(take_out(&self->ring, self->dev, 0), 0);
	}
	close(fd);
	own = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	ASSERT_TRUE(own != MAP_FAILED);
	huge = registering(own, len, MADV_HUGEPAGE);
	munmap(own, len);
	own = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		   -1, 0);
	ASSERT_TRUE(own != MAP_FAILED);
	small = registering(own, len, MADV_NOHUGEPAGE);
	munmap(own, len);
	printf("# %llu MiB: a region %.1f us; IORING_REGISTER_BUFFERS %.1f us (huge "
	       "pages, %.0f times), %.1f us (4 KiB pages, %.0f times)\n",
	       (unsigned long long)(len / MIB), best * 1e6, huge * 1e6, huge / best, small * 1e6, small / best);
	EXPECT_GT(small / best, 100);
}

TEST_HARNESS_MAIN

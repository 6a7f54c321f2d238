/* SPDX-License-Identifier: MIT */
/* Memory of a PCI function: its bytes, its reach, and how it is taken away. */
/* LAB: basic switch ports numa 300s */
#include <liburing.h>
#include <pthread.h>

#include "tests/lab/driver.h"
#include "tests/lab/bus.h"
#include "tests/lab/sqe.h"
#include "tests/lab/bar.h"
#include "tests/lab/kmod/importer.h"

#define LEN (4 * MIB)
#define BAR_LEN (128 * MIB)

FIXTURE(peer)
{
	int dev, regions, fds;
	bool bound, reaches;
	struct bar bar;
	int drive; /* opened O_DIRECT, or -1 */
	char nvme[32]; /* its PCI function */
};

FIXTURE_NO_VARIANT(peer);

FIXTURE_SETUP(peer)
{
	const char *topology = getenv("LAB_TOPOLOGY");
	const char *near = topology && !strcmp(topology, "numa") ? "1" : "0";
	char path[64], variable[32];
	int ret;

	self->dev = driver_open();
	if (self->dev < 0)
		SKIP("/dev/sluice: %s", strerror(errno));
	if (!feature(self->dev, SLUICE_FEATURE_PEER))
		SKIP("this kernel has no peer memory for modules");
	ret = bar_bind(&self->bar);
	if (ret == -ENODEV)
		SKIP("this machine has no function with such a BAR");
	ASSERT_EQ(ret, 0);
	self->bound = true;
	self->reaches = !topology || strcmp(topology, "ports");
	self->regions = regions_now(self->dev);
	self->fds = fds_now();
	snprintf(path, sizeof(path), "/dev/lab/n%s", near);
	self->drive = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
	if (self->drive < 0)
		self->drive = open("/dev/nvme0n1", O_RDWR | O_DIRECT | O_CLOEXEC);
	snprintf(variable, sizeof(variable), "LAB_NVME%s", near);
	if (getenv(variable))
		snprintf(self->nvme, sizeof(self->nvme), "%s", getenv(variable));
	else
		pci_find("0x1b36", "0x0010", self->nvme, sizeof(self->nvme));
}

FIXTURE_TEARDOWN(peer)
{
	if (!self->bound)
		return;
	if (self->drive >= 0)
		close(self->drive);
	EXPECT_EQ(regions_now(self->dev), self->regions);
	EXPECT_EQ(fds_now(), self->fds);
	bar_unbind(&self->bar);
	close(self->dev);
}

#define NEEDS_DRIVE                                                          \
	do {                                                                  \
		if (self->drive < 0)                                          \
			SKIP("this machine has no NVMe drive");               \
	} while (0)

/* Page i of the drive is the number i, 512 times. */
static void expect_pages(const volatile uint64_t *p, uint64_t first, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		for (int j = 0; j < 512; j += 73)
			if (p[i * 512 + (uint64_t)j] != first + i)
				ASSERT_EQ(p[i * 512 + (uint64_t)j], first + i);
}

TEST_F(peer, is_zeroed_and_holds_what_is_written)
{
	for (int round = 0; round < 2; round++) {
		int fd = peer_fd(self->dev, &self->bar, LEN);
		struct sluice_stat s;
		uint64_t *p;

		ASSERT_GE(fd, 0);
		p = map_fd(fd, LEN);
		ASSERT_TRUE(p != MAP_FAILED);
		for (size_t i = 0; i < LEN / 8; i += 64) {
			ASSERT_EQ(p[i], 0);
			p[i] = i + 1;
		}
		for (size_t i = 0; i < LEN / 8; i += 64)
			ASSERT_EQ(p[i], i + 1);
		ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
		EXPECT_EQ(s.kind, SLUICE_KIND_PEER);
		EXPECT_EQ(s.nruns, 1);
		munmap(p, LEN);
		close(fd);
	}
}

TEST_F(peer, is_had_as_often_as_the_bar_is_large_and_comes_back)
{
	int fds[32], n = 0;

	while (n < 32 && (fds[n] = peer_fd(self->dev, &self->bar, BAR_LEN / 8)) >= 0)
		n++;
	EXPECT_EQ(n, 8);
	EXPECT_EQ(fds[n], -ENOSPC);
	while (n)
		close(fds[--n]);
	fds[0] = peer_fd(self->dev, &self->bar, BAR_LEN);
	EXPECT_GE(fds[0], 0);
	close(fds[0]);
	EXPECT_EQ(peer_fd(self->dev, &self->bar, BAR_LEN + PAGE), -ENOSPC);
}

TEST_F(peer, of_a_function_that_is_not_bound_is_enodev)
{
	struct bar other = self->bar;

	other.bdf ^= 1;
	EXPECT_EQ(peer_fd(self->dev, &other, PAGE), -ENODEV);
	other = self->bar;
	other.domain = 1;
	EXPECT_EQ(peer_fd(self->dev, &other, PAGE), -ENODEV);
	other.bdf = 0x10000;
	EXPECT_EQ(peer_fd(self->dev, &other, PAGE), -EINVAL);
	EXPECT_EQ(peer_fd(self->dev, &self->bar, 0), -EINVAL);
	EXPECT_EQ(peer_fd(self->dev, &self->bar, 100), -EINVAL);
	EXPECT_EQ(peer_fd(self->dev, &self->bar, 1ull << 63), -ENOSPC);
}

TEST_F(peer, is_read_into_by_a_drive_that_reaches_it)
{
	NEEDS_DRIVE;
	int fd = peer_fd(self->dev, &self->bar, LEN);
	uint64_t *p = map_fd(fd, LEN);

	ASSERT_TRUE(p != MAP_FAILED);
	memset(p, 0xee, LEN);
	if (self->reaches) {
		for (uint64_t at = 0; at < LEN; at += MIB)
			ASSERT_EQ(pread(self->drive, (char *)p + at, MIB,
					(off_t)(at + 8 * MIB)), MIB);
		expect_pages(p, 8 * MIB / PAGE, LEN / PAGE);
	} else {
		EXPECT_EQ(pread(self->drive, p, MIB, 0), -1);
		printf("# %s\n", strerror(errno));
		EXPECT_EQ(p[0], 0xeeeeeeeeeeeeeeee);
	}
	munmap(p, LEN);
	close(fd);
}

TEST_F(peer, is_written_from_to_a_drive)
{
	NEEDS_DRIVE;
	if (!self->reaches)
		SKIP("the drive does not reach it here");
	int fd = peer_fd(self->dev, &self->bar, LEN);
	uint64_t *p = map_fd(fd, LEN), *host;

	host = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0);
	for (size_t i = 0; i < LEN / 8; i++)
		p[i] = i * 0x9e3779b97f4a7c15;
	for (uint64_t at = 0; at < LEN; at += MIB)
		ASSERT_EQ(pwrite(self->drive, (char *)p + at, MIB,
				 (off_t)(at + 128 * MIB)), MIB);
	for (uint64_t at = 0; at < LEN; at += MIB)
		ASSERT_EQ(pread(self->drive, (char *)host + at, MIB,
				(off_t)(at + 128 * MIB)), MIB);
	for (size_t i = 0; i < LEN / 8; i++)
		if (host[i] != i * 0x9e3779b97f4a7c15)
			ASSERT_EQ(host[i], i * 0x9e3779b97f4a7c15);
	munmap(host, LEN);
	munmap(p, LEN);
	close(fd);
}

static int put_in(struct io_uring *ring, int dev, int fd, unsigned int op,
		  unsigned int npages)
{
	struct sluice_ring arg = { .fd = fd, .npages = npages };

	command(ring, dev, op, &arg);
	return complete(ring);
}

/* A NIC would read it unasked, so sending needs CAP_SYS_RAWIO. */
TEST_F(peer, in_a_ring_is_no_source_for_the_unprivileged)
{
	if (!feature(self->dev, SLUICE_FEATURE_RING))
		SKIP("this kernel does not let a module register buffers");
	int fd = peer_fd(self->dev, &self->bar, LEN), status;

	status = IN_CHILD(struct io_uring ring; struct io_uring_cqe *cqe;
			  int file = memfd_create("f", 0), dir, res[2];
			  if (ftruncate(file, PAGE) || become(1000)) _exit(1);
			  io_uring_queue_init(4, &ring, 0);
			  io_uring_register_buffers_sparse(&ring, 1);
			  if (put_in(&ring, self->dev, fd, SLUICE_RING_REGISTER,
				     LEN / PAGE)) _exit(2);
			  for (dir = 0; dir < 2; dir++) {
				struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

				(dir ? io_uring_prep_write_fixed(sqe, file, NULL, PAGE, 0, 0) :
				       io_uring_prep_read_fixed(sqe, file, NULL, PAGE, 0, 0));
				io_uring_submit_and_wait(&ring, 1);
				if (io_uring_wait_cqe(&ring, &cqe)) _exit(3);
				res[dir] = cqe->res;
				io_uring_cqe_seen(&ring, cqe);
			  }
			  res[0] != PAGE ? 4 : res[1] != -EFAULT ? 5 : 0);
	EXPECT_EQ(status, 0);
	close(fd);
	for (int i = 0; i < 300 && regions_now(self->dev) != self->regions; i++)
		usleep(10000);
}

TEST_F(peer, is_read_into_by_read_fixed)
{
	NEEDS_DRIVE;
	if (!feature(self->dev, SLUICE_FEATURE_RING))
		SKIP("this kernel does not let a module register buffers");
	int fd = peer_fd(self->dev, &self->bar, LEN);
	uint64_t *p = map_fd(fd, LEN);
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	double t;

	memset(p, 0xee, LEN);
	ASSERT_EQ(io_uring_queue_init(16, &ring, 0), 0);
	ASSERT_EQ(io_uring_register_buffers_sparse(&ring, 1), 0);
	ASSERT_EQ(put_in(&ring, self->dev, fd, SLUICE_RING_REGISTER, LEN / PAGE), 0);
	t = seconds();
	for (uint64_t at = 0; at < LEN; at += MIB)
		io_uring_prep_read_fixed(io_uring_get_sqe(&ring), self->drive,
					 (void *)at, MIB, at, 0);
	io_uring_submit_and_wait(&ring, LEN / MIB);
	for (uint64_t i = 0; i < LEN / MIB; i++) {
		ASSERT_EQ(io_uring_wait_cqe(&ring, &cqe), 0);
		if (self->reaches)
			EXPECT_EQ(cqe->res, MIB);
		else
			EXPECT_LT(cqe->res, 0);
		io_uring_cqe_seen(&ring, cqe);
	}
	printf("# %.0f MB/s\n", LEN / (seconds() - t) / 1e6);
	if (self->reaches)
		expect_pages(p, 0, LEN / PAGE);
	else
		EXPECT_EQ(p[0], 0xeeeeeeeeeeeeeeee);
	io_uring_queue_exit(&ring);
	munmap(p, LEN);
	close(fd);
	for (int i = 0; i < 300 && regions_now(self->dev) != self->regions; i++)
		usleep(10000);
}

/* ---- other devices ---- */

static int attach(int im, int fd, unsigned int flags, const char *pci)
{
	struct importer_attach a = { .fd = fd, .flags = flags };

	strncpy(a.dev, pci, sizeof(a.dev));
	return call(im, IMPORTER_ATTACH, &a);
}

TEST_F(peer, is_imported_by_devices_that_reach_it_only)
{
	NEEDS_DRIVE;
	if (access("/dev/importer", F_OK))
		SKIP("/dev/importer: %s", strerror(errno));
	int fd = peer_fd(self->dev, &self->bar, LEN);
	int im = open("/dev/importer", O_RDWR | O_CLOEXEC);
	struct importer_state st = { 0 };

	EXPECT_EQ(attach(im, fd, IMPORTER_STATIC, self->nvme), -EOPNOTSUPP);
	if (self->reaches) {
		ASSERT_EQ(attach(im, fd, 0, self->nvme), 0);
		ASSERT_EQ(call(im, IMPORTER_MAP, &st), 0);
		EXPECT_EQ(st.len, LEN);
		EXPECT_EQ(st.nents, 1);
	} else {
		EXPECT_EQ(attach(im, fd, 0, self->nvme), -EOPNOTSUPP);
	}
	close(im);
	close(fd);
}

/* ---- the end ---- */

TEST_F(peer, of_a_function_that_is_unbound_is_gone)
{
	int fd = peer_fd(self->dev, &self->bar, LEN);
	char *p = map_fd(fd, LEN);
	struct sluice_stat s;

	EXPECT_EQ(is_gone(p), 0);
	ASSERT_EQ(bar_unbind(&self->bar), 0);
	EXPECT_EQ(is_gone(p), 1);
	EXPECT_EQ(is_gone(p + LEN - 1), 1);
	EXPECT_TRUE(map_fd(fd, LEN) == MAP_FAILED);
	EXPECT_EQ(errno, ENODEV);
	EXPECT_EQ(peer_fd(self->dev, &self->bar, LEN), -ENODEV);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.dead, 1);
	if (self->drive >= 0)
		EXPECT_EQ(pread(self->drive, p, MIB, 0), -1);
	/* The function comes back, the region does not. */
	ASSERT_EQ(bar_bind(&self->bar), 0);
	EXPECT_EQ(is_gone(p), 1);
	munmap(p, LEN);
	close(fd);
}

TEST_F(peer, unbound_tells_its_importer)
{
	NEEDS_DRIVE;
	if (!self->reaches)
		SKIP("the drive does not reach it here");
	if (access("/dev/importer", F_OK))
		SKIP("/dev/importer: %s", strerror(errno));
	int fd = peer_fd(self->dev, &self->bar, LEN);
	int im = open("/dev/importer", O_RDWR | O_CLOEXEC);
	struct importer_state st = { 0 };

	ASSERT_EQ(attach(im, fd, 0, self->nvme), 0);
	ASSERT_EQ(call(im, IMPORTER_MAP, &st), 0);
	ASSERT_EQ(bar_unbind(&self->bar), 0);
	ASSERT_EQ(call(im, IMPORTER_STATE, &st), 0);
	EXPECT_EQ(st.told, 1);
	EXPECT_EQ(st.mapped, 0);
	EXPECT_EQ(call(im, IMPORTER_MAP, &st), -ENODEV);
	close(im);
	close(fd);
	ASSERT_EQ(bar_bind(&self->bar), 0);
}

/* A child that unbinds; it is done once it can be waited for. */
static pid_t unbind_apart(const struct bar *bar)
{
	pid_t pid = fork();

	if (!pid)
		_exit(bar_unbind(bar) != 0);
	return pid;
}

static bool done_in(pid_t pid, int ms)
{
	for (int i = 0; i < ms / 10; i++) {
		int status;

		if (waitpid(pid, &status, WNOHANG) == pid)
			return status == 0;
		usleep(10000);
	}
	return false;
}

TEST_F(peer, unbinding_waits_for_an_importer_that_holds_on)
{
	NEEDS_DRIVE;
	if (!self->reaches)
		SKIP("the drive does not reach it here");
	if (access("/dev/importer", F_OK))
		SKIP("/dev/importer: %s", strerror(errno));
	int fd = peer_fd(self->dev, &self->bar, LEN);
	int im = open("/dev/importer", O_RDWR | O_CLOEXEC);
	struct importer_state st = { 0 };
	pid_t pid;

	ASSERT_EQ(attach(im, fd, IMPORTER_LAZY, self->nvme), 0);
	ASSERT_EQ(call(im, IMPORTER_MAP, &st), 0);
	pid = unbind_apart(&self->bar);
	EXPECT_FALSE(done_in(pid, 1000));
	ASSERT_EQ(ioctl(im, IMPORTER_UNMAP), 0);
	EXPECT_TRUE(done_in(pid, 10000));
	close(im);
	close(fd);
	ASSERT_EQ(bar_bind(&self->bar), 0);
}

TEST_F(peer, unbinding_waits_for_a_ring_that_holds_on)
{
	if (!feature(self->dev, SLUICE_FEATURE_RING))
		SKIP("this kernel does not let a module register buffers");
	int fd = peer_fd(self->dev, &self->bar, LEN);
	struct io_uring ring;
	pid_t pid;

	ASSERT_EQ(io_uring_queue_init(4, &ring, 0), 0);
	ASSERT_EQ(io_uring_register_buffers_sparse(&ring, 1), 0);
	ASSERT_EQ(put_in(&ring, self->dev, fd, SLUICE_RING_REGISTER, LEN / PAGE), 0);
	close(fd);
	pid = unbind_apart(&self->bar);
	EXPECT_FALSE(done_in(pid, 1000));
	ASSERT_EQ(put_in(&ring, self->dev, 0, SLUICE_RING_UNREGISTER, 0), 0);
	EXPECT_TRUE(done_in(pid, 10000));
	io_uring_queue_exit(&ring);
	ASSERT_EQ(bar_bind(&self->bar), 0);
}

struct reader {
	int drive;
	volatile bool stop;
	char *p;
	long good;
};

static void *reading(void *arg)
{
	struct reader *r = arg;

	while (!r->stop)
		r->good += pread(r->drive, r->p, MIB, 0) == MIB;
	return NULL;
}

/* The drive writes into it while the function goes: unbound, and unplugged. */
TEST_F_TIMEOUT(peer, goes_while_a_drive_writes_into_it, 120)
{
	NEEDS_DRIVE;
	if (!self->reaches)
		SKIP("the drive does not reach it here");
	char path[128];

	for (int round = 0; round < 6; round++) {
		struct reader r = { .drive = self->drive };
		int fd = peer_fd(self->dev, &self->bar, LEN);
		pthread_t thread;

		ASSERT_GE(fd, 0);
		r.p = map_fd(fd, LEN);
		ASSERT_TRUE(r.p != MAP_FAILED);
		ASSERT_EQ(pthread_create(&thread, NULL, reading, &r), 0);
		for (int i = 0; i < 1000 && r.good < 3; i++)
			usleep(1000);
		EXPECT_GE(r.good, 3);
		if (round & 1) {
			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/remove",
				 self->bar.name);
			ASSERT_EQ(put_text(path, "1"), 0);
			EXPECT_EQ(is_gone(r.p), 1);
			ASSERT_EQ(put_text("/sys/bus/pci/rescan", "1"), 0);
		} else {
			ASSERT_EQ(bar_unbind(&self->bar), 0);
			EXPECT_EQ(is_gone(r.p), 1);
		}
		r.stop = true;
		pthread_join(thread, NULL);
		munmap(r.p, LEN);
		close(fd);
		ASSERT_EQ(bar_bind(&self->bar), 0);
	}
}

TEST_F(peer, ends_with_the_process_that_is_killed)
{
	int status = IN_CHILD(char *p = map_fd(peer_fd(self->dev, &self->bar, LEN),
					       LEN);
			      memset(p, 1, LEN);
			      kill(getpid(), SIGKILL); 0);
	int fd;

	EXPECT_EQ(status, 128 + SIGKILL);
	fd = peer_fd(self->dev, &self->bar, BAR_LEN);
	EXPECT_GE(fd, 0);
	close(fd);
}

TEST_F(peer, is_not_pinned_for_long)
{
	int fd = peer_fd(self->dev, &self->bar, PAGE);
	char *p = map_fd(fd, PAGE);

	p[0] = 1;
	EXPECT_LT(pin_fd(self->dev, p, PAGE, 0), 0);
	munmap(p, PAGE);
	close(fd);
}

TEST_HARNESS_MAIN

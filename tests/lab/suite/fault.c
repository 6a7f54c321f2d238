/* SPDX-License-Identifier: MIT */
/* Each call with its first, second, ... fallible step failing, until none does. */
/* LAB: basic switch */
#include <liburing.h>

#include "tests/lab/driver.h"
#include "tests/lab/sqe.h"
#include "tests/lab/bar.h"
#include "tests/lab/kmod/importer.h"

#define LEN (4 * MIB + PAGE)
#define NTH "/sys/kernel/debug/sluice/fail_nth"

FIXTURE(fault)
{
	int dev, region, named, regions, fds;
	struct sluice_stat facts[2]; /* of region and named */
	long pinned;
	char *own;
	struct io_uring ring;
	bool peer;
	struct bar bar;
	int im; /* /dev/importer, or -1 */
	char pci[32];
};

FIXTURE_VARIANT(fault)
{
	/* 0 or -errno; a descriptor that it made is closed. */
	int (*run)(struct ktap_fixture_fault *self);
	bool recovers; /* of some steps: a smaller run, a second try */
};

static int shut(int fd)
{
	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static int run_alloc(struct ktap_fixture_fault *self)
{
	return shut(alloc_fd(self->dev, LEN));
}

static int run_alloc_strict(struct ktap_fixture_fault *self)
{
	struct sluice_alloc a = { .size = sizeof(a), .flags = SLUICE_ALLOC_STRICT,
				  .len = 4 * MIB, .node = -1 };
	int ret = call(self->dev, SLUICE_ALLOC, &a);

	return ret ? ret : shut(a.fd);
}

/* Every page is a run of its own at worst, so the list of runs grows. */
static int run_alloc_small(struct ktap_fixture_fault *self)
{
	struct sluice_alloc a = { .size = sizeof(a), .len = 64 * PAGE, .run = PAGE,
				  .node = -1 };
	int ret = call(self->dev, SLUICE_ALLOC, &a);

	return ret ? ret : shut(a.fd);
}

static int run_alloc_named(struct ktap_fixture_fault *self)
{
	int ret = shut(alloc_named(self->dev, PAGE, "fault2", 0600));

	return ret ? ret : remove_named(self->dev, "fault2", 0);
}

/* What comes after the region is there has no step that may fail. */
static int run_remove(struct ktap_fixture_fault *self)
{
	int fd = alloc_named(self->dev, PAGE, "fault2", 0600), ret;
	char *p;

	if (fd < 0)
		return fd;
	p = map_fd(fd, PAGE);
	ret = p == MAP_FAILED ? -errno : 0;
	if (grant_named(self->dev, "fault2", SLUICE_GRANT_MODE, 0, 0, 0640) ||
	    remove_named(self->dev, "fault2", SLUICE_REMOVE_REVOKE))
		ret = -EINVAL;
	if (p != MAP_FAILED)
		munmap(p, PAGE);
	close(fd);
	return ret;
}

static int run_pin(struct ktap_fixture_fault *self)
{
	return shut(pin_fd(self->dev, self->own, LEN, 0));
}

static int run_pin_read(struct ktap_fixture_fault *self)
{
	return shut(pin_fd(self->dev, self->own + PAGE, LEN - PAGE, SLUICE_PIN_READ));
}

static int run_pin_hugetlb(struct ktap_fixture_fault *self)
{
	char *own = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	int ret;

	if (own == MAP_FAILED)
		return -ENOSYS;
	ret = shut(pin_fd(self->dev, own, 4 * MIB, 0));
	munmap(own, 4 * MIB);
	return ret;
}

static int run_open(struct ktap_fixture_fault *self)
{
	return shut(open_named(self->dev, "fault", 0));
}

static int run_open_read(struct ktap_fixture_fault *self)
{
	return shut(open_named(self->dev, "fault", SLUICE_OPEN_READ));
}

static int run_runs(struct ktap_fixture_fault *self)
{
	struct sluice_run run;
	struct sluice_runs r = { .size = sizeof(r), .fd = self->region, .count = 1,
				 .runs = (uintptr_t)&run };

	return call(self->dev, SLUICE_RUNS, &r);
}

static int run_stat(struct ktap_fixture_fault *self)
{
	struct sluice_stat s;

	return stat_fd(self->dev, self->region, &s);
}

/* A fault that fails is tried again, so that this always works. */
static int run_touch(struct ktap_fixture_fault *self)
{
	char *p = map_fd(self->region, LEN);

	if (p == MAP_FAILED)
		return -errno;
	p[LEN - 1] = 1;
	munmap(p, LEN);
	return 0;
}

/* The kernel does not try again for itself: the call that touches it fails. */
static int run_touch_by_call(struct ktap_fixture_fault *self)
{
	char *p = map_fd(self->region, LEN);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC), ret = 0;

	if (p == MAP_FAILED || read(zero, p + LEN - 1, 1) != 1)
		ret = -errno;
	close(zero);
	if (p != MAP_FAILED)
		munmap(p, LEN);
	return ret;
}

static int run_peer(struct ktap_fixture_fault *self)
{
	return self->peer ? shut(peer_fd(self->dev, &self->bar, LEN)) : 0;
}

static int run_ring(struct ktap_fixture_fault *self)
{
	struct sluice_ring arg = { .fd = self->region, .npages = LEN / PAGE };
	int ret = 0;

	for (int op = SLUICE_RING_REGISTER; op <= SLUICE_RING_UNREGISTER && !ret;
	     op++) {
		command(&self->ring, self->dev, (unsigned int)op, &arg);
		ret = complete(&self->ring);
		memset(&arg, 0, sizeof(arg));
	}
	return ret;
}

FIXTURE_VARIANT_ADD(fault, alloc) { run_alloc, true };
FIXTURE_VARIANT_ADD(fault, alloc_small) { run_alloc_small, false };
FIXTURE_VARIANT_ADD(fault, alloc_strict) { run_alloc_strict, false };
FIXTURE_VARIANT_ADD(fault, remove) { run_remove, false };
FIXTURE_VARIANT_ADD(fault, alloc_named) { run_alloc_named, false };
FIXTURE_VARIANT_ADD(fault, pin) { run_pin, false };
FIXTURE_VARIANT_ADD(fault, pin_read) { run_pin_read, false };
FIXTURE_VARIANT_ADD(fault, pin_hugetlb) { run_pin_hugetlb, false };
FIXTURE_VARIANT_ADD(fault, open_read) { run_open_read, false };
FIXTURE_VARIANT_ADD(fault, touch_by_call) { run_touch_by_call, false };
FIXTURE_VARIANT_ADD(fault, open) { run_open, false };
FIXTURE_VARIANT_ADD(fault, runs) { run_runs, false };
FIXTURE_VARIANT_ADD(fault, stat) { run_stat, false };
FIXTURE_VARIANT_ADD(fault, touch) { run_touch, true };
FIXTURE_VARIANT_ADD(fault, peer) { run_peer, false };
static int run_import(struct ktap_fixture_fault *self)
{
	struct importer_attach a = { .fd = self->region };
	struct importer_state st = { 0 };
	int ret;

	strcpy(a.dev, self->pci);
	ret = call(self->im, IMPORTER_ATTACH, &a);
	if (!ret)
		ret = call(self->im, IMPORTER_MAP, &st);
	ioctl(self->im, IMPORTER_DETACH);
	return ret;
}

FIXTURE_VARIANT_ADD(fault, import) { run_import, false };
FIXTURE_VARIANT_ADD(fault, ring) { run_ring, false };

FIXTURE_SETUP(fault)
{
	self->dev = driver_open();
	if (self->dev < 0)
		SKIP("/dev/sluice: %s", strerror(errno));
	if (!feature(self->dev, SLUICE_FEATURE_FAULT))
		SKIP("the module was built without SLC_FAULT=1");
	self->own = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->own != MAP_FAILED);
	madvise(self->own, LEN, MADV_NOHUGEPAGE);
	memset(self->own, 1, LEN);
	self->region = alloc_fd(self->dev, LEN);
	self->named = alloc_named(self->dev, PAGE, "fault", 0600);
	ASSERT_GE(self->region, 0);
	ASSERT_GE(self->named, 0);
	ASSERT_EQ(io_uring_queue_init(4, &self->ring, 0), 0);
	ASSERT_EQ(io_uring_register_buffers_sparse(&self->ring, 1), 0);
	self->im = open("/dev/importer", O_RDWR | O_CLOEXEC);
	ASSERT_EQ(pci_find("0x8086", "0x2922", self->pci, sizeof(self->pci)), 0);
	self->peer = variant->run == run_peer && !bar_bind(&self->bar);
}

FIXTURE_TEARDOWN(fault)
{
	if (self->dev < 0)
		return;
	if (self->peer)
		bar_unbind(&self->bar);
	remove_named(self->dev, "fault", 0);
	put_text(SLUICE_PARAM "max_bytes", "0");
	put_text(SLUICE_PARAM "max_user_bytes", "0");
	close(self->dev);
}

static void fail_nth(unsigned long n)
{
	char text[32];

	snprintf(text, sizeof(text), "%lu", n);
	ASSERT_EQ(put_text(NTH, text), 0);
}

/* The fault that was asked for is still to come. */
static bool pending(void)
{
	char text[32] = "";
	int fd = open(NTH, O_RDONLY);

	if (read(fd, text, sizeof(text) - 1) < 0)
		text[0] = 0;
	close(fd);
	return atol(text) > 0;
}

/* Exactly @bytes are charged: of two pages more one is left to take. */
static void charge_is(int dev, uint64_t bytes)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)(bytes + PAGE));
	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", text), 0);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_user_bytes", text), 0);
	EXPECT_EQ(shut(alloc_fd(dev, 2 * PAGE)), -EDQUOT);
	EXPECT_EQ(shut(alloc_fd(dev, PAGE)), 0);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", "0"), 0);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_user_bytes", "0"), 0);
}

static void nothing_changed(struct ktap_fixture_fault *self)
{
	struct sluice_stat s;

	EXPECT_EQ(regions_now(self->dev), self->regions);
	EXPECT_EQ(fds_now(), self->fds);
	EXPECT_EQ(pinned_soon(self->pinned), self->pinned);
	charge_is(self->dev, LEN + PAGE);
	/* Who is there has the users that it had. */
	ASSERT_EQ(stat_fd(self->dev, self->region, &s), 0);
	EXPECT_EQ(memcmp(&s, &self->facts[0], sizeof(s)), 0);
	ASSERT_EQ(stat_fd(self->dev, self->named, &s), 0);
	EXPECT_EQ(memcmp(&s, &self->facts[1], sizeof(s)), 0);
	/* The name that a call wanted is free. */
	EXPECT_EQ(shut(alloc_named(self->dev, PAGE, "fault2", 0600)), 0);
	EXPECT_EQ(remove_named(self->dev, "fault2", 0), 0);
}

/* What the interface says that a step which fails may give. */
static bool named_error(int ret)
{
	return ret == -ENOMEM || ret == -EDQUOT || ret == -EMFILE || ret == -EFAULT;
}

TEST_F_TIMEOUT(fault, of_the_nth_step_is_an_error_without_effect, 150)
{
	unsigned long n;

	if (variant->run == run_ring && !feature(self->dev, SLUICE_FEATURE_RING))
		SKIP("this kernel does not let a module register buffers");
	if (variant->run == run_import && self->im < 0)
		SKIP("no /dev/importer");
	if (variant->run == run_peer && !self->peer)
		SKIP("no BAR, or a kernel without peer memory");
	self->regions = regions_now(self->dev);
	self->fds = fds_now();
	self->pinned = pinned_now();
	ASSERT_EQ(stat_fd(self->dev, self->region, &self->facts[0]), 0);
	ASSERT_EQ(stat_fd(self->dev, self->named, &self->facts[1]), 0);
	for (n = 1; n < 10000; n++) {
		bool late;
		int ret;

		fail_nth(n);
		ret = variant->run(self);
		late = pending();
		fail_nth(0);
		if (late) {
			EXPECT_EQ(ret, 0);
			break;
		}
		/* EIO is no answer of a call, but of a device's mapping. */
		EXPECT_TRUE(named_error(ret) || (variant->recovers && !ret) ||
			    (variant->run == run_import && ret == -EIO) ||
			    (variant->run == run_peer && ret == -ENOSPC));
		nothing_changed(self);
	}
	nothing_changed(self);
	printf("# %lu steps may fail\n", n - 1);
	EXPECT_GT(n, 1);
	EXPECT_LT(n, 10000);
	EXPECT_EQ(variant->run(self), 0);
}

TEST_HARNESS_MAIN

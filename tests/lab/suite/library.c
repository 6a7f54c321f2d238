/* SPDX-License-Identifier: MIT */
/* libsluice over the module: regions, names, a queue that reads into them. */
/* LAB: basic switch 4G */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include <sluice/queue.h>

#include "include/uapi/sluice.h"
#include "ktap.h"
#include "tests/lab/crc32c.h"

#define MIB (1ull << 20)
#define NAME "library"

FIXTURE(library)
{
	struct slc_ctx *ctx;
	struct slc_region *r;
	struct slc_region_attr attr;
	int dev;
};

FIXTURE_NO_VARIANT(library);

static void forget(int dev)
{
	struct sluice_remove rm = { .size = sizeof(rm), .name = NAME };

	ioctl(dev, SLUICE_REMOVE, &rm);
}

FIXTURE_SETUP(library)
{
	self->dev = open("/dev/sluice", O_RDWR | O_CLOEXEC);
	if (self->dev < 0)
		SKIP("/dev/sluice: %s", strerror(errno));
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	self->attr = (struct slc_region_attr){
		.size = sizeof(self->attr),
		.len = 64 * MIB,
		.node = SLC_NODE_CALLER,
		.flags = SLC_REGION_MODULE | SLC_REGION_STRICT,
		.name = NAME,
	};
}

FIXTURE_TEARDOWN(library)
{
	slc_region_put(self->r);
	slc_ctx_close(self->ctx);
	if (self->dev < 0)
		return;
	forget(self->dev);
	close(self->dev);
}

static void get(struct ktap_fixture_library *self)
{
	int err = slc_region_alloc(self->ctx, &self->attr, &self->r);

	if (err)
		printf("# %s\n", slc_last_error(self->ctx));
	ASSERT_EQ(err, 0);
}

static void put(struct ktap_fixture_library *self)
{
	slc_region_put(self->r);
	self->r = NULL;
}

static struct slc_region_info info_of(const struct slc_region *r)
{
	struct slc_region_info info = { .size = sizeof(info) };

	ASSERT_EQ(slc_region_query(r, &info), 0);
	return info;
}

static struct sluice_stat stat_of(int dev, int fd)
{
	struct sluice_stat st = { .size = sizeof(st), .fd = fd };

	ASSERT_EQ(ioctl(dev, SLUICE_STAT, &st), 0);
	return st;
}

static double now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e3 + (double)ts.tv_nsec / 1e6;
}

TEST_F(library, every_page_is_zero_on_its_node_and_can_be_written)
{
	struct slc_residency res = { .size = sizeof(res) };
	uint64_t *p, sum = 0;

	get(self);
	EXPECT_EQ(info_of(self->r).bytes_2m, 64 * MIB);
	EXPECT_GE(info_of(self->r).dmabuf_fd, 0);
	EXPECT_STREQ(info_of(self->r).reason, "");
	p = slc_region_addr(self->r);
	for (uint64_t i = 0; i < 64 * MIB / 8; i++)
		sum |= p[i];
	EXPECT_EQ(sum, 0);
	memset(p, 0x5a, 64 * MIB);
	put(self);
	/* move_pages(2) answers for such mappings, where there is one. */
	get(self);
	if (slc_region_verify(self->r, &res) == -ENOSYS)
		SKIP("this kernel has no move_pages(2)");
	ASSERT_EQ(slc_region_verify(self->r, &res), 0);
	EXPECT_EQ(res.bytes_on_node, 64 * MIB);
	EXPECT_EQ(res.bytes_absent, 0);
}

TEST_F(library, threads_that_are_asked_for_map_all_of_it)
{
	struct rusage before, after;
	volatile char *p;

	self->attr.threads = 2;
	get(self);
	EXPECT_GE(info_of(self->r).threads, 1);
	p = slc_region_addr(self->r);
	getrusage(RUSAGE_SELF, &before);
	for (uint64_t i = 0; i < 64 * MIB; i += 4096)
		p[i] = 1;
	getrusage(RUSAGE_SELF, &after);
	EXPECT_LE(after.ru_minflt - before.ru_minflt, 3);
}

TEST_F(library, a_child_of_fork_has_no_part_of_it)
{
	volatile char *p;
	int status;
	pid_t pid;

	get(self);
	p = slc_region_addr(self->r);
	*p = 7;
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(*p);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
}

TEST_F(library, a_process_that_was_killed_finds_its_bytes_again_in_10_ms)
{
	double began, made, found;
	uint64_t *p;
	int status;
	pid_t pid;

	self->attr.flags |= SLC_REGION_NAMED;
	self->attr.len = 1024 * MIB;
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		get(self);
		p = slc_region_addr(self->r);
		for (uint64_t i = 0; i < 1024 * MIB / 8; i += 512)
			p[i] = i;
		raise(SIGKILL);
	}
	began = now_ms();
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	made = now_ms() - began;
	ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	began = now_ms();
	get(self);
	found = now_ms() - began;
	EXPECT_EQ(info_of(self->r).found, 1);
	p = slc_region_addr(self->r);
	for (uint64_t i = 0; i < 1024 * MIB / 8; i += 512)
		ASSERT_EQ(p[i], i);
	printf("# 1 GiB: made and filled in %.0f ms, found in %.2f ms\n", made,
	       found);
	/* A kernel that checks every access has its own measure. */
	EXPECT_LT(found, access("/sys/kernel/debug/kmemleak", F_OK) ? 10 : 1000);
}

TEST_F(library, a_region_that_is_revoked_is_told_by_verify)
{
	struct sluice_remove rm = { .size = sizeof(rm),
				    .flags = SLUICE_REMOVE_REVOKE,
				    .name = NAME };
	struct slc_residency res = { .size = sizeof(res) };

	self->attr.flags |= SLC_REGION_NAMED;
	get(self);
	ASSERT_EQ(ioctl(self->dev, SLUICE_REMOVE, &rm), 0);
	EXPECT_EQ(slc_region_verify(self->r, &res), -ENODEV);
	EXPECT_HAS(slc_last_error(self->ctx), "revoked");
}

TEST_F(library, a_user_without_the_group_is_told_and_gets_host_memory)
{
	int status;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid) {
		self->attr.flags = SLC_REGION_MODULE;
		self->attr.len = 2 * MIB;
		self->attr.page_size = 4096;
		if (setgid(1000) || setuid(1000))
			_exit(2);
		get(self);
		_exit(strstr(info_of(self->r).reason, "usermod -aG sluice") &&
				      info_of(self->r).dmabuf_fd < 0 ?
			      0 :
			      1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(library, over_the_locked_limit_says_which)
{
	struct rlimit lim = { 65536, 65536 };
	int status;
	pid_t pid;

	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &lim), 0);
	ASSERT_EQ(chmod("/dev/sluice", 0666), 0);
	pid = fork();
	if (!pid) {
		if (setgid(1000) || setuid(1000))
			_exit(2);
		EXPECT_EQ(slc_region_alloc(self->ctx, &self->attr, &self->r),
			  -EDQUOT);
		EXPECT_HAS(slc_last_error(self->ctx),
			   "RLIMIT_MEMLOCK is 65536 bytes");
		_exit(0);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	chmod("/dev/sluice", 0660);
	EXPECT_EQ(status, 0);
}

/* ---- the queue ---- */

static bool ring_works(int dev)
{
	struct sluice_feature f = { .size = sizeof(f),
				    .index = SLUICE_FEATURE_RING };

	return !ioctl(dev, SLUICE_FEATURE, &f) && f.works;
}

/* Reads len bytes of the file to off of the region. */
static struct slc_done move(struct slc_queue *q, struct slc_file *file,
			    uint64_t at, struct slc_region *r, uint64_t off,
			    uint64_t len)
{
	struct slc_move mv = { .src = slc_at_file(file, at),
			       .dst = slc_at_region(r, off),
			       .len = len };
	struct slc_done d;

	memset((char *)slc_region_addr(r) + off, 0xa5, len);
	ASSERT_EQ(slc_queue_submit(q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(q, &d, 1, 1, SLC_FOREVER), 1);
	ASSERT_EQ(d.result, (int64_t)len);
	return d;
}

/* Words of the file are their place in it, from the page at `at` on. */
static void fill(const char *path, uint64_t pages)
{
	uint64_t page[512];
	int fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);

	ASSERT_GE(fd, 0);
	for (uint64_t i = 0; i < pages; i++) {
		for (int k = 0; k < 512; k++)
			page[k] = i;
		ASSERT_EQ(write(fd, page, sizeof(page)), 4096);
	}
	ASSERT_EQ(fsync(fd), 0);
	close(fd);
}

static void expect_pages(const struct slc_region *r, uint64_t off,
			 uint64_t first, uint64_t npages)
{
	const uint64_t *p = (const void *)((char *)slc_region_addr(r) + off);

	for (uint64_t i = 0; i < npages * 512; i++)
		ASSERT_EQ(p[i], first + i / 512);
}

TEST_F(library, a_queue_reads_into_it_by_the_ring_or_says_why_not)
{
	bool ring = ring_works(self->dev), drive;
	const char *path = "/dev/lab/n0";
	struct slc_queue *q;
	struct slc_file *file;
	struct slc_done d;
	int fd;

	drive = !access(path, R_OK);
	if (!drive) {
		path = "/disk/library";
		fill(path, 1024);
	}
	get(self);
	fd = info_of(self->r).dmabuf_fd;
	ASSERT_EQ(slc_file_open(self->ctx, path, SLC_FILE_READ, &file), 0);
	ASSERT_EQ(slc_queue_open(self->ctx, NULL, &q), 0);
	d = move(q, file, 0, self->r, 0, 4 * MIB);
	printf("# %s: %s%s%s\n", path, slc_route_name(d.route),
	       *d.reason ? ": " : "", d.reason);
	expect_pages(self->r, 0, 0, 1024);
	EXPECT_EQ(stat_of(self->dev, fd).rings, ring ? 1 : 0);
	/* Linux 6.1 registers no mapping of a file either, and says that. */
	EXPECT_EQ(!strstr(d.reason, "not by the module") &&
			  !strstr(d.reason, "registering"), ring);
	if (drive)
		EXPECT_EQ(d.route, SLC_ROUTE_URING_DIRECT);
	/* Somewhere else, from somewhere else. */
	move(q, file, 8 * 4096, self->r, 40 * MIB, 2 * MIB);
	expect_pages(self->r, 40 * MIB, 8, 512);
	ASSERT_EQ(slc_queue_detach_region(q, self->r), 0);
	/* The kernel may hold it until the next I/O, or the end of the queue. */
	slc_queue_close(q);
	for (int i = 0; i < 300 && stat_of(self->dev, fd).rings; i++)
		usleep(10000);
	EXPECT_EQ(stat_of(self->dev, fd).rings, 0);
	slc_file_put(file);
	if (!drive)
		unlink(path);
}

TEST_F(library, a_region_of_several_slots_is_read_into_across_their_border)
{
	struct slc_queue *q;
	struct slc_file *file;

	self->attr.len = 1026 * MIB;
	fill("/disk/library", 1024);
	get(self);
	ASSERT_EQ(slc_file_open(self->ctx, "/disk/library", SLC_FILE_READ,
				&file),
		  0);
	ASSERT_EQ(slc_queue_open(self->ctx, NULL, &q), 0);
	move(q, file, 0, self->r, 1022 * MIB, 4 * MIB);
	expect_pages(self->r, 1022 * MIB, 0, 1024);
	move(q, file, 4096, self->r, 1024 * MIB - 4096, 8192);
	expect_pages(self->r, 1024 * MIB - 4096, 1, 2);
	if (ring_works(self->dev))
		EXPECT_EQ(stat_of(self->dev, info_of(self->r).dmabuf_fd).rings,
			  2);
	slc_queue_close(q);
	slc_file_put(file);
	unlink("/disk/library");
}

TEST_HARNESS_MAIN

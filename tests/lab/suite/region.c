/* SPDX-License-Identifier: MIT */
/* Regions of the module's own memory: what is got, mapped, and when it ends. */
/* LAB: basic switch */
#include <linux/dma-buf.h>
#include <pthread.h>
#include <sys/socket.h>

#include "tests/lab/driver.h"
#include "tests/lab/fdpass.h"

#define LEN (4 * MIB)

DRIVER_FIXTURE(region)

/* ---- asking ---- */

static const struct {
	const char *what;
	struct sluice_alloc alloc;
	int result;
} asks[] = {
	{ "no length", { .len = 0, .node = -1 }, -EINVAL },
	{ "half a page", { .len = 2048, .node = -1 }, -EINVAL },
	{ "a page and a byte", { .len = PAGE + 1, .node = -1 }, -EINVAL },
	{ "runs of two pages", { .len = PAGE, .run = 2 * PAGE, .node = -1 }, -EINVAL },
	{ "runs of a byte", { .len = PAGE, .run = 1, .node = -1 }, -EINVAL },
	{ "runs of 1 GiB", { .len = 1024 * MIB, .run = 1024 * MIB, .node = -1 },
	  -EOPNOTSUPP },
	{ "strict, and a rest", { .flags = SLUICE_ALLOC_STRICT, .len = 2 * MIB + PAGE,
	  .node = -1 }, -EINVAL },
	{ "node -2", { .len = PAGE, .node = -2 }, -EINVAL },
	{ "a node that is not there", { .len = PAGE, .node = 1000 }, -EINVAL },
	{ "a node past all", { .len = PAGE, .node = INT32_MAX }, -EINVAL },
	{ "a mode without a name", { .len = PAGE, .node = -1, .mode = 0600 }, -EINVAL },
	{ "the sticky bit", { .len = PAGE, .node = -1, .mode = 01600, .name = "n" },
	  -EINVAL },
	{ "a slash", { .len = PAGE, .node = -1, .name = "a/b" }, -EINVAL },
	{ "a blank", { .len = PAGE, .node = -1, .name = "a b" }, -EINVAL },
	{ "not ASCII", { .len = PAGE, .node = -1, .name = "\xc3\xa4" }, -EINVAL },
	{ "64 characters", { .len = PAGE, .node = -1, .name =
	  "0123456789012345678901234567890123456789012345678901234567890123" },
	  -EINVAL },
	{ "more than the node has", { .len = 1ull << 46, .node = -1 }, -ENOMEM },
	{ "2^63 bytes", { .len = 1ull << 63, .node = -1 }, -ENOMEM },
};

TEST_F(region, what_is_malformed_or_cannot_be_is_refused)
{
	for (size_t i = 0; i < sizeof(asks) / sizeof(asks[0]); i++) {
		struct sluice_alloc a = asks[i].alloc;
		int ret;

		a.size = sizeof(a);
		ret = call(self->dev, SLUICE_ALLOC, &a);
		if (ret != asks[i].result)
			printf("# %s\n", asks[i].what);
		EXPECT_EQ(ret, asks[i].result);
	}
}

TEST_F(region, is_zeroed_and_holds_what_is_written)
{
	int fd = alloc_fd(self->dev, LEN);
	uint64_t *p, *q;

	ASSERT_GE(fd, 0);
	p = map_fd(fd, LEN);
	q = map_fd(fd, LEN);
	ASSERT_TRUE(p != MAP_FAILED && q != MAP_FAILED);
	for (size_t i = 0; i < LEN / 8; i++)
		if (p[i])
			ASSERT_EQ(p[i], 0);
	for (size_t i = 0; i < LEN / 8; i++)
		p[i] = i * 0x9e3779b97f4a7c15;
	for (size_t i = 0; i < LEN / 8; i++)
		if (q[i] != i * 0x9e3779b97f4a7c15)
			ASSERT_EQ(q[i], i * 0x9e3779b97f4a7c15);
	munmap(p, LEN);
	munmap(q, LEN);
	close(fd);
}

TEST_F(region, that_was_freed_leaves_nothing_to_the_next)
{
	for (int round = 0; round < 8; round++) {
		int fd = alloc_fd(self->dev, LEN);
		uint64_t *p = map_fd(fd, LEN);

		ASSERT_TRUE(p != MAP_FAILED);
		for (size_t i = 0; i < LEN / 8; i += 64) {
			ASSERT_EQ(p[i], 0);
			p[i] = ~0ull;
		}
		munmap(p, LEN);
		close(fd);
	}
}

TEST_F(region, takes_the_last_descriptor_for_itself_or_none)
{
	struct rlimit limit, few = { 3, 3 };
	int ret;

	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &limit), 0);
	while (fcntl((int)few.rlim_cur, F_GETFD) >= 0)
		few.rlim_cur++;
	few.rlim_max = limit.rlim_max;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	ret = alloc_fd(self->dev, PAGE);
	EXPECT_EQ(ret, -EMFILE);
	setrlimit(RLIMIT_NOFILE, &limit);
}

TEST_F(region, comes_with_close_on_exec)
{
	int fd = alloc_fd(self->dev, PAGE);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(fcntl(fd, F_GETFD), FD_CLOEXEC);
	EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
	EXPECT_EQ(lseek(fd, 0, SEEK_END), PAGE);
	close(fd);
}

TEST_F(region, is_not_given_while_the_module_drains)
{
	int fd = alloc_named(self->dev, PAGE, "drained", 0600);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(put_text(SLUICE_PARAM "drain", "1"), 0);
	EXPECT_EQ(alloc_fd(self->dev, PAGE), -ESHUTDOWN);
	EXPECT_EQ(open_named(self->dev, "drained", 0), -ESHUTDOWN);
	ASSERT_EQ(put_text(SLUICE_PARAM "drain", "0"), 0);
	EXPECT_EQ(remove_named(self->dev, "drained", 0), 0);
	close(fd);
}

/* ---- facts ---- */

/* All runs of @fd, @step at a time; returns how many. */
static unsigned long walk(int dev, int fd, uint64_t len, unsigned int step,
			  uint64_t *bytes_2m)
{
	struct sluice_run runs[64];
	unsigned long n = 0;
	uint64_t off = 0;

	*bytes_2m = 0;
	while (off < len) {
		struct sluice_runs r = { .size = sizeof(r), .fd = fd, .count = step,
					 .off = off, .runs = (uintptr_t)runs };

		ASSERT_EQ(call(dev, SLUICE_RUNS, &r), 0);
		ASSERT_GE(r.count, 1);
		ASSERT_LE(r.count, step);
		for (unsigned int i = 0; i < r.count; i++, n++) {
			ASSERT_EQ(runs[i].off, off);
			ASSERT_EQ(runs[i].__reserved, 0);
			ASSERT_GT(runs[i].len, 0);
			if (runs[i].len >= 2 * MIB)
				*bytes_2m += runs[i].len;
			off += runs[i].len;
		}
	}
	ASSERT_EQ(off, len);
	return n;
}

TEST_F(region, runs_cover_it_in_order_and_are_what_stat_counts)
{
	static const uint64_t lens[] = { PAGE, 3 * PAGE, 2 * MIB, 8 * MIB + PAGE };
	struct sluice_stat s;
	uint64_t big;

	for (size_t i = 0; i < 4; i++) {
		int fd = alloc_fd(self->dev, lens[i]);

		ASSERT_GE(fd, 0);
		ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
		EXPECT_EQ(s.len, lens[i]);
		EXPECT_EQ(s.kind, SLUICE_KIND_ALLOC);
		EXPECT_EQ(walk(self->dev, fd, lens[i], 1, &big), s.nruns);
		EXPECT_EQ(walk(self->dev, fd, lens[i], 64, &big), s.nruns);
		EXPECT_EQ(big, s.bytes_2m);
		close(fd);
	}
}

TEST_F(region, that_is_strict_has_long_runs_only)
{
	struct sluice_alloc a = { .size = sizeof(a), .flags = SLUICE_ALLOC_STRICT,
				  .len = 16 * MIB, .node = -1 };
	struct sluice_stat s;

	ASSERT_EQ(call(self->dev, SLUICE_ALLOC, &a), 0);
	ASSERT_EQ(stat_fd(self->dev, a.fd, &s), 0);
	EXPECT_EQ(s.bytes_2m, a.len);
	EXPECT_EQ(s.id, a.id);
	close(a.fd);
}

TEST_F(region, is_found_by_descriptor_by_id_and_by_walking)
{
	struct sluice_stat s, t;
	int fd = alloc_fd(self->dev, PAGE), found = 0;
	uint64_t id = 0;
	void *p = map_fd(fd, PAGE);

	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.fds, 1);
	EXPECT_EQ(s.maps, 1);
	EXPECT_EQ(s.attached, 0);
	EXPECT_EQ(s.rings, 0);
	EXPECT_EQ(s.dead, 0);
	EXPECT_EQ(s.uid, geteuid());
	EXPECT_EQ(s.gid, getegid());
	EXPECT_EQ(s.mode, 0);
	EXPECT_EQ(s.pid, getpid());
	EXPECT_STREQ(s.name, "");
	EXPECT_NE(s.comm[0], 0);
	ASSERT_EQ(stat_id(self->dev, s.id, &t), 0);
	t.fd = s.fd;
	EXPECT_EQ(memcmp(&s, &t, sizeof(s)), 0);
	for (;;) {
		struct sluice_stat n = { .size = sizeof(n), .flags = SLUICE_STAT_NEXT,
					 .fd = -1, .id = id };

		if (call(self->dev, SLUICE_STAT, &n))
			break;
		EXPECT_GT(n.id, id);
		id = n.id;
		found += n.id == s.id;
	}
	EXPECT_EQ(found, 1);
	munmap(p, PAGE);
	close(fd);
	EXPECT_EQ(stat_id(self->dev, s.id, &t), -ENOENT);
	EXPECT_EQ(stat_id(self->dev, 0, &t), -ENOENT);
	EXPECT_EQ(stat_id(self->dev, UINT64_MAX, &t), -ENOENT);
}

TEST_F(region, is_not_what_another_descriptor_names)
{
	int null = open("/dev/null", O_RDWR), mem = memfd_create("m", 0);
	struct sluice_stat s = { .size = sizeof(s), .flags = SLUICE_STAT_NEXT };
	struct sluice_runs r = { .size = sizeof(r), .fd = null, .count = 1 };

	EXPECT_EQ(call(self->dev, SLUICE_STAT, &s), -EINVAL); /* fd 0 and NEXT */
	EXPECT_EQ(stat_fd(self->dev, null, &s), -ENOENT);
	EXPECT_EQ(stat_fd(self->dev, mem, &s), -ENOENT);
	EXPECT_EQ(stat_fd(self->dev, self->dev, &s), -ENOENT);
	EXPECT_EQ(stat_fd(self->dev, 1000, &s), -EBADF);
	EXPECT_EQ(stat_fd(self->dev, -2, &s), -EINVAL);
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -ENOENT);
	r.fd = -1;
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -EBADF);
	close(null);
	close(mem);
}

TEST_F(region, runs_are_refused_beyond_its_end_and_into_foreign_memory)
{
	static const uint32_t counts[] = { 0, SLUICE_RUNS_MAX + 1, UINT32_MAX };
	struct sluice_run *room = calloc(SLUICE_RUNS_MAX, sizeof(*room));
	int fd = alloc_fd(self->dev, PAGE);
	struct sluice_runs r = { .size = sizeof(r), .fd = fd,
				 .runs = (uintptr_t)room };

	ASSERT_NOT_NULL(room);
	for (int i = 0; i < 3; i++) {
		r.count = counts[i];
		EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -EINVAL);
	}
	r.count = SLUICE_RUNS_MAX;
	r.off = PAGE - 1;
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), 0);
	EXPECT_EQ(r.count, 1);
	r.off = PAGE;
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -EINVAL);
	r.off = UINT64_MAX;
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -EINVAL);
	r.off = 0;
	r.runs = 0;
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -EFAULT);
	r.runs = UINT64_MAX - 4095;
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -EFAULT);
	free(room);
	close(fd);
}

static int read_text(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n, len = 0;

	if (fd < 0)
		return -errno;
	while ((n = read(fd, text + len, size - 1 - (size_t)len)) > 0)
		len += n;
	text[len] = 0;
	close(fd);
	return 0;
}

TEST_F(region, is_shown_by_its_descriptor_and_in_debugfs)
{
	int fd = alloc_named(self->dev, PAGE, "shown", 0640);
	static char text[65536];
	struct sluice_stat s;
	char path[64], want[64];

	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	ASSERT_EQ(read_text(path, text, sizeof(text)), 0);
	EXPECT_HAS(text, "exp_name:\tsluice\n");
	snprintf(want, sizeof(want), "name:\t%llu shown\n", (unsigned long long)s.id);
	EXPECT_HAS(text, want);
	ASSERT_EQ(read_text("/sys/kernel/debug/sluice/regions", text, sizeof(text)), 0);
	snprintf(want, sizeof(want), "%llu alloc 4096 uid 0 pid %d ",
		 (unsigned long long)s.id, getpid());
	EXPECT_HAS(text, want);
	EXPECT_HAS(text, " name shown\n");
	remove_named(self->dev, "shown", 0);
	close(fd);
}

TEST_F(region, is_traced_from_its_beginning_to_its_end)
{
	const char *dir = "/sys/kernel/tracing";
	static char text[1 << 20];
	struct sluice_stat s;
	char path[128], want[64];
	int fd;

	if (access("/sys/kernel/tracing/events", F_OK))
		dir = "/sys/kernel/debug/tracing";
	snprintf(path, sizeof(path), "%s/events/sluice/enable", dir);
	if (access(path, F_OK))
		SKIP("no tracing in this kernel");
	ASSERT_EQ(put_text(path, "1"), 0);
	fd = alloc_named(self->dev, PAGE, "traced", 0600);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	remove_named(self->dev, "traced", SLUICE_REMOVE_REVOKE);
	close(fd);
	ASSERT_EQ(put_text(path, "0"), 0);
	snprintf(path, sizeof(path), "%s/trace", dir);
	ASSERT_EQ(read_text(path, text, sizeof(text)), 0);
	snprintf(want, sizeof(want), "sluice_alloc: id=%llu kind=1 len=4096 runs=1",
		 (unsigned long long)s.id);
	EXPECT_HAS(text, want);
	snprintf(want, sizeof(want), "sluice_revoke: id=%llu ", (unsigned long long)s.id);
	EXPECT_HAS(text, want);
	snprintf(want, sizeof(want), "sluice_free: id=%llu ", (unsigned long long)s.id);
	EXPECT_HAS(text, want);
}

TEST_F(region, keeps_the_module_loaded)
{
	int fd = alloc_fd(self->dev, PAGE);
	char *p = map_fd(fd, PAGE);

	ASSERT_TRUE(p != MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		close(self->dev);
		EXPECT_EQ(syscall(SYS_delete_module, "sluice", O_NONBLOCK), -1);
		EXPECT_TRUE(errno == EAGAIN || errno == EBUSY);
		self->dev = driver_open();
		ASSERT_GE(self->dev, 0);
		if (!i)
			close(fd); /* then the mapping alone */
	}
	EXPECT_EQ(p[0], 0);
	munmap(p, PAGE);
}

TEST_F(region, lies_on_the_node_it_names)
{
	int fd = alloc_fd(self->dev, LEN), status = -1;
	struct sluice_stat s;
	char *p = map_fd(fd, LEN);

	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	if (syscall(SYS_move_pages, 0, 0ul, NULL, NULL, NULL, 0) && errno == ENOSYS) {
		munmap(p, LEN);
		close(fd);
		SKIP("this kernel has no move_pages(2)");
	}
	for (size_t at = 0; at < LEN; at += MIB) {
		void *page = p + at;

		p[at] = 1;
		ASSERT_EQ(syscall(SYS_move_pages, 0, 1ul, &page, NULL, &status, 0) ?
			  -errno : 0, 0);
		EXPECT_EQ(status, s.node);
	}
	munmap(p, LEN);
	close(fd);
}

/* ---- mapping ---- */

TEST_F(region, maps_shared_and_within_its_bounds_only)
{
	int fd = alloc_fd(self->dev, LEN), rw = PROT_READ | PROT_WRITE;

	EXPECT_TRUE(mmap(NULL, LEN, rw, MAP_PRIVATE, fd, 0) == MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(mmap(NULL, LEN + PAGE, rw, MAP_SHARED, fd, 0) == MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(mmap(NULL, LEN, rw, MAP_SHARED, fd, PAGE) == MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(mmap(NULL, PAGE, rw, MAP_SHARED, fd, LEN) == MAP_FAILED);
	EXPECT_EQ(errno, EINVAL);
	EXPECT_TRUE(mmap(NULL, 2 * PAGE, rw, MAP_SHARED, fd,
			 INT64_MAX & ~4095ll) == MAP_FAILED);
	EXPECT_TRUE(mmap(NULL, 2 * PAGE, rw, MAP_SHARED, fd, -4096ll) == MAP_FAILED);
	EXPECT_TRUE(mmap(NULL, LEN, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0) ==
		    MAP_FAILED);
	EXPECT_EQ(errno, EPERM);
	close(fd);
}

TEST_F(region, maps_from_an_offset)
{
	int fd = alloc_fd(self->dev, LEN);
	char *all = map_fd(fd, LEN);
	char *part = mmap(NULL, 3 * PAGE, PROT_READ, MAP_SHARED, fd, LEN - 3 * PAGE);

	ASSERT_TRUE(all != MAP_FAILED && part != MAP_FAILED);
	all[LEN - 1] = 'z';
	all[LEN - 3 * PAGE] = 'a';
	EXPECT_EQ(part[3 * PAGE - 1], 'z');
	EXPECT_EQ(part[0], 'a');
	munmap(all, LEN);
	munmap(part, 3 * PAGE);
	close(fd);
}

TEST_F(region, mapping_neither_grows_nor_runs)
{
	int fd = alloc_fd(self->dev, LEN);
	char *p = map_fd(fd, LEN);

	ASSERT_TRUE(p != MAP_FAILED);
	EXPECT_TRUE(mremap(p, LEN, 2 * LEN, MREMAP_MAYMOVE) == MAP_FAILED);
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_EXEC), -1);
	EXPECT_EQ(errno, EACCES);
	munmap(p, LEN);
	close(fd);
}

TEST_F(region, mapping_may_be_split_and_moved)
{
	int fd = alloc_fd(self->dev, LEN);
	char *p = map_fd(fd, LEN), *q;
	struct sluice_stat s;

	ASSERT_TRUE(p != MAP_FAILED);
	memset(p, 7, LEN);
	ASSERT_EQ(munmap(p + MIB, MIB), 0);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.maps, 2);
	ASSERT_EQ(mprotect(p + 3 * MIB, PAGE, PROT_READ), 0);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.maps, 4);
	q = mmap(NULL, MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(mremap(p, MIB, MIB, MREMAP_MAYMOVE | MREMAP_FIXED, q) == q);
	EXPECT_EQ(q[5], 7);
	EXPECT_EQ(q[MIB - 1], 7);
	q[5] = 8;
	munmap(q, MIB);
	munmap(p, LEN);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.maps, 0);
	p = map_fd(fd, LEN);
	EXPECT_EQ(p[5], 8);
	munmap(p, LEN);
	close(fd);
}

TEST_F(region, touched_at_random_is_right_everywhere)
{
	int fd = alloc_fd(self->dev, 16 * MIB);
	uint32_t *p = map_fd(fd, 16 * MIB), x = 1;

	ASSERT_TRUE(p != MAP_FAILED);
	for (unsigned int i = 0; i < 8192; i++) {
		size_t page;

		x = x * 1664525 + 1013904223;
		page = x >> 20;
		if (p[page * 1024] != 0 && p[page * 1024] != page + 1)
			ASSERT_EQ(p[page * 1024], page + 1);
		p[page * 1024] = (uint32_t)page + 1;
		if (i % 64 == 0)
			madvise(p + page * 1024, PAGE, MADV_DONTNEED);
	}
	munmap(p, 16 * MIB);
	close(fd);
}

TEST_F(region, is_populated_locked_and_advised_like_any_memory)
{
	int fd = alloc_fd(self->dev, LEN);
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE,
		       fd, 0);

	ASSERT_TRUE(p != MAP_FAILED);
	memset(p, 1, LEN);
	mlock(p, LEN);
	for (int advice = 0; advice < 32; advice++)
		madvise(p + PAGE, LEN - 2 * PAGE, advice); /* whatever it says */
	EXPECT_EQ(p[2 * PAGE], 1);
	munlock(p, LEN);
	mincore(p, PAGE, (unsigned char[1]){ 0 });
	munmap(p, LEN);
	close(fd);
}

TEST_F(region, is_synchronised_for_the_cpu)
{
	int fd = alloc_fd(self->dev, PAGE);
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_START | DMA_BUF_SYNC_RW };

	EXPECT_EQ(ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync), 0);
	sync.flags = DMA_BUF_SYNC_END | DMA_BUF_SYNC_RW;
	EXPECT_EQ(ioctl(fd, DMA_BUF_IOCTL_SYNC, &sync), 0);
	close(fd);
}

/* ---- the end ---- */

/* Device, descriptor and mapping go in each of their six orders. */
TEST_F(region, ends_with_its_last_user_in_any_order)
{
	static const char orders[6][4] = { "dfm", "dmf", "fdm", "fmd", "mdf", "mfd" };

	for (int i = 0; i < 6; i++) {
		int dev = driver_open(), fd = alloc_fd(dev, LEN);
		char *p = map_fd(fd, LEN);
		struct sluice_stat s;

		ASSERT_TRUE(p != MAP_FAILED);
		ASSERT_EQ(stat_fd(dev, fd, &s), 0);
		for (const char *o = orders[i]; *o; o++) {
			if (*o == 'd') {
				close(dev);
			} else if (*o == 'f') {
				close(fd);
			} else {
				p[LEN - 1] = 1;
				munmap(p, LEN);
			}
		}
		EXPECT_EQ(stat_id(self->dev, s.id, &s), -ENOENT);
	}
}

TEST_F(region, lives_while_a_mapping_does)
{
	int fd = alloc_fd(self->dev, LEN);
	char *p = map_fd(fd, LEN);
	struct sluice_stat s;

	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	p[0] = 5;
	close(fd);
	EXPECT_EQ(stat_id(self->dev, s.id, &s), 0);
	EXPECT_EQ(p[0], 5);
	p[LEN - 1] = 6; /* a page that was not touched before */
	munmap(p, LEN);
	EXPECT_EQ(stat_id(self->dev, s.id, &s), -ENOENT);
}

TEST_F(region, is_not_mapped_in_a_forked_child)
{
	int fd = alloc_fd(self->dev, PAGE), status;
	volatile char *p = map_fd(fd, PAGE);

	p[0] = 1;
	status = IN_CHILD(mincore((void *)(uintptr_t)p, PAGE,
				  (unsigned char[1]){ 0 }) == 0 ? 1 :
			  errno != ENOMEM);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(p[0], 1);
	munmap((void *)(uintptr_t)p, PAGE);
	close(fd);
}

TEST_F(region, goes_over_a_socket_and_outlives_who_sent_it)
{
	int pair[2], fd, status;
	struct sluice_stat s;
	char *p;

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	status = IN_CHILD(int dev = driver_open(); int mine = alloc_fd(dev, PAGE);
			  char *q = map_fd(mine, PAGE); strcpy(q, "sent");
			  send_fd(pair[0], mine));
	EXPECT_EQ(status, 0);
	fd = receive_fd(pair[1]);
	ASSERT_GE(fd, 0);
	p = map_fd(fd, PAGE);
	ASSERT_TRUE(p != MAP_FAILED);
	EXPECT_STREQ(p, "sent");
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.pid, 0); /* its maker is gone */
	munmap(p, PAGE);
	close(fd);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(region, in_flight_over_a_socket_goes_with_the_socket)
{
	int pair[2], fd = alloc_fd(self->dev, PAGE);

	ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ASSERT_EQ(send_fd(pair[0], fd), 0);
	close(fd);
	EXPECT_EQ(regions_now(self->dev), self->regions + 1);
	close(pair[0]);
	close(pair[1]);
}

TEST_F(region, replaced_by_dup2_is_closed)
{
	int fd = alloc_fd(self->dev, PAGE), null = open("/dev/null", O_RDWR);

	ASSERT_EQ(dup2(null, fd), fd);
	EXPECT_EQ(regions_now(self->dev), self->regions);
	close(fd);
	close(null);
}

TEST_F(region, is_not_in_a_core_file_but_a_debugger_reads_it)
{
	int fd = alloc_fd(self->dev, 64 * MIB), status, mem;
	struct rlimit core = { RLIM_INFINITY, RLIM_INFINITY };
	char old[256] = "", *p = map_fd(fd, 64 * MIB), word[8];

	ASSERT_TRUE(p != MAP_FAILED);
	strcpy(p, "peek");
	mem = open("/proc/self/mem", O_RDWR);
	ASSERT_GE(mem, 0);
	EXPECT_EQ(pread(mem, word, 8, (off_t)(uintptr_t)p), 8);
	EXPECT_STREQ(word, "peek");
	EXPECT_EQ(pwrite(mem, "poke", 5, (off_t)(uintptr_t)p), 5);
	EXPECT_STREQ(p, "poke");
	close(mem);
	/* A kernel without core files has no pattern for them. */
	if (!read_text("/proc/sys/kernel/core_pattern", old, sizeof(old)))
		ASSERT_EQ(put_text("/proc/sys/kernel/core_pattern",
				   "/tmp/core.lab"), 0);
	status = IN_CHILD(setrlimit(RLIMIT_CORE, &core);
			  signal(SIGABRT, SIG_DFL);
			  int mine = alloc_fd(self->dev, 64 * MIB);
			  char *q = map_fd(mine, 64 * MIB);
			  memset(q, 1, 64 * MIB); abort(); 0);
	EXPECT_EQ(status, 128 + SIGABRT);
	if (old[0]) {
		put_text("/proc/sys/kernel/core_pattern", old);
		mem = open("/tmp/core.lab", O_RDONLY);
		EXPECT_GE(mem, 0);
		EXPECT_LT(lseek(mem, 0, SEEK_END), 32 * MIB);
		close(mem);
		unlink("/tmp/core.lab");
	}
	munmap(p, 64 * MIB);
	close(fd);
}

/* ---- hostile threads ---- */

struct race {
	int dev;
	volatile bool stop;
	struct sluice_alloc *alloc;
};

static void *flip(void *arg)
{
	struct race *race = arg;

	while (!race->stop) {
		volatile struct sluice_alloc *a = race->alloc;

		a->len = 2 * PAGE;
		a->flags = 0x80;
		a->size = 8;
		a->node = 7;
		a->size = sizeof(*a);
		a->node = -1;
		a->flags = 0;
		a->len = PAGE;
	}
	return NULL;
}

TEST_F(region, struct_flipped_by_a_second_thread_is_read_once)
{
	struct sluice_alloc a = { .size = sizeof(a) };
	struct race race = { .dev = self->dev, .alloc = &a };
	double end = seconds() + 3;
	struct sluice_stat s;
	pthread_t thread;
	int works = 0;

	ASSERT_EQ(pthread_create(&thread, NULL, flip, &race), 0);
	while (seconds() < end) {
		int ret = call(self->dev, SLUICE_ALLOC, &a);

		if (ret) {
			if (ret != -EINVAL)
				EXPECT_EQ(ret, -EINVAL);
			continue;
		}
		works++;
		if (stat_fd(self->dev, a.fd, &s) || s.id != a.id ||
		    (s.len != PAGE && s.len != 2 * PAGE))
			EXPECT_EQ(s.len, PAGE);
		close(a.fd);
	}
	race.stop = true;
	pthread_join(thread, NULL);
	EXPECT_GT(works, 0);
}

static void *close_all(void *arg)
{
	struct race *race = arg;

	while (!race->stop)
		for (int fd = race->dev + 1; fd < race->dev + 8; fd++)
			close(fd);
	return NULL;
}

TEST_F(region, descriptor_closed_by_a_second_thread_is_safe)
{
	struct race race = { .dev = self->dev };
	double end = seconds() + 3;
	pthread_t thread;
	long rounds = 0;

	ASSERT_EQ(pthread_create(&thread, NULL, close_all, &race), 0);
	while (seconds() < end) {
		int fd = alloc_fd(self->dev, PAGE);

		rounds++;
		if (fd == -EMFILE)
			break; /* they came faster than they went */
		if (fd < 0)
			EXPECT_EQ(fd, 0);
	}
	race.stop = true;
	pthread_join(thread, NULL);
	for (int fd = self->dev + 1; fd < 1024; fd++)
		close(fd);
	EXPECT_GT(rounds, 0);
}

TEST_HARNESS_MAIN

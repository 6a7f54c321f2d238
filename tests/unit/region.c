// SPDX-License-Identifier: MIT
/* Regions: what was asked is got, or said in words. */
#include <sluice/region.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <numaif.h>
#include <pthread.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "ktap.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || \
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#else
#define SANITIZED 0
#endif

static struct slc_ctx *ctx;
static char logged[4096];

static void keep_log(void *user, enum slc_log_level level, const char *msg)
{
	size_t n = strlen(logged);

	(void)user;
	if (level == SLC_LOG_WARN)
		snprintf(logged + n, sizeof(logged) - n, "%s\n", msg);
}

static int try(uint64_t len, uint64_t page_size, uint64_t flags,
	       struct slc_region **out)
{
	struct slc_region_attr attr = { .size = sizeof(attr),
					.len = len,
					.page_size = page_size,
					.node = SLC_NODE_CALLER,
					.flags = flags,
					.name = "test" };
	struct slc_ctx_attr ca = { .size = sizeof(ca), .log = keep_log };

	if (!ctx)
		ASSERT_EQ(0, slc_ctx_open(&ca, &ctx));
	return slc_region_alloc(ctx, &attr, out);
}

static struct slc_region *get(uint64_t len, uint64_t page_size, uint64_t flags)
{
	struct slc_region *r = NULL;
	int err = try(len, page_size, flags, &r);

	if (err)
		printf("# %s\n", slc_last_error(ctx));
	ASSERT_EQ(0, err);
	return r;
}

static void done(struct slc_region *r)
{
	slc_region_put(r);
	slc_ctx_close(ctx);
	ctx = NULL;
}

static struct slc_region_info info_of(const struct slc_region *r)
{
	struct slc_region_info info = { .size = sizeof(info) };

	ASSERT_EQ(0, slc_region_query(r, &info));
	return info;
}

/* A number in a /proc or /sys file after `key`; -1 if it is not there. */
static long long number_in(const char *path, const char *key)
{
	long long v = -1;
	char line[300];
	FILE *f = fopen(path, "r");

	while (f && v < 0 && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			v = atoll(line + strlen(key));
	if (f)
		fclose(f);
	return v;
}

/* More or fewer 2 MiB pages than there are: others may use the pool too. */
static bool grow_pool(long long by)
{
	long long npages = number_in("/proc/sys/vm/nr_hugepages", "") + by;
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "w");

	if (!f)
		return false;
	fprintf(f, "%lld\n", npages);
	return !fclose(f) && number_in("/proc/sys/vm/nr_hugepages", "") ==
				     npages;
}

static bool drop_ipc_lock(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2];

	if (syscall(SYS_capget, &head, data))
		return false;
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	return !syscall(SYS_capset, &head, data);
}

static long minor_faults(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return u.ru_minflt;
}

FIXTURE(kind) { struct slc_region *r; };
FIXTURE_VARIANT(kind)
{
	uint64_t page_size, flags;
};
FIXTURE_VARIANT_ADD(kind, base) { .page_size = 4096 };
FIXTURE_VARIANT_ADD(kind, huge) { .page_size = 2 * MIB };
FIXTURE_VARIANT_ADD(kind, giant) { .page_size = GIB };
FIXTURE_VARIANT_ADD(kind, best_shared) { .flags = SLC_REGION_SHARED };
FIXTURE_VARIANT_ADD(kind, base_shared)
{
	.page_size = 4096, .flags = SLC_REGION_SHARED
};
FIXTURE_VARIANT_ADD(kind, base_nopin)
{
	.page_size = 4096, .flags = SLC_REGION_NOPIN
};
FIXTURE_SETUP(kind)
{
	self->r = get(20 * MIB + 1, variant->page_size, variant->flags);
}
FIXTURE_TEARDOWN(kind)
{
	done(self->r);
}

TEST_F(kind, every_byte_is_zero_and_can_be_written)
{
	unsigned char *p = slc_region_addr(self->r);
	uint64_t len = slc_region_len(self->r), sum = 0;

	ASSERT_GE(len, 20 * MIB + 1);
	for (uint64_t i = 0; i < len; i++)
		sum += p[i];
	EXPECT_EQ(sum, 0u);
	memset(p, 0xa5, len);
	EXPECT_EQ(p[len - 1], 0xa5);
}

TEST_F(kind, length_is_the_asked_one_in_whole_pages)
{
	struct slc_region_info i = info_of(self->r);

	EXPECT_EQ(i.len, slc_region_len(self->r));
	EXPECT_EQ(i.len, (20 * MIB + i.page_size) / i.page_size * i.page_size);
	EXPECT_EQ(0u, (uintptr_t)slc_region_addr(self->r) % i.page_size);
	EXPECT_GT(i.populate_ns, 0u);
	EXPECT_GE(i.threads, 1u);
}

/* A sanitizer's shadow memory would take faults of its own. */
__attribute__((no_sanitize_address, no_sanitize_thread)) static void
touch_every_page(volatile unsigned char *p, uint64_t len)
{
	for (uint64_t i = 0; i < len; i += 4096)
		p[i] = 1;
}

TEST_F(kind, touching_it_takes_no_page_fault)
{
	unsigned char *p = slc_region_addr(self->r);
	uint64_t len = slc_region_len(self->r);
	long before = minor_faults();

	touch_every_page(p, len);
	/* Populating 20 MiB by faults would be 10 at the least. */
	EXPECT_LE(minor_faults() - before, 3);
}

TEST_F(kind, verify_counts_every_byte_as_resident)
{
	struct slc_residency res = { .size = sizeof(res) };
	int err = slc_region_verify(self->r, &res);

	if (err == -ENOSYS || err == -EPERM)
		SKIP("%s", slc_last_error(ctx));
	ASSERT_EQ(0, err);
	EXPECT_EQ(res.bytes, slc_region_len(self->r));
	EXPECT_EQ(res.bytes, res.bytes_on_node + res.bytes_elsewhere);
	EXPECT_EQ(0u, res.bytes_absent);
	if (!info_of(self->r).reason[0])
		EXPECT_EQ(0u, res.bytes_elsewhere);
	EXPECT_EQ(res.bytes_elsewhere != 0, res.worst_node >= 0);
}

TEST_F(kind, pinned_bytes_are_locked_in_the_kernels_books)
{
	struct slc_region_info i = info_of(self->r);
	long long kib = number_in("/proc/self/status", "VmLck:");

	if (variant->flags & SLC_REGION_NOPIN) {
		EXPECT_EQ(i.pin_kind, SLC_PIN_NONE);
		EXPECT_STREQ(i.reason, "");
		EXPECT_EQ(kib, 0);
	} else if (i.page_kind == SLC_PAGE_HUGETLB) {
		EXPECT_EQ(i.pin_kind, SLC_PIN_HUGETLB);
	} else if (i.pin_kind == SLC_PIN_MLOCK) {
		EXPECT_GE(kib * 1024, (long long)i.len);
	} else {
		EXPECT_HAS(i.reason, "ulimit -l");
	}
}

TEST_F(kind, a_byte_past_either_end_is_a_fault)
{
	unsigned char *p = slc_region_addr(self->r);
	uint64_t len = slc_region_len(self->r);
	int status;

	for (int end = 0; end < 2; end++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			signal(SIGSEGV, SIG_DFL);
			*(volatile unsigned char *)(end ? p + len : p - 1) = 1;
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
}

TEST_F(kind, a_memfd_is_there_only_when_shared)
{
	int fd = info_of(self->r).memfd;

	if (!(variant->flags & SLC_REGION_SHARED)) {
		EXPECT_EQ(fd, -1);
		return;
	}
	ASSERT_GE(fd, 0);
	EXPECT_EQ(lseek(fd, 0, SEEK_END), (off_t)slc_region_len(self->r));
	EXPECT_EQ(fcntl(fd, F_GET_SEALS) & (F_SEAL_SHRINK | F_SEAL_GROW),
		  F_SEAL_SHRINK | F_SEAL_GROW);
	EXPECT_EQ(ftruncate(fd, 0), -1);
	EXPECT_TRUE(fcntl(fd, F_GETFD) & FD_CLOEXEC);
}

TEST(the_last_page_is_touched_when_it_is_a_chunk_of_its_own)
{
	struct slc_region *r = get(32 * MIB + 1, 4096, 0);
	unsigned char *last = slc_region_addr(r), there = 0;

	last += slc_region_len(r) - 4096;
	ASSERT_EQ(slc_region_len(r), 32 * MIB + 4096);
	ASSERT_EQ(0, mincore(last, 4096, &there));
	EXPECT_EQ(there & 1, 1);
	done(r);
}

TEST(pages_that_went_away_are_counted_as_absent)
{
	struct slc_residency res = { .size = sizeof(res) };
	struct slc_region *r = get(8 * MIB, 4096, SLC_REGION_NOPIN);
	char *p = slc_region_addr(r);

	ASSERT_EQ(0, madvise(p + MIB, 3 * MIB, MADV_DONTNEED));
	if (slc_region_verify(r, &res))
		SKIP("%s", slc_last_error(ctx));
	EXPECT_EQ(res.bytes_absent, 3 * MIB);
	EXPECT_EQ(res.bytes_on_node + res.bytes_elsewhere, 5 * MIB);
	done(r);
}

TEST(shared_memory_has_huge_pages_where_the_kernel_can_collapse)
{
	long long pool = number_in("/proc/sys/vm/nr_hugepages", "");
	struct slc_region *r;
	int fd = memfd_create("try", 0), err;
	char *p = mmap(NULL, 4 * MIB, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS,
		       -1, 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, ftruncate(fd, 2 * MIB));
	p = (char *)(((uintptr_t)p + 2 * MIB - 1) / (2 * MIB) * (2 * MIB));
	ASSERT_TRUE(mmap(p, 2 * MIB, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_FIXED, fd, 0) == p);
	*p = 1;
	err = madvise(p, 2 * MIB, 25 /* MADV_COLLAPSE */);
	close(fd);
	if (err || pool < 0 || pool > 500)
		SKIP("no collapse of shared memory here, or a large pool");
	r = get((uint64_t)(pool + 10) * 2 * MIB, 0, SLC_REGION_SHARED);
	EXPECT_EQ(info_of(r).page_kind, SLC_PAGE_THP);
	done(r);
}

TEST(a_missing_pool_is_said_with_numbers_and_the_command_and_logged)
{
	struct slc_region *r;
	struct slc_region_info i;

	if (number_in("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages",
		      "") != 0)
		SKIP("this machine has 1 GiB pages, or no such pool");
	r = get(1, GIB, 0);
	i = info_of(r);
	EXPECT_NE(i.page_size, GIB);
	EXPECT_HAS(i.reason, "1 GiB hugetlb pages");
	EXPECT_HAS(i.reason, "0 free, 1 needed; reserve with: echo 1 > /sys/");
	EXPECT_HAS(logged, "0 free, 1 needed");
	done(r);
}

TEST(a_missing_pool_is_an_error_under_strict)
{
	struct slc_region *r = (void *)1;

	if (number_in("/sys/kernel/mm/hugepages/hugepages-1048576kB/free_hugepages",
		      "") != 0)
		SKIP("this machine has 1 GiB pages, or no such pool");
	EXPECT_EQ(try(1, GIB, SLC_REGION_STRICT, &r), -ENOMEM);
	EXPECT_HAS(slc_last_error(ctx), "0 free, 1 needed");
	EXPECT_TRUE(r == (void *)1);
	/* Base pages are no step down from base pages. */
	done(get(1, 4096, SLC_REGION_STRICT));
}

TEST(hugetlb_pages_come_from_a_filled_pool)
{
	long long before = number_in("/proc/sys/vm/nr_hugepages", "");
	struct slc_region *r = NULL;
	char need[40];

	/* Eight more than others have or use. */
	if (before < 0 || !grow_pool(8)) {
		before -= number_in("/proc/sys/vm/nr_hugepages", "");
		grow_pool(before);
		SKIP("the pool of 2 MiB pages cannot be filled here");
	}
	for (int shared = 0; shared < 2; shared++) {
		struct slc_residency res = { .size = sizeof(res) };
		struct slc_region_info i;
		int err = try(7 * MIB, 0,
			      SLC_REGION_STRICT |
				      (shared ? SLC_REGION_SHARED : 0),
			      &r);

		EXPECT_EQ(err, 0);
		if (err)
			break;
		i = info_of(r);
		EXPECT_EQ(i.page_kind, SLC_PAGE_HUGETLB);
		EXPECT_EQ(i.pin_kind, SLC_PIN_HUGETLB);
		EXPECT_EQ(i.page_size, 2 * MIB);
		EXPECT_EQ(i.len, 8 * MIB);
		EXPECT_STREQ(i.reason, "");
		EXPECT_EQ(slc_region_verify(r, &res), 0);
		EXPECT_EQ(res.bytes_on_node, 8 * MIB);
		memset(slc_region_addr(r), 1, i.len);
		slc_region_put(r);
	}
	/* One page more than there are: the next kind. */
	EXPECT_EQ(try((uint64_t)(before + 9) * 2 * MIB, 0, 0, &r), 0);
	EXPECT_NE(info_of(r).page_kind, SLC_PAGE_HUGETLB);
	snprintf(need, sizeof(need), ", %lld needed", before + 9);
	EXPECT_HAS(info_of(r).reason, need);
	slc_region_put(r);
	EXPECT_TRUE(grow_pool(-8));
	done(NULL);
}

TEST(a_small_memlock_limit_is_said_with_both_numbers)
{
	struct rlimit lim = { 64 << 10, 64 << 10 };
	struct slc_region_info i;
	struct slc_region *r;

	if (setrlimit(RLIMIT_MEMLOCK, &lim) || !drop_ipc_lock())
		SKIP("the limit cannot be lowered");
	r = get(4 * MIB, 4096, 0);
	i = info_of(r);
	EXPECT_EQ(i.pin_kind, SLC_PIN_NONE);
	EXPECT_HAS(i.reason, "4194304 bytes cannot be pinned");
	EXPECT_HAS(i.reason, "RLIMIT_MEMLOCK is 65536");
	EXPECT_HAS(i.reason, "ulimit -l 4096");
	slc_region_put(r);
	EXPECT_EQ(try(4 * MIB, 4096, SLC_REGION_STRICT, &r), -EPERM);
	EXPECT_HAS(slc_last_error(ctx), "RLIMIT_MEMLOCK is 65536");
	/* Within the limit, and when no pin is asked, nothing is missing. */
	slc_region_put(get(32 << 10, 4096, SLC_REGION_STRICT));
	done(get(4 * MIB, 4096, SLC_REGION_STRICT | SLC_REGION_NOPIN));
}

TEST(transparent_huge_pages_off_are_said_and_base_pages_used)
{
	long long pool = number_in("/proc/sys/vm/nr_hugepages", "");
	struct slc_region_info i;
	struct slc_region *r;
	uint64_t len;

	if (pool < 0 || pool > 500)
		SKIP("the pool of huge pages would be used instead");
	if (prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0))
		SKIP("this kernel cannot turn them off");
	len = (uint64_t)(pool + 3) * 2 * MIB;
	r = get(len + 5, 2 * MIB, 0);
	i = info_of(r);
	EXPECT_EQ(i.page_kind, SLC_PAGE_SMALL);
	EXPECT_EQ(i.page_size, 4096u);
	EXPECT_EQ(i.len, len + 4096);
	EXPECT_HAS(i.reason, "off for this process");
	EXPECT_HAS(i.reason, "stepping down to base pages");
	done(r);
}

TEST(transparent_huge_pages_are_what_the_kernel_says_they_are)
{
	long long before = number_in("/proc/self/smaps_rollup", "AnonHugePages:");
	struct slc_region *r[3];
	uint64_t huge = 0;

	if (before < 0)
		SKIP("no /proc/self/smaps_rollup");
	/* Neighbours in address space must not be counted for one another. */
	for (int i = 0; i < 3; i++) {
		struct slc_region_info info;

		r[i] = get(8 * MIB, 2 * MIB, 0);
		info = info_of(r[i]);
		if (info.page_kind == SLC_PAGE_THP &&
		    !strstr(info.reason, "fragmented"))
			huge += info.len;
	}
	EXPECT_GE((uint64_t)(number_in("/proc/self/smaps_rollup",
				       "AnonHugePages:") - before) * 1024,
		  huge);
	for (int i = 0; i < 3; i++)
		slc_region_put(r[i]);
	done(NULL);
}

TEST(address_space_that_is_limited_is_an_error)
{
	struct rlimit lim = { 256 * MIB, 256 * MIB };
	struct slc_region *r = NULL;

	if (SANITIZED)
		SKIP("a sanitizer needs its address space");
	ASSERT_EQ(0, setrlimit(RLIMIT_AS, &lim));
	EXPECT_EQ(try(GIB, 4096, 0, &r), -ENOMEM);
	EXPECT_HAS(slc_last_error(ctx), "ulimit -v");
	EXPECT_NULL(r);
	done(get(MIB, 4096, 0));
}

TEST(more_than_the_machine_has_is_an_error_and_kills_nobody)
{
	long long kib = number_in("/proc/meminfo", "MemTotal:");
	struct slc_region *r = NULL;

	ASSERT_GT(kib, 0);
	EXPECT_EQ(try((uint64_t)kib * 1024, 4096, 0, &r), -ENOMEM);
	EXPECT_HAS(slc_last_error(ctx), "this machine leaves");
	EXPECT_EQ(try(UINT64_MAX, 4096, 0, &r), -ENOMEM);
	EXPECT_EQ(try(UINT64_MAX / 2, GIB, 0, &r), -ENOMEM);
	done(NULL);
}

static bool put_text(const char *dir, const char *file, const char *text)
{
	char path[300];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	f = fopen(path, "w");
	if (!f)
		return false;
	fputs(text, f);
	return !fclose(f);
}

TEST(more_than_the_cgroup_allows_is_an_error_and_kills_nobody)
{
	static const char *const roots[][2] = {
		{ "/sys/fs/cgroup/memory", "memory.limit_in_bytes" },
		{ "/sys/fs/cgroup", "memory.max" }
	};
	char dir[200], pid[20];
	int status, i;
	pid_t child;

	for (i = 0; i < 2; i++) {
		snprintf(dir, sizeof(dir), "%s/slc-test-%d", roots[i][0],
			 (int)getpid());
		if (!mkdir(dir, 0700) &&
		    put_text(dir, roots[i][1], "100663296"))
			break;
		rmdir(dir);
	}
	if (i == 2)
		SKIP("no memory cgroup can be made here");
	child = fork();
	if (!child) {
		struct slc_region *r = NULL;

		snprintf(pid, sizeof(pid), "%d", (int)getpid());
		if (!put_text(dir, "cgroup.procs", pid))
			_exit(5);
		EXPECT_EQ(try(128 * MIB, 4096, 0, &r), -ENOMEM);
		EXPECT_HAS(slc_last_error(ctx), roots[i][1]);
		EXPECT_HAS(slc_last_error(ctx), "ask for less");
		/* What fits is given. */
		EXPECT_EQ(try(20 * MIB, 4096, 0, &r), 0);
		slc_region_put(r);
		_exit(0);
	}
	ASSERT_EQ(child, waitpid(child, &status, 0));
	rmdir(dir);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 5)
		SKIP("this process cannot move into a cgroup");
	EXPECT_EQ(status, 0);
}

TEST(wrong_attributes_are_refused_with_a_sentence)
{
	struct slc_region *r = NULL;
	struct {
		struct slc_region_attr a;
		uint64_t tail;
	} next = { .a = { .size = sizeof(next), .len = 1 }, .tail = 1 };
	struct slc_region_attr far = { .size = sizeof(far),
				       .len = 1,
				       .node = 1000 };

	EXPECT_EQ(try(0, 0, 0, &r), -EINVAL);
	EXPECT_HAS(slc_last_error(ctx), "len is 0");
	EXPECT_EQ(try(1, 0, 1ull << 40, &r), -EINVAL);
	EXPECT_HAS(slc_last_error(ctx), "0x10000000000");
	EXPECT_EQ(try(1, 8192, 0, &r), -EINVAL);
	EXPECT_HAS(slc_last_error(ctx), "page size 8192");
	EXPECT_EQ(slc_region_alloc(ctx, &next.a, &r), -E2BIG);
	EXPECT_EQ(slc_region_alloc(ctx, &far, &r), -EINVAL);
	EXPECT_HAS(slc_last_error(ctx), "node 1000");
	far.node = -2;
	EXPECT_EQ(slc_region_alloc(ctx, &far, &r), -EINVAL);
	EXPECT_EQ(slc_region_alloc(NULL, &far, &r), -EINVAL);
	EXPECT_EQ(slc_region_alloc(ctx, NULL, &r), -EINVAL);
	EXPECT_NULL(r);
	done(NULL);
}

TEST(query_fills_as_much_as_the_caller_knows)
{
	struct slc_region *r = get(1, 4096, 0);
	struct {
		struct slc_region_info i;
		uint64_t tail;
	} next = { .i = { .size = sizeof(next) }, .tail = 7 };
	struct slc_region_info old = { .size = 16, .page_size = 99 };
	struct slc_residency small = { .size = 8 };

	EXPECT_EQ(slc_region_query(r, &next.i), 0);
	EXPECT_EQ(next.tail, 0u);
	EXPECT_EQ(next.i.size, sizeof(next));
	EXPECT_EQ(slc_region_query(r, &old), 0);
	EXPECT_EQ(old.len, 4096u);
	EXPECT_EQ(old.page_size, 99u);
	old.size = 0;
	EXPECT_EQ(slc_region_query(r, &old), -EINVAL);
	EXPECT_EQ(slc_region_verify(r, &small), -EINVAL);
	done(r);
}

TEST(the_callers_affinity_policy_and_errno_are_as_before)
{
	unsigned long mask[16] = { 0 }, mask2[16] = { 0 };
	cpu_set_t all, one, after;
	int mode = 0, mode2 = 0;
	struct slc_region *r;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(all), &all));
	CPU_ZERO(&one);
	for (int c = 0; c < CPU_SETSIZE && !CPU_COUNT(&one); c++)
		if (CPU_ISSET(c, &all))
			CPU_SET(c, &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	get_mempolicy(&mode, mask, sizeof(mask) * 8, NULL, 0);
	errno = 1234;
	r = get(20 * MIB, 0, 0);
	EXPECT_EQ(errno, 1234);
	ASSERT_EQ(0, sched_getaffinity(0, sizeof(after), &after));
	EXPECT_TRUE(CPU_EQUAL(&one, &after));
	get_mempolicy(&mode2, mask2, sizeof(mask2) * 8, NULL, 0);
	EXPECT_EQ(mode, mode2);
	EXPECT_EQ(0, memcmp(mask, mask2, sizeof(mask)));
	/* One CPU allowed: one thread, though the node has more. */
	EXPECT_EQ(info_of(r).threads, 1u);
	slc_region_put(r);
	EXPECT_EQ(errno, 1234);
	done(NULL);
}

TEST(threads_are_as_many_as_asked_and_none_for_a_small_region)
{
	struct slc_region_attr attr = { .size = sizeof(attr),
					.len = 128 * MIB,
					.node = SLC_NODE_CALLER,
					.threads = 3 };
	struct slc_region *r;

	ASSERT_EQ(0, slc_ctx_open(NULL, &ctx));
	ASSERT_EQ(0, slc_region_alloc(ctx, &attr, &r));
	EXPECT_EQ(info_of(r).threads, 3u);
	slc_region_put(r);
	attr.len = 4 * MIB;
	ASSERT_EQ(0, slc_region_alloc(ctx, &attr, &r));
	EXPECT_EQ(info_of(r).threads, 1u);
	done(r);
}

TEST(a_child_writes_into_a_shared_region)
{
	struct slc_region *r = get(4 * MIB, 0, SLC_REGION_SHARED);
	volatile char *p = slc_region_addr(r);
	int fd = info_of(r).memfd, status;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid) {
		/* By the mapping it inherited, and by the descriptor. */
		volatile char *q = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE,
					MAP_SHARED, fd, 0);

		p[1] = 11;
		if (q == MAP_FAILED)
			_exit(1);
		q[4 * MIB - 1] = 22;
		_exit(0);
	}
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	ASSERT_EQ(status, 0);
	EXPECT_EQ(p[1], 11);
	EXPECT_EQ(p[4 * MIB - 1], 22);
	done(r);
}

static void *get_and_put(void *arg)
{
	struct slc_region *r = arg;

	for (int i = 0; i < 20000; i++) {
		struct slc_region *mine = slc_region_get(r);

		((volatile char *)slc_region_addr(mine))[0];
		slc_region_put(mine);
	}
	slc_region_put(r);
	return NULL;
}

TEST(the_last_of_many_threads_frees_it)
{
	struct slc_region *r = get(MIB, 4096, 0);
	void *addr = slc_region_addr(r);
	unsigned char there;
	pthread_t t[4];

	for (int i = 0; i < 4; i++) {
		slc_region_get(r);
		ASSERT_EQ(0, pthread_create(&t[i], NULL, get_and_put, r));
	}
	slc_region_put(r);
	/* The context lives as long as the region. */
	slc_ctx_close(ctx);
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	EXPECT_EQ(mincore(addr, 4096, &there), -1);
	EXPECT_EQ(errno, ENOMEM);
}

TEST(put_of_null_is_ignored)
{
	slc_region_put(NULL);
	EXPECT_TRUE(1);
}

static void *alloc_and_put(void *arg)
{
	for (int i = 0; i < 10; i++) {
		struct slc_region *r = NULL;
		struct slc_region_attr attr = { .size = sizeof(attr),
						.len = 20 * MIB,
						.node = SLC_NODE_CALLER };

		if (slc_region_alloc(arg, &attr, &r))
			return (void *)1;
		*(volatile char *)slc_region_addr(r) = 1;
		slc_region_put(r);
	}
	return NULL;
}

TEST(regions_are_made_by_many_threads_at_once)
{
	pthread_t t[3];
	void *res;

	ASSERT_EQ(0, slc_ctx_open(NULL, &ctx));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&t[i], NULL, alloc_and_put, ctx));
	for (int i = 0; i < 3; i++) {
		pthread_join(t[i], &res);
		EXPECT_NULL(res);
	}
	slc_ctx_close(ctx);
}

/* A child that cleans up must not unmap what it has put there since. */
TEST(a_put_in_a_child_of_fork_unmaps_nothing_of_the_childs)
{
	struct slc_region *r = get(4 * MIB, 0, 0);
	char *at = slc_region_addr(r), *p;
	int status = 0;
	pid_t pid = fork();

	ASSERT_GE(pid, 0);
	if (!pid) {
		p = mmap(at, 4096, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1,
			 0);
		if (p != at)
			_exit(1);
		*p = 1;
		slc_region_put(r);
		*p = 2;
		_exit(*p == 2 ? 0 : 1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	done(r);
}

/* What fork does not copy cannot make it slow, or fail. */
TEST(a_child_of_fork_has_no_part_of_a_private_region)
{
	struct slc_region *r = get(4 * MIB, 0, 0);
	volatile char *p = slc_region_addr(r);
	int status = 0;
	pid_t pid;

	p[0] = 7;
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(p[0]);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	/* A sanitizer's handler exits instead. */
	EXPECT_TRUE(WIFSIGNALED(status) || WEXITSTATUS(status) != 7);
	EXPECT_EQ(p[0], 7);
	done(r);
}

TEST_HARNESS_MAIN

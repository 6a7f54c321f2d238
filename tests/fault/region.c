// SPDX-License-Identifier: MIT
/* Regions when the kernel says no: each refusal is said, nothing is lost. */
#include <sluice/region.h>

#include <errno.h>
#include <fcntl.h>
#include <numaif.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include "ktap.h"
#include "nthfail.h"

/* WRAP: madvise mbind mlock2 move_pages mmap memfd_create pthread_create */

#define MIB (1ull << 20)
#define POPULATE 23 /* MADV_POPULATE_WRITE */
#define COLLAPSE 25 /* MADV_COLLAPSE */

static struct slc_ctx *ctx;

/* What the calls below answer; 0: the kernel does. */
static int madvise_advice, madvise_err; /* for that advice only */
static int collapse_err;
static int mbind_err, mlock_err, move_pages_err, memfd_err;
static atomic_int threads_left = 1000, mmaps_left = -1;
static int policy_mode;

int __real_madvise(void *, size_t, int);
int __wrap_madvise(void *, size_t, int);
int __wrap_madvise(void *addr, size_t len, int advice)
{
	if (madvise_err && advice == madvise_advice) {
		errno = madvise_err;
		return -1;
	}
	if (collapse_err && advice == COLLAPSE) {
		errno = collapse_err;
		return -1;
	}
	return __real_madvise(addr, len, advice);
}

long __real_mbind(void *, unsigned long, int, const unsigned long *,
		  unsigned long, unsigned);
long __wrap_mbind(void *, unsigned long, int, const unsigned long *,
		  unsigned long, unsigned);
long __wrap_mbind(void *addr, unsigned long len, int mode,
		  const unsigned long *mask, unsigned long max, unsigned flags)
{
	policy_mode = mode;
	if (mbind_err) {
		errno = mbind_err;
		return -1;
	}
	return __real_mbind(addr, len, mode, mask, max, flags);
}

int __real_mlock2(const void *, size_t, unsigned);
int __wrap_mlock2(const void *, size_t, unsigned);
int __wrap_mlock2(const void *addr, size_t len, unsigned flags)
{
	if (mlock_err) {
		errno = mlock_err;
		return -1;
	}
	return __real_mlock2(addr, len, flags);
}

long __real_move_pages(int, unsigned long, void **, const int *, int *, int);
long __wrap_move_pages(int, unsigned long, void **, const int *, int *, int);
long __wrap_move_pages(int pid, unsigned long n, void **pages, const int *to,
		       int *where, int flags)
{
	if (move_pages_err) {
		errno = move_pages_err;
		return -1;
	}
	return __real_move_pages(pid, n, pages, to, where, flags);
}

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd,
		  off_t off)
{
	if (mmaps_left >= 0 && atomic_fetch_sub(&mmaps_left, 1) == 0) {
		errno = ENOMEM;
		return MAP_FAILED;
	}
	return __real_mmap(addr, len, prot, flags, fd, off);
}

int __real_memfd_create(const char *, unsigned);
int __wrap_memfd_create(const char *, unsigned);
int __wrap_memfd_create(const char *name, unsigned flags)
{
	if (memfd_err) {
		errno = memfd_err;
		return -1;
	}
	return __real_memfd_create(name, flags);
}

int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *),
			  void *);
int __wrap_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *),
			  void *);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *attr,
			  void *(*fn)(void *), void *arg)
{
	if (atomic_fetch_sub(&threads_left, 1) <= 0)
		return EAGAIN;
	return __real_pthread_create(t, attr, fn, arg);
}

static int try(uint64_t len, uint64_t page_size, uint64_t flags,
	       struct slc_region **out)
{
	struct slc_region_attr attr = { .size = sizeof(attr),
					.len = len,
					.page_size = page_size,
					.node = SLC_NODE_CALLER,
					.threads = 4,
					.flags = flags };

	if (!ctx)
		ASSERT_EQ(0, slc_ctx_open(NULL, &ctx));
	return slc_region_alloc(ctx, &attr, out);
}

static struct slc_region_info info_of(const struct slc_region *r)
{
	struct slc_region_info info = { .size = sizeof(info) };

	ASSERT_EQ(0, slc_region_query(r, &info));
	return info;
}

static void done(struct slc_region *r)
{
	slc_region_put(r);
	slc_ctx_close(ctx);
	ctx = NULL;
}

/* Every byte is there and is ours. */
static void use(struct slc_region *r)
{
	struct slc_residency res = { .size = sizeof(res) };
	unsigned char *p = slc_region_addr(r);

	if (!slc_region_verify(r, &res))
		EXPECT_EQ(0u, res.bytes_absent);
	memset(p, 0x5a, slc_region_len(r));
	EXPECT_EQ(p[slc_region_len(r) - 1], 0x5a);
}

static int times(const char *what, const struct slc_region *r)
{
	struct slc_region_info i = info_of(r);
	const char *p = i.reason;
	int n = 0;

	for (; (p = strstr(p, what)); p++)
		n++;
	return n;
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static long mapped_pages(void)
{
	long pages = -1;
	FILE *f = fopen("/proc/self/statm", "r");

	if (f && fscanf(f, "%ld", &pages) != 1)
		pages = -1;
	if (f)
		fclose(f);
	return pages;
}

/* 2 MiB pages, in use or not. */
static int pool(void)
{
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "r");
	int n = 0;

	if (f && fscanf(f, "%d", &n) != 1)
		n = 0;
	if (f)
		fclose(f);
	return n;
}

/* By so many: others may use the pool too. */
static void grow_pool(int by)
{
	int n = pool() + by;
	FILE *f = fopen("/proc/sys/vm/nr_hugepages", "w");

	if (!f)
		return;
	fprintf(f, "%d\n", n);
	fclose(f);
}

static long long anon_huge_kib(void)
{
	FILE *f = fopen("/proc/self/smaps_rollup", "r");
	long long kib = 0;
	char line[200];

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "AnonHugePages: %lld", &kib) == 1)
			break;
	if (f)
		fclose(f);
	return kib;
}

TEST(mbind_refused_in_a_container_is_said_and_goes_on)
{
	struct slc_region *r = NULL;

	mbind_err = EPERM;
	ASSERT_EQ(0, try(20 * MIB, 4096, 0, &r));
	if (info_of(r).node < 0)
		SKIP("no NUMA in this kernel");
	EXPECT_HAS(info_of(r).reason, "mbind");
	EXPECT_HAS(info_of(r).reason, "CAP_SYS_NICE");
	use(r);
	slc_region_put(r);
	EXPECT_EQ(try(20 * MIB, 4096, SLC_REGION_STRICT, &r), -EPERM);
	EXPECT_HAS(slc_last_error(ctx), "mbind");
	mbind_err = 0;
	EXPECT_EQ(0, try(20 * MIB, 4096, SLC_REGION_STRICT, &r));
	EXPECT_EQ(policy_mode, MPOL_BIND);
	done(r);
}

TEST(mlock_refused_is_said_once_and_goes_on)
{
	struct slc_region *r = NULL;

	mlock_err = ENOMEM;
	ASSERT_EQ(0, try(20 * MIB, 4096, 0, &r));
	EXPECT_EQ(info_of(r).pin_kind, SLC_PIN_NONE);
	EXPECT_HAS(info_of(r).reason, "populated, not pinned");
	EXPECT_EQ(times("cannot be pinned", r), 1);
	use(r);
	slc_region_put(r);
	EXPECT_EQ(try(MIB, 4096, SLC_REGION_STRICT, &r), -EPERM);
	done(NULL);
}

TEST(a_kernel_without_populate_still_gets_every_page)
{
	uint64_t flags[] = { 0, SLC_REGION_SHARED };
	struct slc_region *r = NULL;

	madvise_advice = POPULATE;
	madvise_err = EINVAL;
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, try(20 * MIB, 0, flags[i], &r));
		use(r);
		slc_region_put(r);
	}
	done(NULL);
}

TEST(pages_that_would_be_sigbus_are_an_error_not_a_touch)
{
	int errs[] = { EFAULT, ENOMEM, EHWPOISON };
	int want[] = { -ENOMEM, -ENOMEM, -EHWPOISON };
	struct slc_region *r = NULL;

	madvise_advice = POPULATE;
	for (int i = 0; i < 3; i++) {
		long before = mapped_pages();

		madvise_err = errs[i];
		EXPECT_EQ(try(20 * MIB, 4096, 0, &r), want[i]);
		EXPECT_HAS(slc_last_error(ctx), "populate 20.0 MiB");
		EXPECT_EQ(try(20 * MIB, 0, SLC_REGION_SHARED, &r), want[i]);
		/* Thread stacks may stay in glibc's cache. */
		if (i)
			EXPECT_LE(mapped_pages(), before + 8);
	}
	EXPECT_NULL(r);
	done(NULL);
}

TEST(a_pool_that_runs_dry_under_us_steps_down)
{
	int before = pool(), now;
	struct slc_region *r = NULL;

	grow_pool(4);
	now = pool();
	if (now == before + 4) {
		/* Enough was free, but the touch fails: a cgroup, a race. */
		madvise_advice = POPULATE;
		madvise_err = EFAULT;
		EXPECT_EQ(try(4 * MIB, 0, 0, &r), -ENOMEM);
		EXPECT_HAS(slc_last_error(ctx), "transparent huge pages");
		/* What the first attempt said of the node is said once. */
		madvise_err = EINVAL;
		mbind_err = EPERM;
		EXPECT_EQ(try(4 * MIB, 0, 0, &r), 0);
		EXPECT_EQ(info_of(r).node < 0 ? 1 : times("(mbind", r), 1);
		EXPECT_HAS(info_of(r).reason, "2 MiB hugetlb pages");
		EXPECT_HAS(info_of(r).reason, "stepping down");
		EXPECT_NE(info_of(r).page_kind, SLC_PAGE_HUGETLB);
		use(r);
		slc_region_put(r);
	}
	grow_pool(before - now);
	if (now != before + 4)
		SKIP("the pool cannot be filled");
	done(NULL);
}

TEST(fewer_threads_touch_when_they_cannot_be_started)
{
	struct slc_region *r = NULL;

	for (int left = 0; left < 4; left++) {
		threads_left = left;
		ASSERT_EQ(0, try(80 * MIB, 4096, SLC_REGION_STRICT, &r));
		EXPECT_EQ(info_of(r).threads, left ? (unsigned)left : 1u);
		use(r);
		slc_region_put(r);
	}
	done(NULL);
}

TEST(a_small_region_starts_no_thread)
{
	struct slc_region *r = NULL;

	threads_left = 7;
	ASSERT_EQ(0, try(4 * MIB, 4096, 0, &r));
	EXPECT_EQ(atomic_load(&threads_left), 7);
	done(r);
}

TEST(each_mmap_that_fails_is_an_error_and_leaves_nothing)
{
	struct slc_region *r = NULL;
	int fds = open_fds(), n = 0, err;

	ASSERT_EQ(0, slc_ctx_open(NULL, &ctx));
	do {
		mmaps_left = n++;
		err = try(MIB, 4096, n % 2 ? SLC_REGION_SHARED : 0, &r);
		if (err) {
			EXPECT_EQ(err, -ENOMEM);
			EXPECT_EQ(open_fds(), fds);
		}
	} while (err && n < 20);
	mmaps_left = -1;
	EXPECT_GE(n, 3);
	ASSERT_EQ(err, 0);
	use(r);
	done(r);
}

TEST(no_descriptor_left_is_an_error)
{
	struct slc_region *r = NULL;

	memfd_err = EMFILE;
	EXPECT_EQ(try(MIB, 4096, SLC_REGION_SHARED, &r), -EMFILE);
	EXPECT_HAS(slc_last_error(ctx), "Too many open files");
	EXPECT_EQ(try(MIB, 4096, 0, &r), 0);
	done(r);
}

/* As `try`, with no descriptor to be had. */
static int try_closed(uint64_t page_size, uint64_t flags,
		      struct slc_region **out)
{
	struct rlimit was, none;
	int err;

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &was));
	none = was;
	none.rlim_cur = 0;
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &none));
	err = try(20 * MIB, page_size, flags, out);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &was));
	return err;
}

TEST(what_sysfs_could_not_be_asked_is_not_told_as_absent)
{
	static const char *const files[] = {
		"/sys/devices/system/node/has_memory",
		"/hugepages-2048kB/free_hugepages",
		"/sys/kernel/mm/transparent_hugepage/enabled",
	};
	struct slc_region *r = NULL;
	char want[160];

	ASSERT_EQ(0, try_closed(0, 0, &r));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(want, sizeof(want),
			 "%s cannot be read: Too many open files: raise ulimit -n",
			 files[i]);
		EXPECT_HAS(info_of(r).reason, want);
	}
	EXPECT_EQ(times("this kernel has no", r), 0);
	EXPECT_EQ(info_of(r).page_kind, SLC_PAGE_SMALL);
	use(r);
	done(r);
	EXPECT_EQ(try_closed(4096, SLC_REGION_STRICT, &r), -EMFILE);
	EXPECT_HAS(slc_last_error(ctx), "has_memory cannot be read");
}

TEST(verify_says_when_it_may_not_ask)
{
	struct slc_residency res = { .size = sizeof(res), .bytes = 99 };
	int errs[] = { ENOSYS, EPERM, ENOMEM };
	struct slc_region *r = NULL;

	ASSERT_EQ(0, try(MIB, 4096, 0, &r));
	for (int i = 0; i < 3; i++) {
		move_pages_err = errs[i];
		errno = 77;
		EXPECT_EQ(slc_region_verify(r, &res), -errs[i]);
		EXPECT_EQ(errno, 77);
		EXPECT_HAS(slc_last_error(ctx), "move_pages");
		EXPECT_EQ(res.bytes, 99u);
	}
	done(r);
}

TEST(huge_pages_that_were_not_given_are_said)
{
	struct slc_region *r = NULL;
	long long huge = anon_huge_kib();
	char said[60];
	uint64_t len;

	if (access("/sys/kernel/mm/transparent_hugepage/enabled", R_OK))
		SKIP("no transparent huge pages in this kernel");
	if (pool() > 500)
		SKIP("the pool of huge pages would be used instead");
	len = (uint64_t)(pool() + 10) * 2 * MIB;
	/* As if memory were so fragmented that not one could be had. */
	madvise_advice = MADV_HUGEPAGE;
	madvise_err = ENOMEM;
	collapse_err = ENOMEM;
	ASSERT_EQ(0, try(len, 2 * MIB, 0, &r));
	if (anon_huge_kib() > huge) {
		slc_region_put(r);
		SKIP("transparent huge pages come without madvise here");
	}
	snprintf(said, sizeof(said), "0 of %d MiB are in huge pages",
		 (int)(len / MIB));
	EXPECT_HAS(info_of(r).reason, said);
	EXPECT_EQ(info_of(r).page_kind, SLC_PAGE_SMALL);
	EXPECT_EQ(info_of(r).page_size, 4096u);
	use(r);
	slc_region_put(r);
	/* Faults give none, but a collapse does: Linux 6.1. */
	collapse_err = 0;
	ASSERT_EQ(0, try(len, 2 * MIB, 0, &r));
	if (info_of(r).page_kind == SLC_PAGE_SMALL)
		printf("# MADV_COLLAPSE gave nothing\n");
	else
		EXPECT_NULL(strstr(info_of(r).reason, "fragmented"));
	use(r);
	done(r);
}

TEST(the_nth_allocation_that_fails_is_survived)
{
	int fds = open_fds();

	ASSERT_EQ(0, slc_ctx_open(NULL, &ctx));
	for (uint64_t n = 1; n < 100; n++) {
		struct slc_region *r = NULL;
		int err;

		nthfail_arm(n);
		err = try(80 * MIB, 0, SLC_REGION_SHARED, &r);
		if (!nthfail_disarm()) {
			ASSERT_EQ(err, 0);
			EXPECT_GT(n, 2u);
			done(r);
			return;
		}
		if (err) {
			EXPECT_EQ(err, -ENOMEM);
			EXPECT_NULL(r);
		} else {
			/* Without a list of threads one thread does it all. */
			EXPECT_EQ(info_of(r).threads, 1u);
			use(r);
			slc_region_put(r);
		}
		EXPECT_EQ(open_fds(), fds);
	}
	EXPECT_TRUE(false);
}

TEST_HARNESS_MAIN

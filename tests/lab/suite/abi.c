/* SPDX-License-Identifier: MIT */
/* /dev/sluice: every length, tail, flag, reserved field and number of its calls. */
/* LAB: basic switch */
#include "tests/lab/driver.h"

#define NAME "abi"

/* A call that works, as long as nothing is done to it. */
union arg {
	__u32 size;
	struct sluice_info info;
	struct sluice_feature feature;
	struct sluice_alloc alloc;
	struct sluice_pin pin;
	struct sluice_peer peer;
	struct sluice_open open;
	struct sluice_stat stat;
	struct sluice_runs runs;
	struct sluice_grant grant;
	struct sluice_remove remove;
	unsigned char bytes[4096];
};

FIXTURE(call)
{
	int dev, region, fds, regions;
	long pinned;
	void *user; /* a page to pin */
	struct sluice_run run;
	union arg arg;
};

FIXTURE_VARIANT(call)
{
	const char *name;
	unsigned long cmd;
	size_t size, flags, reserved, fd; /* offsets; 0: it has none */
	unsigned int known;		  /* bits of flags */
	int result;
};

#define CALL(lower, upper, ...)                                               \
	FIXTURE_VARIANT_ADD(call, lower) {                                    \
		.name = #lower, .cmd = SLUICE_##upper,                        \
		.size = sizeof(struct sluice_##lower),                        \
		.flags = offsetof(struct sluice_##lower, flags), __VA_ARGS__  \
	}
#define RESERVED(lower) .reserved = offsetof(struct sluice_##lower, __reserved)
#define FD(lower) .fd = offsetof(struct sluice_##lower, fd)

CALL(info, INFO, RESERVED(info));
CALL(feature, FEATURE);
CALL(alloc, ALLOC, RESERVED(alloc), FD(alloc), .known = SLUICE_ALLOC_STRICT);
CALL(pin, PIN, RESERVED(pin), FD(pin), .known = SLUICE_PIN_READ);
CALL(peer, PEER, RESERVED(peer), FD(peer), .result = -ENODEV);
CALL(open, OPEN, RESERVED(open), FD(open), .known = SLUICE_OPEN_READ);
CALL(stat, STAT, .known = SLUICE_STAT_NEXT);
CALL(runs, RUNS);
CALL(grant, GRANT, RESERVED(grant),
     .known = SLUICE_GRANT_UID | SLUICE_GRANT_GID | SLUICE_GRANT_MODE);
CALL(remove, REMOVE, .known = SLUICE_REMOVE_REVOKE);

static void fill(struct ktap_fixture_call *self, const char *name)
{
	union arg *arg = &self->arg;

	memset(arg, 0, sizeof(*arg));
	if (!strcmp(name, "alloc")) {
		arg->alloc.len = 2 * PAGE;
		arg->alloc.run = PAGE;
		arg->alloc.node = -1;
	} else if (!strcmp(name, "pin")) {
		arg->pin.addr = (uintptr_t)self->user;
		arg->pin.len = PAGE;
	} else if (!strcmp(name, "peer")) {
		arg->peer.len = PAGE;
		arg->peer.bdf = 0xffff;
	} else if (!strcmp(name, "open")) {
		strcpy(arg->open.name, NAME);
	} else if (!strcmp(name, "stat")) {
		arg->stat.fd = self->region;
	} else if (!strcmp(name, "runs")) {
		arg->runs.fd = self->region;
		arg->runs.count = 1;
		arg->runs.runs = (uintptr_t)&self->run;
	} else if (!strcmp(name, "grant")) {
		strcpy(arg->grant.name, NAME);
		arg->grant.flags = SLUICE_GRANT_MODE;
		arg->grant.mode = 0600;
	} else if (!strcmp(name, "remove")) {
		strcpy(arg->remove.name, NAME);
	}
}

FIXTURE_SETUP(call)
{
	self->dev = driver_open();
	if (self->dev < 0)
		SKIP("/dev/sluice: %s", strerror(errno));
	self->regions = regions_now(self->dev);
	self->pinned = pinned_now();
	self->region = alloc_named(self->dev, PAGE, NAME, 0600);
	ASSERT_GE(self->region, 0);
	self->fds = fds_now();
	self->user = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->user != MAP_FAILED);
	fill(self, variant->name);
}

FIXTURE_TEARDOWN(call)
{
	if (self->dev < 0)
		return;
	remove_named(self->dev, NAME, 0);
	EXPECT_EQ(fds_now(), self->fds);
	close(self->region);
	EXPECT_EQ(regions_now(self->dev), self->regions);
	EXPECT_EQ(pinned_soon(self->pinned), self->pinned);
	close(self->dev);
}

/* What this call answers when nothing is wrong with it. */
static int expected(int dev, const struct ktap_variant_call *v)
{
	if (v->cmd == SLUICE_PEER && !feature(dev, SLUICE_FEATURE_PEER))
		return -EOPNOTSUPP;
	return v->result;
}

/* Calls with the struct of @size, and closes what comes. */
static int try(struct ktap_fixture_call *self,
	       const struct ktap_variant_call *v, size_t size)
{
	int ret;

	self->arg.size = (__u32)size;
	ret = call(self->dev, v->cmd, &self->arg);
	if (!ret && v->fd)
		close(*(__s32 *)(self->arg.bytes + v->fd));
	return ret;
}

TEST_F(call, of_the_exact_size_works)
{
	EXPECT_EQ(try(self, variant, variant->size),
		  expected(self->dev, variant));
	EXPECT_EQ(self->arg.size, variant->size);
}

TEST_F(call, below_the_first_version_is_einval)
{
	for (size_t size = 0; size < variant->size; size++)
		EXPECT_EQ(try(self, variant, size), -EINVAL);
}

TEST_F(call, with_a_longer_zero_tail_works)
{
	for (size_t size = variant->size + 1; size <= 4096;
	     size += size < 512 ? 1 : 256) {
		fill(self, variant->name);
		if (variant->cmd == SLUICE_REMOVE)
			close(alloc_named(self->dev, PAGE, NAME, 0600));
		EXPECT_EQ(try(self, variant, size),
			  expected(self->dev, variant));
		EXPECT_EQ(self->arg.size, size);
	}
}

TEST_F(call, with_a_tail_that_says_something_is_e2big)
{
	for (size_t size = variant->size + 1; size <= 4096;
	     size += size < 512 ? 1 : 256) {
		fill(self, variant->name);
		self->arg.bytes[size - 1] = 1;
		EXPECT_EQ(try(self, variant, size), -E2BIG);
	}
}

TEST_F(call, past_a_page_is_e2big_even_when_zero)
{
	unsigned char *two = calloc(2, 4096);

	ASSERT_NOT_NULL(two);
	memcpy(two, &self->arg, variant->size);
	*(__u32 *)two = 4097;
	EXPECT_EQ(call(self->dev, variant->cmd, two), -E2BIG);
	*(__u32 *)two = UINT32_MAX;
	EXPECT_EQ(call(self->dev, variant->cmd, two), -E2BIG);
	free(two);
}

TEST_F(call, refuses_each_flag_that_is_not_known)
{
	for (int bit = 0; bit < 32; bit++) {
		if (variant->known >> bit & 1)
			continue;
		fill(self, variant->name);
		*(__u32 *)(self->arg.bytes + variant->flags) |= 1u << bit;
		EXPECT_EQ(try(self, variant, variant->size),
			  expected(self->dev, variant) == -EOPNOTSUPP ?
			  -EOPNOTSUPP : -EINVAL);
	}
}

TEST_F(call, refuses_each_bit_of_a_reserved_field)
{
	if (!variant->reserved)
		SKIP("%s has none", variant->name);
	for (int bit = 0; bit < 32; bit++) {
		fill(self, variant->name);
		*(__u32 *)(self->arg.bytes + variant->reserved) = 1u << bit;
		EXPECT_EQ(try(self, variant, variant->size),
			  expected(self->dev, variant) == -EOPNOTSUPP ?
			  -EOPNOTSUPP : -EINVAL);
	}
}

TEST_F(call, writes_nothing_behind_its_own_size)
{
	memset(self->arg.bytes + variant->size, 0xaa,
	       sizeof(self->arg) - variant->size);
	EXPECT_EQ(try(self, variant, variant->size),
		  expected(self->dev, variant));
	for (size_t i = variant->size; i < sizeof(self->arg); i++)
		ASSERT_EQ(self->arg.bytes[i], 0xaa);
}

TEST_F(call, on_memory_that_is_not_the_callers_is_efault)
{
	unsigned char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned char *edge = map + PAGE - variant->size + 8;

	ASSERT_TRUE(map != MAP_FAILED);
	ASSERT_EQ(munmap(map + PAGE, PAGE), 0);
	EXPECT_EQ(call(self->dev, variant->cmd, NULL), -EFAULT);
	EXPECT_EQ(call(self->dev, variant->cmd, (void *)-4096l), -EFAULT);
	EXPECT_EQ(call(self->dev, variant->cmd, map + PAGE), -EFAULT);
	memcpy(edge, &self->arg, variant->size - 8);
	*(__u32 *)edge = (__u32)variant->size;
	EXPECT_EQ(call(self->dev, variant->cmd, edge), -EFAULT);
	munmap(map, PAGE);
}

/* Readable, but the answer cannot be written: nothing may stay. */
TEST_F(call, whose_answer_cannot_be_written_has_no_effect)
{
	unsigned char *map = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* These two have no answer. */
	bool none = variant->cmd == SLUICE_REMOVE || variant->cmd == SLUICE_GRANT;
	int want = expected(self->dev, variant), before;

	ASSERT_TRUE(map != MAP_FAILED);
	memcpy(map, &self->arg, variant->size);
	*(__u32 *)map = (__u32)variant->size;
	ASSERT_EQ(mprotect(map, PAGE, PROT_READ), 0);
	before = regions_now(self->dev);
	EXPECT_EQ(call(self->dev, variant->cmd, map), want || none ? want : -EFAULT);
	EXPECT_EQ(regions_now(self->dev), before);
	EXPECT_EQ(fds_now(), self->fds);
	munmap(map, PAGE);
}

DRIVER_FIXTURE(driver)

TEST_F(driver, info_says_who_it_is)
{
	struct sluice_info info = { .size = sizeof(info) };

	ASSERT_EQ(call(self->dev, SLUICE_INFO, &info), 0);
	EXPECT_EQ(info.abi, SLUICE_ABI);
	EXPECT_EQ(info.page_size, sysconf(_SC_PAGESIZE));
	EXPECT_EQ(info.features & 3, 3);
	EXPECT_EQ(info.features >> SLUICE_NFEATURES, 0);
}

TEST_F(driver, a_feature_works_or_says_why_not)
{
	struct sluice_info info = { .size = sizeof(info) };

	ASSERT_EQ(call(self->dev, SLUICE_INFO, &info), 0);
	for (unsigned int i = 0; i < SLUICE_NFEATURES; i++) {
		struct sluice_feature f = { .size = sizeof(f), .index = i };

		ASSERT_EQ(call(self->dev, SLUICE_FEATURE, &f), 0);
		EXPECT_EQ(f.works, info.features >> i & 1);
		EXPECT_NE(f.name[0], 0);
		EXPECT_EQ(!f.why[0], f.works);
		printf("# %s: %s\n", f.name, f.works ? "works" : f.why);
	}
	for (unsigned int i = 0; i < 32; i++) {
		struct sluice_feature f = { .size = sizeof(f),
					    .index = SLUICE_NFEATURES << i };

		EXPECT_EQ(call(self->dev, SLUICE_FEATURE, &f), -ENOENT);
	}
}

TEST_F(driver, unknown_numbers_types_and_directions_are_enotty)
{
	union arg arg = { .size = 64 };

	for (unsigned int nr = 0; nr < 256; nr++)
		if (nr < SLUICE_CMD_BASE || nr > SLUICE_CMD_REMOVE)
			EXPECT_EQ(call(self->dev, _IO(SLUICE_TYPE, nr), &arg),
				  -ENOTTY);
	for (unsigned int nr = SLUICE_CMD_BASE; nr <= SLUICE_CMD_REMOVE; nr++) {
		EXPECT_EQ(call(self->dev, _IO(SLUICE_TYPE ^ 1, nr), &arg),
			  -ENOTTY);
		EXPECT_EQ(call(self->dev, _IOW(SLUICE_TYPE, nr, int), &arg),
			  -ENOTTY);
	}
}

/* The system call of 32-bit programs, from this one: int $0x80. */
static int call32(int fd, unsigned long cmd, void *arg)
{
#ifdef __x86_64__
	int ret;

	__asm__ volatile("int $0x80"
			 : "=a"(ret)
			 : "a"(54), "b"(fd), "c"(cmd), "d"(arg)
			 : "memory", "r8", "r9", "r10", "r11");
	return ret;
#else
	return -ENOSYS;
#endif
}

TEST_F(driver, a_32_bit_program_is_understood)
{
	struct sluice_info *info = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT,
					-1, 0);

	ASSERT_TRUE(info != MAP_FAILED);
	/* Where they are not, the attempt is a fault that the kernel logs. */
	if (access("/proc/sys/abi/vsyscall32", F_OK))
		SKIP("this kernel has no 32-bit system calls");
	info->size = sizeof(*info);
	EXPECT_EQ(call32(self->dev, SLUICE_INFO, info), 0);
	EXPECT_EQ(info->page_size, PAGE);
	munmap(info, PAGE);
}

TEST_F(driver, neither_reads_nor_seeks_nor_maps)
{
	char byte;

	EXPECT_EQ(read(self->dev, &byte, 1), -1);
	EXPECT_EQ(lseek(self->dev, 0, SEEK_SET), -1);
	EXPECT_TRUE(map_fd(self->dev, PAGE) == MAP_FAILED);
}

TEST_F(driver, the_node_is_of_its_group_only)
{
	int fd;

	EXPECT_EQ(IN_CHILD(become(1000);
			   fd = driver_open();
			   fd >= 0 || errno != EACCES), 0);
}

TEST_HARNESS_MAIN

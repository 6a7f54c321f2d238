// SPDX-License-Identifier: MIT
/* Regions of the module, over a double of it: each answer and each refusal. */
#include <sluice/region.h>

#include <sys/resource.h>

#include "fake_module.h"
#include "nthfail.h"

/* WRAP: open ioctl mmap */

#define MIB (1ull << 20)

FIXTURE(module)
{
	struct slc_ctx *ctx;
	struct slc_region *r;
	struct slc_region_attr attr;
	int fds;
};
FIXTURE_NO_VARIANT(module);

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* Those of the library: the double keeps one for each of its regions. */
static int library_fds(void)
{
	int n = open_fds();

	for (int i = 0; i < FAKE_MAX; i++)
		n -= fake.regions[i].fd >= 0;
	return n;
}

FIXTURE_SETUP(module)
{
	fake_reset();
	unsetenv("SLC_REGIONS");
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	self->attr = (struct slc_region_attr){ .size = sizeof(self->attr),
					       .len = 5 * MIB,
					       .node = SLC_NODE_CALLER,
					       .flags = SLC_REGION_MODULE };
	self->fds = library_fds();
}

FIXTURE_TEARDOWN(module)
{
	slc_region_put(self->r);
	EXPECT_EQ(library_fds(), self->fds);
	slc_ctx_close(self->ctx);
}

static int try(struct ktap_fixture_module *self)
{
	return slc_region_alloc(self->ctx, &self->attr, &self->r);
}

static void get(struct ktap_fixture_module *self)
{
	int err = try(self);

	if (err)
		printf("# %s\n", slc_last_error(self->ctx));
	ASSERT_EQ(err, 0);
}

static void put(struct ktap_fixture_module *self)
{
	slc_region_put(self->r);
	self->r = NULL;
}

static void named(struct ktap_fixture_module *self, const char *name)
{
	self->attr.flags |= SLC_REGION_NAMED;
	self->attr.name = name;
}

static const struct slc_region_info *info_of(const struct slc_region *r)
{
	static struct slc_region_info info;

	info.size = sizeof(info);
	ASSERT_EQ(0, slc_region_query(r, &info));
	return &info;
}

static void expect_host(struct ktap_fixture_module *self, const char *because)
{
	get(self);
	EXPECT_EQ(info_of(self->r)->dmabuf_fd, -1);
	EXPECT_HAS(info_of(self->r)->dmabuf_reason, "SLC_REGION_MODULE");
	EXPECT_NE(info_of(self->r)->page_kind, SLC_PAGE_MODULE);
	EXPECT_HAS(info_of(self->r)->reason, because);
	EXPECT_HAS(info_of(self->r)->reason, "host memory instead");
	memset(slc_region_addr(self->r), 1, slc_region_len(self->r));
	put(self);
}

TEST_F(module, its_memory_is_mapped_and_has_a_dmabuf)
{
	const struct slc_region_info *i;
	unsigned char *p, *q;

	get(self);
	i = info_of(self->r);
	EXPECT_STREQ(i->reason, "");
	EXPECT_STREQ(i->dmabuf_reason, "");
	EXPECT_EQ(i->len, 6 * MIB);
	EXPECT_EQ(i->page_size, 2 * MIB);
	EXPECT_EQ(i->page_kind, SLC_PAGE_MODULE);
	EXPECT_EQ(i->pin_kind, SLC_PIN_MODULE);
	EXPECT_EQ(i->bytes_2m, 6 * MIB);
	EXPECT_EQ(i->memfd, -1);
	EXPECT_EQ(i->found, 0);
	EXPECT_EQ(i->threads, 0);
	ASSERT_GE(i->dmabuf_fd, 0);
	EXPECT_EQ(fake.asked.run, 2 * MIB);
	EXPECT_EQ(fake.asked.flags, 0);
	EXPECT_EQ(fake.asked.mode, 0);
	EXPECT_STREQ(fake.asked.name, "");
	/* What is written here is seen by whoever has the dma-buf. */
	p = slc_region_addr(self->r);
	q = mmap(NULL, i->len, PROT_READ, MAP_SHARED, i->dmabuf_fd, 0);
	ASSERT_TRUE(q != MAP_FAILED);
	p[6 * MIB - 1] = 77;
	EXPECT_EQ(q[6 * MIB - 1], 77);
	EXPECT_EQ((uintptr_t)p % (2 * MIB), 0);
	munmap(q, i->len);
}

TEST_F(module, base_pages_are_asked_as_runs_of_one_page)
{
	self->attr.page_size = 4096;
	self->attr.len = 5000;
	fake.bytes_2m = 0;
	get(self);
	EXPECT_EQ(fake.asked.run, 4096);
	EXPECT_EQ(info_of(self->r)->len, 8192);
	EXPECT_EQ(info_of(self->r)->page_size, 4096);
	EXPECT_STREQ(info_of(self->r)->reason, "");
}

TEST_F(module, a_byte_past_either_end_is_a_fault)
{
	unsigned char *p;
	int status;

	get(self);
	p = slc_region_addr(self->r);
	for (int end = 0; end < 2; end++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			signal(SIGSEGV, SIG_DFL);
			*(volatile unsigned char *)(end ? p + 6 * MIB : p - 1) =
				1;
			_exit(0);
		}
		ASSERT_EQ(pid, waitpid(pid, &status, 0));
		EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
	}
}

static uint64_t resident(const struct slc_region *r)
{
	uint64_t n = slc_region_len(r) / 4096, there = 0;
	unsigned char vec[4096];

	ASSERT_LE(n, sizeof(vec));
	ASSERT_EQ(mincore(slc_region_addr(r), slc_region_len(r), vec), 0);
	for (uint64_t i = 0; i < n; i++)
		there += vec[i] & 1;
	return there * 4096;
}

TEST_F(module, no_page_is_touched_unless_threads_are_asked_for)
{
	get(self);
	EXPECT_EQ(resident(self->r), 0);
	put(self);
	self->attr.threads = 2;
	self->attr.len = 16 * MIB;
	get(self);
	EXPECT_EQ(resident(self->r), 16 * MIB);
	EXPECT_GE(info_of(self->r)->threads, 1);
}

TEST_F(module, verify_maps_the_pages_and_counts_them_all)
{
	struct slc_residency res = { .size = sizeof(res) };

	get(self);
	if (slc_region_verify(self->r, &res))
		SKIP("%s", slc_last_error(self->ctx));
	EXPECT_EQ(res.bytes, 6 * MIB);
	EXPECT_EQ(res.bytes_absent, 0);
	EXPECT_EQ(res.bytes_on_node + res.bytes_elsewhere, 6 * MIB);
}

TEST_F(module, verify_of_a_region_that_is_gone_says_so)
{
	struct slc_residency res = { .size = sizeof(res) };

	get(self);
	/* As after a revoke: a touch would be SIGBUS. */
	ASSERT_EQ(ftruncate(info_of(self->r)->dmabuf_fd, 0), 0);
	EXPECT_EQ(slc_region_verify(self->r, &res), -ENODEV);
	EXPECT_HAS(slc_last_error(self->ctx), "revoked");
}

TEST_F(module, each_way_the_device_is_refused_is_a_step_down_in_words)
{
	static const struct {
		int err;
		const char *words;
	} refusals[] = {
		{ ENOENT, "/dev/sluice: the module is not loaded (sudo modprobe sluice" },
		{ ENXIO, "not loaded" },
		{ EACCES, "usermod -aG sluice" },
		{ EPERM, "usermod -aG sluice" },
		{ EMFILE, "ulimit -n" },
		{ EIO, "/dev/sluice: Input/output error" },
	};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		fake.open_err = refusals[i].err;
		self->attr.flags = SLC_REGION_MODULE;
		expect_host(self, refusals[i].words);
		self->attr.flags |= SLC_REGION_STRICT;
		EXPECT_EQ(try(self), -refusals[i].err);
		EXPECT_HAS(slc_last_error(self->ctx), refusals[i].words);
		self->attr.flags = SLC_REGION_MODULE;
		named(self, "weights");
		EXPECT_EQ(try(self), -refusals[i].err);
	}
	EXPECT_EQ(fake.calls[0], 0);
}

TEST_F(module, another_version_or_device_is_said)
{
	fake.abi = SLUICE_ABI + 1;
	expect_host(self, "speaks ABI 2 and this library 1");
	self->attr.flags |= SLC_REGION_STRICT;
	EXPECT_EQ(try(self), -EPROTO);
	fake.fail_cmd = SLUICE_CMD_INFO;
	fake.fail_err = ENOTTY;
	EXPECT_EQ(try(self), -ENOTTY);
	EXPECT_HAS(slc_last_error(self->ctx), "no device of the module");
	fake.fail_err = EFAULT;
	EXPECT_EQ(try(self), -EFAULT);
	EXPECT_HAS(slc_last_error(self->ctx), "SLUICE_INFO: Bad address");
}

TEST_F(module, each_error_of_each_call_is_told_and_leaves_nothing)
{
	static const unsigned int cmds[] = { SLUICE_CMD_ALLOC, SLUICE_CMD_OPEN,
					     SLUICE_CMD_STAT };
	static const struct {
		int err;
		const char *words;
	} errs[] = {
		{ ENOMEM, "no memory for 6.0 MiB" },
		{ ESHUTDOWN, "parameters/drain" },
		{ EMFILE, "ulimit -n" },
		{ EACCES, "sluice region grant" },
		{ EPERM, "only its owner" },
		{ ENODEV, "revoked" },
		{ EINTR, "Interrupted" },
		{ EOPNOTSUPP, "does not support that here" },
		{ EFAULT, "Bad address" },
	};

	for (int c = 0; c < 3; c++)
		for (size_t i = 0; i < sizeof(errs) / sizeof(errs[0]); i++) {
			fake_reset();
			fake.fail_cmd = cmds[c];
			fake.fail_err = errs[i].err;
			self->attr.flags = SLC_REGION_MODULE;
			named(self, "weights");
			EXPECT_EQ(try(self), -errs[i].err);
			EXPECT_HAS(slc_last_error(self->ctx), "region weights: ");
			EXPECT_HAS(slc_last_error(self->ctx), errs[i].words);
			EXPECT_NULL(self->r);
			EXPECT_EQ(library_fds(), self->fds);
			self->attr.flags = SLC_REGION_MODULE;
			if (cmds[c] != SLUICE_CMD_OPEN)
				expect_host(self, errs[i].words);
		}
}

TEST_F(module, what_the_kernel_cannot_do_is_told_in_the_modules_words)
{
	fake.features = 0;
	fake.fail_cmd = SLUICE_CMD_ALLOC;
	fake.fail_err = EOPNOTSUPP;
	expect_host(self, "the double was told so");
}

TEST_F(module, a_node_that_the_module_refuses_is_named)
{
	fake.fail_cmd = SLUICE_CMD_ALLOC;
	fake.fail_err = EINVAL;
	self->attr.node = 0;
	get(self);
	if (info_of(self->r)->node < 0)
		SKIP("no NUMA in this kernel");
	EXPECT_HAS(info_of(self->r)->reason, "node 0 has no memory or is not there");
}

TEST_F(module, memory_that_cannot_be_mapped_is_a_step_down)
{
	fake.mmap_err = ENOMEM;
	expect_host(self, "cannot map 6.0 MiB of the module's memory");
	named(self, "weights");
	EXPECT_EQ(try(self), -ENOMEM);
	EXPECT_HAS(slc_last_error(self->ctx), "cannot map");
}

TEST_F(module, over_a_limit_says_which_one)
{
	struct rlimit lim = { 65536, 65536 };

	fake.fail_cmd = SLUICE_CMD_ALLOC;
	fake.fail_err = EDQUOT;
	ASSERT_NOT_NULL(fake_add("other", 3 * MIB));
	self->attr.flags |= SLC_REGION_STRICT;
	fake.max_bytes = 8 * MIB;
	EXPECT_EQ(try(self), -EDQUOT);
	EXPECT_HAS(slc_last_error(self->ctx), "may have 8388608 bytes and have 3145728");
	EXPECT_HAS(slc_last_error(self->ctx), "parameters/max_bytes");
	/* It fits in all, but not for this user. */
	fake.max_bytes = 9 * MIB;
	fake.max_user_bytes = 8 * MIB;
	EXPECT_EQ(try(self), -EDQUOT);
	EXPECT_HAS(slc_last_error(self->ctx), "one user may lock 8388608 bytes");
	/* By its regions it fits: what else the user has locked counts too. */
	fake.max_user_bytes = 9 * MIB;
	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &lim), 0);
	EXPECT_EQ(try(self), -EDQUOT);
	if (strstr(slc_last_error(self->ctx), "RLIMIT"))
		EXPECT_HAS(slc_last_error(self->ctx),
			   "RLIMIT_MEMLOCK is 65536 bytes");
	else /* CAP_IPC_LOCK passes that limit */
		EXPECT_HAS(slc_last_error(self->ctx), "max_user_bytes allows");
}

TEST_F(module, a_name_makes_a_region_once_and_finds_it_again)
{
	unsigned char *p;

	named(self, "weights");
	get(self);
	EXPECT_EQ(info_of(self->r)->found, 0);
	EXPECT_STREQ(fake.asked.name, "weights");
	EXPECT_EQ(fake.asked.mode, 0600);
	p = slc_region_addr(self->r);
	p[3] = 33;
	put(self);
	/* Less than it has: all of it is opened. */
	self->attr.len = 1;
	get(self);
	EXPECT_EQ(info_of(self->r)->found, 1);
	EXPECT_EQ(slc_region_len(self->r), 6 * MIB);
	p = slc_region_addr(self->r);
	EXPECT_EQ(p[3], 33);
	EXPECT_EQ(fake.calls[SLUICE_CMD_ALLOC - SLUICE_CMD_BASE], 1);
	put(self);
	self->attr.len = 7 * MIB;
	EXPECT_EQ(try(self), -EEXIST);
	EXPECT_HAS(slc_last_error(self->ctx),
		   "region weights: it has 6291456 bytes and 7340032 are asked");
	EXPECT_HAS(slc_last_error(self->ctx), "sluice region remove weights");
}

TEST_F(module, a_name_that_another_makes_meanwhile_is_found)
{
	ASSERT_NOT_NULL(fake_add("weights", 8 * MIB));
	fake.appear = true;
	fake.fail_cmd = SLUICE_CMD_ALLOC;
	fake.fail_err = EEXIST;
	fake.fail_times = 1;
	named(self, "weights");
	get(self);
	EXPECT_EQ(info_of(self->r)->found, 1);
	EXPECT_EQ(slc_region_len(self->r), 8 * MIB);
	put(self);
	/* Made and removed for ever: it ends, with an error. */
	fake_reset();
	fake.fail_cmd = SLUICE_CMD_ALLOC;
	fake.fail_err = EEXIST;
	EXPECT_EQ(try(self), -EEXIST);
	EXPECT_HAS(slc_last_error(self->ctx), "the name is taken");
}

TEST_F(module, names_are_checked_before_anything_is_asked)
{
	static const char *const bad[] = {
		"", "a b", "a/b", "w\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123",
	};
	char longest[SLUICE_NAME_MAX];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		named(self, bad[i]);
		EXPECT_EQ(try(self), -EINVAL);
		EXPECT_HAS(slc_last_error(self->ctx), "has 1 to 63 of");
	}
	named(self, NULL);
	EXPECT_EQ(try(self), -EINVAL);
	self->attr.flags = SLC_REGION_NAMED;
	self->attr.name = "weights";
	EXPECT_EQ(try(self), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "without SLC_REGION_MODULE");
	EXPECT_EQ(fake.calls[0], 0);
	self->attr.flags = SLC_REGION_MODULE;
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = 0;
	named(self, longest);
	get(self);
	EXPECT_STREQ(fake.asked.name, longest);
}

TEST_F(module, the_environment_makes_it_the_default_of_every_region)
{
	self->attr.flags = 0;
	setenv("SLC_REGIONS", "module", 1);
	get(self);
	EXPECT_GE(info_of(self->r)->dmabuf_fd, 0);
	put(self);
	fake.there = false;
	expect_host(self, "the module is not loaded");
	self->attr.flags = SLC_REGION_STRICT;
	EXPECT_EQ(try(self), -ENOENT);
	fake.there = true;
	self->attr.flags = 0;
	setenv("SLC_REGIONS", "host", 1);
	get(self);
	EXPECT_EQ(info_of(self->r)->dmabuf_fd, -1);
	put(self);
	/* What a program asks for, it gets. */
	self->attr.flags = SLC_REGION_MODULE;
	get(self);
	EXPECT_GE(info_of(self->r)->dmabuf_fd, 0);
	put(self);
	setenv("SLC_REGIONS", "modul", 1);
	EXPECT_EQ(try(self), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "SLC_REGIONS is \"modul\": module or host");
	unsetenv("SLC_REGIONS");
}

TEST_F(module, what_only_host_memory_can_be_steps_down)
{
	self->attr.flags = SLC_REGION_MODULE | SLC_REGION_SHARED;
	get(self);
	EXPECT_GE(info_of(self->r)->memfd, 0);
	EXPECT_HAS(info_of(self->r)->reason, "SLC_REGION_SHARED");
	put(self);
	self->attr.flags = SLC_REGION_MODULE | SLC_REGION_NOPIN;
	expect_host(self, "always pinned");
	self->attr.flags |= SLC_REGION_STRICT;
	EXPECT_EQ(try(self), -EOPNOTSUPP);
	EXPECT_EQ(fake.calls[0], 0);
}

TEST_F(module, shorter_runs_than_asked_are_said_and_strict_takes_none)
{
	fake.bytes_2m = 2 * MIB;
	get(self);
	EXPECT_HAS(info_of(self->r)->reason, "2.0 of 6.0 MiB are in runs of 2 MiB");
	EXPECT_EQ(info_of(self->r)->page_size, 2 * MIB);
	put(self);
	fake.bytes_2m = 0;
	get(self);
	EXPECT_EQ(info_of(self->r)->page_size, 4096);
	put(self);
	self->attr.flags |= SLC_REGION_STRICT;
	EXPECT_EQ(try(self), -ENOMEM);
	EXPECT_EQ(fake.asked.flags, SLUICE_ALLOC_STRICT);
	self->attr.page_size = 1ull << 30;
	fake.bytes_2m = UINT64_MAX;
	EXPECT_EQ(try(self), -EOPNOTSUPP);
	EXPECT_HAS(slc_last_error(self->ctx), "not of 1 GiB");
	self->attr.flags = SLC_REGION_MODULE;
	get(self);
	EXPECT_EQ(fake.asked.run, 2 * MIB);
	EXPECT_HAS(info_of(self->r)->reason, "2 MiB it is");
}

TEST_F(module, a_region_found_on_another_node_is_said)
{
	self->attr.node = 0;
	named(self, "weights");
	get(self);
	if (fake.asked.node < 0)
		SKIP("no NUMA in this kernel");
	EXPECT_EQ(fake.asked.node, 0);
	EXPECT_STREQ(info_of(self->r)->reason, "");
	put(self);
	fake.node = 1;
	get(self);
	EXPECT_EQ(info_of(self->r)->node, 1);
	EXPECT_HAS(info_of(self->r)->reason, "region weights was made on node 1, not on 0");
	put(self);
	self->attr.flags |= SLC_REGION_STRICT;
	EXPECT_EQ(try(self), -ENOMEM);
	/* Who does not mind where it is has nothing to be told. */
	self->attr.node = SLC_NODE_CALLER;
	get(self);
	EXPECT_STREQ(info_of(self->r)->reason, "");
}

TEST_F(module, a_put_in_a_child_of_fork_unmaps_nothing_of_the_childs)
{
	volatile char *p;
	int status;
	pid_t pid;

	get(self);
	p = slc_region_addr(self->r);
	*p = 5;
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		/* The double's mapping is inherited; the module's is not. */
		slc_region_put(self->r);
		_exit(*p == 5 ? 0 : 1);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
}

TEST_F(module, each_allocation_that_fails_leaves_nothing)
{
	int err = -ENOMEM;

	self->attr.threads = 2;
	self->attr.len = 40 * MIB;
	for (uint64_t n = 1; n < 50; n++) {
		nthfail_arm(n);
		err = try(self);
		if (!nthfail_disarm())
			break;
		/* Threads' records may fail: fewer threads then. */
		if (!err)
			put(self);
		else
			ASSERT_EQ(err, -ENOMEM);
		EXPECT_EQ(library_fds(), self->fds);
		fake_reset();
	}
	ASSERT_EQ(err, 0);
}

TEST_HARNESS_MAIN

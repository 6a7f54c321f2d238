// SPDX-License-Identifier: MIT
/* What the machine refuses a queue, and what the queue makes of it. */
#include <sluice/queue.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/capability.h>

#include "ktap.h"
#include "nthfail.h"

#define LEN 300000u

FIXTURE(refused)
{
	struct slc_ctx *ctx;
	struct slc_file *file;
	struct slc_region *region;
	unsigned char *want;
	char path[200];
};
FIXTURE_NO_VARIANT(refused);

FIXTURE_SETUP(refused)
{
	const char *dir = getenv("TMPDIR");
	struct slc_region_attr ra = { .size = sizeof(ra),
				      .len = 16 << 20,
				      .page_size = 4096,
				      .flags = SLC_REGION_NOPIN,
				      .node = SLC_NODE_CALLER };
	int fd;

	unsetenv("SLC_ENGINE");
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	ASSERT_EQ(slc_region_alloc(self->ctx, &ra, &self->region), 0);
	self->want = malloc(LEN);
	ASSERT_NOT_NULL(self->want);
	for (uint32_t i = 0; i < LEN; i++)
		self->want[i] = (unsigned char)(i * 31 + i / 251);
	snprintf(self->path, sizeof(self->path), "%s/sluice-refused-XXXXXX",
		 dir ? dir : "/tmp");
	fd = mkstemp(self->path);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, self->want, LEN), (ssize_t)LEN);
	close(fd);
	ASSERT_EQ(slc_file_open(self->ctx, self->path, SLC_FILE_READ,
				&self->file),
		  0);
}

FIXTURE_TEARDOWN(refused)
{
	slc_file_put(self->file);
	slc_region_put(self->region);
	slc_ctx_close(self->ctx);
	unlink(self->path);
	free(self->want);
}

static int open_queue(struct ktap_fixture_refused *self, const char *engine,
		      struct slc_queue **q)
{
	struct slc_queue_attr qa = { .size = sizeof(qa),
				     .engine = engine,
				     .depth = 16,
				     .node = SLC_NODE_CALLER };

	return slc_queue_open(self->ctx, &qa, q);
}

static struct slc_done read_all(struct ktap_fixture_refused *self,
				struct slc_queue *q)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = LEN };
	struct slc_done d;

	memset(slc_region_addr(self->region), 0, LEN);
	ASSERT_EQ(slc_queue_submit(q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(q, &d, 1, 1, SLC_FOREVER), 1);
	ASSERT_EQ(d.result, (int64_t)LEN);
	ASSERT_EQ(memcmp(slc_region_addr(self->region), self->want, LEN), 0);
	return d;
}

static bool obey(struct sock_filter *filter, size_t n)
{
	struct sock_fprog prog = { .len = (unsigned short)n, .filter = filter };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* From here on that system call fails so, in this process. */
static bool forbid(int nr, int err)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)nr, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			 SECCOMP_RET_ERRNO | ((uint32_t)err & 0xffff)),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return obey(filter, sizeof(filter) / sizeof(filter[0]));
}

/* The same of madvise(2) with one advice. */
static bool forbid_advice(int advice)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, args[2])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)advice, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};

	return obey(filter, sizeof(filter) / sizeof(filter[0]));
}

static void without_uring(struct ktap_fixture_refused *self, int nr,
			  const char *name, int err, const char *text)
{
	struct slc_queue_info info = { .size = sizeof(info) };
	struct slc_queue *q;
	struct slc_done d;

	if (!forbid(nr, err))
		SKIP("no seccomp here");
	EXPECT_EQ(open_queue(self, "uring", &q), -err);
	EXPECT_HAS(slc_last_error(self->ctx), name);
	ASSERT_EQ(open_queue(self, NULL, &q), 0);
	ASSERT_EQ(slc_queue_query(q, &info), 0);
	EXPECT_STREQ(info.engine, "sync");
	EXPECT_HAS(info.reason, text);
	EXPECT_HAS(info.reason, "using sync");
	d = read_all(self, q);
	EXPECT_HAS(d.reason, text);
	EXPECT_TRUE(d.route == SLC_ROUTE_SYNC_DIRECT ||
		    d.route == SLC_ROUTE_SYNC_BUFFERED ||
		    d.route == SLC_ROUTE_BOUNCE);
	slc_queue_close(q);
}

TEST_F(refused, io_uring_forbidden_is_pread_with_the_reason)
{
	without_uring(self, SYS_io_uring_setup, "io_uring_setup", EPERM,
		      "Operation not permitted");
}

TEST_F(refused, io_uring_absent_is_pread_with_the_reason)
{
	without_uring(self, SYS_io_uring_setup, "io_uring_setup", ENOSYS,
		      "Function not implemented");
}

TEST_F(refused, io_uring_without_memory_is_pread_with_the_reason)
{
	without_uring(self, SYS_io_uring_setup, "io_uring_setup", ENOMEM,
		      "Cannot allocate memory");
}

TEST_F(refused, io_uring_that_may_be_set_up_and_not_used_is_pread)
{
	without_uring(self, SYS_io_uring_enter, "io_uring_enter", EPERM,
		      "Operation not permitted");
}

TEST_F(refused, io_uring_that_may_be_set_up_and_is_not_there_is_pread)
{
	without_uring(self, SYS_io_uring_enter, "io_uring_enter", ENOSYS,
		      "Function not implemented");
}

TEST_F(refused, io_uring_that_is_forbidden_in_use_names_the_other_engine)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = LEN };
	struct slc_queue *q;
	struct slc_done d;

	if (open_queue(self, "uring", &q))
		SKIP("%s", slc_last_error(self->ctx));
	if (!forbid(SYS_io_uring_enter, EPERM))
		SKIP("no seccomp here");
	ASSERT_EQ(slc_queue_submit(q, &mv, 1), 1);
	EXPECT_EQ(slc_queue_poll(q, &d, 1, 1, SLC_FOREVER), -EPERM);
	EXPECT_HAS(slc_last_error(self->ctx), "SLC_ENGINE=sync");
	slc_queue_close(q);
}

TEST_F(refused, a_kernel_without_wipe_on_fork_has_queues_and_no_children_in_them)
{
	struct slc_queue *q;
	int status = 0;
	pid_t pid;

	if (!forbid_advice(MADV_WIPEONFORK))
		SKIP("no seccomp here");
	ASSERT_EQ(open_queue(self, NULL, &q), 0);
	read_all(self, q);
	fflush(stdout);
	pid = fork();
	if (!pid)
		_exit(slc_queue_poll(q, NULL, 0, 0, 0) == -EPERM ? 0 : 1);
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	slc_queue_close(q);
}

TEST_F(refused, io_uring_without_registration_still_reads)
{
	struct slc_queue_info info = { .size = sizeof(info) };
	struct slc_queue *q;
	struct slc_done d;

	/* No probe, so the opcodes are not known: pread. */
	if (!forbid(SYS_io_uring_register, EPERM))
		SKIP("no seccomp here");
	ASSERT_EQ(open_queue(self, NULL, &q), 0);
	ASSERT_EQ(slc_queue_query(q, &info), 0);
	EXPECT_STREQ(info.engine, "sync");
	EXPECT_HAS(info.reason, "REGISTER_PROBE");
	d = read_all(self, q);
	EXPECT_TRUE(d.reason[0]);
	slc_queue_close(q);
}

TEST_F(refused, an_engine_that_nobody_knows_is_einval)
{
	struct slc_queue *q;

	EXPECT_EQ(open_queue(self, "warp", &q), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx),
		   "no engine \"warp\": uring or sync");
	EXPECT_EQ(strstr(slc_last_error(self->ctx), "attr") == NULL, 1);
	setenv("SLC_ENGINE", "bogus", 1);
	EXPECT_EQ(open_queue(self, NULL, &q), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx),
		   "no engine \"bogus\": uring or sync (asked for by SLC_ENGINE)");
	setenv("SLC_ENGINE", "sync", 1);
	ASSERT_EQ(open_queue(self, NULL, &q), 0);
	EXPECT_HAS(read_all(self, q).reason, "SLC_ENGINE");
	slc_queue_close(q);
	setenv("SLC_ENGINE", "", 1);
	ASSERT_EQ(open_queue(self, NULL, &q), 0);
	slc_queue_close(q);
}

static bool drop_ipc_lock(void)
{
	struct __user_cap_header_struct h = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct d[2] = { 0 };

	if (syscall(SYS_capget, &h, d))
		return false;
	d[0].effective &= ~(1u << CAP_IPC_LOCK);
	d[0].permitted &= ~(1u << CAP_IPC_LOCK);
	return !syscall(SYS_capset, &h, d);
}

TEST_F(refused, a_tiny_memlock_limit_is_plain_reads_with_the_reason)
{
	struct rlimit rl = { 4 << 20, 4 << 20 };
	struct slc_queue *q;
	struct slc_done d;

	if (!drop_ipc_lock() || setrlimit(RLIMIT_MEMLOCK, &rl))
		SKIP("cannot lower RLIMIT_MEMLOCK");
	if (open_queue(self, "uring", &q))
		SKIP("%s", slc_last_error(self->ctx));
	EXPECT_EQ(slc_queue_attach_region(q, self->region), 0);
	d = read_all(self, q);
	EXPECT_HAS(d.reason, "registering 16 MiB failed: ENOMEM, RLIMIT_MEMLOCK is 4096 KiB");
	EXPECT_TRUE(d.route != SLC_ROUTE_SYNC_DIRECT);
	slc_queue_close(q);
}

TEST_F(refused, a_small_descriptor_limit_makes_a_small_file_table)
{
	struct slc_queue_info info = { .size = sizeof(info) };
	struct rlimit rl = { 30, 30 };
	struct slc_file *more[20];
	struct slc_queue *q;
	bool said = false;
	int n = 0;

	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &rl), 0);
	if (open_queue(self, "uring", &q))
		SKIP("%s", slc_last_error(self->ctx));
	ASSERT_EQ(slc_queue_query(q, &info), 0);
	if (!(info.features & SLC_QUEUE_HAS_FIXED_FILES))
		SKIP("no table of registered files");
	for (; n < 10; n++) {
		struct slc_move mv = { .dst = slc_at_region(self->region, 0),
				       .len = 4096 };
		struct slc_done d;

		if (slc_file_open(self->ctx, self->path, SLC_FILE_READ,
				  &more[n]))
			break;
		mv.src = slc_at_file(more[n], 0);
		ASSERT_EQ(slc_queue_submit(q, &mv, 1), 1);
		ASSERT_EQ(slc_queue_poll(q, &d, 1, 1, SLC_FOREVER), 1);
		ASSERT_EQ(d.result, 4096);
		said |= !!strstr(d.reason,
				 "table of registered files is full");
	}
	EXPECT_TRUE(said);
	while (n--)
		slc_file_put(more[n]);
	slc_queue_close(q);
}

TEST_F(refused, no_descriptor_for_a_ring_is_pread_with_the_reason)
{
	struct slc_queue_info info = { .size = sizeof(info) };
	struct rlimit rl = { 0, 100 };
	struct slc_queue *q;
	int fd = dup(1);

	close(fd);
	rl.rlim_cur = (rlim_t)fd;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &rl), 0);
	EXPECT_EQ(open_queue(self, "uring", &q), -EMFILE);
	ASSERT_EQ(open_queue(self, NULL, &q), 0);
	ASSERT_EQ(slc_queue_query(q, &info), 0);
	EXPECT_HAS(info.reason, "raise ulimit -n");
	EXPECT_HAS(read_all(self, q).reason, "raise ulimit -n");
	slc_queue_close(q);
}

TEST_F(refused, a_forked_child_may_not_use_the_queue)
{
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->region, 0),
			       .len = LEN };
	struct slc_queue *q;
	struct slc_done d;
	int status;
	pid_t pid;

	ASSERT_EQ(open_queue(self, NULL, &q), 0);
	read_all(self, q);
	ASSERT_EQ(slc_queue_submit(q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(q, &d, 0, 0, 0), 0);
	pid = fork();
	if (!pid) {
		int bad = 0;

		bad |= slc_queue_submit(q, &mv, 1) != -EPERM;
		bad |= slc_queue_poll(q, &d, 1, 1, SLC_FOREVER) != -EPERM;
		bad |= slc_queue_cancel(q, 0) != -EPERM;
		bad |= slc_queue_attach_file(q, self->file) != -EPERM;
		bad |= !strstr(slc_last_error(self->ctx), "fork");
		/* Closing its copy leaves the parent's alone. */
		slc_queue_close(q);
		_exit(bad);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	EXPECT_EQ(status, 0);
	ASSERT_EQ(slc_queue_poll(q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, (int64_t)LEN);
	for (int i = 0; i < 5; i++)
		EXPECT_EQ(read_all(self, q).route == SLC_ROUTE_NONE, 0);
	slc_queue_close(q);
}

static struct slc_queue *thread_q;

static void *other_thread(void *arg)
{
	struct slc_done d;

	return slc_queue_poll(thread_q, &d, 1, 0, 0) == -EPERM ? arg : NULL;
}

TEST_F(refused, another_thread_may_not_use_the_queue)
{
	pthread_t t;
	void *res;

	ASSERT_EQ(open_queue(self, NULL, &thread_q), 0);
	ASSERT_EQ(pthread_create(&t, NULL, other_thread, self), 0);
	pthread_join(t, &res);
	EXPECT_EQ(res == self, 1);
	EXPECT_HAS(slc_last_error(self->ctx), "");
	slc_queue_close(thread_q);
}

TEST_F(refused, attrs_out_of_range_are_einval)
{
	struct slc_queue_attr qa = { .size = sizeof(qa), .depth = 5000 };
	struct slc_queue *q;

	EXPECT_EQ(slc_queue_open(self->ctx, &qa, &q), -EINVAL);
	qa.depth = 0;
	qa.max_io = 2u << 30;
	EXPECT_EQ(slc_queue_open(self->ctx, &qa, &q), -EINVAL);
	qa.max_io = 0;
	qa.moves = 1u << 30;
	EXPECT_EQ(slc_queue_open(self->ctx, &qa, &q), -EINVAL);
	qa.moves = 0;
	qa.flags = 1u << 9;
	EXPECT_EQ(slc_queue_open(self->ctx, &qa, &q), -EINVAL);
	qa.flags = 0;
	qa.size = 3;
	EXPECT_EQ(slc_queue_open(self->ctx, &qa, &q), -EINVAL);
}

/* ---- the n-th allocation fails ---- */

static void sweep_queue(struct ktap_fixture_refused *self, const char *engine)
{
	struct slc_queue *q = NULL;
	uint64_t n;
	int err;

	for (n = 1;; n++) {
		nthfail_arm(n);
		err = open_queue(self, engine, &q);
		if (!nthfail_disarm())
			break;
		if (!err) {
			/* Something made do without: it must be said. */
			struct slc_queue_info info = { .size = sizeof(info) };

			ASSERT_EQ(slc_queue_query(q, &info), 0);
			if (!engine)
				EXPECT_TRUE(info.reason[0]);
			read_all(self, q);
			slc_queue_close(q);
			continue;
		}
		ASSERT_EQ(err, -ENOMEM);
		EXPECT_TRUE(slc_last_error(self->ctx)[0]);
	}
	ASSERT_EQ(err, 0);
	EXPECT_GT(n, 5u);
	/* The byte path allocates nothing. */
	nthfail_arm(1);
	read_all(self, q);
	EXPECT_FALSE(nthfail_disarm());
	slc_queue_close(q);
}

TEST_F(refused, every_allocation_of_open_may_fail)
{
	sweep_queue(self, NULL);
	sweep_queue(self, "sync");
}

TEST_F(refused, every_allocation_of_file_open_may_fail)
{
	struct slc_file *f;
	uint64_t n;
	int err;

	for (n = 1;; n++) {
		nthfail_arm(n);
		err = slc_file_open(self->ctx, self->path, SLC_FILE_READ, &f);
		if (!nthfail_disarm())
			break;
		ASSERT_EQ(err, -ENOMEM);
	}
	ASSERT_EQ(err, 0);
	EXPECT_GT(n, 2u);
	slc_file_put(f);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* Locked memory: who is charged for how much, and when it is given back. */
/* LAB: basic switch */
#include <linux/io_uring.h>
#include <sys/uio.h>

#include "tests/lab/driver.h"

#define LIMIT (1 * MIB)

DRIVER_FIXTURE(account)

/* In a child: becomes @uid with RLIMIT_MEMLOCK at @limit. */
static void restrict_to(unsigned int uid, uint64_t limit)
{
	struct rlimit l = { limit, limit };

	setrlimit(RLIMIT_MEMLOCK, &l);
	if (become(uid))
		_exit(99);
}

TEST_F(account, is_full_at_the_limit_and_not_before)
{
	int dev = self->dev;

	EXPECT_EQ(IN_CHILD(
		restrict_to(1000, LIMIT);
		int fd = alloc_fd(dev, LIMIT);
		fd < 0 ? 1 :
		alloc_fd(dev, PAGE) != -EDQUOT ? 2 :
		(close(fd), fd = alloc_fd(dev, LIMIT)) < 0 ? 3 :
		(close(fd), alloc_fd(dev, LIMIT + PAGE)) != -EDQUOT ? 4 : 0), 0);
}

TEST_F(account, counts_pins_as_it_counts_regions)
{
	int dev = self->dev;

	EXPECT_EQ(IN_CHILD(
		restrict_to(1000, LIMIT);
		char *own = mmap(NULL, LIMIT, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		int fd = pin_fd(dev, own, LIMIT - PAGE, 0);
		fd < 0 ? 1 :
		alloc_fd(dev, 2 * PAGE) != -EDQUOT ? 2 :
		alloc_fd(dev, PAGE) < 0 ? 3 :
		pin_fd(dev, own, PAGE, 0) != -EDQUOT ? 4 : 0), 0);
}

/* A region that @uid is charged for and this process has; on a thread's leave. */
static int alloc_as(int dev, unsigned int uid, uint64_t len)
{
	int fd;

	if (syscall(SYS_setresuid, uid, uid, 0))
		return -errno;
	fd = alloc_fd(dev, len);
	if (syscall(SYS_setresuid, -1, 0, -1) || syscall(SYS_setresuid, 0, 0, 0))
		return -errno;
	return fd;
}

TEST_F(account, is_one_for_all_processes_of_a_user_and_none_of_another)
{
	int dev = self->dev, fd;

	EXPECT_EQ(IN_CHILD(
		restrict_to(1000, LIMIT);
		int half = alloc_fd(dev, LIMIT / 2);
		half < 0 ? 1 : IN_CHILD(
			alloc_fd(dev, LIMIT / 2 + PAGE) != -EDQUOT ? 2 :
			alloc_fd(dev, LIMIT / 2) < 0 ? 3 : 0)), 0);
	fd = alloc_as(dev, 1001, LIMIT);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(IN_CHILD(restrict_to(1001, LIMIT);
			   alloc_fd(dev, PAGE) != -EDQUOT), 0);
	EXPECT_EQ(IN_CHILD(restrict_to(1000, LIMIT); alloc_fd(dev, LIMIT) < 0), 0);
	close(fd);
}

TEST_F(account, of_a_user_who_has_changed_since_is_given_back_to_the_first)
{
	int dev = self->dev;

	/* Held as 1000, closed as 1001: 1000 has its room again. */
	EXPECT_EQ(IN_CHILD(
		struct rlimit l = { LIMIT, LIMIT };
		setrlimit(RLIMIT_MEMLOCK, &l);
		int ret = 0, fd;
		/* The saved one stays 0, and with it the way back. */
		if (syscall(SYS_setresuid, 1000, 1000, 0)) _exit(9);
		fd = alloc_fd(dev, LIMIT);
		if (fd < 0) ret = 1;
		if (alloc_fd(dev, PAGE) != -EDQUOT) ret = 2;
		if (syscall(SYS_setresuid, -1, 0, -1)) _exit(9);
		if (syscall(SYS_setresuid, 1001, 1001, 0)) _exit(9);
		close(fd);
		fd = alloc_fd(dev, LIMIT);
		if (fd < 0) ret = 3;
		if (syscall(SYS_setresuid, -1, 0, -1)) _exit(9);
		if (syscall(SYS_setresuid, 1000, 1000, 1000)) _exit(9);
		if (alloc_fd(dev, LIMIT) < 0) ret = 4;
		ret), 0);
}

TEST_F(account, that_is_over_a_lowered_limit_only_refuses_more)
{
	int dev = self->dev;

	EXPECT_EQ(IN_CHILD(
		restrict_to(1000, LIMIT);
		struct rlimit less = { PAGE, PAGE };
		int fd = alloc_fd(dev, LIMIT);
		setrlimit(RLIMIT_MEMLOCK, &less);
		alloc_fd(dev, PAGE) != -EDQUOT ? 1 :
		(close(fd), alloc_fd(dev, PAGE)) < 0 ? 2 : 0), 0);
}

TEST_F(account, is_shared_with_io_uring)
{
	int dev = self->dev;

	EXPECT_EQ(IN_CHILD(
		struct io_uring_params params = { 0 };
		char *own = mmap(NULL, LIMIT / 2, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		struct iovec iov = { own, LIMIT / 2 };
		restrict_to(1000, LIMIT);
		int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
		ring < 0 ? 1 :
		syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS,
			&iov, 1) ? 2 :
		alloc_fd(dev, LIMIT) != -EDQUOT ? 3 :
		alloc_fd(dev, LIMIT / 4) < 0 ? 4 : 0), 0);
}

TEST_F(account, limit_is_passed_by_cap_ipc_lock_of_the_first_namespace_only)
{
	struct rlimit none = { 0, 0 };
	int dev = self->dev, status;

	EXPECT_EQ(IN_CHILD(setrlimit(RLIMIT_MEMLOCK, &none);
			   alloc_fd(dev, PAGE) < 0), 0);
	EXPECT_EQ(IN_CHILD(restrict_to(1000, 0);
			   alloc_fd(dev, PAGE) != -EDQUOT), 0);
	/* Root of a namespace of its own is not. */
	status = IN_CHILD(restrict_to(1000, 0);
			  unshare(CLONE_NEWUSER) ? 77 :
			  alloc_fd(dev, PAGE) != -EDQUOT);
	if (status == 77)
		SKIP("this kernel gives users no namespaces");
	EXPECT_EQ(status, 0);
}

TEST_F(account, module_limits_hold_for_everybody)
{
	int fd;

	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", "1048576"), 0);
	fd = alloc_fd(self->dev, MIB);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(alloc_fd(self->dev, PAGE), -EDQUOT);
	close(fd);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", "0"), 0);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_user_bytes", "1048576"), 0);
	fd = alloc_fd(self->dev, MIB);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(alloc_fd(self->dev, PAGE), -EDQUOT);
	EXPECT_EQ(IN_CHILD(restrict_to(1000, 2 * MIB);
			   alloc_fd(self->dev, MIB) < 0 ? 1 :
			   alloc_fd(self->dev, PAGE) != -EDQUOT), 0);
	close(fd);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_user_bytes", "0"), 0);
}

TEST_F(account, of_a_named_region_stays_with_its_maker)
{
	int dev = self->dev;

	EXPECT_EQ(IN_CHILD(restrict_to(1000, LIMIT);
			   alloc_named(dev, LIMIT, "kept", 0600) < 0), 0);
	EXPECT_EQ(IN_CHILD(restrict_to(1000, LIMIT);
			   alloc_fd(dev, PAGE) != -EDQUOT), 0);
	EXPECT_EQ(grant_named(dev, "kept", SLUICE_GRANT_UID, 1001, 0, 0), 0);
	EXPECT_EQ(IN_CHILD(restrict_to(1000, LIMIT);
			   alloc_fd(dev, PAGE) != -EDQUOT), 0);
	EXPECT_EQ(remove_named(dev, "kept", 0), 0);
	EXPECT_EQ(IN_CHILD(restrict_to(1000, LIMIT);
			   alloc_fd(dev, LIMIT) < 0), 0);
}

TEST_F_TIMEOUT(account, is_exact_after_thousands_of_regions, 180)
{
	int dev = self->dev;

	EXPECT_EQ(IN_CHILD(
		restrict_to(1000, LIMIT);
		int ret = 0;
		for (int i = 0; i < 5000 && !ret; i++) {
			int fd = alloc_fd(dev, (uint64_t)(i % 8 + 1) * PAGE);
			if (fd < 0) ret = 1;
			close(fd);
		}
		ret ? ret : alloc_fd(dev, LIMIT) < 0 ? 2 : 0), 0);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* /dev/sluice: every length, tail, flag and number of its calls. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "include/uapi/sluice.h"
#include "ktap.h"

FIXTURE(driver)
{
	int fd;
	long page;
};

FIXTURE_NO_VARIANT(driver);

FIXTURE_SETUP(driver)
{
	self->page = sysconf(_SC_PAGESIZE);
	self->fd = open("/dev/sluice", O_RDWR | O_CLOEXEC);
	if (self->fd < 0)
		SKIP("/dev/sluice: %s",
		     strerror(errno));
}

FIXTURE_TEARDOWN(driver)
{
	if (self->fd >= 0)
		close(self->fd);
}

/* 0 or -errno. */
static int call(int fd, unsigned long cmd, void *arg)
{
	return ioctl(fd, cmd, arg) ? -errno : 0;
}

TEST_F(driver, info_says_who_it_is)
{
	struct sluice_info info = { .size = sizeof(info) };

	ASSERT_EQ(call(self->fd, SLUICE_INFO, &info), 0);
	EXPECT_EQ(info.size, sizeof(info));
	EXPECT_EQ(info.abi, SLUICE_ABI);
	EXPECT_EQ(info.page_size, self->page);
	EXPECT_EQ(info.features, 0);
}

TEST_F(driver, sizes_below_the_first_version_are_einval)
{
	struct sluice_info info = { 0 };

	for (info.size = 0; info.size < sizeof(info); info.size++)
		EXPECT_EQ(call(self->fd, SLUICE_INFO, &info), -EINVAL);
	EXPECT_EQ(info.abi, 0);
}

TEST_F(driver, a_longer_struct_is_fine_until_its_tail_says_something)
{
	union {
		struct sluice_info info;
		unsigned char bytes[4096];
	} arg;

	for (size_t size = sizeof(arg.info) + 1; size <= 4096; size++) {
		memset(&arg, 0, sizeof(arg));
		arg.info.size = (__u32)size;
		ASSERT_EQ(call(self->fd, SLUICE_INFO, &arg), 0);
		EXPECT_EQ(arg.info.size, size);
		EXPECT_EQ(arg.info.abi, SLUICE_ABI);
		memset(&arg, 0, sizeof(arg));
		arg.info.size = (__u32)size;
		arg.bytes[size - 1] = 1;
		ASSERT_EQ(call(self->fd, SLUICE_INFO, &arg), -E2BIG);
		EXPECT_EQ(arg.info.abi, 0);
	}
}

TEST_F(driver, a_struct_past_a_page_is_e2big_even_when_zero)
{
	unsigned char *arg = calloc(1, (size_t)self->page * 2);

	ASSERT_NOT_NULL(arg);
	*(__u32 *)arg = (__u32)self->page + 1;
	EXPECT_EQ(call(self->fd, SLUICE_INFO, arg), -E2BIG);
	*(__u32 *)arg = UINT32_MAX;
	EXPECT_EQ(call(self->fd, SLUICE_INFO, arg), -E2BIG);
	free(arg);
}

TEST_F(driver, each_flag_and_reserved_bit_is_refused)
{
	for (int bit = 0; bit < 32; bit++) {
		struct sluice_info info = { .size = sizeof(info) };

		info.flags = 1u << bit;
		EXPECT_EQ(call(self->fd, SLUICE_INFO, &info), -EINVAL);
		info.flags = 0;
		info.__reserved = 1u << bit;
		EXPECT_EQ(call(self->fd, SLUICE_INFO, &info), -EINVAL);
	}
}

TEST_F(driver, unknown_numbers_types_and_directions_are_enotty)
{
	struct sluice_info info = { .size = sizeof(info) };

	for (unsigned int nr = 0; nr < 256; nr++)
		if (nr != SLUICE_CMD_INFO)
			EXPECT_EQ(call(self->fd, _IO(SLUICE_TYPE, nr), &info),
				  -ENOTTY);
	EXPECT_EQ(call(self->fd, _IO(SLUICE_TYPE ^ 1, SLUICE_CMD_INFO), &info),
		  -ENOTTY);
	EXPECT_EQ(call(self->fd, _IOW(SLUICE_TYPE, SLUICE_CMD_INFO, int),
		       &info),
		  -ENOTTY);
	EXPECT_EQ(info.abi, 0);
}

TEST_F(driver, memory_that_is_not_the_callers_is_efault)
{
	unsigned char *map = mmap(NULL, (size_t)self->page * 2,
				  PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sluice_info *edge;

	ASSERT_TRUE(map != MAP_FAILED);
	ASSERT_EQ(munmap(map + self->page, (size_t)self->page), 0);
	EXPECT_EQ(call(self->fd, SLUICE_INFO, NULL), -EFAULT);
	EXPECT_EQ(call(self->fd, SLUICE_INFO, (void *)-4096l), -EFAULT);
	edge = (void *)(map + self->page - 16);
	edge->size = sizeof(*edge);
	EXPECT_EQ(call(self->fd, SLUICE_INFO, edge), -EFAULT);
	/* Readable, but the answer cannot be written. */
	edge = (void *)map;
	edge->size = sizeof(*edge);
	ASSERT_EQ(mprotect(map, (size_t)self->page, PROT_READ), 0);
	EXPECT_EQ(call(self->fd, SLUICE_INFO, edge), -EFAULT);
	munmap(map, (size_t)self->page);
}

TEST_F(driver, the_device_neither_reads_nor_seeks)
{
	char byte;

	EXPECT_EQ(read(self->fd, &byte, 1), -1);
	EXPECT_EQ(lseek(self->fd, 0, SEEK_SET), -1);
}

TEST_HARNESS_MAIN

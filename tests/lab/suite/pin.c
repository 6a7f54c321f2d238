/* SPDX-License-Identifier: MIT */
/* Memory of the caller's own, pinned: which kinds are, and which are refused. */
/* LAB: basic switch */
#include "tests/lab/driver.h"

#define LEN (4 * MIB)

DRIVER_FIXTURE(pin)

static char *anonymous(uint64_t len, int prot)
{
	return mmap(NULL, len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* The dma-buf shows what the memory holds, both ways. */
static void same_pages(int fd, char *own, uint64_t len)
{
	char *p = map_fd(fd, len);

	ASSERT_TRUE(p != MAP_FAILED);
	for (uint64_t at = 0; at < len; at += PAGE) {
		own[at] = (char)(at >> 12);
		ASSERT_EQ(p[at], (char)(at >> 12));
		p[at + 1] = (char)(at >> 13);
		ASSERT_EQ(own[at + 1], (char)(at >> 13));
	}
	munmap(p, len);
}

TEST_F(pin, takes_anonymous_memory_touched_or_not)
{
	char *own = anonymous(LEN, PROT_READ | PROT_WRITE);
	struct sluice_stat s;
	int fd;

	memset(own, 1, LEN / 2);
	fd = pin_fd(self->dev, own, LEN, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(pinned_soon(self->pinned + (long)(LEN / PAGE)),
		  self->pinned + (long)(LEN / PAGE));
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.kind, SLUICE_KIND_PIN);
	EXPECT_EQ(s.len, LEN);
	same_pages(fd, own, LEN);
	close(fd);
	EXPECT_EQ(pinned_soon(self->pinned), self->pinned);
	munmap(own, LEN);
}

TEST_F(pin, takes_huge_pages_whole_and_across_their_edges)
{
	char *area = anonymous(3 * LEN, PROT_READ | PROT_WRITE);
	char *own = (char *)(((uintptr_t)area + 2 * MIB - 1) & ~(2 * MIB - 1));
	int fd;

	madvise(own, 2 * LEN, MADV_HUGEPAGE);
	memset(own, 1, 2 * LEN);
	for (int i = 0; i < 3; i++) {
		char *at = own + (uint64_t[]){ 0, PAGE, MIB + PAGE }[i];

		fd = pin_fd(self->dev, at, LEN, 0);
		ASSERT_GE(fd, 0);
		same_pages(fd, at, LEN);
		close(fd);
	}
	munmap(area, 3 * LEN);
}

TEST_F(pin, takes_hugetlb_pages)
{
	char *own = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB, -1, 0);
	struct sluice_stat s;
	int fd;

	if (own == MAP_FAILED)
		SKIP("no huge pages are reserved");
	fd = pin_fd(self->dev, own, LEN, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.bytes_2m, LEN);
	same_pages(fd, own, LEN);
	close(fd);
	munmap(own, LEN);
}

TEST_F(pin, takes_shared_memory_and_not_what_is_sealed)
{
	int mem = memfd_create("m", MFD_ALLOW_SEALING), fd;
	char *own;

	ASSERT_EQ(ftruncate(mem, LEN), 0);
	own = map_fd(mem, LEN);
	ASSERT_TRUE(own != MAP_FAILED);
	fd = pin_fd(self->dev, own, LEN, 0);
	ASSERT_GE(fd, 0);
	same_pages(fd, own, LEN);
	munmap(own, LEN);
	close(fd);
	ASSERT_EQ(fcntl(mem, F_ADD_SEALS, F_SEAL_WRITE), 0);
	own = mmap(NULL, LEN, PROT_READ, MAP_SHARED, mem, 0);
	ASSERT_TRUE(own != MAP_FAILED);
	EXPECT_EQ(pin_fd(self->dev, own, LEN, 0), -EFAULT);
	munmap(own, LEN);
	close(mem);
}

TEST_F(pin, survives_munmap)
{
	char *own = anonymous(PAGE, PROT_READ | PROT_WRITE), *p;
	int fd = pin_fd(self->dev, own, PAGE, 0);

	strcpy(own, "kept");
	munmap(own, PAGE);
	p = map_fd(fd, PAGE);
	EXPECT_STREQ(p, "kept");
	munmap(p, PAGE);
	close(fd);
}

TEST_F(pin, stays_the_pinners_after_fork)
{
	char *own = anonymous(PAGE, PROT_READ | PROT_WRITE), *p;
	int fd = pin_fd(self->dev, own, PAGE, 0), pipes[2];
	char byte;
	pid_t pid;

	ASSERT_EQ(pipe(pipes), 0);
	p = map_fd(fd, PAGE);
	own[0] = 'a';
	pid = fork();
	if (!pid) {
		own[0] = 'c'; /* a page of the child's own */
		_exit(read(pipes[0], &byte, 1) != 1 || own[0] != 'c');
	}
	own[0] = 'b';
	EXPECT_EQ(p[0], 'b');
	EXPECT_EQ(write(pipes[1], "x", 1), 1);
	int status = -1;
	waitpid(pid, &status, 0);
	EXPECT_EQ(status, 0);
	EXPECT_EQ(p[0], 'b');
	munmap(p, PAGE);
	munmap(own, PAGE);
	close(fd);
	close(pipes[0]);
	close(pipes[1]);
}

TEST_F(pin, read_only_is_read_only)
{
	char *own = anonymous(LEN, PROT_READ | PROT_WRITE), *p;
	int fd = pin_fd(self->dev, own, LEN, SLUICE_PIN_READ);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	EXPECT_TRUE(map_fd(fd, LEN) == MAP_FAILED);
	p = mmap(NULL, LEN, PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_TRUE(p != MAP_FAILED);
	/* The owner's later writes go to the pages that are pinned. */
	for (uint64_t at = 0; at < LEN; at += PAGE)
		own[at] = (char)(at >> 12);
	for (uint64_t at = 0; at < LEN; at += PAGE)
		ASSERT_EQ(p[at], (char)(at >> 12));
	EXPECT_EQ(mprotect(p, PAGE, PROT_READ | PROT_WRITE), -1);
	munmap(p, LEN);
	munmap(own, LEN);
	close(fd);
}

TEST_F(pin, read_only_of_a_private_mapping_is_of_its_copy)
{
	int mem = memfd_create("m", 0), fd;
	char *own, *p;

	ASSERT_EQ(ftruncate(mem, PAGE), 0);
	ASSERT_EQ(pwrite(mem, "file", 5, 0), 5);
	own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, mem, 0);
	EXPECT_STREQ(own, "file");
	fd = pin_fd(self->dev, own, PAGE, SLUICE_PIN_READ);
	ASSERT_GE(fd, 0);
	p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, fd, 0);
	strcpy(own, "mine");
	EXPECT_STREQ(p, "mine");
	munmap(p, PAGE);
	munmap(own, PAGE);
	close(fd);
	close(mem);
}

TEST_F(pin, needs_the_right_to_write_unless_it_only_reads)
{
	char *own = anonymous(LEN, PROT_READ | PROT_WRITE);
	int fd;

	own[0] = 1;
	ASSERT_EQ(mprotect(own, LEN, PROT_READ), 0);
	EXPECT_EQ(pin_fd(self->dev, own, LEN, 0), -EFAULT);
	fd = pin_fd(self->dev, own, LEN, SLUICE_PIN_READ);
	EXPECT_GE(fd, 0);
	close(fd);
	ASSERT_EQ(mprotect(own, LEN, PROT_NONE), 0);
	EXPECT_EQ(pin_fd(self->dev, own, LEN, 0), -EFAULT);
	munmap(own, LEN);
}

TEST_F(pin, of_a_hole_anywhere_is_efault_and_leaves_no_pin)
{
	for (int i = 0; i < 3; i++) {
		char *own = anonymous(LEN, PROT_READ | PROT_WRITE);

		memset(own, 1, LEN);
		munmap(own + (uint64_t[]){ 0, LEN / 2, LEN - PAGE }[i], PAGE);
		EXPECT_EQ(pin_fd(self->dev, own, LEN, 0), -EFAULT);
		EXPECT_EQ(pinned_soon(self->pinned), self->pinned);
		munmap(own, LEN);
	}
}

TEST_F(pin, of_what_is_no_range_is_refused)
{
	char *own = anonymous(PAGE, PROT_READ | PROT_WRITE);
	const char *kernel = (const char *)0xffff888000000000ull;

	EXPECT_EQ(pin_fd(self->dev, own, 0, 0), -EINVAL);
	EXPECT_EQ(pin_fd(self->dev, own + 1, PAGE, 0), -EINVAL);
	EXPECT_EQ(pin_fd(self->dev, own, PAGE + 1, 0), -EINVAL);
	EXPECT_EQ(pin_fd(self->dev, own, 1ull << 63, 0), -EFAULT);
	EXPECT_EQ(pin_fd(self->dev, own, -(uint64_t)(uintptr_t)own, 0), -EINVAL);
	EXPECT_EQ(pin_fd(self->dev, own, UINT64_MAX - 4095, 0), -EINVAL);
	EXPECT_EQ(pin_fd(self->dev, kernel, PAGE, 0), -EFAULT);
	EXPECT_EQ(pin_fd(self->dev, (void *)-4096l, PAGE, 0), -EINVAL);
	EXPECT_EQ(pin_fd(self->dev, NULL, PAGE, 0), -EFAULT);
	munmap(own, PAGE);
}

TEST_F(pin, of_another_region_is_efault)
{
	char *own = anonymous(PAGE, PROT_READ | PROT_WRITE), *p;
	int fd = alloc_fd(self->dev, PAGE);

	p = map_fd(fd, PAGE);
	p[0] = 1;
	EXPECT_EQ(pin_fd(self->dev, p, PAGE, 0), -EFAULT);
	EXPECT_EQ(pin_fd(self->dev, p, PAGE, SLUICE_PIN_READ), -EFAULT);
	munmap(p, PAGE);
	close(fd);
	fd = pin_fd(self->dev, own, PAGE, 0);
	p = map_fd(fd, PAGE);
	p[0] = 1;
	EXPECT_EQ(pin_fd(self->dev, p, PAGE, 0), -EFAULT);
	munmap(p, PAGE);
	munmap(own, PAGE);
	close(fd);
}

TEST_F(pin, of_a_file_on_a_disk_is_eopnotsupp)
{
	int file = open("/disk/pin", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	char *own;

	if (file < 0)
		SKIP("no file system on a disk is mounted at /disk");
	ASSERT_EQ(ftruncate(file, PAGE), 0);
	ASSERT_EQ(pwrite(file, "data", 4, 0), 4);
	own = map_fd(file, PAGE);
	EXPECT_EQ(pin_fd(self->dev, own, PAGE, 0), -EOPNOTSUPP);
	EXPECT_EQ(pin_fd(self->dev, own, PAGE, SLUICE_PIN_READ), -EOPNOTSUPP);
	munmap(own, PAGE);
	/* A copy in a private mapping is anonymous memory. */
	own = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
	close(file);
	file = pin_fd(self->dev, own, PAGE, 0);
	EXPECT_GE(file, 0);
	close(file);
	munmap(own, PAGE);
	unlink("/disk/pin");
}

TEST_F(pin, ends_with_the_process_that_is_killed)
{
	int status;

	status = IN_CHILD(char *own = anonymous(LEN, PROT_READ | PROT_WRITE);
			  pin_fd(self->dev, own, LEN, 0);
			  kill(getpid(), SIGKILL); 0);
	EXPECT_EQ(status, 128 + SIGKILL);
	EXPECT_EQ(pinned_soon(self->pinned), self->pinned);
}

/* The killed one is gone within a second, wherever in the pin it was. */
TEST_F_TIMEOUT(pin, of_much_memory_is_killed_in_the_middle, 120)
{
	const uint64_t len = 256 * MIB;

	for (int i = 0; i < 10; i++) {
		pid_t pid = fork();
		double began;

		if (!pid) {
			char *own = anonymous(len, PROT_READ | PROT_WRITE);

			for (;;)
				close(pin_fd(self->dev, own, len, 0));
		}
		usleep(20000 + 40000 * (useconds_t)i);
		began = seconds();
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		EXPECT_LT(seconds() - began, 1.5);
	}
}

TEST_F_TIMEOUT(pin, again_and_again_leaves_nothing, 180)
{
	char *own = anonymous(16 * PAGE, PROT_READ | PROT_WRITE);

	for (int i = 0; i < 5000; i++) {
		int fd = pin_fd(self->dev, own, 16 * PAGE, 0);

		ASSERT_GE(fd, 0);
		close(fd);
	}
	munmap(own, 16 * PAGE);
}

TEST_HARNESS_MAIN

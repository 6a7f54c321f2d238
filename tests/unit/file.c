// SPDX-License-Identifier: MIT
/* Files: what is refused, what is known of the rest. */
#include <sluice/queue.h>

#include "queue/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>

#include "ktap.h"

FIXTURE(file)
{
	struct slc_ctx *ctx;
	char dir[200], path[260];
};
FIXTURE_NO_VARIANT(file);

FIXTURE_SETUP(file)
{
	const char *tmp = getenv("TMPDIR");

	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	snprintf(self->dir, sizeof(self->dir), "%s/sluice-file-XXXXXX",
		 tmp ? tmp : "/tmp");
	ASSERT_NOT_NULL(mkdtemp(self->dir));
	snprintf(self->path, sizeof(self->path), "%s/f", self->dir);
}

FIXTURE_TEARDOWN(file)
{
	slc_ctx_close(self->ctx);
	unlink(self->path);
	rmdir(self->dir);
}

static void put(const char *path, size_t len)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(ftruncate(fd, (off_t)len), 0);
	close(fd);
}

static int try_open(struct ktap_fixture_file *self, const char *path,
		    uint32_t flags)
{
	struct slc_file *f = NULL;
	int err = slc_file_open(self->ctx, path, flags, &f);

	if (err) {
		EXPECT_HAS(slc_last_error(self->ctx), path);
		EXPECT_NULL(f);
	}
	slc_file_put(f);
	return err;
}

TEST_F(file, a_fifo_is_refused_and_nobody_waits_for_its_writer)
{
	ASSERT_EQ(mkfifo(self->path, 0600), 0);
	alarm(5);
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_READ), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "a FIFO");
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_WRITE), -EINVAL);
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_READ | SLC_FILE_WRITE),
		  -EINVAL);
}

TEST_F(file, only_regular_files_and_block_devices_are_files)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	EXPECT_EQ(try_open(self, self->dir, SLC_FILE_READ), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "a folder");
	EXPECT_EQ(try_open(self, "/dev/null", SLC_FILE_READ), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "a character device");
	snprintf(sa.sun_path, sizeof(sa.sun_path), "%.100s", self->path);
	ASSERT_EQ(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_READ), -EINVAL);
	close(fd);
}

TEST_F(file, what_is_not_there_or_not_ours_says_so)
{
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_READ), -ENOENT);
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_WRITE), -ENOENT);
	put(self->path, 10);
	if (!geteuid())
		SKIP("root may open anything");
	chmod(self->path, 0);
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_READ), -EACCES);
}

TEST_F(file, flags_that_make_no_sense_are_einval)
{
	struct slc_file *f;

	put(self->path, 10);
	EXPECT_EQ(slc_file_open(self->ctx, self->path, 0, &f), -EINVAL);
	EXPECT_EQ(slc_file_open(self->ctx, self->path, 1u << 20 | 1, &f),
		  -EINVAL);
	EXPECT_EQ(slc_file_open(self->ctx, self->path,
				SLC_FILE_READ | SLC_FILE_CREATE, &f),
		  -EINVAL);
}

TEST_F(file, query_tells_what_fstat_does)
{
	struct slc_file_info info = { .size = sizeof(info) };
	struct slc_file_info small = { .size = 16 };
	struct slc_file *f;
	struct stat st;

	put(self->path, 123456);
	ASSERT_EQ(stat(self->path, &st), 0);
	ASSERT_EQ(slc_file_open(self->ctx, self->path, SLC_FILE_READ, &f), 0);
	ASSERT_EQ(slc_file_query(f, &info), 0);
	EXPECT_EQ(info.len, 123456u);
	EXPECT_EQ(info.dev, st.st_dev);
	EXPECT_EQ(info.ino, st.st_ino);
	EXPECT_EQ(info.mtime_ns, (int64_t)st.st_mtim.tv_sec * 1000000000 +
					 st.st_mtim.tv_nsec);
	EXPECT_EQ(!info.dio_off_align, !!info.reason[0]);
	EXPECT_EQ(!info.dio_off_align, !info.dio_mem_align);
	/* An older caller: no byte past what it knows. */
	small.ino = 77;
	ASSERT_EQ(slc_file_query(f, &small), 0);
	EXPECT_EQ(small.len, 123456u);
	EXPECT_EQ(small.ino, 77u);
	small.size = 0;
	EXPECT_EQ(slc_file_query(f, &small), -EINVAL);
	slc_file_put(f);
}

TEST_F(file, tmpfs_is_the_page_cache_and_says_so)
{
	struct slc_file_info info = { .size = sizeof(info) };
	char path[] = "/dev/shm/sluice-file-XXXXXX";
	struct slc_file *f;
	int fd = mkstemp(path);

	if (fd < 0)
		SKIP("no /dev/shm");
	ASSERT_EQ(ftruncate(fd, 8192), 0);
	close(fd);
	ASSERT_EQ(slc_file_open(self->ctx, path, SLC_FILE_READ, &f), 0);
	ASSERT_EQ(slc_file_query(f, &info), 0);
	EXPECT_EQ(info.dio_off_align, 0u);
	EXPECT_STREQ(info.reason, "no O_DIRECT on tmpfs");
	slc_file_put(f);
	unlink(path);
}

TEST_F(file, buffered_by_wish_says_so)
{
	struct slc_file_info info = { .size = sizeof(info) };
	struct slc_file *f;

	put(self->path, 1);
	ASSERT_EQ(slc_file_open(self->ctx, self->path,
				SLC_FILE_READ | SLC_FILE_BUFFERED, &f),
		  0);
	ASSERT_EQ(slc_file_query(f, &info), 0);
	EXPECT_EQ(info.dio_mem_align, 0u);
	EXPECT_HAS(info.reason, "by wish");
	slc_file_put(f);
}

TEST_F(file, create_makes_it_and_keeps_what_is_there)
{
	struct stat st;

	EXPECT_EQ(try_open(self, self->path, SLC_FILE_WRITE | SLC_FILE_CREATE),
		  0);
	ASSERT_EQ(stat(self->path, &st), 0);
	put(self->path, 77);
	EXPECT_EQ(try_open(self, self->path, SLC_FILE_WRITE | SLC_FILE_CREATE),
		  0);
	ASSERT_EQ(stat(self->path, &st), 0);
	EXPECT_EQ(st.st_size, 77);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

TEST_F(file, no_descriptor_left_is_emfile_at_every_step)
{
	struct rlimit rl;
	int before = open_fds(), free_fd, err = 0, failures = 0;

	put(self->path, 8192);
	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &rl), 0);
	free_fd = dup(1);
	close(free_fd);
	for (int room = 0; room < 4; room++) {
		struct rlimit tight = { (rlim_t)(free_fd + room), rl.rlim_max };

		ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &tight), 0);
		err = try_open(self, self->path, SLC_FILE_READ);
		if (err) {
			ASSERT_EQ(err, -EMFILE);
			EXPECT_HAS(slc_last_error(self->ctx), "raise ulimit -n");
			failures++;
		}
		ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &rl), 0);
		ASSERT_EQ(open_fds(), before);
	}
	EXPECT_EQ(err, 0);
	EXPECT_GE(failures, 1);
}

TEST_F(file, descriptors_are_closed_by_the_last_put_and_by_exec)
{
	int before = open_fds(), cloexec = 0;
	struct slc_file *f;

	put(self->path, 8192);
	ASSERT_EQ(slc_file_open(self->ctx, self->path, SLC_FILE_READ, &f), 0);
	for (int fd = 3; fd < 256; fd++)
		cloexec += fcntl(fd, F_GETFD) == FD_CLOEXEC;
	EXPECT_EQ(cloexec, open_fds() - before);
	slc_file_put(slc_file_get(f));
	EXPECT_GT(open_fds(), before);
	slc_file_put(f);
	EXPECT_EQ(open_fds(), before);
}

TEST_F(file, a_block_device_knows_its_size)
{
	struct slc_file_info info = { .size = sizeof(info) };
	struct slc_file *f;
	int err;

	err = slc_file_open(self->ctx, "/dev/vda", SLC_FILE_READ, &f);
	if (err)
		SKIP("%s", slc_last_error(self->ctx));
	ASSERT_EQ(slc_file_query(f, &info), 0);
	EXPECT_GT(info.len, 1u << 20);
	slc_file_put(f);
}

/* io_uring never waits on such a descriptor: a cold page cache is -EAGAIN. */
TEST_F(file, no_descriptor_is_left_nonblocking)
{
	struct slc_file *f;

	put(self->path, 8192);
	ASSERT_EQ(slc_file_open(self->ctx, self->path, SLC_FILE_READ, &f), 0);
	EXPECT_EQ(fcntl(f->fd, F_GETFL) & O_NONBLOCK, 0);
	if (f->dio_fd >= 0) {
		EXPECT_EQ(fcntl(f->dio_fd, F_GETFL) & O_NONBLOCK, 0);
		EXPECT_EQ(fcntl(f->dio_fd, F_GETFL) & O_DIRECT, O_DIRECT);
	}
	EXPECT_EQ(fcntl(f->fd, F_GETFL) & O_DIRECT, 0);
	slc_file_put(f);
}

TEST(every_route_has_its_name)
{
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_URING_DIRECT), "uring-direct");
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_URING_BUFFERED),
		     "uring-buffered");
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_SYNC_DIRECT), "sync-direct");
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_SYNC_BUFFERED), "sync-buffered");
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_BOUNCE), "bounce");
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_MEMCPY), "memcpy");
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_NONE), "none");
	EXPECT_STREQ(slc_route_name(SLC_ROUTE_COUNT), "unknown");
	EXPECT_STREQ(slc_route_name(UINT32_MAX), "unknown");
}

TEST_HARNESS_MAIN

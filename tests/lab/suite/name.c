/* SPDX-License-Identifier: MIT */
/* Named regions: they outlive their maker, belong to somebody, and are revoked. */
/* LAB: basic switch */
#include <setjmp.h>

#include "tests/lab/driver.h"
#include "tests/lab/bus.h"

#define LEN (2 * MIB)
#define NAME "weights.0-a_B"

DRIVER_FIXTURE(name)

TEST_F(name, survives_kill_9_with_its_bytes)
{
	int fd, status;
	struct sluice_stat s;
	uint32_t *p;

	status = IN_CHILD(int mine = alloc_named(self->dev, LEN, NAME, 0600);
			  uint32_t *q = map_fd(mine, LEN);
			  for (uint32_t i = 0; i < LEN / 4; i++) q[i] = i * 2654435761u;
			  kill(getpid(), SIGKILL); 0);
	ASSERT_EQ(status, 128 + SIGKILL);
	fd = open_named(self->dev, NAME, 0);
	ASSERT_GE(fd, 0);
	p = map_fd(fd, LEN);
	ASSERT_TRUE(p != MAP_FAILED);
	for (uint32_t i = 0; i < LEN / 4; i++)
		if (p[i] != i * 2654435761u)
			ASSERT_EQ(p[i], i * 2654435761u);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_STREQ(s.name, NAME);
	EXPECT_EQ(s.mode, 0600);
	EXPECT_EQ(s.pid, 0);
	EXPECT_EQ(remove_named(self->dev, NAME, 0), 0);
	EXPECT_EQ(p[1], 2654435761u);
	munmap(p, LEN);
	close(fd);
}

TEST_F(name, opened_twice_is_the_same_pages)
{
	int a = alloc_named(self->dev, LEN, NAME, 0600);
	int b = open_named(self->dev, NAME, 0);
	struct sluice_stat s;
	char *p = map_fd(a, LEN), *q = map_fd(b, LEN);

	ASSERT_TRUE(p != MAP_FAILED && q != MAP_FAILED);
	p[LEN - 1] = 9;
	EXPECT_EQ(q[LEN - 1], 9);
	ASSERT_EQ(stat_fd(self->dev, b, &s), 0);
	EXPECT_EQ(s.fds, 2);
	EXPECT_EQ(s.maps, 2);
	munmap(p, LEN);
	munmap(q, LEN);
	close(a);
	close(b);
	ASSERT_EQ(stat_id(self->dev, s.id, &s), 0);
	EXPECT_EQ(s.fds, 0);
	EXPECT_EQ(remove_named(self->dev, NAME, 0), 0);
	EXPECT_EQ(stat_id(self->dev, s.id, &s), -ENOENT);
}

TEST_F(name, is_taken_once)
{
	int fd = alloc_named(self->dev, PAGE, NAME, 0600);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(alloc_named(self->dev, PAGE, NAME, 0600), -EEXIST);
	close(fd);
	EXPECT_EQ(alloc_named(self->dev, PAGE, NAME, 0600), -EEXIST);
	EXPECT_EQ(remove_named(self->dev, NAME, 0), 0);
	fd = alloc_named(self->dev, PAGE, NAME, 0600);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(remove_named(self->dev, NAME, 0), 0);
	close(fd);
}

TEST_F(name, that_is_not_there_is_enoent)
{
	EXPECT_EQ(open_named(self->dev, NAME, 0), -ENOENT);
	EXPECT_EQ(remove_named(self->dev, NAME, 0), -ENOENT);
	EXPECT_EQ(grant_named(self->dev, NAME, SLUICE_GRANT_MODE, 0, 0, 0600),
		  -ENOENT);
	EXPECT_EQ(open_named(self->dev, "", 0), -EINVAL);
	EXPECT_EQ(open_named(self->dev, "a/b", 0), -EINVAL);
}

/* A failed ALLOC gives its name back. */
TEST_F(name, of_a_region_that_was_not_made_is_free)
{
	int fd;

	EXPECT_EQ(alloc_named(self->dev, 1ull << 46, NAME, 0600), -ENOMEM);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", "4096"), 0);
	EXPECT_EQ(alloc_named(self->dev, LEN, NAME, 0600), -EDQUOT);
	ASSERT_EQ(put_text(SLUICE_PARAM "max_bytes", "0"), 0);
	EXPECT_EQ(open_named(self->dev, NAME, 0), -ENOENT);
	fd = alloc_named(self->dev, PAGE, NAME, 0600);
	EXPECT_GE(fd, 0);
	EXPECT_EQ(remove_named(self->dev, NAME, 0), 0);
	close(fd);
}

TEST_F(name, removed_is_gone_and_its_memory_stays_for_who_has_it)
{
	int fd = alloc_named(self->dev, PAGE, NAME, 0600);
	char *p = map_fd(fd, PAGE);
	struct sluice_stat s;

	strcpy(p, "still");
	ASSERT_EQ(remove_named(self->dev, NAME, 0), 0);
	EXPECT_EQ(open_named(self->dev, NAME, 0), -ENOENT);
	EXPECT_STREQ(p, "still");
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_STREQ(s.name, "");
	EXPECT_EQ(s.mode, 0);
	munmap(p, PAGE);
	close(fd);
}

/* ---- who may ---- */

TEST_F(name, opens_by_its_mode_as_a_file_does)
{
	static const struct {
		unsigned int mode, uid;
		int rw, ro;
	} rows[] = {
		{ 0600, 1000, 0, 0 },	    { 0400, 1000, -EACCES, 0 },
		{ 0066, 1000, -EACCES, -EACCES }, { 0200, 1000, -EACCES, -EACCES },
		{ 0600, 1001, -EACCES, -EACCES }, { 0604, 1001, -EACCES, 0 },
		{ 0606, 1001, 0, 0 },	    { 0602, 1001, -EACCES, -EACCES },
		{ 0660, 2000, 0, 0 },	    { 0640, 2000, -EACCES, 0 },
		{ 0606, 2000, -EACCES, -EACCES },
	};
	int fd = alloc_named(self->dev, PAGE, NAME, 0600);

	ASSERT_GE(fd, 0);
	/* User 2000 is in the group, and 1001 is not. */
	ASSERT_EQ(grant_named(self->dev, NAME, SLUICE_GRANT_UID | SLUICE_GRANT_GID,
			      1000, 2000, 0), 0);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		int status;

		ASSERT_EQ(grant_named(self->dev, NAME, SLUICE_GRANT_MODE, 0, 0,
				      rows[i].mode), 0);
		status = IN_CHILD(become(rows[i].uid);
				  int rw = open_named(self->dev, NAME, 0);
				  int ro = open_named(self->dev, NAME, SLUICE_OPEN_READ);
				  (rw < 0 ? rw : 0) != rows[i].rw ? 1 :
				  (ro < 0 ? ro : 0) != rows[i].ro ? 2 : 0);
		if (status)
			printf("# mode %o, user %u\n", rows[i].mode, rows[i].uid);
		EXPECT_EQ(status, 0);
	}
	EXPECT_EQ(remove_named(self->dev, NAME, 0), 0);
	close(fd);
}

TEST_F(name, opened_to_read_cannot_be_written)
{
	int fd = alloc_named(self->dev, PAGE, NAME, 0600), ro;
	char *p = map_fd(fd, PAGE), *q;

	ro = open_named(self->dev, NAME, SLUICE_OPEN_READ);
	ASSERT_GE(ro, 0);
	EXPECT_EQ(fcntl(ro, F_GETFL) & O_ACCMODE, O_RDONLY);
	EXPECT_TRUE(map_fd(ro, PAGE) == MAP_FAILED);
	EXPECT_EQ(errno, EACCES);
	q = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, ro, 0);
	ASSERT_TRUE(q != MAP_FAILED);
	strcpy(p, "seen");
	EXPECT_STREQ(q, "seen");
	EXPECT_EQ(mprotect(q, PAGE, PROT_READ | PROT_WRITE), -1);
	EXPECT_EQ(errno, EACCES);
	/* Nor by a debugger, nor by opening the descriptor once more. */
	int mem = open("/proc/self/mem", O_RDWR);
	EXPECT_EQ(pwrite(mem, "x", 1, (off_t)(uintptr_t)q), -1);
	close(mem);
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", ro);
	EXPECT_EQ(open(path, O_RDWR), -1);
	EXPECT_STREQ(p, "seen");
	munmap(p, PAGE);
	munmap(q, PAGE);
	close(ro);
	close(fd);
	EXPECT_EQ(remove_named(self->dev, NAME, 0), 0);
}

TEST_F(name, is_granted_by_its_owner_as_chown_and_chmod)
{
	int dev = self->dev, fd = alloc_named(dev, PAGE, NAME, 0600);
	const unsigned int u = SLUICE_GRANT_UID, g = SLUICE_GRANT_GID,
			   m = SLUICE_GRANT_MODE;
	struct sluice_stat s;

	ASSERT_EQ(grant_named(dev, NAME, u | g, 1000, 1000, 0), 0);
	EXPECT_EQ(IN_CHILD(
		become(1000);
		grant_named(dev, NAME, m, 0, 0, 0640) ? 1 :
		grant_named(dev, NAME, g, 0, 1000, 0) ? 2 :
		grant_named(dev, NAME, u, 1000, 0, 0) ? 3 :
		grant_named(dev, NAME, u, 1001, 0, 0) != -EPERM ? 4 :
		grant_named(dev, NAME, g, 0, 1001, 0) != -EPERM ? 5 :
		/* All or nothing. */
		grant_named(dev, NAME, m | u, 1001, 0, 0666) != -EPERM ? 6 : 0), 0);
	EXPECT_EQ(IN_CHILD(
		become(1001);
		grant_named(dev, NAME, m, 0, 0, 0666) != -EPERM ? 1 :
		grant_named(dev, NAME, u, 1001, 0, 0) != -EPERM ? 2 :
		remove_named(dev, NAME, 0) != -EPERM ? 3 : 0), 0);
	ASSERT_EQ(stat_fd(dev, fd, &s), 0);
	EXPECT_EQ(s.uid, 1000);
	EXPECT_EQ(s.gid, 1000);
	EXPECT_EQ(s.mode, 0640);
	EXPECT_EQ(grant_named(dev, NAME, m, 0, 0, 01000), -EINVAL);
	EXPECT_EQ(grant_named(dev, NAME, m, 1, 0, 0600), -EINVAL);
	EXPECT_EQ(grant_named(dev, NAME, u, 1, 1, 0), -EINVAL);
	EXPECT_EQ(grant_named(dev, NAME, u, UINT32_MAX, 0, 0), -EINVAL);
	EXPECT_EQ(grant_named(dev, NAME, 0, 0, 0, 0), -EINVAL);
	EXPECT_EQ(IN_CHILD(become(1000); remove_named(dev, NAME, 0)), 0);
	close(fd);
}

/* ---- revoked ---- */

TEST_F(name, revoked_is_taken_from_all_who_have_it)
{
	int fd = alloc_named(self->dev, LEN, NAME, 0600), status;
	int other = open_named(self->dev, NAME, 0);
	char *p = map_fd(fd, LEN), *q = map_fd(other, LEN);
	struct sluice_run run;
	struct sluice_runs r = { .size = sizeof(r), .fd = fd, .count = 1,
				 .runs = (uintptr_t)&run };
	struct sluice_stat s;

	p[0] = 1;
	q[0] = 2;
	EXPECT_EQ(is_gone(p), 0);
	ASSERT_EQ(remove_named(self->dev, NAME, SLUICE_REMOVE_REVOKE), 0);
	EXPECT_EQ(is_gone(p), 1);
	EXPECT_EQ(is_gone(q), 1);
	EXPECT_EQ(is_gone(q + LEN - 1), 1);
	EXPECT_TRUE(map_fd(fd, LEN) == MAP_FAILED);
	EXPECT_EQ(errno, ENODEV);
	EXPECT_EQ(call(self->dev, SLUICE_RUNS, &r), -ENODEV);
	ASSERT_EQ(stat_fd(self->dev, fd, &s), 0);
	EXPECT_EQ(s.dead, 1);
	EXPECT_EQ(s.len, LEN);
	EXPECT_EQ(open_named(self->dev, NAME, 0), -ENOENT);
	/* To the kernel on the caller's behalf it is EFAULT. */
	status = open("/dev/zero", O_RDONLY);
	EXPECT_EQ(read(status, p, 8), -1);
	EXPECT_EQ(errno, EFAULT);
	close(status);
	munmap(p, LEN);
	munmap(q, LEN);
	close(fd);
	close(other);
}

/* Mappers, openers and exits against revoke, again and again. */
TEST_F_TIMEOUT(name, revoked_while_it_is_mapped_touched_and_left, 240)
{
	const char *limit = getenv("LAB_SECONDS");
	double end = seconds() + (limit ? atof(limit) : 10);
	long rounds = 0;

	while (seconds() < end) {
		int fd = alloc_named(self->dev, LEN, NAME, 0600);
		pid_t pids[3];

		ASSERT_GE(fd, 0);
		for (int i = 0; i < 3; i++) {
			pids[i] = fork();
			if (pids[i])
				continue;
			signal(SIGBUS, SIG_DFL);
			for (;;) {
				int mine = open_named(self->dev, NAME, 0);
				char *p = mine < 0 ? MAP_FAILED : map_fd(mine, LEN);

				if (p == MAP_FAILED)
					_exit(0);
				for (size_t at = 0; at < LEN; at += PAGE)
					p[at] = 1;
				if (i)
					munmap(p, LEN);
				close(mine);
			}
		}
		usleep((useconds_t)(rounds % 20) * 300);
		EXPECT_EQ(remove_named(self->dev, NAME, SLUICE_REMOVE_REVOKE), 0);
		for (int i = 0; i < 3; i++) {
			int status;

			waitpid(pids[i], &status, 0);
			EXPECT_TRUE(status == 0 || WTERMSIG(status) == SIGBUS);
		}
		close(fd);
		rounds++;
	}
	printf("# %ld rounds\n", rounds);
	EXPECT_GT(rounds, 0);
}

TEST_HARNESS_MAIN

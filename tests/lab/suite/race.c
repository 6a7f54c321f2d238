/* SPDX-License-Identifier: MIT */
/* Two who do the opposite at once: each sees one of the two outcomes whole. */
/* LAB: basic switch */
#include <pthread.h>
#include <setjmp.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "tests/lab/driver.h"
#include "tests/lab/fdpass.h"

#define LEN (4 * MIB)
#define SECONDS 4 /* of each race */
#define NAME "race"

DRIVER_FIXTURE(race)

static _Thread_local sigjmp_buf touch_out;

static void on_signal(int sig)
{
	siglongjmp(touch_out, sig);
}

static void signals(void)
{
	struct sigaction s = { .sa_handler = on_signal };

	sigaction(SIGBUS, &s, NULL);
	sigaction(SIGSEGV, &s, NULL);
}

/* Writes a byte: 0, SIGBUS: revoked, SIGSEGV: not mapped. */
static int touch(char *p)
{
	int sig = sigsetjmp(touch_out, 1);

	if (!sig)
		*(volatile char *)p = 1;
	return sig;
}

static uint32_t next(uint32_t *x)
{
	*x = *x * 1664525 + 1013904223;
	return *x >> 8;
}

/* What the threads of a race share. */
struct party {
	int dev, fd;
	volatile bool stop, revoked;
	_Atomic long yes, no, wrong;
	void *arg;
};

/* ---- revoke against whoever uses it ---- */

/* Alive or dead until REMOVE returns, dead from then on. */
static void *toucher(void *arg)
{
	struct party *party = arg;
	char *p = map_fd(party->fd, LEN);
	uint32_t x = 1;

	if (p == MAP_FAILED) {
		party->wrong += errno != ENODEV;
		return NULL;
	}
	while (!party->stop) {
		bool revoked = party->revoked;
		int sig = touch(p + next(&x) % LEN);

		party->wrong += sig == SIGSEGV || (revoked && !sig);
	}
	party->wrong += !touch(p);
	munmap(p, LEN);
	return NULL;
}

/* Maps, touches, and takes away first a half and then the rest. */
static void *mapper(void *arg)
{
	struct party *party = arg;
	bool dead = false;

	while (!party->stop) {
		char *p = map_fd(party->fd, LEN);
		int sig;

		if (p == MAP_FAILED) {
			party->wrong += errno != ENODEV;
			dead = true;
			continue;
		}
		party->wrong += dead;
		party->wrong += touch(p + LEN / 2) == SIGSEGV;
		munmap(p + LEN / 2, LEN / 2);
		sig = touch(p + LEN / 2 - 1);
		party->wrong += sig == SIGSEGV;
		munmap(p, LEN / 2);
	}
	return NULL;
}

/* A process of its own that maps it, and ends while it is touching it. */
static pid_t leaver(int fd, useconds_t after)
{
	pid_t pid = fork();

	if (!pid) {
		char *p = map_fd(fd, LEN);
		double end = seconds() + after / 1e6;
		uint32_t x = after;

		while (p != MAP_FAILED && seconds() < end)
			touch(p + next(&x) % LEN);
		_exit(0);
	}
	return pid;
}

TEST_F(race, revoke_against_touch_and_munmap_and_exit_is_before_or_after)
{
	double end = seconds() + SECONDS;
	uint32_t x = 7;
	int rounds = 0;

	signals();
	for (; seconds() < end; rounds++) {
		struct party party = { .dev = self->dev };
		pthread_t threads[2];
		pid_t child;
		char *p;

		party.fd = alloc_named(self->dev, LEN, NAME, 0600);
		ASSERT_GE(party.fd, 0);
		p = map_fd(party.fd, LEN);
		ASSERT_TRUE(p != MAP_FAILED);
		ASSERT_EQ(touch(p), 0);
		child = leaver(party.fd, next(&x) % 8000);
		pthread_create(&threads[0], NULL, toucher, &party);
		pthread_create(&threads[1], NULL, mapper, &party);
		usleep(next(&x) % 8000);
		EXPECT_EQ(remove_named(self->dev, NAME, SLUICE_REMOVE_REVOKE), 0);
		/* It has returned: nobody reaches the memory any more. */
		party.revoked = true;
		EXPECT_EQ(touch(p), SIGBUS);
		EXPECT_EQ(touch(p + LEN - 1), SIGBUS);
		EXPECT_TRUE(map_fd(party.fd, LEN) == MAP_FAILED);
		EXPECT_EQ(errno, ENODEV);
		party.stop = true;
		pthread_join(threads[0], NULL);
		pthread_join(threads[1], NULL);
		waitpid(child, NULL, 0);
		ASSERT_EQ(party.wrong, 0);
		munmap(p, LEN);
		close(party.fd);
	}
	printf("# %d rounds\n", rounds);
	EXPECT_GT(rounds, 3);
}

/* The kernel reads and writes a mapping for others, too. */
static void *reader(void *arg)
{
	struct party *party = arg;
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	int zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	char *p = party->arg, word[64];

	while (!party->stop) {
		ssize_t n = pread(mem, word, sizeof(word), (off_t)(uintptr_t)p);

		party->wrong += n >= 0 ? n != sizeof(word) : errno != EIO;
		/* The page may go in its middle: a short count is honest. */
		n = read(zero, p + LEN - sizeof(word), sizeof(word));
		party->wrong += n >= 0 ? !n : errno != EFAULT;
		if (n > 0)
			party->yes++;
		else
			party->no++;
	}
	close(mem);
	close(zero);
	return NULL;
}

TEST_F(race, revoke_against_calls_that_use_the_mapping_is_an_error_for_them)
{
	double end = seconds() + SECONDS;
	long yes = 0, no = 0;
	uint32_t x = 11;

	while (seconds() < end) {
		struct party party = { .dev = self->dev };
		pthread_t thread;
		char *p;

		party.fd = alloc_named(self->dev, LEN, NAME, 0600);
		ASSERT_GE(party.fd, 0);
		party.arg = p = map_fd(party.fd, LEN);
		ASSERT_TRUE(p != MAP_FAILED);
		pthread_create(&thread, NULL, reader, &party);
		usleep(next(&x) % 8000);
		EXPECT_EQ(remove_named(self->dev, NAME, SLUICE_REMOVE_REVOKE), 0);
		usleep(2000);
		party.stop = true;
		pthread_join(thread, NULL);
		ASSERT_EQ(party.wrong, 0);
		yes += party.yes;
		no += party.no;
		munmap(p, LEN);
		close(party.fd);
	}
	EXPECT_GT(yes, 0);
	EXPECT_GT(no, 0);
}

/* ---- a struct that changes while it is read ---- */

/* The call's struct goes from one to the other all the time. */
struct flipped {
	volatile bool stop;
	size_t size;
	const void *one, *other;
	void *arg;
};

static void *flip(void *arg)
{
	struct flipped *f = arg;
	const volatile uint32_t *one = f->one, *other = f->other;
	volatile uint32_t *to = f->arg;

	while (!f->stop) {
		/* The fields in which they differ, so that answers stay. */
		for (size_t i = 0; i < f->size / 4; i++)
			if (one[i] != other[i])
				to[i] = other[i];
		for (size_t i = 0; i < f->size / 4; i++)
			if (one[i] != other[i])
				to[i] = one[i];
	}
	return NULL;
}

#define FLIP_FOR(f, body)                                                     \
	do {                                                                  \
		double flip_end = seconds() + SECONDS / 2;                    \
		pthread_t flipper;                                            \
		ASSERT_EQ(pthread_create(&flipper, NULL, flip, (f)), 0);      \
		while (seconds() < flip_end)                                  \
			body                                                  \
		(f)->stop = true;                                             \
		pthread_join(flipper, NULL);                                  \
	} while (0)

TEST_F(race, pin_whose_length_flips_pins_what_it_says)
{
	char *own = mmap(NULL, 8 * PAGE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct sluice_pin one = { .size = sizeof(one), .addr = (uintptr_t)own,
				  .len = PAGE };
	struct sluice_pin other = { .size = 8, .flags = SLUICE_PIN_READ,
				    .addr = (uintptr_t)own + 2 * PAGE,
				    .len = 5 * PAGE };
	struct sluice_pin arg = one;
	struct flipped f = { .size = sizeof(arg), .one = &one, .other = &other,
			     .arg = &arg };
	struct sluice_stat s;
	int works = 0;

	FLIP_FOR(&f, {
		int ret = call(self->dev, SLUICE_PIN, &arg);

		if (ret) {
			if (ret != -EINVAL)
				EXPECT_EQ(ret, -EINVAL);
			continue;
		}
		works++;
		ASSERT_EQ(stat_fd(self->dev, arg.fd, &s), 0);
		EXPECT_EQ(s.id, arg.id);
		EXPECT_TRUE(s.len == PAGE || s.len == 5 * PAGE);
		close(arg.fd);
	});
	EXPECT_GT(works, 0);
	munmap(own, 8 * PAGE);
}

/* The names that a mix of two names may give. */
TEST_F(race, open_whose_name_flips_opens_the_region_that_it_reports)
{
	struct sluice_open one = { .size = sizeof(one), .name = "aaaa" };
	struct sluice_open other = { .size = sizeof(other), .name = "bbbb" };
	struct sluice_open arg = one;
	struct flipped f = { .size = sizeof(arg), .one = &one, .other = &other,
			     .arg = &arg };
	int a = alloc_named(self->dev, PAGE, "aaaa", 0600);
	int b = alloc_named(self->dev, 2 * PAGE, "bbbb", 0600);
	int seen[2] = { 0, 0 };
	struct sluice_stat s;

	ASSERT_GE(a, 0);
	ASSERT_GE(b, 0);
	FLIP_FOR(&f, {
		int ret = call(self->dev, SLUICE_OPEN, &arg);

		if (ret) {
			if (ret != -ENOENT)
				EXPECT_EQ(ret, -ENOENT);
			continue;
		}
		ASSERT_EQ(stat_fd(self->dev, arg.fd, &s), 0);
		EXPECT_EQ(s.id, arg.id);
		EXPECT_EQ(s.len, arg.len);
		EXPECT_EQ(lseek(arg.fd, 0, SEEK_END), (off_t)s.len);
		EXPECT_EQ(s.len, s.name[0] == 'a' ? PAGE : 2 * PAGE);
		seen[s.name[0] == 'b']++;
		close(arg.fd);
	});
	EXPECT_GT(seen[0] + seen[1], 0);
	EXPECT_EQ(remove_named(self->dev, "aaaa", 0), 0);
	EXPECT_EQ(remove_named(self->dev, "bbbb", 0), 0);
	close(a);
	close(b);
}

TEST_F(race, runs_whose_room_flips_are_written_into_that_room_only)
{
	int fd = alloc_fd(self->dev, 3 * PAGE);
	struct sluice_run *room = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE,
				       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	/* The last run that fits before a page that is not there. */
	uintptr_t edge = (uintptr_t)room + PAGE - sizeof(*room);
	struct sluice_runs one = { .size = sizeof(one), .fd = fd, .count = 1,
				   .runs = edge };
	struct sluice_runs other = { .size = sizeof(other), .fd = -1,
				     .count = SLUICE_RUNS_MAX + 1, .off = 3 * PAGE,
				     .runs = (uintptr_t)room + PAGE };
	struct sluice_runs arg = one;
	struct flipped f = { .size = sizeof(arg), .one = &one, .other = &other,
			     .arg = &arg };
	int works = 0;

	ASSERT_GE(fd, 0);
	ASSERT_EQ(mprotect((char *)room + PAGE, PAGE, PROT_NONE), 0);
	FLIP_FOR(&f, {
		int ret = call(self->dev, SLUICE_RUNS, &arg);

		if (ret && ret != -EBADF && ret != -EFAULT)
			EXPECT_EQ(ret, -EINVAL);
		works += !ret;
	});
	EXPECT_GT(works, 0);
	munmap(room, 2 * PAGE);
	close(fd);
}

TEST_F(race, grant_and_remove_whose_name_flips_touch_one_region_or_none)
{
	struct sluice_grant one = { .size = sizeof(one), .name = "aaaa",
				    .flags = SLUICE_GRANT_MODE, .mode = 0600 };
	struct sluice_grant other = { .size = sizeof(other), .name = "bbbb",
				      .flags = SLUICE_GRANT_MODE, .mode = 04777 };
	struct sluice_grant arg = one;
	struct flipped f = { .size = sizeof(arg), .one = &one, .other = &other,
			     .arg = &arg };
	int a = alloc_named(self->dev, PAGE, "aaaa", 0640);
	int b = alloc_named(self->dev, PAGE, "bbbb", 0640);
	struct sluice_stat s;
	int works = 0;

	FLIP_FOR(&f, {
		int ret = call(self->dev, SLUICE_GRANT, &arg);

		if (ret && ret != -ENOENT)
			EXPECT_EQ(ret, -EINVAL);
		works += !ret;
	});
	EXPECT_GT(works, 0);
	ASSERT_EQ(stat_fd(self->dev, a, &s), 0);
	EXPECT_TRUE(s.mode == 0600 || s.mode == 0640);
	ASSERT_EQ(stat_fd(self->dev, b, &s), 0);
	EXPECT_TRUE(s.mode == 0600 || s.mode == 0640);
	f.stop = false;
	f.size = 8 + SLUICE_NAME_MAX; /* of sluice_remove, flags without a name */
	other.flags = one.flags = arg.flags = 0;
	for (int removed = 0; removed < 2;) {
		pthread_t flipper;

		f.stop = false;
		ASSERT_EQ(pthread_create(&flipper, NULL, flip, &f), 0);
		for (int i = 0; i < 1000; i++) {
			struct sluice_remove *r = (void *)&arg;
			int ret;

			r->size = sizeof(*r);
			ret = call(self->dev, SLUICE_REMOVE, r);
			if (ret && ret != -ENOENT)
				EXPECT_EQ(ret, -ENOENT);
			if (!ret)
				removed++;
		}
		f.stop = true;
		pthread_join(flipper, NULL);
		ASSERT_LE(removed, 2);
		/* One thread alone may find no way to the other name. */
		if (removed < 2 && !remove_named(self->dev, "aaaa", 0))
			removed++;
		if (removed < 2 && !remove_named(self->dev, "bbbb", 0))
			removed++;
	}
	close(a);
	close(b);
}

/* ---- descriptors ---- */

static void *replace_all(void *arg)
{
	struct party *party = arg;

	while (!party->stop)
		for (int fd = party->dev + 2; fd < party->dev + 8; fd++)
			if (dup2(party->fd, fd) < 0)
				party->no++; /* EBUSY: between number and file */
	return NULL;
}

TEST_F(race, descriptor_replaced_by_a_second_thread_ends_its_region)
{
	struct party party = { .dev = self->dev,
			       .fd = fcntl(open("/dev/null", O_RDWR), F_DUPFD, 900) };
	double end = seconds() + SECONDS;
	pthread_t thread;
	long rounds = 0;

	ASSERT_EQ(party.fd, 900);
	ASSERT_EQ(pthread_create(&thread, NULL, replace_all, &party), 0);
	for (; seconds() < end; rounds++) {
		int fd = alloc_fd(self->dev, PAGE);

		if (fd < 0)
			EXPECT_EQ(fd, 0);
		close(fd);
	}
	party.stop = true;
	pthread_join(thread, NULL);
	for (int fd = self->dev + 1; fd < 1024; fd++)
		close(fd);
	EXPECT_GT(rounds, 0);
}

/* ---- names ---- */

static void *renamer(void *arg)
{
	struct party *party = arg;

	while (!party->stop) {
		int fd = alloc_named(party->dev, PAGE, NAME, 0600);
		int ret;

		party->wrong += fd < 0 && fd != -EEXIST;
		if (fd >= 0) {
			party->yes++;
			close(fd);
		}
		fd = open_named(party->dev, NAME, 0);
		party->wrong += fd < 0 && fd != -ENOENT && fd != -ENODEV;
		if (fd >= 0)
			close(fd);
		ret = remove_named(party->dev, NAME, SLUICE_REMOVE_REVOKE);
		party->wrong += ret && ret != -ENOENT;
		party->no += !ret;
	}
	return NULL;
}

TEST_F(race, name_made_opened_and_removed_by_all_at_once_is_there_once)
{
	struct party party = { .dev = self->dev };
	pthread_t threads[3];

	for (int i = 0; i < 3; i++)
		ASSERT_EQ(pthread_create(&threads[i], NULL, renamer, &party), 0);
	sleep(SECONDS);
	party.stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	if (!remove_named(self->dev, NAME, 0))
		party.no++;
	EXPECT_EQ(party.wrong, 0);
	EXPECT_GT(party.yes, 0);
	EXPECT_EQ(party.yes, party.no); /* as often made as removed */
}

/* ---- the end of who made it ---- */

/* A process that makes a region, maps it, gives it away, and waits for its end. */
static pid_t exporter(int sock, bool pin)
{
	pid_t pid = fork();

	if (!pid) {
		int dev = driver_open(), fd;
		char *own = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
				 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		char *p = own;

		fd = pin ? pin_fd(dev, own, LEN, 0) : alloc_fd(dev, LEN);
		if (!pin)
			p = map_fd(fd, LEN);
		if (p == MAP_FAILED || send_fd(sock, fd))
			_exit(1);
		p[0] = 5;
		for (;;)
			pause();
	}
	return pid;
}

/* munmap, close and the maker's exit in each of their six orders. */
static void end_in_any_order(int dev, bool pin)
{
	static const char orders[6][4] = { "mcx", "mxc", "cmx", "cxm", "xmc", "xcm" };

	for (int i = 0; i < 6; i++) {
		struct sluice_stat s;
		int pair[2], fd;
		pid_t pid;
		char *p;

		ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		pid = exporter(pair[0], pin);
		fd = receive_fd(pair[1]);
		ASSERT_GE(fd, 0);
		p = map_fd(fd, LEN);
		ASSERT_TRUE(p != MAP_FAILED);
		ASSERT_EQ(stat_fd(dev, fd, &s), 0);
		for (const char *o = orders[i]; *o; o++) {
			EXPECT_EQ(stat_id(dev, s.id, &s), 0);
			if (*o == 'c') {
				close(fd);
			} else if (*o == 'x') {
				kill(pid, SIGKILL);
				waitpid(pid, NULL, 0);
			} else {
				p[0] = 5;
				p[LEN - 1] = 6; /* whoever is gone already */
				munmap(p, LEN);
			}
		}
		EXPECT_EQ(stat_id(dev, s.id, &s), -ENOENT);
		close(pair[0]);
		close(pair[1]);
	}
}

TEST_F(race, region_ends_with_mapping_descriptor_and_maker_in_any_order)
{
	end_in_any_order(self->dev, false);
}

TEST_F(race, pinned_memory_ends_with_mapping_descriptor_and_owner_in_any_order)
{
	end_in_any_order(self->dev, true);
}

TEST_F(race, debugger_reads_a_mapping_until_it_is_revoked)
{
	int fd = alloc_named(self->dev, LEN, NAME, 0600), status;
	char *p = map_fd(fd, LEN), word[sizeof(long)];
	struct iovec here = { word, sizeof(word) }, there = { p, sizeof(word) };
	long peek, said = 0x6b656570;
	pid_t pid;

	ASSERT_TRUE(p != MAP_FAILED);
	memcpy(p, &said, sizeof(said));
	pid = fork();
	if (!pid) {
		/* At the same address, since a fork does not inherit it. */
		if (mmap(p, LEN, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd,
			 0) != p)
			_exit(1);
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		for (;;)
			pause();
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	ASSERT_TRUE(WIFSTOPPED(status));
	EXPECT_EQ(ptrace(PTRACE_PEEKDATA, pid, p, NULL), said);
	EXPECT_EQ(ptrace(PTRACE_POKEDATA, pid, p + LEN - 8, (void *)said), 0);
	EXPECT_EQ(memcmp(p + LEN - 8, &said, 8), 0);
	EXPECT_EQ(process_vm_readv(pid, &here, 1, &there, 1, 0), 8);
	EXPECT_EQ(memcmp(word, &said, 8), 0);
	EXPECT_EQ(remove_named(self->dev, NAME, SLUICE_REMOVE_REVOKE), 0);
	errno = 0;
	peek = ptrace(PTRACE_PEEKDATA, pid, p, NULL);
	EXPECT_EQ(peek, -1);
	EXPECT_EQ(errno, EIO);
	EXPECT_EQ(process_vm_readv(pid, &here, 1, &there, 1, 0), -1);
	EXPECT_EQ(errno, EFAULT);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	munmap(p, LEN);
	close(fd);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* driver.h - what the tests of /dev/sluice have in common. */
#ifndef SLC_TESTS_LAB_DRIVER_H
#define SLC_TESTS_LAB_DRIVER_H

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "include/uapi/sluice.h"
#include "ktap.h"

#define MIB (1ull << 20)
#define PAGE 4096ull

/* 0 or -errno. */
static inline int call(int dev, unsigned long cmd, void *arg)
{
	return ioctl(dev, cmd, arg) ? -errno : 0;
}

static inline int driver_open(void)
{
	return open("/dev/sluice", O_RDWR | O_CLOEXEC);
}

/* The descriptor, or -errno. */
static inline int alloc_named(int dev, uint64_t len, const char *name,
			      unsigned int mode)
{
	struct sluice_alloc a = { .size = sizeof(a), .len = len, .node = -1,
				  .mode = mode };
	int ret;

	snprintf(a.name, sizeof(a.name), "%s", name);
	ret = call(dev, SLUICE_ALLOC, &a);
	return ret ? ret : a.fd;
}

static inline int alloc_fd(int dev, uint64_t len)
{
	return alloc_named(dev, len, "", 0);
}

static inline int pin_fd(int dev, const void *addr, uint64_t len, unsigned int flags)
{
	struct sluice_pin p = { .size = sizeof(p), .flags = flags,
				.addr = (uintptr_t)addr, .len = len };
	int ret = call(dev, SLUICE_PIN, &p);

	return ret ? ret : p.fd;
}

static inline int open_named(int dev, const char *name, unsigned int flags)
{
	struct sluice_open o = { .size = sizeof(o), .flags = flags };
	int ret;

	strncpy(o.name, name, sizeof(o.name));
	ret = call(dev, SLUICE_OPEN, &o);
	return ret ? ret : o.fd;
}

static inline int remove_named(int dev, const char *name, unsigned int flags)
{
	struct sluice_remove r = { .size = sizeof(r), .flags = flags };

	strncpy(r.name, name, sizeof(r.name));
	return call(dev, SLUICE_REMOVE, &r);
}

static inline int grant_named(int dev, const char *name, unsigned int flags,
			      unsigned int uid, unsigned int gid,
			      unsigned int mode)
{
	struct sluice_grant g = { .size = sizeof(g), .flags = flags, .uid = uid,
				  .gid = gid, .mode = mode };

	strncpy(g.name, name, sizeof(g.name));
	return call(dev, SLUICE_GRANT, &g);
}

static inline int stat_fd(int dev, int fd, struct sluice_stat *s)
{
	memset(s, 0, sizeof(*s));
	s->size = sizeof(*s);
	s->fd = fd;
	return call(dev, SLUICE_STAT, s);
}

static inline int stat_id(int dev, uint64_t id, struct sluice_stat *s)
{
	memset(s, 0, sizeof(*s));
	s->size = sizeof(*s);
	s->fd = -1;
	s->id = id;
	return call(dev, SLUICE_STAT, s);
}

/* Regions of any kind that there are. */
static inline int regions_now(int dev)
{
	struct sluice_stat s;
	uint64_t id = 0;

	for (int n = 0;; n++) {
		memset(&s, 0, sizeof(s));
		s.size = sizeof(s);
		s.flags = SLUICE_STAT_NEXT;
		s.fd = -1;
		s.id = id;
		if (call(dev, SLUICE_STAT, &s))
			return n;
		id = s.id;
	}
}

static inline bool feature(int dev, unsigned int id)
{
	struct sluice_info info = { .size = sizeof(info) };

	return !call(dev, SLUICE_INFO, &info) && (info.features >> id & 1);
}

static inline void *map_fd(int fd, uint64_t len)
{
	return mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
}

static inline int fds_now(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* A number of /proc/vmstat; 0 when it is not there. */
static inline long vmstat(const char *name)
{
	char line[128];
	long value = 0;
	size_t len = strlen(name);
	FILE *f = fopen("/proc/vmstat", "r");

	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, len) && line[len] == ' ')
			value = atol(line + len);
	if (f)
		fclose(f);
	return value;
}

/* Pages that are pinned for DMA now; every CPU's part is added first. */
static inline long pinned_now(void)
{
	char byte;
	int fd = open("/proc/sys/vm/stat_refresh", O_RDONLY | O_CLOEXEC);

	if (fd >= 0) {
		if (read(fd, &byte, 1) < 0)
			fprintf(stderr, "stat_refresh: %s\n", strerror(errno));
		close(fd);
	}
	return vmstat("nr_foll_pin_acquired") - vmstat("nr_foll_pin_released");
}

/*
 * What is pinned; up to 3 s later, if it is not @want: counts come in late. A
 * kernel without stat_refresh keeps some of each CPU's to itself for as long as
 * it likes: there, so few count as none.
 */
#define PINS_UNSEEN 64

static inline long pinned_soon(long want)
{
	long now;

	for (int i = 0; i < 300 && pinned_now() != want; i++)
		usleep(10000);
	now = pinned_now();
	if (access("/proc/sys/vm/stat_refresh", F_OK) && labs(now - want) < PINS_UNSEEN)
		return want;
	return now;
}

static inline double seconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Writes text into a file of proc or sysfs: 0 or -errno. */
static inline int put_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), ret = 0;

	if (fd < 0)
		return -errno;
	if (write(fd, text, strlen(text)) < 0)
		ret = -errno;
	close(fd);
	return ret;
}

#define SLUICE_PARAM "/sys/module/sluice/parameters/"

/* Becomes somebody without privileges, who may open the device no more. */
static inline int become(unsigned int uid)
{
	/* By system call: of this thread alone, and no library in between. */
	if (syscall(SYS_setgroups, 0, NULL) ||
	    syscall(SYS_setresgid, uid, uid, uid) ||
	    syscall(SYS_setresuid, uid, uid, uid))
		return -errno;
	return 0;
}

/* Of this process: a child that has one of its own has its own of this. */
static pid_t in_child_pid;

static inline pid_t in_child_begin(void)
{
	fflush(stdout);
	return in_child_pid = fork();
}

static inline int in_child_end(void)
{
	int status = 0;

	while (waitpid(in_child_pid, &status, 0) < 0)
		;
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) :
				     WEXITSTATUS(status);
}

/* Runs @body in a child; what it returns, or 128 + the signal. */
#define IN_CHILD(...)                                                         \
	({                                                                    \
		if (!in_child_begin())                                        \
			_exit(({ __VA_ARGS__; }));                            \
		in_child_end();                                               \
	})

/* Every test of a suite has the device, and leaves nothing behind. */
#define DRIVER_FIXTURE(name)                                                  \
	FIXTURE(name)                                                         \
	{                                                                     \
		int dev, regions, fds;                                        \
		long pinned;                                                  \
	};                                                                    \
	FIXTURE_NO_VARIANT(name);                                             \
	FIXTURE_SETUP(name)                                                   \
	{                                                                     \
		self->dev = driver_open();                                    \
		if (self->dev < 0)                                            \
			SKIP("/dev/sluice: %s", strerror(errno));             \
		self->regions = regions_now(self->dev);                       \
		self->fds = fds_now();                                        \
		self->pinned = pinned_now();                                  \
	}                                                                     \
	FIXTURE_TEARDOWN(name)                                                \
	{                                                                     \
		if (self->dev < 0)                                            \
			return;                                               \
		EXPECT_EQ(pinned_soon(self->pinned), self->pinned);           \
		EXPECT_EQ(regions_now(self->dev), self->regions);             \
		EXPECT_EQ(fds_now(), self->fds);                              \
		close(self->dev);                                             \
	}

#endif

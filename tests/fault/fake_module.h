/* SPDX-License-Identifier: MIT */
/*
 * fake_module.h - a double of /dev/sluice in this process: its regions are
 * memfds, its errors are whatever a test says. It proves what the library does
 * with answers, not that the module gives them: tests/lab does that.
 *
 * A test that includes it has the line "WRAP: open ioctl mmap" (as a comment).
 */
#ifndef SLC_TESTS_FAKE_MODULE_H
#define SLC_TESTS_FAKE_MODULE_H

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <uapi/sluice.h>

#include "ktap.h"

#define FAKE_MAX 16

struct fake_region {
	char name[SLUICE_NAME_MAX];
	uint64_t len;
	int fd; /* the double's own; -1: free */
	uint32_t mode;
};

static struct {
	bool ready;	       /* fake_reset() has been here */
	bool there;	       /* the device; else ENOENT */
	int open_err;	       /* of opening it */
	uint32_t abi;
	unsigned int fail_cmd; /* SLUICE_CMD_*: this call fails, */
	int fail_err;	       /* with that */
	int fail_times;	       /* so often; 0: always */
	int mmap_err;	       /* of mapping shared memory */
	bool appear;	       /* OPEN sees a name only after ALLOC has failed */
	int32_t node;	       /* where all memory is */
	uint64_t bytes_2m;     /* what STAT says; UINT64_MAX: all */
	uint64_t max_bytes, max_user_bytes; /* the parameters; 0: no file */
	uint32_t features;
	struct sluice_alloc asked; /* the last one */
	uint32_t calls[16];	   /* by number from SLUICE_CMD_BASE */
	struct fake_region regions[FAKE_MAX];
} fake;

static void fake_reset(void)
{
	for (int i = 0; fake.ready && i < FAKE_MAX; i++)
		if (fake.regions[i].fd >= 0)
			close(fake.regions[i].fd);
	memset(&fake, 0, sizeof(fake));
	fake.ready = fake.there = true;
	fake.abi = SLUICE_ABI;
	fake.bytes_2m = UINT64_MAX;
	fake.features = 1u << SLUICE_FEATURE_ALLOC | 1u << SLUICE_FEATURE_PIN |
			1u << SLUICE_FEATURE_RING;
	for (int i = 0; i < FAKE_MAX; i++)
		fake.regions[i].fd = -1;
}

static struct fake_region *fake_add(const char *name, uint64_t len)
{
	for (int i = 0; i < FAKE_MAX; i++) {
		struct fake_region *f = &fake.regions[i];

		if (f->fd >= 0)
			continue;
		f->fd = memfd_create("fake region", MFD_CLOEXEC);
		if (f->fd < 0 || ftruncate(f->fd, (off_t)len))
			return NULL;
		snprintf(f->name, sizeof(f->name), "%s", name);
		f->len = len;
		return f;
	}
	return NULL;
}

static struct fake_region *fake_named(const char *name)
{
	for (int i = 0; i < FAKE_MAX; i++)
		if (fake.regions[i].fd >= 0 && *name &&
		    !strcmp(fake.regions[i].name, name))
			return &fake.regions[i];
	return NULL;
}

/* The region that a descriptor is of. */
static struct fake_region *fake_of(int fd)
{
	struct stat want, st;

	if (fstat(fd, &want))
		return NULL;
	for (int i = 0; i < FAKE_MAX; i++)
		if (fake.regions[i].fd >= 0 && !fstat(fake.regions[i].fd, &st) &&
		    st.st_ino == want.st_ino)
			return &fake.regions[i];
	return NULL;
}

static int fake_alloc(struct sluice_alloc *a)
{
	struct fake_region *f;

	fake.asked = *a;
	if (*a->name && fake_named(a->name))
		return -EEXIST;
	f = fake_add(a->name, a->len);
	if (!f)
		return -ENOMEM;
	f->mode = a->mode;
	a->id = (uint64_t)(f - fake.regions) + 1;
	a->fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	/* Without a name nothing but that descriptor holds it: STAT still
	 * finds it here, which no test minds. */
	return 0;
}

static int fake_open_name(struct sluice_open *o)
{
	struct fake_region *f = fake_named(o->name);

	if (!f || fake.appear)
		return -ENOENT;
	o->len = f->len;
	o->id = (uint64_t)(f - fake.regions) + 1;
	o->fd = fcntl(f->fd, F_DUPFD_CLOEXEC, 0);
	return 0;
}

static int fake_stat(struct sluice_stat *st)
{
	struct fake_region *f = NULL;

	if (st->flags & SLUICE_STAT_NEXT) {
		for (uint64_t i = st->id; i < FAKE_MAX && !f; i++)
			if (fake.regions[i].fd >= 0)
				f = &fake.regions[i];
	} else {
		f = fake_of(st->fd);
	}
	if (!f)
		return -ENOENT;
	st->id = (uint64_t)(f - fake.regions) + 1;
	st->kind = SLUICE_KIND_ALLOC;
	st->len = f->len;
	st->bytes_2m = fake.bytes_2m < f->len ? fake.bytes_2m : f->len;
	st->nruns = 1;
	st->node = fake.node;
	st->uid = geteuid();
	memcpy(st->name, f->name, sizeof(st->name));
	return 0;
}

static int fake_feature(struct sluice_feature *f)
{
	if (f->index >= SLUICE_NFEATURES)
		return -ENOENT;
	f->works = fake.features >> f->index & 1;
	snprintf(f->why, sizeof(f->why), "%s",
		 f->works ? "" : "the double was told so");
	return 0;
}

static int fake_call(unsigned int nr, void *arg)
{
	struct sluice_info *info = arg;

	fake.calls[nr - SLUICE_CMD_BASE]++;
	if (fake.fail_cmd == nr && fake.fail_err) {
		int err = -fake.fail_err;

		if (fake.fail_times && !--fake.fail_times)
			fake.fail_err = 0;
		if (err == -EEXIST)
			fake.appear = false;
		return err;
	}
	switch (nr) {
	case SLUICE_CMD_INFO:
		info->abi = fake.abi;
		info->features = fake.features;
		info->page_size = 4096;
		return 0;
	case SLUICE_CMD_FEATURE:
		return fake_feature(arg);
	case SLUICE_CMD_ALLOC:
		return fake_alloc(arg);
	case SLUICE_CMD_OPEN:
		return fake_open_name(arg);
	case SLUICE_CMD_STAT:
		return fake_stat(arg);
	}
	return -ENOTTY;
}

int __real_ioctl(int, unsigned long, ...);
int __wrap_ioctl(int, unsigned long, ...);
int __wrap_ioctl(int fd, unsigned long cmd, ...)
{
	va_list ap;
	void *arg;
	int err;

	va_start(ap, cmd);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (_IOC_TYPE(cmd) != SLUICE_TYPE)
		return __real_ioctl(fd, cmd, arg);
	err = fake_call((unsigned int)_IOC_NR(cmd), arg);
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

static int fake_parameter(uint64_t value)
{
	int fd;

	if (!value) {
		errno = ENOENT;
		return -1;
	}
	fd = memfd_create("fake parameter", MFD_CLOEXEC);
	if (dprintf(fd, "%llu\n", (unsigned long long)value) < 0)
		return -1;
	lseek(fd, 0, SEEK_SET);
	return fd;
}

int __real_open(const char *, int, ...);
int __wrap_open(const char *, int, ...);
int __wrap_open(const char *path, int flags, ...)
{
	unsigned int mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & O_CREAT)
		mode = va_arg(ap, unsigned int);
	va_end(ap);
	if (!strcmp(path, "/sys/module/sluice/parameters/max_bytes"))
		return fake_parameter(fake.max_bytes);
	if (!strcmp(path, "/sys/module/sluice/parameters/max_user_bytes"))
		return fake_parameter(fake.max_user_bytes);
	if (strcmp(path, "/dev/sluice"))
		return __real_open(path, flags, mode);
	if (!fake.there || fake.open_err) {
		errno = fake.open_err ? fake.open_err : ENOENT;
		return -1;
	}
	return memfd_create("fake /dev/sluice", MFD_CLOEXEC);
}

void *__real_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *, size_t, int, int, int, off_t);
void *__wrap_mmap(void *addr, size_t len, int prot, int flags, int fd,
		  off_t off)
{
	if (fake.mmap_err && (flags & MAP_SHARED) && fd >= 0) {
		errno = fake.mmap_err;
		return MAP_FAILED;
	}
	return __real_mmap(addr, len, prot, flags, fd, off);
}

#endif

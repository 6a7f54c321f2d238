/* SPDX-License-Identifier: MIT */
/* Pack, while every call to the system that writes fails in its turn. */
/* WRAP: write fsync rename open close */
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdarg.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "open_one.h"
#include "stream/dataset.h"

static bool armed, fired;
static int countdown, code;

static bool fails(void)
{
	if (!armed || --countdown)
		return false;
	fired = true;
	errno = code;
	return true;
}

ssize_t __real_write(int fd, const void *buf, size_t n);
ssize_t __wrap_write(int fd, const void *buf, size_t n);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __real_close(int fd);
int __wrap_close(int fd);

/* At first half of it is taken, as a disk that gets full does. */
ssize_t __wrap_write(int fd, const void *buf, size_t n)
{
	if (fails())
		return -1;
	return __real_write(fd, buf, armed && n > 1 ? n / 2 : n);
}

int __wrap_fsync(int fd)
{
	return fails() ? -1 : __real_fsync(fd);
}

int __wrap_rename(const char *from, const char *to)
{
	return fails() ? -1 : __real_rename(from, to);
}

int __wrap_open(const char *path, int flags, ...)
{
	mode_t mode = 0;
	va_list ap;

	va_start(ap, flags);
	if (flags & (O_CREAT | O_TMPFILE))
		mode = va_arg(ap, mode_t);
	va_end(ap);
	return fails() ? -1 : __real_open(path, flags, mode);
}

/* Only for what it says of earlier writes (NFS): the descriptor is closed. */
int __wrap_close(int fd)
{
	int res = __real_close(fd);

	return fails() ? -1 : res;
}

FIXTURE(pack)
{
	struct slc_ctx *ctx;
	char *dir;
	const char *manifest;
	struct slc_dataset *old, *new;
};
FIXTURE_VARIANT(pack)
{
	int code;
};
FIXTURE_VARIANT_ADD(pack, enospc){ .code = ENOSPC };
FIXTURE_VARIANT_ADD(pack, eio){ .code = EIO };
FIXTURE_VARIANT_ADD(pack, emfile){ .code = EMFILE };

FIXTURE_SETUP(pack)
{
	const char *a, *b;

	self->dir = md_folder();
	a = md_path("%s/a.npy", self->dir);
	b = md_path("%s/b.npy", self->dir);
	self->manifest = md_path("%s/d.json", self->dir);
	md_npy(a, 9, 100, NULL);
	md_npy(b, 20, 100, NULL);
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	ASSERT_EQ(open_one(self->ctx, a, &self->old), 0);
	ASSERT_EQ(open_one(self->ctx, b, &self->new), 0);
}

FIXTURE_TEARDOWN(pack)
{
	slc_dataset_put(self->old);
	slc_dataset_put(self->new);
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

static unsigned int count(const char *pattern)
{
	unsigned int n;
	glob_t g;

	n = glob(pattern, GLOB_PERIOD, NULL, &g) ? 0 : (unsigned int)g.gl_pathc;
	globfree(&g);
	return n;
}

/* What is there after a pack of 20 samples over a manifest of 9. */
static void expect_one_or_other(struct ktap_fixture_pack *self, int err, int n)
{
	struct slc_dataset *ds;

	if (open_one(self->ctx, self->manifest, &ds)) {
		ktap_fail(__FILE__, __LINE__, "after failure %d: %s", n,
			  slc_last_error(self->ctx));
		longjmp(ktap_leave, 1);
	}
	EXPECT_TRUE(ds->verified);
	if (!err)
		EXPECT_EQ(ds->nsamples, 20);
	EXPECT_TRUE(ds->nsamples == 9 || ds->nsamples == 20);
	slc_dataset_put(ds);
	EXPECT_EQ(count(md_path("%s/.d.json*", self->dir)), 0);
	EXPECT_EQ(count(md_path("%s/d.*.idx", self->dir)), 1);
}

TEST_F(pack, every_failing_call_leaves_one_whole_manifest_and_no_litter)
{
	int failures = 0;

	for (int n = 1; n < 1000; n++) {
		int err;

		ASSERT_EQ(slc_dataset_pack(self->old, self->manifest, NULL), 0);
		fired = false;
		code = variant->code;
		countdown = n;
		armed = true;
		err = slc_dataset_pack(self->new, self->manifest, NULL);
		armed = false;
		if (err) {
			failures++;
			EXPECT_EQ(err, -variant->code);
			EXPECT_TRUE(slc_last_error(self->ctx)[0]);
		}
		expect_one_or_other(self, err, n);
		if (!fired) {
			EXPECT_EQ(err, 0);
			/* write, fsync, rename, of two files, and more. */
			EXPECT_GT(failures, 8);
			return;
		}
	}
	EXPECT_TRUE(!"the sweep came to its end");
}

TEST_HARNESS_MAIN

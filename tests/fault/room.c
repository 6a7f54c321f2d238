/* SPDX-License-Identifier: MIT */
/* Pack where files may not grow: what was there before stays, and stays good. */
#include <errno.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "open_one.h"
#include "stream/dataset.h"

FIXTURE(room)
{
	struct slc_ctx *ctx;
	char *dir;
	const char *place, *manifest; /* of a file system of its own */
	struct slc_dataset *old, *new;
	bool mounted;
};
FIXTURE_NO_VARIANT(room);

/* A manifest of 9 samples is there; the one of 20000 has 80 kB beside it. */
FIXTURE_SETUP(room)
{
	const char *a, *b;

	self->dir = md_folder();
	a = md_path("%s/a.npy", self->dir);
	b = md_path("%s/b.npy", self->dir);
	self->place = md_path("%s/place", self->dir);
	self->manifest = md_path("%s/d.slc.json", self->place);
	md_npy(a, 9, 100, NULL);
	md_npy(b, 20000, 3, NULL);
	MD_MUST(!mkdir(self->place, 0777));
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	ASSERT_EQ(open_one(self->ctx, a, &self->old), 0);
	ASSERT_EQ(open_one(self->ctx, b, &self->new), 0);
}

FIXTURE_TEARDOWN(room)
{
	if (self->mounted)
		umount2(self->place, MNT_DETACH);
	slc_dataset_put(self->old);
	slc_dataset_put(self->new);
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

/* Is it the manifest of so many samples, with its checksums, and no more? */
static void expect_there(struct ktap_fixture_room *self, uint64_t samples)
{
	struct slc_stream_attr sa = { .size = sizeof(sa), .node = -1,
				      .flags = SLC_STREAM_VERIFY,
				      .memory = 8u << 20, .page_size = 4096 };
	const char *files = md_path("ls -A '%s' | wc -l | grep -qx 2",
				    self->place);
	struct slc_stream *s;
	struct slc_dataset *ds;
	struct slc_view v;
	int err = open_one(self->ctx, self->manifest, &ds);

	if (err)
		printf("# %s\n", slc_last_error(self->ctx));
	ASSERT_EQ(err, 0);
	EXPECT_EQ(ds->nsamples, samples);
	EXPECT_TRUE(ds->verified);
	ASSERT_EQ(slc_stream_open(ds, &sa, &s), 0);
	EXPECT_EQ(slc_stream_next(s, &v, 1), 1);
	slc_stream_release(s, &v, 1);
	slc_stream_close(s);
	slc_dataset_put(ds);
	EXPECT_EQ(system(files), 0);
}

TEST_F(room, a_limit_on_file_size_leaves_the_old_manifest)
{
	struct rlimit least = { 0, RLIM_INFINITY };
	unsigned int refused = 0;
	int err = -1;

	signal(SIGXFSZ, SIG_IGN);
	ASSERT_EQ(slc_dataset_pack(self->old, self->manifest, NULL), 0);
	/* Past the checksums (80 kB), then past the manifest (under 1 kB). */
	for (rlim_t at = 0; at < 100000 && err; at += at < 2000 ? 100 : 7777) {
		least.rlim_cur = at;
		ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &least), 0);
		err = slc_dataset_pack(self->new, self->manifest, NULL);
		least.rlim_cur = RLIM_INFINITY;
		ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &least), 0);
		if (!err)
			break;
		refused++;
		EXPECT_EQ(err, -EFBIG);
		EXPECT_HAS(slc_last_error(self->ctx), "raise ulimit -f");
		expect_there(self, 9);
	}
	EXPECT_GT(refused, 20);
	EXPECT_EQ(err, 0);
	expect_there(self, 20000);
}

static void mount_at(struct ktap_fixture_room *self, unsigned int kib)
{
	if (mount("none", self->place, "tmpfs", 0,
		  md_path("size=%uk", kib)))
		SKIP("cannot mount a tmpfs: %s", strerror(errno));
	self->mounted = true;
}

TEST_F(room, a_disk_that_gets_full_at_any_page_leaves_the_old_manifest)
{
	unsigned int refused = 0;
	int err = -1;

	for (unsigned int kib = 16; kib < 200 && err; kib += 4) {
		mount_at(self, kib);
		ASSERT_EQ(slc_dataset_pack(self->old, self->manifest, NULL), 0);
		err = slc_dataset_pack(self->new, self->manifest, NULL);
		if (err) {
			refused++;
			EXPECT_EQ(err, -ENOSPC);
			EXPECT_HAS(slc_last_error(self->ctx), "make room");
		}
		expect_there(self, err ? 9 : 20000);
		ASSERT_EQ(umount(self->place), 0);
		self->mounted = false;
	}
	EXPECT_GT(refused, 10);
	EXPECT_EQ(err, 0);
}

TEST_F(room, a_read_only_file_system_leaves_the_old_manifest)
{
	mount_at(self, 1024);
	ASSERT_EQ(slc_dataset_pack(self->old, self->manifest, NULL), 0);
	if (mount("none", self->place, "tmpfs", MS_REMOUNT | MS_RDONLY, NULL))
		SKIP("cannot remount it: %s", strerror(errno));
	EXPECT_EQ(slc_dataset_pack(self->new, self->manifest, NULL), -EROFS);
	EXPECT_HAS(slc_last_error(self->ctx), self->manifest);
	expect_there(self, 9);
}

TEST_HARNESS_MAIN

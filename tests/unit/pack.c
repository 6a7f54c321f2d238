/* SPDX-License-Identifier: MIT */
/* Packing: checksums of every sample and extent, and what it leaves behind. */
#include <errno.h>
#include <glob.h>
#include <inttypes.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "stream/dataset.h"
#include "stream/feed.h"
#include "stream/manifest.h"

FIXTURE(pack)
{
	struct slc_ctx *ctx;
	char *dir;
	struct md_samples want;
};
FIXTURE_NO_VARIANT(pack);

FIXTURE_SETUP(pack)
{
	self->dir = md_folder();
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
}

FIXTURE_TEARDOWN(pack)
{
	md_samples_fini(&self->want);
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

static int open_with(struct slc_ctx *ctx, const char *path, uint64_t flags,
		     const char *format, uint64_t record,
		     struct slc_dataset **out)
{
	struct slc_dataset_attr attr = { .size = sizeof(attr),
					 .flags = flags,
					 .format = format,
					 .record = record };

	return slc_dataset_open(ctx, &path, 1, &attr, out);
}

static int open_one(struct slc_ctx *ctx, const char *path,
		    struct slc_dataset **out)
{
	return open_with(ctx, path, 0, NULL, 0, out);
}

static void expect_extents(const struct slc_shard *sh)
{
	struct md_buf b = md_load(sh->path);

	ASSERT_EQ(sh->nextents, (b.n + SLC_EXTENT_BYTES - 1) /
					SLC_EXTENT_BYTES);
	for (uint32_t i = 0; i < sh->nextents; i++) {
		size_t off = (size_t)i * SLC_EXTENT_BYTES;
		size_t len = b.n - off < SLC_EXTENT_BYTES ? b.n - off :
							    SLC_EXTENT_BYTES;

		EXPECT_EQ(sh->extent_crc[i], slc_crc32c(0, b.p + off, len));
	}
	free(b.p);
}

/* All of a shard, inflated. */
static struct md_buf load_inflated(struct slc_ctx *ctx,
				   const struct slc_shard *sh)
{
	struct slc_source_inflate z;
	struct slc_source_file file;
	struct md_buf b = { 0 };

	if (!sh->codec)
		return md_load(sh->path);
	MD_MUST(!slc_source_file_open(ctx, sh->path, &file));
	MD_MUST(!slc_source_inflate_init(&z, sh->codec, &file.base));
	md_zero(&b, sh->inflated);
	MD_MUST(z.base.read(&z.base, 0, b.p, b.n) == (int64_t)b.n);
	slc_source_inflate_fini(&z);
	slc_source_file_close(&file);
	return b;
}

/* Packs `path`, opens the manifest, holds every checksum against the data. */
static void round_trip(struct ktap_fixture_pack *self, const char *path,
		       const char *format, uint64_t record)
{
	const char *manifest = md_path("%s/out.slc.json", self->dir);
	struct slc_dataset_info info = { .size = sizeof(info) };
	struct slc_dataset *plain, *packed;
	uint64_t g = 0;

	ASSERT_EQ(open_with(self->ctx, path, 0, format, record, &plain), 0);
	if (slc_dataset_pack(plain, manifest, NULL))
		printf("# %s\n", slc_last_error(self->ctx));
	ASSERT_EQ(slc_dataset_pack(plain, manifest, NULL), 0);
	if (open_one(self->ctx, manifest, &packed)) {
		printf("# %s\n", slc_last_error(self->ctx));
		ASSERT_TRUE(!"the manifest opens");
	}
	ASSERT_EQ(slc_dataset_query(packed, &info), 0);
	EXPECT_EQ(info.verified, 1);
	EXPECT_EQ(info.fingerprint, plain->fingerprint);
	EXPECT_EQ(info.samples, self->want.n);
	EXPECT_EQ(info.bytes, plain->bytes);
	ASSERT_EQ(packed->nshards, plain->nshards);
	for (uint64_t i = 0; i < packed->nshards; i++) {
		const struct slc_shard *sh = &packed->shards[i];
		const struct slc_shard *was = &plain->shards[i];
		struct md_buf all = load_inflated(self->ctx, sh);

		expect_extents(sh);
		ASSERT_EQ(sh->table.n, was->table.n);
		EXPECT_EQ(sh->inflated, was->inflated);
		EXPECT_EQ(sh->codec, was->codec);
		for (uint64_t k = 0; k < sh->table.n; k++, g++) {
			uint64_t a[2], b[2];

			slc_table_span(&sh->table, k, &a[0], &a[1]);
			slc_table_span(&was->table, k, &b[0], &b[1]);
			ASSERT_EQ(a[0], b[0]);
			ASSERT_EQ(a[1], b[1]);
			ASSERT_EQ(sh->sample_crc[k],
				  slc_crc32c(0, all.p + a[0], a[1]));
			/* Of a tar the headers are in it. */
			if (!sh->table.format->member)
				ASSERT_EQ(sh->sample_crc[k], self->want.crc[g]);
		}
		free(all.p);
	}
	slc_dataset_put(plain);
	slc_dataset_put(packed);
}

TEST_F(pack, safetensors_round_trip)
{
	const char *path = md_path("%s/m.safetensors", self->dir);

	md_safetensors(path, 5, 700001, "w", &self->want);
	round_trip(self, path, NULL, 0);
}

TEST_F(pack, npy_round_trip)
{
	const char *path = md_path("%s/x.npy", self->dir);

	md_npy(path, 3000, 1000, &self->want);
	round_trip(self, path, NULL, 0);
}

TEST_F(pack, raw_round_trip)
{
	const char *path = md_path("%s/x.rec", self->dir);

	md_raw(path, 700, 4096, &self->want);
	round_trip(self, path, "raw", 4096);
}

TEST_F(pack, megatron_round_trip)
{
	const char *stem = md_path("%s/t", self->dir);

	md_megatron(stem, 3000, 300, 0, &self->want);
	round_trip(self, md_path("%s.idx", stem), NULL, 0);
}

TEST_F(pack, megatron_with_holes_round_trip)
{
	const char *stem = md_path("%s/t", self->dir);

	md_megatron(stem, 3000, 300, 10, &self->want);
	round_trip(self, md_path("%s.bin", stem), NULL, 0);
}

TEST_F(pack, tar_round_trip)
{
	const char *path = md_path("%s/a.tar", self->dir);

	md_tar(path, 2000, 1500, &self->want);
	round_trip(self, path, NULL, 0);
}

TEST_F(pack, tar_of_samples_larger_than_an_extent_round_trip)
{
	const char *path = md_path("%s/a.tar", self->dir);

	md_tar(path, 4, 5 << 20, &self->want);
	round_trip(self, path, NULL, 0);
}

TEST_F(pack, gzip_tar_round_trip)
{
	const char *path = md_path("%s/a.tar", self->dir);

	md_tar(path, 700, 9000, &self->want);
	md_gzip(path, md_path("%s/b.tar.gz", self->dir));
	round_trip(self, md_path("%s/b.tar.gz", self->dir), NULL, 0);
}

TEST_F(pack, zstd_tar_round_trip)
{
	const char *path = md_path("%s/a.tar", self->dir);

	md_tar(path, 700, 9000, &self->want);
	md_zstd(path, md_path("%s/b.tar.zst", self->dir));
	round_trip(self, md_path("%s/b.tar.zst", self->dir), NULL, 0);
}

TEST_F(pack, mds_round_trip)
{
	md_mds(md_path("%s/m", self->dir), 4, 100, 9000, 0, &self->want);
	round_trip(self, md_path("%s/m", self->dir), NULL, 0);
}

TEST_F(pack, zstd_mds_round_trip)
{
	md_mds(md_path("%s/m", self->dir), 4, 100, 9000, 1, &self->want);
	round_trip(self, md_path("%s/m", self->dir), NULL, 0);
}

TEST_F(pack, a_folder_of_every_format_round_trip)
{
	const char *d = md_path("%s/all", self->dir);

	mkdir(d, 0777);
	/* In the order of the walk, which is that of the bytes. */
	md_npy(md_path("%s/a.npy", d), 10, 100, &self->want);
	md_tar(md_path("%s/b.tar", d), 10, 100, &self->want);
	md_mds(md_path("%s/c", d), 2, 10, 100, 1, &self->want);
	md_megatron(md_path("%s/d", d), 10, 100, 0, &self->want);
	md_safetensors(md_path("%s/e.safetensors", d), 2, 0, "w", &self->want);
	md_safetensors(md_path("%s/f.safetensors", d), 2, 9, "w", &self->want);
	round_trip(self, d, NULL, 0);
}

TEST_F(pack, many_tiny_shards_round_trip_with_few_descriptors)
{
	const char *d = md_path("%s/all", self->dir);
	struct rlimit few = { 64, 64 };

	mkdir(d, 0777);
	for (unsigned int i = 0; i < 2000; i++)
		md_npy(md_path("%s/%04u.npy", d, i), 3, 10, &self->want);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	round_trip(self, d, NULL, 0);
}

TEST_F(pack, the_sync_engine_gives_the_same)
{
	const char *path = md_path("%s/x.npy", self->dir);

	setenv("SLC_ENGINE", "sync", 1);
	md_npy(path, 3000, 1000, &self->want);
	round_trip(self, path, NULL, 0);
}

/* ---- what it leaves behind ---- */

static unsigned int count(const char *pattern)
{
	unsigned int n;
	glob_t g;

	n = glob(pattern, GLOB_PERIOD, NULL, &g) ? 0 : (unsigned int)g.gl_pathc;
	globfree(&g);
	return n;
}

static int pack_to(struct slc_ctx *ctx, const char *data, const char *manifest,
		   uint64_t flags)
{
	struct slc_dataset *ds;
	int err = open_with(ctx, data, flags, NULL, 0, &ds);

	if (err)
		return err;
	err = slc_dataset_pack(ds, manifest, NULL);
	slc_dataset_put(ds);
	return err;
}

static int stop_at_once(void *user, uint64_t bytes, uint64_t total)
{
	uint64_t *calls = user;

	(*calls)++;
	return bytes <= total;
}

TEST_F(pack, a_second_pack_replaces_manifest_and_checksum_file)
{
	const char *data = md_path("%s/x.npy", self->dir);
	const char *manifest = md_path("%s/d.slc.json", self->dir);
	const char *files = md_path("%s/d.slc.*.idx", self->dir);
	struct slc_dataset *ds;

	md_npy(data, 30, 1000, NULL);
	ASSERT_EQ(pack_to(self->ctx, data, manifest, 0), 0);
	EXPECT_EQ(count(files), 1);
	md_npy(data, 31, 1001, NULL);
	EXPECT_EQ(open_one(self->ctx, manifest, &ds), -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "run sluice pack again");
	/* Again, from the list of the manifest itself. */
	ASSERT_EQ(pack_to(self->ctx, manifest, manifest, SLC_DATASET_RELIST),
		  0);
	EXPECT_EQ(count(files), 1);
	ASSERT_EQ(open_one(self->ctx, manifest, &ds), 0);
	EXPECT_EQ(ds->nsamples, 31);
	slc_dataset_put(ds);
	EXPECT_EQ(count(md_path("%s/.*tmp*", self->dir)), 0);
}

TEST_F(pack, a_file_that_is_no_manifest_is_not_replaced)
{
	const char *data = md_path("%s/x.npy", self->dir);

	md_npy(data, 30, 1000, NULL);
	EXPECT_EQ(pack_to(self->ctx, data, data, 0), -EEXIST);
	EXPECT_HAS(slc_last_error(self->ctx), "is not a manifest");
	EXPECT_EQ(pack_to(self->ctx, data, self->dir, 0), -EEXIST);
	EXPECT_EQ(pack_to(self->ctx, data,
			  md_path("%s/no/d.json", self->dir), 0), -ENOENT);
}

TEST_F(pack, a_folder_that_takes_no_files_is_said_before_anything_is_read)
{
	struct slc_pack_attr attr = { .size = sizeof(attr),
				      .progress = stop_at_once };
	const char *data = md_path("%s/x.npy", self->dir);
	const char *folder = md_path("%s/shut", self->dir);
	struct slc_dataset *ds;
	uint64_t calls = 0;

	attr.user = &calls;
	md_npy(data, 30, 1000, NULL);
	ASSERT_EQ(chmod(self->dir, 0755), 0);
	ASSERT_EQ(mkdir(folder, 0555), 0);
	ASSERT_EQ(open_one(self->ctx, data, &ds), 0);
	if (!geteuid() && seteuid(65534))
		SKIP("cannot act as another user: %s", strerror(errno));
	EXPECT_EQ(slc_dataset_pack(ds, md_path("%s/d.json", folder), &attr),
		  -EACCES);
	EXPECT_EQ(calls, 0);
	if (!getuid())
		ASSERT_EQ(seteuid(0), 0);
	slc_dataset_put(ds);
}

TEST_F(pack, a_copy_of_the_folder_opens_where_it_is)
{
	struct slc_dataset *a, *b;

	mkdir(md_path("%s/1", self->dir), 0777);
	md_npy(md_path("%s/1/x.npy", self->dir), 30, 1000, NULL);
	md_tar(md_path("%s/1/y.tar", self->dir), 30, 1000, NULL);
	ASSERT_EQ(pack_to(self->ctx, md_path("%s/1", self->dir),
			  md_path("%s/1/d.json", self->dir), 0), 0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/1/d.json", self->dir), &a),
		  0);
	ASSERT_EQ(rename(md_path("%s/1", self->dir),
			 md_path("%s/2", self->dir)), 0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/2/d.json", self->dir), &b),
		  0);
	EXPECT_EQ(a->fingerprint, b->fingerprint);
	/* The manifest and its index are no data of the folder. */
	slc_dataset_put(a);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/2", self->dir), &a), 0);
	EXPECT_EQ(a->nshards, 2);
	slc_dataset_put(a);
	slc_dataset_put(b);
}

TEST_F(pack, a_progress_that_says_stop_leaves_nothing)
{
	struct slc_pack_attr attr = { .size = sizeof(attr),
				      .progress = stop_at_once };
	const char *data = md_path("%s/x.npy", self->dir);
	struct slc_dataset *ds;
	uint64_t calls = 0;

	attr.user = &calls;
	md_npy(data, 30, 1000, NULL);
	ASSERT_EQ(open_one(self->ctx, data, &ds), 0);
	EXPECT_EQ(slc_dataset_pack(ds, md_path("%s/d.json", self->dir), &attr),
		  -ECANCELED);
	EXPECT_EQ(calls, 1);
	EXPECT_EQ(count(md_path("%s/*", self->dir)), 1 + 2);
	slc_dataset_put(ds);
}

TEST_F(pack, a_file_changed_since_it_was_opened_is_stale)
{
	const char *data = md_path("%s/x.npy", self->dir);
	struct slc_dataset *ds;

	md_npy(data, 30, 1000, NULL);
	ASSERT_EQ(open_one(self->ctx, data, &ds), 0);
	md_npy(md_path("%s/y", self->dir), 30, 1000, NULL);
	ASSERT_EQ(rename(md_path("%s/y", self->dir), data), 0);
	EXPECT_EQ(slc_dataset_pack(ds, md_path("%s/d.json", self->dir), NULL),
		  -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "x.npy changed");
	slc_dataset_put(ds);
}

TEST_F(pack, a_file_that_changes_while_it_is_read_is_stale)
{
	const char *data = md_path("%s/x.rec", self->dir);
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	struct slc_extent e;
	struct slc_feed *feed;
	struct slc_dataset *ds;

	md_raw(data, 5, 512 << 10, NULL);
	ASSERT_EQ(open_with(self->ctx, data, 0, "raw", 512 << 10, &ds), 0);
	ASSERT_EQ(slc_feed_open(ds, NULL, NULL, &feed), 0);
	ASSERT_EQ(slc_feed_next(feed, &e), 1);
	EXPECT_EQ(e.off, 0);
	EXPECT_EQ(e.len, SLC_EXTENT_BYTES);
	ASSERT_EQ(slc_feed_next(feed, &e), 1);
	ASSERT_EQ(utimensat(AT_FDCWD, data, times, 0), 0);
	EXPECT_EQ(slc_feed_next(feed, &e), -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "changed while it was read");
	slc_feed_close(feed);
	slc_dataset_put(ds);
}

TEST_F(pack, a_file_truncated_while_it_is_read_is_an_error_with_its_offset)
{
	const char *data = md_path("%s/x.rec", self->dir);
	struct slc_extent e;
	struct slc_feed *feed;
	struct slc_dataset *ds;
	int res;

	md_raw(data, 80, 512 << 10, NULL);
	ASSERT_EQ(open_with(self->ctx, data, 0, "raw", 512 << 10, &ds), 0);
	ASSERT_EQ(slc_feed_open(ds, NULL, NULL, &feed), 0);
	/* 16 MiB of 40 may be under way already. */
	ASSERT_EQ(slc_feed_next(feed, &e), 1);
	ASSERT_EQ(truncate(data, 30 << 20), 0);
	while ((res = slc_feed_next(feed, &e)) > 0)
		;
	EXPECT_EQ(res, -ENODATA);
	EXPECT_HAS(slc_last_error(self->ctx),
		   "x.rec at offset 31457280: the file got shorter");
	slc_feed_close(feed);
	slc_dataset_put(ds);
}

TEST_F(pack, a_full_disk_leaves_the_old_manifest_as_it_was)
{
	const char *small = md_path("%s/small", self->dir);
	const char *manifest = md_path("%s/d.json", small);
	const char *data = md_path("%s/x.npy", self->dir);
	struct slc_dataset *ds;
	int err;

	mkdir(small, 0777);
	if (mount("none", small, "tmpfs", 0, "size=128k"))
		SKIP("cannot mount a tmpfs: %s", strerror(errno));
	md_npy(data, 1000, 4, NULL);
	err = pack_to(self->ctx, data, manifest, 0);
	EXPECT_EQ(err, 0);
	/* 400 kB of sample checksums do not fit. */
	md_npy(md_path("%s/big.npy", self->dir), 100000, 4, NULL);
	err = pack_to(self->ctx, md_path("%s/big.npy", self->dir), manifest, 0);
	EXPECT_EQ(err, -ENOSPC);
	EXPECT_HAS(slc_last_error(self->ctx), "make room");
	EXPECT_EQ(count(md_path("%s/*", small)), 2 + 2);
	EXPECT_EQ(count(md_path("%s/.*tmp*", small)), 0);
	err = open_one(self->ctx, manifest, &ds);
	if (!err)
		slc_dataset_put(ds);
	umount(small);
	EXPECT_EQ(err, 0);
}

TEST_F(pack, kill_9_at_any_moment_leaves_a_manifest_that_opens)
{
	const char *manifest = md_path("%s/d.json", self->dir);
	const char *data = md_path("%s/data", self->dir);
	struct slc_dataset *ds;

	mkdir(data, 0777);
	for (unsigned int i = 0; i < 50; i++)
		md_npy(md_path("%s/%02u.npy", data, i), 100, 1000, NULL);
	ASSERT_EQ(pack_to(self->ctx, data, manifest, 0), 0);
	for (unsigned int i = 0; i < 40; i++) {
		pid_t pid = fork();

		ASSERT_GE(pid, 0);
		if (!pid) {
			for (;;)
				pack_to(self->ctx, data, manifest, 0);
		}
		usleep(3000 + i * 531);
		kill(pid, SIGKILL);
		ASSERT_EQ(waitpid(pid, NULL, 0), pid);
		ASSERT_EQ(open_one(self->ctx, manifest, &ds), 0);
		EXPECT_TRUE(ds->verified);
		slc_dataset_put(ds);
	}
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* Compressed shards that inflate to far more than they are. */
#include <errno.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "open_one.h"
#include "stream/dataset.h"

#define MIB (1u << 20)

FIXTURE(bomb)
{
	struct slc_ctx *ctx;
	struct slc_dataset *ds;
	char *dir;
	const char *path;
};
FIXTURE_NO_VARIANT(bomb);

FIXTURE_SETUP(bomb)
{
	self->dir = md_folder();
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
}

FIXTURE_TEARDOWN(bomb)
{
	slc_dataset_put(self->ds);
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

/* `b`, then `zeros` bytes of 0, compressed as the name says: its bytes. */
static struct md_buf compressed(const struct md_buf *b, uint64_t zeros)
{
	static const uint8_t none[MIB];
	ZSTD_CCtx *z = ZSTD_createCCtx();
	ZSTD_inBuffer in = { b->p, b->n, 0 };
	struct md_buf out = { 0 };
	uint8_t room[4096];
	size_t left;

	MD_MUST(z);
	for (;;) {
		ZSTD_outBuffer o = { room, sizeof(room), 0 };
		ZSTD_EndDirective end = zeros ? ZSTD_e_continue : ZSTD_e_end;

		left = ZSTD_compressStream2(z, &o, &in, end);
		MD_MUST(!ZSTD_isError(left));
		md_put(&out, room, o.pos);
		if (in.pos < in.size)
			continue;
		if (!zeros && !left)
			break;
		if (zeros) {
			in = (ZSTD_inBuffer){ none,
					      zeros < MIB ? zeros : MIB, 0 };
			zeros -= in.size;
		}
	}
	ZSTD_freeCCtx(z);
	return out;
}

/* One sample with so many bytes of 0, and then zeros to the end. */
static void write_tar(const char *path, uint64_t zeros, uint64_t after)
{
	struct md_buf b = { 0 }, z;
	char size[13];
	unsigned int sum = 0;

	md_tar_member(&b, "a.bin", "", 0);
	snprintf(size, sizeof(size), "%011llo", (unsigned long long)zeros);
	memcpy(b.p + 124, size, 12);
	memset(b.p + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += b.p[i];
	snprintf((char *)b.p + 148, 8, "%06o", sum);
	z = compressed(&b, zeros + after);
	md_save(path, &z);
	free(b.p);
}

static void expect_refused(struct ktap_fixture_bomb *self, const char *path)
{
	struct stat st;
	char want[100];

	MD_MUST(!stat(path, &st));
	EXPECT_EQ(open_one(self->ctx, path, &self->ds), -EBADMSG);
	snprintf(want, sizeof(want), "%lld bytes make more than %lld",
		 (long long)st.st_size,
		 (long long)st.st_size * SLC_INFLATE_RATIO + SLC_INFLATE_FREE);
	EXPECT_HAS(slc_last_error(self->ctx), want);
	EXPECT_HAS(slc_last_error(self->ctx), "decompress it first");
}

TEST_F(bomb, a_member_that_is_one_is_refused)
{
	self->path = md_path("%s/a.tar.zst", self->dir);
	write_tar(self->path, 512ull * MIB, 1024);
	expect_refused(self, self->path);
}

TEST_F(bomb, zeros_after_the_archive_that_are_one_are_refused)
{
	self->path = md_path("%s/a.tar.zst", self->dir);
	write_tar(self->path, 512, 512ull * MIB);
	expect_refused(self, self->path);
}

TEST_F(bomb, an_mds_shard_that_is_one_is_refused)
{
	const char *folder = md_path("%s/m", self->dir);
	const char *shard = md_path("%s/shard.00000.mds.zstd", folder);
	static const char cfg[] =
		"{\"column_encodings\": [\"bytes\"], \"column_names\": [\"x\"], \"column_sizes\": [null], \"compression\": null, \"format\": \"mds\", \"hashes\": [], \"size_limit\": 67108864, \"version\": 2}";
	struct md_buf b = { 0 }, z;
	uint32_t at = 12 + sizeof(cfg) - 1;

	/* The offsets of a shard reach 4 GiB. */
	md_u32(&b, 1);
	md_u32(&b, at);
	md_u32(&b, at + 3000u * MIB);
	md_put(&b, cfg, sizeof(cfg) - 1);
	z = compressed(&b, 3000ull * MIB);
	mkdir(folder, 0777);
	md_save(shard, &z);
	expect_refused(self, shard);
	free(b.p);
}

TEST_F(bomb, the_most_that_gzip_can_make_is_taken)
{
	const uint64_t zeros = 200ull * MIB;
	const char *tar = md_path("%s/a.tar", self->dir);
	struct md_buf b = { 0 };
	struct stat st;

	self->path = md_path("%s/a.tar.gz", self->dir);
	/* To a file and not to memory: it is sparse. */
	md_tar_member(&b, "a.bin", "x", 1);
	md_save(tar, &b);
	MD_MUST(!truncate(tar, (off_t)zeros));
	md_gzip(tar, self->path);
	MD_MUST(!stat(self->path, &st));
	/* Else the test is of the bytes that are free. */
	EXPECT_GT(zeros, (uint64_t)st.st_size * 500 + SLC_INFLATE_FREE);
	EXPECT_EQ(open_one(self->ctx, self->path, &self->ds), 0);
	EXPECT_EQ(self->ds->nsamples, 1);
}

TEST_F(bomb, a_small_file_may_make_more)
{
	self->path = md_path("%s/a.tar.zst", self->dir);
	write_tar(self->path, 60ull * MIB, 1024);
	EXPECT_EQ(open_one(self->ctx, self->path, &self->ds), 0);
	EXPECT_EQ(self->ds->nsamples, 1);
}

/* In place of one that was indexed, with nothing about the file to say so. */
TEST_F(bomb, one_that_came_after_the_index_ends_the_stream)
{
	struct slc_stream_attr a = { .size = sizeof(a), .node = -1,
				     .memory = 4u << 20, .page_size = 4096 };
	const uint32_t skippable = 0x184d2a50, pad = 3u * MIB;
	struct md_buf good = { 0 }, bomb;
	struct timespec times[2];
	struct slc_stream *s;
	struct slc_view v;
	struct stat st;
	int fd, n;

	self->path = md_path("%s/a.tar.zst", self->dir);
	write_tar(self->path, 512, 1024);
	good = md_load(self->path);
	md_put(&good, &skippable, 4);
	md_u32(&good, pad);
	md_zero(&good, pad);
	md_write(self->path, good.p, good.n);
	ASSERT_EQ(open_one(self->ctx, self->path, &self->ds), 0);
	write_tar(md_path("%s/b", self->dir), 512, 512ull * MIB);
	bomb = md_load(md_path("%s/b", self->dir));
	ASSERT_LT(bomb.n, good.n - 8);
	MD_MUST(!stat(self->path, &st));
	fd = open(self->path, O_WRONLY);
	/* Of the same size, thanks to the frame that is skipped. */
	md_put(&bomb, &skippable, 4);
	md_u32(&bomb, (uint32_t)(good.n - bomb.n - 4));
	MD_MUST(pwrite(fd, bomb.p, bomb.n, 0) == (ssize_t)bomb.n);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	MD_MUST(!futimens(fd, times) && !close(fd));
	ASSERT_EQ(slc_stream_open(self->ds, &a, &s), 0);
	while ((n = slc_stream_next(s, &v, 1)) > 0)
		slc_stream_release(s, &v, 1);
	EXPECT_EQ(n, -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx),
		   "more bytes than when it was indexed");
	slc_stream_close(s);
	free(good.p);
	free(bomb.p);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* Datasets: what a path stands for, and what is refused. */
#include <errno.h>
#include <inttypes.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "nthfail.h"
#include "stream/dataset.h"
#include "stream/members.h"

FIXTURE(dataset)
{
	struct slc_ctx *ctx;
	char *dir;
	char log[1 << 16];
	size_t log_len;
};
FIXTURE_NO_VARIANT(dataset);

static void keep_log(void *user, enum slc_log_level level, const char *msg)
{
	struct ktap_fixture_dataset *self = user;

	if (level > SLC_LOG_INFO)
		return;
	self->log_len += (size_t)snprintf(
		self->log + self->log_len, sizeof(self->log) - self->log_len,
		"%s\n", msg);
	if (self->log_len > sizeof(self->log) - 1)
		self->log_len = sizeof(self->log) - 1;
}

FIXTURE_SETUP(dataset)
{
	struct slc_ctx_attr attr = { .size = sizeof(attr),
				     .log = keep_log,
				     .log_user = self };

	self->dir = md_folder();
	ASSERT_EQ(slc_ctx_open(&attr, &self->ctx), 0);
}

FIXTURE_TEARDOWN(dataset)
{
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

static int open_as(struct slc_ctx *ctx, const char *path, const char *format,
		   uint64_t record, struct slc_dataset **out)
{
	struct slc_dataset_attr attr = { .size = sizeof(attr),
					 .format = format,
					 .record = record };

	return slc_dataset_open(ctx, &path, 1, &attr, out);
}

static int open_one(struct slc_ctx *ctx, const char *path,
		    struct slc_dataset **out)
{
	return open_as(ctx, path, NULL, 0, out);
}

static void expect_samples(struct slc_dataset *ds, uint64_t n)
{
	struct slc_dataset_info info = { .size = sizeof(info) };

	ASSERT_EQ(slc_dataset_query(ds, &info), 0);
	EXPECT_EQ(info.samples, n);
	EXPECT_LT(info.index_bytes, 16 * n + 1024);
	EXPECT_EQ(info.verified, 0);
}

static void expect_key(struct slc_dataset *ds, uint64_t sample,
		       const char *key)
{
	struct slc_sample_info info = { .size = sizeof(info) };

	ASSERT_EQ(slc_dataset_sample(ds, sample, &info), 0);
	EXPECT_STREQ(info.key, key);
}

TEST_F(dataset, safetensors_are_tensors_with_name_dtype_and_shape)
{
	struct slc_sample_info info = { .size = sizeof(info) };
	struct slc_dataset *ds;

	md_safetensors(md_path("%s/m.safetensors", self->dir), 3, 100, "w.",
		       NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/m.safetensors", self->dir),
			   &ds), 0);
	expect_samples(ds, 3);
	ASSERT_EQ(slc_dataset_sample(ds, 2, &info), 0);
	EXPECT_STREQ(info.key, "w.2");
	EXPECT_STREQ(info.dtype, "U8");
	EXPECT_EQ(info.ndim, 1);
	EXPECT_EQ(info.shape[0], 100);
	EXPECT_EQ(info.len, 100);
	EXPECT_EQ(slc_dataset_sample(ds, 3, &info), -ERANGE);
	slc_dataset_put(ds);
}

TEST_F(dataset, either_file_of_a_megatron_pair_stands_for_both)
{
	struct slc_sample_info info = { .size = sizeof(info) };
	struct slc_shard_info shard = { .size = sizeof(shard) };
	struct slc_dataset *a, *b;
	const char *stem = md_path("%s/text_document", self->dir);

	md_megatron(stem, 200, 50, 0, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s.bin", stem), &a), 0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s.idx", stem), &b), 0);
	expect_samples(a, 200);
	EXPECT_EQ(a->fingerprint, b->fingerprint);
	ASSERT_EQ(slc_dataset_sample(b, 2, &info), 0);
	EXPECT_EQ(info.off, 2 * (50 + 51));
	EXPECT_EQ(info.len, 2 * 52);
	EXPECT_EQ(info.shape[0], 52);
	EXPECT_STREQ(info.dtype, "u16");
	EXPECT_STREQ(info.key, "2");
	ASSERT_EQ(slc_dataset_shard(b, 0, &shard), 0);
	EXPECT_HAS(shard.path, "text_document.bin");
	slc_dataset_put(a);
	slc_dataset_put(b);
}

TEST_F(dataset, half_a_megatron_pair_says_which_half_is_missing)
{
	struct slc_dataset *ds;
	const char *stem = md_path("%s/x", self->dir);

	md_megatron(stem, 10, 5, 0, NULL);
	ASSERT_EQ(unlink(md_path("%s.bin", stem)), 0);
	EXPECT_EQ(open_one(self->ctx, md_path("%s.idx", stem), &ds), -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "x.bin is missing");
	EXPECT_EQ(open_one(self->ctx, self->dir, &ds), -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "x.bin is missing");
	md_megatron(stem, 10, 5, 0, NULL);
	ASSERT_EQ(unlink(md_path("%s.idx", stem)), 0);
	EXPECT_EQ(open_one(self->ctx, md_path("%s.bin", stem), &ds), -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "x.idx beside it");
}

TEST_F(dataset, tar_keys_are_read_from_the_archive)
{
	struct slc_dataset *ds;

	md_tar(md_path("%s/a.tar", self->dir), 20, 700, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/a.tar", self->dir), &ds), 0);
	expect_samples(ds, 20);
	expect_key(ds, 0, "d/000000");
	expect_key(ds, 19, "d/000019");
	expect_key(ds, 3, "d/000003");
	slc_dataset_put(ds);
}

TEST_F(dataset, a_compressed_tar_has_the_table_of_the_plain_one)
{
	struct slc_dataset *a, *b, *c;
	const char *plain = md_path("%s/a.tar", self->dir);

	md_tar(plain, 40, 3000, NULL);
	md_gzip(plain, md_path("%s/b.tar.gz", self->dir));
	md_zstd(plain, md_path("%s/c.tar.zst", self->dir));
	ASSERT_EQ(open_one(self->ctx, plain, &a), 0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/b.tar.gz", self->dir), &b),
		  0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/c.tar.zst", self->dir), &c),
		  0);
	EXPECT_EQ(b->shards[0].codec, SLC_CODEC_GZIP);
	EXPECT_EQ(c->shards[0].codec, SLC_CODEC_ZSTD);
	EXPECT_EQ(b->shards[0].inflated, a->bytes);
	EXPECT_EQ(c->shards[0].inflated, a->bytes);
	ASSERT_EQ(b->nsamples, 40);
	ASSERT_EQ(c->nsamples, 40);
	EXPECT_EQ(memcmp(a->shards[0].table.words, b->shards[0].table.words,
			 320), 0);
	EXPECT_EQ(memcmp(a->shards[0].table.words, c->shards[0].table.words,
			 320), 0);
	EXPECT_HAS(self->log, "b.tar.gz to find its samples");
	expect_key(b, 39, "d/000039");
	expect_key(c, 1, "d/000001");
	slc_dataset_put(a);
	slc_dataset_put(b);
	slc_dataset_put(c);
}

struct walked {
	unsigned int members;
	uint64_t bytes;
	bool ordered;
};

static int count_member(void *user, const struct slc_piece *p)
{
	struct walked *w = user;

	w->members++;
	w->bytes += p->len;
	w->ordered = w->ordered && p->off >= 512;
	return 0;
}

TEST_F(dataset, members_of_every_sample_are_found_in_plain_and_packed_tars)
{
	struct md_samples s = { 0 };
	const char *names[] = { "a.tar", "b.tgz" };

	md_tar(md_path("%s/a.tar", self->dir), 50, 9000, &s);
	md_gzip(md_path("%s/a.tar", self->dir),
		md_path("%s/b.tgz", self->dir));
	for (int k = 0; k < 2; k++) {
		struct slc_members *m;
		struct slc_dataset *ds;

		ASSERT_EQ(open_one(self->ctx,
				   md_path("%s/%s", self->dir, names[k]),
				   &ds), 0);
		ASSERT_EQ(slc_members_open(self->ctx, &ds->shards[0], &m), 0);
		for (uint64_t i = 0; i < ds->nsamples; i++) {
			struct walked w = { .ordered = true };

			ASSERT_EQ(slc_members_each(m, i, count_member, &w), 0);
			EXPECT_EQ(w.members, 2);
			EXPECT_EQ(w.bytes, s.len[i]);
			EXPECT_TRUE(w.ordered);
		}
		slc_members_close(m);
		slc_dataset_put(ds);
	}
	md_samples_fini(&s);
}

TEST_F(dataset, an_mds_folder_is_its_index)
{
	struct slc_dataset *a, *b;

	md_mds(md_path("%s/m", self->dir), 3, 10, 300, 0, NULL);
	/* Not in the index, so not in the dataset. */
	md_npy(md_path("%s/m/other.npy", self->dir), 4, 4, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/m", self->dir), &a), 0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/m/index.json", self->dir),
			   &b), 0);
	expect_samples(a, 30);
	EXPECT_EQ(a->fingerprint, b->fingerprint);
	expect_key(a, 25, "25");
	slc_dataset_put(a);
	slc_dataset_put(b);
}

TEST_F(dataset, compressed_mds_shards_are_read_by_their_index)
{
	struct slc_dataset *ds;

	md_mds(md_path("%s/m", self->dir), 2, 10, 300, 1, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/m", self->dir), &ds), 0);
	expect_samples(ds, 20);
	EXPECT_EQ(ds->shards[1].codec, SLC_CODEC_ZSTD);
	slc_dataset_put(ds);
}

TEST_F(dataset, an_mds_shard_that_is_not_as_its_index_says_is_refused)
{
	const char *shard = md_path("%s/m/shard.00001.mds", self->dir);
	struct slc_dataset *ds;

	md_mds(md_path("%s/m", self->dir), 2, 10, 300, 0, NULL);
	md_mds_shard(shard, 11, 300, 4, NULL);
	EXPECT_EQ(open_one(self->ctx, md_path("%s/m", self->dir), &ds),
		  -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx), "shard.00001.mds: mds: offset ");
	EXPECT_HAS(slc_last_error(self->ctx), "index.json says");
}

TEST_F(dataset, npy_rows_and_raw_records_are_samples)
{
	struct slc_sample_info info = { .size = sizeof(info) };
	struct slc_dataset *ds;

	md_npy(md_path("%s/x.npy", self->dir), 12, 30, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/x.npy", self->dir), &ds), 0);
	expect_samples(ds, 12);
	ASSERT_EQ(slc_dataset_sample(ds, 11, &info), 0);
	EXPECT_EQ(info.off, 128 + 11 * 30);
	EXPECT_EQ(info.len, 30);
	EXPECT_STREQ(info.key, "11");
	slc_dataset_put(ds);

	md_raw(md_path("%s/r.dat", self->dir), 9, 512, NULL);
	EXPECT_EQ(open_one(self->ctx, md_path("%s/r.dat", self->dir), &ds),
		  -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "say --format");
	EXPECT_EQ(open_as(self->ctx, md_path("%s/r.dat", self->dir), "raw", 0,
			  &ds), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "--record SIZE");
	ASSERT_EQ(open_as(self->ctx, md_path("%s/r.dat", self->dir), "raw",
			  512, &ds), 0);
	expect_samples(ds, 9);
	slc_dataset_put(ds);
}

TEST_F(dataset, a_folder_is_every_known_file_in_byte_order_of_the_path)
{
	static const char *const want[] = {
		"/B.npy", "/a-1.npy", "/a.tar", "/a/z.npy", "/a0.npy",
	};
	struct slc_shard_info info = { .size = sizeof(info) };
	struct slc_dataset *ds;

	mkdir(md_path("%s/a", self->dir), 0777);
	md_npy(md_path("%s/a/z.npy", self->dir), 2, 4, NULL);
	md_npy(md_path("%s/a0.npy", self->dir), 2, 4, NULL);
	md_npy(md_path("%s/a-1.npy", self->dir), 2, 4, NULL);
	md_npy(md_path("%s/B.npy", self->dir), 2, 4, NULL);
	md_npy(md_path("%s/.hidden.npy", self->dir), 2, 4, NULL);
	md_tar(md_path("%s/a.tar", self->dir), 2, 4, NULL);
	md_write(md_path("%s/notes.txt", self->dir), "hello", 5);
	ASSERT_EQ(symlink(".", md_path("%s/loop", self->dir)), 0);
	ASSERT_EQ(open_one(self->ctx, self->dir, &ds), 0);
	ASSERT_EQ(ds->nshards, 5);
	for (uint64_t i = 0; i < 5; i++) {
		ASSERT_EQ(slc_dataset_shard(ds, i, &info), 0);
		EXPECT_STREQ(info.path + strlen(self->dir), want[i]);
		EXPECT_EQ(info.first, 2 * i);
	}
	EXPECT_HAS(self->log, "notes.txt: not of a format");
	EXPECT_HAS(self->log, ".hidden.npy: hidden");
	EXPECT_HAS(self->log, "loop: a link to a folder");
	slc_dataset_put(ds);
}

/* Of every format: what pack wrote into the folder that it packed. */
TEST_F(dataset, what_pack_wrote_in_a_folder_is_not_data)
{
	static const char *const formats[] = { NULL, "raw", "megatron" };
	const char *manifest = md_path("%s/d/x.slc.json", self->dir);
	const char *dir = md_path("%s/d", self->dir);
	struct slc_dataset *ds;

	mkdir(dir, 0777);
	md_megatron(md_path("%s/d/m", self->dir), 70, 5, 0, NULL);
	for (size_t i = 0; i < 3; i++) {
		uint64_t record = i == 1, n;

		ASSERT_EQ(open_as(self->ctx, dir, formats[i], record, &ds), 0);
		n = ds->nsamples;
		ASSERT_EQ(slc_dataset_pack(ds, manifest, NULL), 0);
		slc_dataset_put(ds);
		md_write(md_path("%s/d/.x.slc.json.host.17.0.tmp", self->dir),
			 "x", 1);
		self->log[self->log_len = 0] = 0;
		ASSERT_EQ(open_as(self->ctx, dir, formats[i], record, &ds), 0);
		EXPECT_EQ(ds->nsamples, n);
		slc_dataset_put(ds);
		EXPECT_HAS(self->log, "x.slc.json: sluice pack wrote it");
		EXPECT_HAS(self->log, ".idx: sluice pack wrote it");
		EXPECT_HAS(self->log, ".tmp: hidden");
		unlink(manifest);
	}
	/* By its content, and only as a whole: a text about one is data. */
	md_write(md_path("%s/d/t.dat", self->dir),
		 "a \"sluice_manifest\"", 19);
	ASSERT_EQ(open_as(self->ctx, dir, "raw", 1, &ds), 0);
	EXPECT_EQ(strcmp(ds->shards[ds->nshards - 1].path + strlen(dir),
			 "/t.dat"), 0);
	slc_dataset_put(ds);
	/* Named, it is the user's wish. */
	md_write(md_path("%s/n.slc.json", self->dir),
		 "{ \"sluice_manifest\": 1 }", 24);
	ASSERT_EQ(open_as(self->ctx, md_path("%s/n.slc.json", self->dir),
			  "raw", 1, &ds), 0);
	EXPECT_EQ(ds->nsamples, 24);
	slc_dataset_put(ds);
}

TEST_F(dataset, an_mds_index_without_shards_says_so)
{
	static const char text[] = "{\"version\":2,\"shards\":[]}";
	const char *index = md_path("%s/m/index.json", self->dir);
	struct slc_dataset *ds;

	mkdir(md_path("%s/m", self->dir), 0777);
	md_write(index, text, strlen(text));
	EXPECT_EQ(open_one(self->ctx, self->dir, &ds), -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "m/index.json: mds: it lists no shards");
	EXPECT_EQ(open_one(self->ctx, index, &ds), -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "it lists no shards");
}

TEST_F(dataset, links_to_files_are_followed_and_broken_links_are_errors)
{
	struct slc_dataset *ds;

	md_npy(md_path("%s/x.npy", self->dir), 2, 4, NULL);
	mkdir(md_path("%s/d", self->dir), 0777);
	ASSERT_EQ(symlink("../x.npy", md_path("%s/d/l.npy", self->dir)), 0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/d", self->dir), &ds), 0);
	EXPECT_EQ(ds->nsamples, 2);
	slc_dataset_put(ds);
	ASSERT_EQ(symlink("gone", md_path("%s/d/m.npy", self->dir)), 0);
	EXPECT_EQ(open_one(self->ctx, md_path("%s/d", self->dir), &ds),
		  -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "m.npy");
}

TEST_F(dataset, a_folder_with_nothing_usable_is_an_error)
{
	struct slc_dataset *ds;

	EXPECT_EQ(open_one(self->ctx, self->dir, &ds), -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "holds no file of a format");
	md_write(md_path("%s/a.txt", self->dir), "x", 1);
	EXPECT_EQ(open_one(self->ctx, self->dir, &ds), -ENOENT);
	EXPECT_EQ(open_one(self->ctx, md_path("%s/none", self->dir), &ds),
		  -ENOENT);
	EXPECT_EQ(slc_dataset_open(self->ctx, NULL, 0, NULL, &ds), -EINVAL);
}

TEST_F(dataset, malformed_input_names_file_format_and_offset)
{
	const char *path = md_path("%s/bad.npy", self->dir), *text;
	struct slc_dataset *ds;

	md_write(path, "\x93NUMPY\x09\x00\x04\x00junk", 14);
	ASSERT_EQ(open_one(self->ctx, path, &ds), -EBADMSG);
	text = slc_last_error(self->ctx);
	EXPECT_EQ(strncmp(text, path, strlen(path)), 0);
	EXPECT_EQ(strncmp(text + strlen(path), ": npy: offset 6: ", 17), 0);
	EXPECT_NULL(strchr(text, '\n'));
	/* Of a pair, the file that is wrong. */
	md_megatron(md_path("%s/t", self->dir), 5, 5, 0, NULL);
	md_write(md_path("%s/t.idx", self->dir), "MMIDIDX\0\0\2", 10);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/t.bin", self->dir), &ds),
		  -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx), "t.idx: megatron: offset ");
}

TEST_F(dataset, damage_inside_a_compressed_tar_is_refused)
{
	const char *path = md_path("%s/b.tar.gz", self->dir);
	struct slc_dataset *ds;
	struct md_buf b;

	md_tar(md_path("%s/a.tar", self->dir), 30, 2000, NULL);
	md_gzip(md_path("%s/a.tar", self->dir), path);
	b = md_load(path);
	b.p[b.n - 6] ^= 1; /* the CRC-32 of gzip */
	md_save(path, &b);
	EXPECT_EQ(open_one(self->ctx, path, &ds), -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx), "b.tar.gz: tar: offset ");
	b = md_load(path);
	b.n -= 100;
	md_save(path, &b);
	EXPECT_EQ(open_one(self->ctx, path, &ds), -EBADMSG);
}

TEST_F(dataset, only_tar_and_mds_may_be_compressed)
{
	struct slc_dataset *ds;

	md_npy(md_path("%s/x.npy", self->dir), 2, 4, NULL);
	md_gzip(md_path("%s/x.npy", self->dir),
		md_path("%s/y.npy.gz", self->dir));
	EXPECT_EQ(open_one(self->ctx, md_path("%s/y.npy.gz", self->dir), &ds),
		  -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "decompress it first");
}

TEST_F(dataset, what_is_no_regular_file_is_refused_without_blocking)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const char *fifo = md_path("%s/f.npy", self->dir);
	const char *sock = md_path("%s/s.npy", self->dir);
	struct slc_dataset *ds;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	ASSERT_EQ(mkfifo(fifo, 0600), 0);
	EXPECT_EQ(open_one(self->ctx, fifo, &ds), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "is a FIFO");
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", sock);
	ASSERT_EQ(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	EXPECT_EQ(open_one(self->ctx, sock, &ds), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "is a socket");
	EXPECT_EQ(open_one(self->ctx, "/dev/null", &ds), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "is a character device");
	close(fd);
	/* The half of a pair, named by the other half. */
	md_megatron(md_path("%s/t", self->dir), 5, 5, 0, NULL);
	ASSERT_EQ(unlink(md_path("%s/t.bin", self->dir)), 0);
	ASSERT_EQ(mkfifo(md_path("%s/t.bin", self->dir), 0600), 0);
	EXPECT_EQ(open_one(self->ctx, md_path("%s/t.idx", self->dir), &ds),
		  -EINVAL);
}

TEST_F(dataset, sharded_safetensors_are_checked_against_their_index)
{
	static const char good[] =
		"{\"metadata\":{\"total_size\":400},\"weight_map\":{\"a.0\":\"m-1.safetensors\",\"a.1\":\"m-1.safetensors\",\"b.0\":\"m-2.safetensors\",\"b.1\":\"m-2.safetensors\"}}";
	static const char swapped[] =
		"{\"weight_map\":{\"a.0\":\"m-1.safetensors\",\"a.1\":\"m-2.safetensors\",\"b.0\":\"m-2.safetensors\",\"b.1\":\"m-2.safetensors\"}}";
	static const char more[] =
		"{\"weight_map\":{\"a.0\":\"m-1.safetensors\",\"a.1\":\"m-1.safetensors\",\"b.0\":\"m-2.safetensors\",\"b.1\":\"m-2.safetensors\",\"c\":\"m-2.safetensors\"}}";
	const char *path = md_path("%s/model.safetensors.index.json",
				   self->dir);
	struct slc_dataset *ds;

	md_safetensors(md_path("%s/m-1.safetensors", self->dir), 2, 100, "a.",
		       NULL);
	md_safetensors(md_path("%s/m-2.safetensors", self->dir), 2, 100, "b.",
		       NULL);
	md_safetensors(md_path("%s/x.safetensors", self->dir), 2, 100, "x.",
		       NULL);
	md_write(path, good, sizeof(good) - 1);
	ASSERT_EQ(open_one(self->ctx, path, &ds), 0);
	EXPECT_EQ(ds->nsamples, 4);
	EXPECT_EQ(ds->nshards, 2);
	slc_dataset_put(ds);
	md_write(path, swapped, sizeof(swapped) - 1);
	EXPECT_EQ(open_one(self->ctx, path, &ds), -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx), "tensor a.1");
	md_write(path, more, sizeof(more) - 1);
	EXPECT_EQ(open_one(self->ctx, path, &ds), -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx), "names 5 tensors");
}

TEST_F(dataset, the_fingerprint_is_that_of_a_copy_elsewhere)
{
	struct slc_dataset *a, *b, *c;

	mkdir(md_path("%s/1", self->dir), 0777);
	mkdir(md_path("%s/2", self->dir), 0777);
	md_npy(md_path("%s/1/x.npy", self->dir), 8, 4, NULL);
	md_npy(md_path("%s/2/x.npy", self->dir), 8, 4, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/1", self->dir), &a), 0);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/2/x.npy", self->dir), &b),
		  0);
	EXPECT_EQ(a->fingerprint, b->fingerprint);
	md_npy(md_path("%s/2/x.npy", self->dir), 9, 4, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s/2/x.npy", self->dir), &c),
		  0);
	EXPECT_NE(a->fingerprint, c->fingerprint);
	slc_dataset_put(a);
	slc_dataset_put(b);
	slc_dataset_put(c);
}

TEST_F(dataset, locate_finds_the_shard_across_empty_ones)
{
	struct slc_shard shards[6] = { 0 };
	struct slc_dataset ds = { .shards = shards, .nshards = 6 };
	static const uint64_t n[6] = { 0, 3, 0, 0, 2, 0 };

	for (int i = 0; i < 6; i++) {
		shards[i].first = ds.nsamples;
		ds.nsamples += n[i];
	}
	for (uint64_t g = 0; g < 5; g++)
		EXPECT_EQ(slc_dataset_locate(&ds, g), g < 3 ? 1 : 4);
}

TEST_F(dataset, ten_thousand_shards_open_with_few_descriptors)
{
	struct rlimit few = { 16, 16 };
	struct slc_dataset *ds;

	for (unsigned int i = 0; i < 10000; i++)
		md_npy(md_path("%s/%05u.npy", self->dir, i), 2, 4, NULL);
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	ASSERT_EQ(open_one(self->ctx, self->dir, &ds), 0);
	EXPECT_EQ(ds->nshards, 10000);
	EXPECT_EQ(ds->nsamples, 20000);
	slc_dataset_put(ds);
}

TEST_F(dataset, no_descriptor_left_is_said_so)
{
	struct rlimit old, none;
	struct slc_dataset *ds;
	int err;

	md_npy(md_path("%s/x.npy", self->dir), 2, 4, NULL);
	ASSERT_EQ(getrlimit(RLIMIT_NOFILE, &old), 0);
	none = old;
	none.rlim_cur = 3;
	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
	err = open_one(self->ctx, md_path("%s/x.npy", self->dir), &ds);
	setrlimit(RLIMIT_NOFILE, &old);
	EXPECT_EQ(err, -EMFILE);
	EXPECT_HAS(slc_last_error(self->ctx), "raise ulimit -n");
}

TEST_F(dataset, attr_fields_that_are_wrong_are_refused)
{
	struct slc_dataset_attr attr = { .size = sizeof(attr), .flags = 2 };
	const char *path = self->dir;
	struct slc_dataset *ds;

	EXPECT_EQ(slc_dataset_open(self->ctx, &path, 1, &attr, &ds), -EINVAL);
	EXPECT_EQ(open_as(self->ctx, path, "parquet", 0, &ds), -EINVAL);
	EXPECT_HAS(slc_last_error(self->ctx), "parquet");
	EXPECT_EQ(open_as(self->ctx, path, "tar", 512, &ds), -EINVAL);
}

TEST_F(dataset, every_failing_allocation_of_an_open_is_an_error_without_a_leak)
{
	const char *all = md_path("%s/s", self->dir);
	struct slc_dataset *ds;
	int err;

	mkdir(all, 0777);
	md_npy(md_path("%s/s/x.npy", self->dir), 8, 4, NULL);
	md_safetensors(md_path("%s/s/x.safetensors", self->dir), 3, 8, "w",
		       NULL);
	md_megatron(md_path("%s/s/t", self->dir), 100, 5, 2, NULL);
	md_tar(md_path("%s/s/a.tar", self->dir), 20, 30, NULL);
	md_gzip(md_path("%s/s/a.tar", self->dir),
		md_path("%s/s/b.tgz", self->dir));
	md_mds(md_path("%s/s/m", self->dir), 2, 5, 30, 1, NULL);
	for (uint64_t n = 1; n < 10000; n++) {
		nthfail_arm(n);
		err = open_one(self->ctx, all, &ds);
		if (!nthfail_disarm()) {
			ASSERT_EQ(err, 0);
			slc_dataset_put(ds);
			EXPECT_GT(n, 20);
			return;
		}
		/* Some uses of memory have a way without it. */
		if (!err)
			slc_dataset_put(ds);
		else
			ASSERT_EQ(err, -ENOMEM);
	}
	EXPECT_TRUE(!"the sweep came to its end");
}

/* The files of others, where they are at hand. */
TEST_F(dataset, shared_samples_are_taken_or_refused_as_their_names_say)
{
	const char *base = getenv("SLC_SHARED");
	static const struct {
		const char *path;
		int err;
		uint64_t samples;
	} cases[] = {
		{ "mds", 0, 5 },
		{ "mds/invalid_format.index.json", -EBADMSG, 0 },
		{ "mds/invalid_version1.index.json", -EBADMSG, 0 },
		{ "mds/invalid_truncated.mds", -EBADMSG, 0 },
		{ "megatron/valid_i32.idx", 0, 4 },
		{ "megatron/valid_i32_multimodal.bin", 0, 4 },
		{ "megatron/valid_u16.bin", 0, 4 },
		{ "webdataset/sample.tgz", 0, 0 },
		{ "webdataset/compressed.tar", 0, 0 },
		{ "safetensors-real/a.safetensors", 0, 0 },
		{ "npy/f8_empty.npy", 0, 0 },
		{ "npy/object_pickle.npy", -EBADMSG, 0 },
		{ "gguf/valid_v3.gguf", 0, 0 },
		{ "gguf/invalid_magic.gguf", -EBADMSG, 0 },
	};
	struct slc_dataset *ds;

	base = base ? base : "../shared";
	if (access(md_path("%s/samples", base), F_OK))
		SKIP("no %s/samples: set SLC_SHARED", base);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = md_path("%s/samples/%s", base,
					   cases[i].path);
		int err = open_one(self->ctx, path, &ds);

		if (err != cases[i].err)
			printf("# %s: %s\n", path, slc_last_error(self->ctx));
		EXPECT_EQ(err, cases[i].err);
		if (!err && cases[i].samples)
			EXPECT_EQ(ds->nsamples, cases[i].samples);
		if (!err)
			slc_dataset_put(ds);
	}
}

TEST_HARNESS_MAIN

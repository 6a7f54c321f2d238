/* SPDX-License-Identifier: MIT */
/* Manifests and their checksum files: whole and true, or refused. */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "open_one.h"
#include "nthfail.h"
#include "stream/dataset.h"
#include "stream/manifest.h"
#include "stream/manifest_json.h"

FIXTURE(manifest)
{
	struct slc_ctx *ctx;
	char *dir;
	const char *path; /* of the manifest */
	char *idx;	  /* of its checksum file */
};
FIXTURE_NO_VARIANT(manifest);

FIXTURE_SETUP(manifest)
{
	const char *data;
	struct slc_dataset *ds;
	json_t *root;

	self->dir = md_folder();
	data = md_path("%s/data", self->dir);
	self->path = md_path("%s/d.slc.json", self->dir);
	mkdir(data, 0777);
	md_npy(md_path("%s/a.npy", data), 5, 100, NULL);
	md_megatron(md_path("%s/b", data), 9, 20, 0, NULL);
	md_tar(md_path("%s/c.tar", data), 6, 30, NULL);
	md_mds(md_path("%s/d", data), 1, 4, 50, 1, NULL);
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	ASSERT_EQ(open_one(self->ctx, data, &ds), 0);
	ASSERT_EQ(slc_dataset_pack(ds, self->path, NULL), 0);
	slc_dataset_put(ds);
	root = json_load_file(self->path, 0, NULL);
	ASSERT_NOT_NULL(root);
	ASSERT_TRUE(asprintf(&self->idx, "%s/%s", self->dir,
			     json_string_value(json_object_get(
				     json_object_get(root, "index"),
				     "file"))) > 0);
	json_decref(root);
}

FIXTURE_TEARDOWN(manifest)
{
	slc_ctx_close(self->ctx);
	free(self->idx);
	md_remove(self->dir);
}

/* Opens it, after a change of one file of it. */
static int try_bytes(struct ktap_fixture_manifest *self, const char *path,
		     const void *bytes, size_t n)
{
	struct slc_dataset *ds;
	int err;

	md_write(path, bytes, n);
	err = open_one(self->ctx, self->path, &ds);
	if (!err)
		slc_dataset_put(ds);
	return err;
}

static int try_length(struct ktap_fixture_manifest *self, const char *path,
		      size_t n)
{
	struct slc_dataset *ds;
	int err;

	MD_MUST(!truncate(path, (off_t)n));
	err = open_one(self->ctx, self->path, &ds);
	if (!err)
		slc_dataset_put(ds);
	return err;
}

/* What a test compares: all numbers and checksums that an open gives. */
static uint32_t digest(struct slc_dataset *ds)
{
	uint32_t crc = slc_crc32c(0, &ds->fingerprint, 8);

	crc = slc_crc32c(crc, &ds->nsamples, 8);
	for (uint64_t i = 0; i < ds->nshards; i++) {
		const struct slc_shard *sh = &ds->shards[i];

		crc = slc_crc32c(crc, sh->sample_crc, sh->table.n * 4);
		crc = slc_crc32c(crc, sh->extent_crc, sh->nextents * 4);
		crc = slc_crc32c(crc, sh->path, strlen(sh->path));
		for (uint64_t k = 0; k < sh->table.n; k++) {
			uint64_t span[2];

			slc_table_span(&sh->table, k, &span[0], &span[1]);
			crc = slc_crc32c(crc, span, sizeof(span));
		}
	}
	return crc;
}

static void flip_every_bit(struct ktap_fixture_manifest *self,
			   const char *path, bool may_be_harmless)
{
	struct md_buf good = md_load(path);
	int fd = open(path, O_WRONLY);
	unsigned int harmless = 0;
	struct slc_dataset *ds;
	uint32_t want;

	ASSERT_EQ(open_one(self->ctx, self->path, &ds), 0);
	want = digest(ds);
	slc_dataset_put(ds);
	for (size_t i = 0; i < good.n; i++) {
		for (int bit = 0; bit < 8; bit++) {
			uint8_t bad = good.p[i] ^ (uint8_t)(1 << bit);

			ASSERT_EQ(pwrite(fd, &bad, 1, (off_t)i), 1);
			if (open_one(self->ctx, self->path, &ds))
				continue;
			harmless++;
			/* White space, or "sluice_manifest" unseen. */
			if (digest(ds) != want)
				ktap_fail(__FILE__, __LINE__,
					  "byte %zu bit %d changes the dataset",
					  i, bit);
			slc_dataset_put(ds);
		}
		ASSERT_EQ(pwrite(fd, good.p + i, 1, (off_t)i), 1);
	}
	close(fd);
	free(good.p);
	if (!may_be_harmless)
		EXPECT_EQ(harmless, 0);
}

TEST_F_TIMEOUT(manifest, every_flipped_bit_of_the_manifest_is_refused_or_harmless,
	       120)
{
	flip_every_bit(self, self->path, true);
}

TEST_F(manifest, every_flipped_bit_of_the_checksum_file_is_refused)
{
	flip_every_bit(self, self->idx, false);
}

TEST_F(manifest, every_truncation_is_refused)
{
	struct md_buf m = md_load(self->path), x = md_load(self->idx);

	/* From the end: nothing is written. The last byte is a newline. */
	for (size_t n = m.n - 2; n; n--)
		EXPECT_LT(try_length(self, self->path, n), 0);
	EXPECT_EQ(try_bytes(self, self->path, m.p, m.n), 0);
	for (size_t n = x.n - 1; n; n--)
		EXPECT_EQ(try_length(self, self->idx, n), -EBADMSG);
	md_u8(&x, 0);
	EXPECT_EQ(try_bytes(self, self->idx, x.p, x.n), -EBADMSG);
	EXPECT_EQ(try_bytes(self, self->idx, x.p, x.n - 1), 0);
	free(m.p);
	free(x.p);
}

TEST_F(manifest, a_missing_checksum_file_is_named)
{
	struct slc_dataset *ds;

	ASSERT_EQ(unlink(self->idx), 0);
	EXPECT_EQ(open_one(self->ctx, self->path, &ds), -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), "d.slc.json: manifest: its index");
	EXPECT_HAS(slc_last_error(self->ctx), "is missing");
}

TEST_F(manifest, a_fifo_as_shard_or_checksum_file_is_refused_without_blocking)
{
	struct slc_dataset *ds;

	ASSERT_EQ(unlink(self->idx), 0);
	ASSERT_EQ(mkfifo(self->idx, 0600), 0);
	EXPECT_EQ(open_one(self->ctx, self->path, &ds), -EINVAL);
}

/* ---- edits with a checksum that is right ---- */

static json_t *shard(json_t *root, size_t i)
{
	return json_array_get(json_object_get(root, "shards"), i);
}

/* Applies `edit` to the manifest, makes its own checksum right, opens it. */
static int try_edit(struct ktap_fixture_manifest *self,
		    void (*edit)(json_t *root))
{
	json_t *root = json_load_file(self->path, 0, NULL);
	struct md_buf old = md_load(self->path);
	struct slc_dataset *ds;
	char text[16];
	uint32_t crc;
	int err;

	MD_MUST(root);
	edit(root);
	json_object_del(root, "crc32c");
	MD_MUST(!slc_manifest_crc(root, &crc));
	snprintf(text, sizeof(text), "%08x", crc);
	json_object_set_new(root, "crc32c", json_string(text));
	/* The key that tells what it is stays among the first bytes. */
	MD_MUST(!json_dump_file(root, self->path, JSON_PRESERVE_ORDER));
	json_decref(root);
	err = open_one(self->ctx, self->path, &ds);
	if (!err)
		slc_dataset_put(ds);
	md_save(self->path, &old);
	return err;
}

#define EDIT(name, ...)                                                     \
	static void name(json_t *root)                                      \
	{                                                                   \
		__VA_ARGS__;                                                \
	}
#define SET(obj, key, v) json_object_set_new(obj, key, v)
EDIT(no_edit, (void)root)
EDIT(dotdot, SET(shard(root, 0), "path", json_string("../data/a.npy")))
EDIT(dotdot_inside, SET(shard(root, 0), "path",
			json_string("data/../../x/a.npy")))
EDIT(dotdot_end, SET(shard(root, 0), "path", json_string("data/..")))
EDIT(no_path, SET(shard(root, 0), "path", json_string("")))
EDIT(other_format, SET(shard(root, 0), "format", json_string("tar")))
EDIT(unknown_format, SET(shard(root, 0), "format", json_string("zip")))
EDIT(codec_on_npy, SET(shard(root, 0), "codec", json_string("gzip")))
EDIT(record_on_npy, SET(shard(root, 0), "record", json_integer(4)))
EDIT(raw_without_record, SET(shard(root, 0), "format", json_string("raw")))
EDIT(negative, SET(shard(root, 0), "bytes", json_integer(-1)))
EDIT(huge, SET(shard(root, 0), "bytes", json_integer(INT64_MAX));
     SET(shard(root, 0), "inflated", json_integer(INT64_MAX)))
EDIT(huge_samples, SET(shard(root, 2), "samples", json_integer(INT64_MAX)))
EDIT(real_number, SET(shard(root, 0), "bytes", json_real(628)))
EDIT(inflated, SET(shard(root, 0), "inflated", json_integer(9)))
EDIT(short_extents, SET(shard(root, 0), "extents", json_string("0000000")))
EDIT(upper_hex, SET(shard(root, 0), "extents", json_string("ABCDEF01")))
EDIT(no_extents, json_object_del(shard(root, 0), "extents"))
EDIT(no_idx, json_object_del(shard(root, 1), "idx"))
EDIT(idx_on_npy, SET(shard(root, 0), "idx", json_object()))
EDIT(shards_gone, json_object_del(root, "shards"))
EDIT(no_shards, json_array_clear(json_object_get(root, "shards")))
EDIT(shard_is_text, json_array_set_new(json_object_get(root, "shards"), 0,
				       json_string("x")))
EDIT(samples_sum, SET(root, "samples", json_integer(1)))
EDIT(bytes_sum, SET(root, "bytes", json_integer(1)))
EDIT(extent_bytes, SET(root, "extent_bytes", json_integer(4096)))
EDIT(fingerprint, SET(root, "fingerprint", json_string("0123456789abcdef")))
EDIT(index_away, SET(json_object_get(root, "index"), "file",
		     json_string("/etc/passwd")))
EDIT(index_gone, json_object_del(root, "index"))
EDIT(version_2, SET(root, "sluice_manifest", json_integer(2)))
EDIT(swapped, json_t *a = json_incref(shard(root, 0));
     json_array_remove(json_object_get(root, "shards"), 0);
     json_array_append_new(json_object_get(root, "shards"), a))

TEST_F(manifest, what_is_right_in_form_and_wrong_in_meaning_is_refused)
{
	static const struct {
		const char *name;
		void (*edit)(json_t *root);
		const char *says;
	} cases[] = {
#define CASE(edit, says) { #edit, edit, says }
		CASE(dotdot, "\"path\" of shard 0 leads out"),
		CASE(dotdot_inside, "leads out"),
		CASE(dotdot_end, "leads out"),
		CASE(no_path, "is empty"),
		CASE(other_format, ""),
		CASE(unknown_format, "\"format\""),
		CASE(codec_on_npy, "\"codec\""),
		CASE(record_on_npy, "\"record\""),
		CASE(raw_without_record, "\"record\""),
		CASE(negative, "\"bytes\""),
		CASE(huge, "\"extents\""),
		CASE(huge_samples, ""),
		CASE(real_number, "\"bytes\""),
		CASE(inflated, "\"inflated\""),
		CASE(short_extents, "\"extents\""),
		CASE(upper_hex, "\"extents\""),
		CASE(no_extents, "\"extents\""),
		CASE(no_idx, "\"idx\""),
		CASE(idx_on_npy, "\"idx\""),
		CASE(shards_gone, "\"shards\""),
		CASE(no_shards, "\"shards\""),
		CASE(shard_is_text, ""),
		CASE(samples_sum, "\"samples\""),
		CASE(bytes_sum, "\"bytes\""),
		CASE(extent_bytes, "\"extent_bytes\""),
		CASE(fingerprint, "\"fingerprint\""),
		CASE(index_away, "\"file\""),
		CASE(index_gone, "\"index\""),
		CASE(version_2, "version 2"),
		CASE(swapped, ""),
	};

	ASSERT_EQ(try_edit(self, no_edit), 0);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int err = try_edit(self, cases[i].edit);

		if (err != -EBADMSG)
			printf("# %s: %d\n", cases[i].name, err);
		EXPECT_EQ(err, -EBADMSG);
		EXPECT_HAS(slc_last_error(self->ctx), cases[i].says);
		EXPECT_HAS(slc_last_error(self->ctx), "d.slc.json: manifest: ");
	}
}

TEST_F(manifest, a_key_twice_is_refused)
{
	static const char twice[] =
		"{\"sluice_manifest\": 1, \"sluice_manifest\": 1, \"shards\": []}";

	EXPECT_EQ(try_bytes(self, self->path, twice, sizeof(twice) - 1),
		  -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx), "manifest: offset ");
}

TEST_F(manifest, deep_nesting_is_refused_not_a_crash)
{
	struct md_buf b = { 0 };
	int err;

	md_put(&b, "{\"sluice_manifest\": ", 20);
	for (int i = 0; i < 100000; i++)
		md_put(&b, "[", 1);
	err = try_bytes(self, self->path, b.p, b.n);
	free(b.p);
	EXPECT_EQ(err, -EBADMSG);
}

TEST_F(manifest, layout_and_order_of_keys_do_not_matter)
{
	json_t *root = json_load_file(self->path, 0, NULL);
	struct slc_dataset *ds;

	ASSERT_NOT_NULL(root);
	ASSERT_EQ(json_dump_file(root, self->path, JSON_COMPACT), 0);
	json_decref(root);
	ASSERT_EQ(open_one(self->ctx, self->path, &ds), 0);
	EXPECT_EQ(ds->nsamples, 5 + 9 + 6 + 4);
	slc_dataset_put(ds);
}

TEST_F(manifest, each_kind_of_change_of_a_shard_is_stale)
{
	const char *npy = md_path("%s/data/a.npy", self->dir);
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	struct slc_dataset *ds;
	struct md_buf b;

	b = md_load(npy);
	ASSERT_EQ(truncate(npy, (off_t)b.n + 1), 0);
	EXPECT_EQ(open_one(self->ctx, self->path, &ds), -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "a.npy changed since it was packed (size");
	md_save(npy, &b);
	ASSERT_EQ(utimensat(AT_FDCWD, npy, times, 0), 0);
	EXPECT_EQ(open_one(self->ctx, self->path, &ds), -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "time of change");
}

TEST_F(manifest, a_changed_megatron_index_is_known_by_its_content)
{
	const char *idx = md_path("%s/data/b.idx", self->dir);
	struct md_buf b = md_load(idx);
	struct slc_dataset *ds;

	b.p[34] ^= 1;
	md_save(idx, &b);
	EXPECT_EQ(open_one(self->ctx, self->path, &ds), -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "b.idx changed since it was packed");
}

/* Flips the lowest bit of the byte at `off` of `path`, and hides it in time. */
static void flip_unseen(const char *path, off_t off)
{
	struct timespec times[2];
	struct stat st;
	uint8_t byte;
	int fd = open(path, O_RDWR);

	MD_MUST(fd >= 0 && !fstat(fd, &st));
	MD_MUST(pread(fd, &byte, 1, off) == 1);
	byte ^= 1;
	MD_MUST(pwrite(fd, &byte, 1, off) == 1);
	times[0] = st.st_atim;
	times[1] = st.st_mtim;
	MD_MUST(!futimens(fd, times));
	close(fd);
}

static void flip_where(struct ktap_fixture_manifest *self, const char *path,
		       const char *needle)
{
	struct md_buf b = md_load(path);
	struct slc_dataset *ds;
	const uint8_t *at = memmem(b.p, b.n, needle, strlen(needle));
	off_t off;

	ASSERT_NOT_NULL(at);
	off = at - b.p;
	free(b.p);
	flip_unseen(path, off);
	ASSERT_EQ(open_one(self->ctx, self->path, &ds), -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx),
		   "checksum mismatch in its header at offset 0 (got ");
	flip_unseen(path, off);
	ASSERT_EQ(open_one(self->ctx, self->path, &ds), 0);
	slc_dataset_put(ds);
}

TEST_F(manifest, a_flipped_bit_of_a_header_is_refused_at_open)
{
	const char *data = md_path("%s/heads", self->dir);
	const char *st = md_path("%s/s.safetensors", data);
	const char *gguf = md_path("%s/g.gguf", data);
	const char *mds = md_path("%s/d", data);
	static const uint8_t one_tensor[] =
		"GGUF\3\0\0\0\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		"\6\0\0\0\0\0\0\0weight\1\0\0\0\10\0\0\0\0\0\0\0"
		"\0\0\0\0\0\0\0\0\0\0\0\0";
	struct slc_dataset *ds;
	struct md_buf b = { 0 };

	mkdir(data, 0777);
	md_put(&b, one_tensor, sizeof(one_tensor) - 1);
	md_zero(&b, 64 - b.n + 32);
	md_save(gguf, &b);
	md_safetensors(st, 2, 64, "t", NULL);
	md_npy(md_path("%s/a.npy", data), 5, 100, NULL);
	md_mds(mds, 1, 4, 50, 0, NULL);
	ASSERT_EQ(open_one(self->ctx, data, &ds), 0);
	ASSERT_EQ(slc_dataset_pack(ds, self->path, NULL), 0);
	slc_dataset_put(ds);
	flip_where(self, gguf, "weight");
	flip_where(self, st, "dtype");
	flip_where(self, md_path("%s/a.npy", data), "descr");
	flip_where(self, md_path("%s/shard.00000.mds", mds), "bytes");
}

TEST_F(manifest, index_memory_stays_below_16_bytes_a_sample)
{
	const char *stem = md_path("%s/big", self->dir);
	const char *path = md_path("%s/big.json", self->dir);
	struct slc_dataset_info info = { .size = sizeof(info) };
	struct slc_dataset *ds;

	md_megatron(stem, 20000, 3, 0, NULL);
	ASSERT_EQ(open_one(self->ctx, md_path("%s.bin", stem), &ds), 0);
	ASSERT_EQ(slc_dataset_pack(ds, path, NULL), 0);
	slc_dataset_put(ds);
	ASSERT_EQ(open_one(self->ctx, path, &ds), 0);
	ASSERT_EQ(slc_dataset_query(ds, &info), 0);
	EXPECT_GE(info.index_bytes, 20000 * 8);
	EXPECT_LT(info.index_bytes, 20000 * 16);
	slc_dataset_put(ds);
}

TEST_F(manifest, every_failing_allocation_of_an_open_is_an_error_without_a_leak)
{
	struct slc_dataset *ds;
	int err;

	json_set_alloc_funcs(malloc, free);
	for (uint64_t n = 1; n < 10000; n++) {
		nthfail_arm(n);
		err = open_one(self->ctx, self->path, &ds);
		if (!nthfail_disarm()) {
			ASSERT_EQ(err, 0);
			slc_dataset_put(ds);
			EXPECT_GT(n, 50);
			return;
		}
		if (!err)
			slc_dataset_put(ds);
		/* jansson's lexer drops bytes that it has no memory for: the
		 * manifest then looks damaged, and is refused as such. */
		if (err)
			ASSERT_TRUE(err == -ENOMEM || err == -EBADMSG);
	}
	EXPECT_TRUE(!"the sweep came to its end");
}

TEST_F(manifest, every_failing_allocation_of_a_pack_leaves_the_old_one)
{
	struct slc_dataset *ds, *again;
	int err;

	json_set_alloc_funcs(malloc, free);
	ASSERT_EQ(open_one(self->ctx, self->path, &ds), 0);
	for (uint64_t n = 1; n < 10000; n++) {
		nthfail_arm(n);
		err = slc_dataset_pack(ds, self->path, NULL);
		if (!nthfail_disarm()) {
			ASSERT_EQ(err, 0);
			EXPECT_GT(n, 50);
			slc_dataset_put(ds);
			return;
		}
		if (err)
			EXPECT_EQ(err, -ENOMEM);
		ASSERT_EQ(open_one(self->ctx, self->path, &again), 0);
		slc_dataset_put(again);
	}
	EXPECT_TRUE(!"the sweep came to its end");
}

TEST_HARNESS_MAIN

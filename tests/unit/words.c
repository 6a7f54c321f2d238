/* SPDX-License-Identifier: MIT */
/* A table of samples in an index whose every checksum is right. */
#include <errno.h>
#include <jansson.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "open_one.h"
#include "stream/dataset.h"
#include "stream/manifest_json.h"

#define TAR_SAMPLES 6
#define MDS_SAMPLES 4

/* Of the index: a header, two entries, then checksums and words of each. */
#define TAR_WORDS (64 + 2 * 16 + 4 * TAR_SAMPLES)
#define MDS_WORDS (TAR_WORDS + 4 * 2 * TAR_SAMPLES + 4 * MDS_SAMPLES)
#define INDEX_BYTES (MDS_WORDS + 4 * (MDS_SAMPLES + 1))

FIXTURE(words)
{
	struct slc_ctx *ctx;
	char *dir;
	const char *manifest, *idx;
	struct md_buf index; /* as packed */
	uint32_t blocks, inflated; /* of the tar, of the MDS shard */
};
FIXTURE_NO_VARIANT(words);

FIXTURE_SETUP(words)
{
	const char *data;
	struct slc_dataset *ds;
	json_t *root;

	self->dir = md_folder();
	data = md_path("%s/data", self->dir);
	self->manifest = md_path("%s/d.slc.json", self->dir);
	MD_MUST(!mkdir(data, 0777));
	md_tar(md_path("%s/a.tar", data), TAR_SAMPLES, 30, NULL);
	md_mds(md_path("%s/b", data), 1, MDS_SAMPLES, 50, 1, NULL);
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	ASSERT_EQ(open_one(self->ctx, data, &ds), 0);
	ASSERT_EQ(slc_dataset_pack(ds, self->manifest, NULL), 0);
	ASSERT_EQ(ds->nshards, 2);
	self->blocks = (uint32_t)(ds->shards[0].size / 512);
	self->inflated = (uint32_t)ds->shards[1].inflated;
	slc_dataset_put(ds);
	root = json_load_file(self->manifest, 0, NULL);
	ASSERT_NOT_NULL(root);
	self->idx = md_path("%s/%s", self->dir,
			    json_string_value(json_object_get(
				    json_object_get(root, "index"), "file")));
	json_decref(root);
	self->index = md_load(self->idx);
	ASSERT_EQ(self->index.n, INDEX_BYTES);
}

FIXTURE_TEARDOWN(words)
{
	slc_ctx_close(self->ctx);
	free(self->index.p);
	md_remove(self->dir);
}

static void put_hex(json_t *obj, const char *key, uint32_t v)
{
	char text[9];

	snprintf(text, sizeof(text), "%08x", v);
	MD_MUST(!json_object_set_new(obj, key, json_string(text)));
}

static uint32_t word(const struct ktap_fixture_words *self, size_t at)
{
	uint32_t v;

	memcpy(&v, self->index.p + at, sizeof(v));
	return v;
}

/* Opens the manifest after word k at `at` became `v`, with checksums to fit. */
static int try_word(struct ktap_fixture_words *self, size_t at, size_t k,
		    uint32_t v)
{
	uint32_t was = word(self, at + 4 * k), crc;
	struct slc_dataset *ds;
	json_t *root;
	int err;

	memcpy(self->index.p + at + 4 * k, &v, sizeof(v));
	md_write(self->idx, self->index.p, self->index.n);
	root = json_load_file(self->manifest, 0, NULL);
	MD_MUST(root);
	put_hex(json_object_get(root, "index"), "crc32c",
		slc_crc32c(0, self->index.p, self->index.n));
	json_object_del(root, "crc32c");
	MD_MUST(!slc_manifest_crc(root, &crc));
	put_hex(root, "crc32c", crc);
	MD_MUST(!json_dump_file(root, self->manifest, 0));
	json_decref(root);
	memcpy(self->index.p + at + 4 * k, &was, sizeof(was));
	err = open_one(self->ctx, self->manifest, &ds);
	if (!err)
		slc_dataset_put(ds);
	return err;
}

static void expect_outside(struct ktap_fixture_words *self, size_t at, size_t k,
			   uint32_t v, unsigned int sample)
{
	char want[60];

	EXPECT_EQ(try_word(self, at, k, v), -EBADMSG);
	snprintf(want, sizeof(want), "sample %u lies outside the file", sample);
	EXPECT_HAS(slc_last_error(self->ctx), want);
}

TEST_F(words, as_they_were_packed_they_open)
{
	EXPECT_EQ(try_word(self, TAR_WORDS, 3, word(self, TAR_WORDS + 12)), 0);
	/* Members of nobody may lie before the first and after the last. */
	EXPECT_EQ(try_word(self, TAR_WORDS, 2 * TAR_SAMPLES - 1,
			   self->blocks -
				   word(self, TAR_WORDS + 4 * (2 * TAR_SAMPLES - 2))),
		  0);
	EXPECT_EQ(try_word(self, MDS_WORDS, MDS_SAMPLES, self->inflated), 0);
}

TEST_F(words, a_tar_sample_past_the_end_is_refused)
{
	const size_t last = 2 * TAR_SAMPLES - 2;
	uint32_t first = word(self, TAR_WORDS + 4 * last);

	expect_outside(self, TAR_WORDS, last + 1, self->blocks - first + 1,
		       TAR_SAMPLES - 1);
	expect_outside(self, TAR_WORDS, last + 1, UINT32_MAX, TAR_SAMPLES - 1);
	expect_outside(self, TAR_WORDS, last, self->blocks, TAR_SAMPLES - 1);
	expect_outside(self, TAR_WORDS, last, UINT32_MAX, TAR_SAMPLES - 1);
}

TEST_F(words, a_tar_sample_that_begins_inside_the_one_before_is_refused)
{
	expect_outside(self, TAR_WORDS, 4, word(self, TAR_WORDS + 16) - 1, 2);
	expect_outside(self, TAR_WORDS, 4, 0, 2);
}

TEST_F(words, a_tar_sample_of_no_bytes_is_refused)
{
	expect_outside(self, TAR_WORDS, 5, 0, 2);
}

TEST_F(words, an_mds_sample_past_the_end_is_refused)
{
	expect_outside(self, MDS_WORDS, MDS_SAMPLES, self->inflated + 1,
		       MDS_SAMPLES - 1);
	expect_outside(self, MDS_WORDS, MDS_SAMPLES, UINT32_MAX,
		       MDS_SAMPLES - 1);
}

TEST_F(words, an_mds_sample_that_ends_before_it_begins_is_refused)
{
	expect_outside(self, MDS_WORDS, 2, word(self, MDS_WORDS + 4) - 1, 1);
	expect_outside(self, MDS_WORDS, 0, word(self, MDS_WORDS + 4) + 1, 0);
}

TEST_HARNESS_MAIN

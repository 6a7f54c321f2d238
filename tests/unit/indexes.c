/* SPDX-License-Identifier: MIT */
/* The index files: MDS index.json and model.safetensors.index.json. */
#include <errno.h>

#include "ktap.h"

#include "bytes.h"
#include "format/mds_index.h"
#include "format/st_index.h"
#include "tests/nthfail.h"

/* ---- MDS ---- */

#define COLUMNS                                                           \
	"\"column_names\": [\"i\", \"s\"], \"column_encodings\": "        \
	"[\"int\", \"str\"], \"column_sizes\": [8, null]"
#define SHARD_OF(raw, zip, compression, samples)                          \
	"{\"version\": 2, \"format\": \"mds\", \"compression\": "         \
	compression ", \"hashes\": [], \"size_limit\": 67108864, "        \
	COLUMNS ", \"samples\": " samples ", \"raw_data\": " raw          \
	", \"zip_data\": " zip "}"
#define DATA(name, bytes)                                                 \
	"{\"basename\": \"" name "\", \"bytes\": " bytes ", \"hashes\": {}}"
#define SHARD(name) SHARD_OF(DATA(name, "1000"), "null", "null", "5")
#define INDEX(shards) "{\"version\": 2, \"shards\": [" shards "]}"

static const char golden_mds[] = INDEX(
	SHARD("shard.00000.mds") ", "
	SHARD_OF(DATA("p1/shard.00000.mds", "4294967295"),
		 DATA("p1/shard.00000.mds.zstd", "7"), "\"zstd:3\"", "7") ", "
	SHARD_OF(DATA("b.mds", "100"), DATA("b.mds.gz", "9"), "\"gz\"", "0"));

static int mds(const char *text, size_t len, struct slc_mds_index *index,
	       struct slc_diag *diag)
{
	char *copy = malloc(len ? len : 1);
	int err;

	memcpy(copy, text, len);
	err = slc_mds_index_parse(copy, len, index, diag);
	free(copy);
	return err;
}

TEST(golden_mds_index_is_taken_in_whole)
{
	struct slc_mds_index x;
	struct slc_diag diag;

	ASSERT_EQ(mds(golden_mds, strlen(golden_mds), &x, &diag), 0);
	ASSERT_EQ(x.nshards, 3);
	EXPECT_EQ(x.samples, 12);
	EXPECT_EQ(x.raw_bytes, 1000 + 4294967295 + 100);
	EXPECT_STREQ(x.shards[0].raw, "shard.00000.mds");
	EXPECT_NULL(x.shards[0].zip);
	EXPECT_EQ(x.shards[0].codec, SLC_CODEC_NONE);
	EXPECT_EQ(x.shards[0].ncolumns, 2);
	EXPECT_STREQ(x.shards[0].columns[1], "s");
	EXPECT_STREQ(x.shards[1].raw, "p1/shard.00000.mds");
	EXPECT_STREQ(x.shards[1].zip, "p1/shard.00000.mds.zstd");
	EXPECT_EQ(x.shards[1].zip_bytes, 7);
	EXPECT_EQ(x.shards[1].codec, SLC_CODEC_ZSTD);
	EXPECT_EQ(x.shards[2].codec, SLC_CODEC_GZIP);
	slc_mds_index_fini(&x);
	EXPECT_EQ(x.nshards, 0);
	EXPECT_NULL(x.shards);
}

#define RAW(name) INDEX(SHARD(name))
#define ZIP(zip, compression)                                             \
	INDEX(SHARD_OF(DATA("a.mds", "1000"), zip, compression, "5"))

static const struct {
	const char *text, *what; /* NULL: accepted */
} mds_cases[] = {
	{ INDEX(""), NULL },
	{ RAW("a"), NULL },
	{ RAW("..."), NULL },
	{ RAW("a/b/c.mds"), NULL },
	{ "", "not JSON" },
	{ "[]", "not a JSON object" },
	{ "{\"shards\": []}", "no version" },
	{ "{\"version\": 1, \"shards\": []}", "version 1" },
	{ "{\"version\": 3, \"shards\": []}", "version 3" },
	{ "{\"version\": 2}", "no list of shards" },
	{ "{\"version\": 2, \"shards\": {}}", "no list of shards" },
	{ "{\"version\": 2, \"version\": 2, \"shards\": []}", "duplicate" },
	{ INDEX("7"), "shard 0: not an object" },
	{ INDEX(SHARD("a") ", {}"), "shard 1: there is no version" },
	{ INDEX("{\"version\": 2, \"format\": \"xyz\"}"), "format xyz" },
	{ RAW("../a"), "leads out of the folder" },
	{ RAW("/etc/passwd"), "leads out of the folder" },
	{ RAW("a/../b"), "leads out of the folder" },
	{ RAW("a//b"), "leads out of the folder" },
	{ RAW("a/./b"), "leads out of the folder" },
	{ RAW("a/"), "leads out of the folder" },
	{ RAW(".."), "leads out of the folder" },
	{ RAW("."), "leads out of the folder" },
	{ RAW(""), "leads out of the folder" },
	{ RAW("a\\nb"), "leads out of the folder" },
	{ RAW("a\\u0000b"), "not JSON" },
	{ INDEX(SHARD("a") ", " SHARD("a")), "the file a comes twice" },
	{ INDEX(SHARD("a.gz") ", " SHARD_OF(DATA("a", "100"),
		DATA("a.gz", "1"), "\"gz\"", "1")), "a.gz comes twice" },
	{ INDEX(SHARD_OF("null", "null", "null", "5")), "without basename" },
	{ INDEX(SHARD_OF("{\"basename\": \"a\"}", "null", "null", "5")),
	  "without basename and bytes" },
	{ INDEX(SHARD_OF(DATA("a", "-1"), "null", "null", "5")), "and bytes" },
	{ INDEX(SHARD_OF(DATA("a", "4294967296"), "null", "null", "5")),
	  "4 GiB or more" },
	{ INDEX(SHARD_OF(DATA("a", "1000"), "null", "null", "-5")),
	  "no count of samples" },
	{ INDEX(SHARD_OF(DATA("a", "1000"), "null", "null", "62")), NULL },
	{ INDEX(SHARD_OF(DATA("a", "1000"), "null", "null", "63")),
	  "more samples than its bytes hold" },
	{ INDEX(SHARD_OF(DATA("a", "1000"), "null", "null",
			 "9223372036854775807")), "more samples" },
	{ ZIP("{}", "\"zstd\""), "without basename" },
	{ ZIP(DATA("../z", "1"), "\"zstd\""), "leads out" },
	{ ZIP(DATA("z", "1"), "\"br\""), "compression br" },
	{ ZIP(DATA("z", "1"), "null"), "compression null" },
	{ ZIP(DATA("z", "1"), "\"zst\""), "compression zst:" },
	{ ZIP(DATA("z", "1"), "\"gz:9\""), NULL },
	{ INDEX("{\"version\": 2, \"format\": \"mds\", \"column_names\": "
		"[\"a\"], \"column_encodings\": [\"pkl\"], \"column_sizes\": "
		"[null]}"), "shard 0: column a holds pickles" },
};

TEST(mds_indexes_are_taken_or_refused_with_the_reason)
{
	for (size_t i = 0; i < sizeof(mds_cases) / sizeof(mds_cases[0]); i++) {
		struct slc_mds_index x;
		struct slc_diag diag = { 0 };
		int err = mds(mds_cases[i].text, strlen(mds_cases[i].text), &x,
			      &diag);

		EXPECT_EQ(err, mds_cases[i].what ? -EBADMSG : 0);
		if (mds_cases[i].what) {
			EXPECT_HAS(diag.what, mds_cases[i].what);
			EXPECT_EQ(x.nshards, 0);
			EXPECT_NULL(x.shards);
		}
		slc_mds_index_fini(&x);
	}
}

static bool mds_paths_are_safe(const struct slc_mds_index *x)
{
	for (uint64_t i = 0; i < x->nshards; i++) {
		const char *raw = x->shards[i].raw;

		if (raw[0] == '/' || strstr(raw, "../") || !raw[0])
			return false;
	}
	return true;
}

TEST(mds_index_truncations_and_bit_flips_are_refused_or_harmless)
{
	size_t len = strlen(golden_mds);
	char *text = strdup(golden_mds);
	struct slc_mds_index x;
	struct slc_diag diag;

	for (size_t n = 0; n < len; n++)
		EXPECT_EQ(mds(golden_mds, n, &x, &diag), -EBADMSG);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		int err;

		text[bit / 8] ^= (char)(1 << (bit & 7));
		err = mds(text, len, &x, &diag);
		text[bit / 8] ^= (char)(1 << (bit & 7));
		EXPECT_TRUE(!err || err == -EBADMSG);
		if (!err) {
			EXPECT_EQ(x.nshards, 3);
			EXPECT_TRUE(mds_paths_are_safe(&x));
			slc_mds_index_fini(&x);
		}
	}
	free(text);
}

/* A tree of many empty objects takes 77 times the bytes of its text. */
TEST(an_index_of_too_many_values_is_refused_before_it_is_a_tree)
{
	const size_t n = (4u << 20) + 2;
	static const char head[] = "{\"version\":2,\"shards\":[";
	struct slc_mds_index index;
	struct slc_diag diag = { 0 };
	char *text = malloc(3 * n + sizeof(head)), *p = text;

	ASSERT_NOT_NULL(text);
	p = stpcpy(p, head);
	for (size_t i = 0; i < n; i++)
		p = stpcpy(p, "{},");
	EXPECT_EQ(slc_mds_index_parse(text, (uint64_t)(p - text), &index,
				      &diag), -EBADMSG);
	EXPECT_HAS(diag.what, "more than 4194304 values");
	free(text);
}

TEST(mds_index_survives_every_failed_allocation)
{
	struct slc_mds_index x;
	struct slc_diag diag;
	uint64_t n;
	int err;

	for (n = 1;; n++) {
		nthfail_arm(n);
		err = slc_mds_index_parse(golden_mds, strlen(golden_mds), &x,
					  &diag);
		if (!nthfail_disarm())
			break;
		ASSERT_EQ(err, -ENOMEM);
		ASSERT_EQ(x.nshards, 0);
	}
	ASSERT_EQ(err, 0);
	EXPECT_EQ(n, 1 + 1 + 3 * 4 + 2 + 1);
	slc_mds_index_fini(&x);
}

TEST(deep_nesting_is_refused_at_its_place)
{
	struct slc_mds_index x;
	struct slc_st_index y;
	struct slc_diag diag;
	struct bytes b = { 0 };

	put_text(&b, "{\"\\\"[[\": ");
	for (int i = 0; i < 100000; i++)
		put_text(&b, "[");
	EXPECT_EQ(slc_mds_index_parse(b.p, b.len, &x, &diag), -EBADMSG);
	EXPECT_EQ(diag.off, 9 + 63);
	EXPECT_HAS(diag.what, "deeper than 64");
	EXPECT_EQ(slc_st_index_parse(b.p, b.len, &y, &diag), -EBADMSG);
	EXPECT_EQ(diag.off, 9 + 63);
	bytes_free(&b);
}

TEST(sample_indexes_are_as_their_names_say)
{
	static const struct {
		const char *name, *what;
	} files[] = { { "index", NULL },
		      { "invalid_format.index", "format xyz" },
		      { "invalid_version1.index", "version 1" } };
	const char *dir = shared_dir();

	if (!dir)
		SKIP("no sample files: SLC_SHARED is not set");
	for (int i = 0; i < 3; i++) {
		struct bytes b = { 0 };
		struct slc_mds_index x;
		struct slc_diag diag;
		char path[4096];
		int err;

		snprintf(path, sizeof(path), "%s/samples/mds/%s.json", dir,
			 files[i].name);
		ASSERT_TRUE(bytes_load(&b, path));
		err = slc_mds_index_parse(b.p, b.len, &x, &diag);
		EXPECT_EQ(err, files[i].what ? -EBADMSG : 0);
		if (files[i].what) {
			EXPECT_HAS(diag.what, files[i].what);
		} else {
			EXPECT_EQ(x.samples, 5);
			EXPECT_EQ(x.raw_bytes, 549);
			EXPECT_STREQ(x.shards[0].raw, "shard.00000.mds");
		}
		slc_mds_index_fini(&x);
		bytes_free(&b);
	}
}

/* ---- safetensors ---- */

static const char golden_st[] =
	"{\"metadata\": {\"total_size\": 280, \"more\": [1]}, \"weight_map\": {"
	"\"z\": \"m-00002-of-00002.safetensors\", "
	"\"a\": \"m-00001-of-00002.safetensors\", "
	"\"b\": \"m-00002-of-00002.safetensors\", "
	"\"\": \"m-00001-of-00002.safetensors\"}}";

TEST(golden_safetensors_index_maps_tensors_to_files)
{
	struct slc_st_index x;
	struct slc_diag diag;

	ASSERT_EQ(slc_st_index_parse(golden_st, strlen(golden_st), &x, &diag),
		  0);
	ASSERT_EQ(x.nfiles, 2);
	EXPECT_STREQ(x.files[0], "m-00001-of-00002.safetensors");
	EXPECT_STREQ(x.files[1], "m-00002-of-00002.safetensors");
	ASSERT_EQ(x.nentries, 4);
	EXPECT_STREQ(x.entries[0].tensor, "");
	EXPECT_STREQ(x.entries[3].tensor, "z");
	EXPECT_EQ(x.entries[3].file, 1);
	EXPECT_TRUE(x.has_total);
	EXPECT_EQ(x.total_size, 280);
	EXPECT_EQ(slc_st_index_find(&x, "a"), 0);
	EXPECT_EQ(slc_st_index_find(&x, "b"), 1);
	EXPECT_EQ(slc_st_index_find(&x, ""), 0);
	EXPECT_EQ(slc_st_index_find(&x, "c"), -1);
	slc_st_index_fini(&x);
	EXPECT_EQ(slc_st_index_find(&x, "a"), -1);
}

#define MAP(file) "{\"weight_map\": {\"t\": \"" file "\"}}"
#define TOTAL(n) "{\"metadata\": {\"total_size\": " n "}, \"weight_map\": {}}"

static const struct {
	const char *text, *what;
	int64_t total; /* -1: none */
} st_cases[] = {
	{ MAP("x.safetensors"), NULL, -1 },
	{ "{\"weight_map\": {}}", NULL, -1 },
	{ "{\"metadata\": {}, \"weight_map\": {}}", NULL, -1 },
	{ TOTAL("0"), NULL, 0 },
	{ TOTAL("13476839424.0"), NULL, 13476839424 },
	{ TOTAL("1.5"), "total_size", 0 },
	{ TOTAL("-1"), "total_size", 0 },
	{ TOTAL("-1.0"), "total_size", 0 },
	{ TOTAL("1e300"), "total_size", 0 },
	{ TOTAL("\"5\""), "total_size", 0 },
	{ TOTAL("null"), "total_size", 0 },
	{ "{\"metadata\": 5, \"weight_map\": {}}", "metadata", 0 },
	{ "{}", "no weight_map", 0 },
	{ "{\"weight_map\": []}", "no weight_map", 0 },
	{ "[]", "not a JSON object", 0 },
	{ "", "not JSON", 0 },
	{ "{\"weight_map\": {\"t\": 5}}", "not text", 0 },
	{ "{\"weight_map\": {\"t\": \"a\", \"t\": \"b\"}}", "duplicate", 0 },
	{ "{\"weight_map\": {\"t\\u0000\": \"a\"}}", "not JSON", 0 },
	{ MAP("a/b"), "not one in the folder", 0 },
	{ MAP("/b"), "not one in the folder", 0 },
	{ MAP("../b"), "not one in the folder", 0 },
	{ MAP(".."), "not one in the folder", 0 },
	{ MAP("."), "not one in the folder", 0 },
	{ MAP(""), "not one in the folder", 0 },
	{ MAP("a\\u007f"), "not one in the folder", 0 },
};

TEST(safetensors_indexes_are_taken_or_refused_with_the_reason)
{
	for (size_t i = 0; i < sizeof(st_cases) / sizeof(st_cases[0]); i++) {
		struct slc_st_index x;
		struct slc_diag diag = { 0 };
		int err = slc_st_index_parse(st_cases[i].text,
					     strlen(st_cases[i].text), &x,
					     &diag);

		EXPECT_EQ(err, st_cases[i].what ? -EBADMSG : 0);
		if (st_cases[i].what) {
			EXPECT_HAS(diag.what, st_cases[i].what);
			EXPECT_NULL(x.entries);
		} else {
			EXPECT_EQ(x.has_total, st_cases[i].total >= 0);
			if (x.has_total)
				EXPECT_EQ(x.total_size, st_cases[i].total);
		}
		slc_st_index_fini(&x);
	}
}

TEST(safetensors_index_truncations_and_bit_flips_are_refused_or_harmless)
{
	size_t len = strlen(golden_st);
	char *text = strdup(golden_st);
	struct slc_st_index x;
	struct slc_diag diag;

	for (size_t n = 0; n < len; n++)
		EXPECT_EQ(slc_st_index_parse(golden_st, n, &x, &diag),
			  -EBADMSG);
	for (size_t bit = 0; bit < 8 * len; bit++) {
		int err;

		text[bit / 8] ^= (char)(1 << (bit & 7));
		err = slc_st_index_parse(text, len, &x, &diag);
		text[bit / 8] ^= (char)(1 << (bit & 7));
		EXPECT_TRUE(!err || err == -EBADMSG);
		if (err)
			continue;
		for (uint64_t i = 0; i < x.nfiles; i++)
			EXPECT_NULL(strchr(x.files[i], '/'));
		for (uint64_t i = 0; i < x.nentries; i++)
			EXPECT_LT(x.entries[i].file, x.nfiles);
		slc_st_index_fini(&x);
	}
	free(text);
}

TEST(safetensors_index_survives_every_failed_allocation)
{
	struct slc_st_index x;
	struct slc_diag diag;
	uint64_t n;
	int err;

	for (n = 1;; n++) {
		nthfail_arm(n);
		err = slc_st_index_parse(golden_st, strlen(golden_st), &x,
					 &diag);
		if (!nthfail_disarm())
			break;
		ASSERT_EQ(err, -ENOMEM);
		ASSERT_EQ(x.nentries, 0);
	}
	ASSERT_EQ(err, 0);
	EXPECT_EQ(n, 2 + 2 * 4 + 1);
	slc_st_index_fini(&x);
}

TEST(a_million_tensors_are_no_trouble)
{
	struct bytes b = { 0 };
	struct slc_st_index x;
	struct slc_diag diag;
	char text[100];

	put_text(&b, "{\"weight_map\": {");
	for (int i = 0; i < 1000000; i++) {
		snprintf(text, sizeof(text), "%s\"t%d\":\"f%d\"",
			 i ? "," : "", i, i % 100);
		put_text(&b, text);
	}
	put_text(&b, "}}");
	ASSERT_EQ(slc_st_index_parse(b.p, b.len, &x, &diag), 0);
	EXPECT_EQ(x.nfiles, 100);
	EXPECT_EQ(x.nentries, 1000000);
	slc_st_index_fini(&x);
	bytes_free(&b);
}

TEST_HARNESS_MAIN

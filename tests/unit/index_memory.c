/* SPDX-License-Identifier: MIT */
/*
 * The memory that an open dataset takes, as malloc counts it: under 16 bytes a
 * sample of every format, checksums included. SLC_SAMPLES=10000000 measures
 * that many; the archive is then of 5 GB, below $TMPDIR.
 */
#include <malloc.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"

#define LIMIT 16.0

FIXTURE(index_memory)
{
	struct slc_ctx *ctx;
	char *dir;
	const char *path;
};
FIXTURE_VARIANT(index_memory)
{
	/* Writes `n` samples and gives their path. */
	const char *(*make)(const char *dir, unsigned int n);
	uint64_t record; /* raw */
	double plain, packed; /* bytes a sample at most */
};

static FILE *create(const char *path)
{
	FILE *f = fopen(path, "wb");

	MD_MUST(f);
	return f;
}

static void put_u32(FILE *f, uint32_t v)
{
	MD_MUST(fwrite(&v, sizeof(v), 1, f) == 1);
}

static void put_u64(FILE *f, uint64_t v)
{
	MD_MUST(fwrite(&v, sizeof(v), 1, f) == 1);
}

/* Sparse: of zeros that take no room. */
static void finish(FILE *f, uint64_t size)
{
	MD_MUST(!fflush(f) && !ftruncate(fileno(f), (off_t)size));
	MD_MUST(!fclose(f));
}

static const char *megatron(const char *dir, unsigned int n, unsigned int hole)
{
	FILE *f = create(md_path("%s/t.idx", dir));

	MD_MUST(fwrite("MMIDIDX\0\0\1\0\0\0\0\0\0\0\10", 18, 1, f) == 1);
	put_u64(f, n);
	put_u64(f, 2);
	for (unsigned int i = 0; i < n; i++)
		put_u32(f, 30);
	for (unsigned int i = 0; i < n; i++)
		put_u64(f, (uint64_t)i * (60 + hole));
	put_u64(f, 0);
	put_u64(f, n);
	MD_MUST(!fclose(f));
	finish(create(md_path("%s/t.bin", dir)), (uint64_t)n * (60 + hole));
	return md_path("%s/t.idx", dir);
}

static const char *make_megatron(const char *dir, unsigned int n)
{
	return megatron(dir, n, 0);
}

static const char *make_megatron_holes(const char *dir, unsigned int n)
{
	return megatron(dir, n, 4);
}

/* Members without content: the smallest samples there are. */
static const char *make_tar(const char *dir, unsigned int n)
{
	const char *path = md_path("%s/a.tar", dir);
	FILE *f = create(path);
	struct md_buf b = { 0 };
	char name[40];

	for (unsigned int i = 0; i < n; i++) {
		b.n = 0;
		snprintf(name, sizeof(name), "%08u.x", i);
		md_tar_member(&b, name, "", 0);
		MD_MUST(fwrite(b.p, 1, b.n, f) == b.n);
	}
	free(b.p);
	finish(f, (uint64_t)n * 512 + 1024);
	return path;
}

static const char *make_mds(const char *dir, unsigned int n)
{
	static const char cfg[] =
		"{\"column_encodings\": [\"bytes\"], \"column_names\": [\"x\"], \"column_sizes\": [null], \"compression\": null, \"format\": \"mds\", \"hashes\": [], \"size_limit\": null, \"version\": 2}";
	const char *path = md_path("%s/a.mds", dir);
	uint32_t at = (uint32_t)(4 + 4 * (n + 1) + sizeof(cfg) - 1);
	FILE *f = create(path);

	put_u32(f, n);
	for (unsigned int i = 0; i <= n; i++)
		put_u32(f, at + 60 * i);
	MD_MUST(fwrite(cfg, sizeof(cfg) - 1, 1, f) == 1);
	finish(f, at + 60ull * n);
	return path;
}

static const char *make_raw(const char *dir, unsigned int n)
{
	const char *path = md_path("%s/a.rec", dir);

	finish(create(path), 60ull * n);
	return path;
}

static const char *make_npy(const char *dir, unsigned int n)
{
	const char *path = md_path("%s/a.npy", dir);

	md_npy(path, n, 60, NULL);
	return path;
}

/* What the shape of the table says, and a little for the shard itself. */
FIXTURE_VARIANT_ADD(index_memory, megatron){
	.make = make_megatron, .plain = 4.3, .packed = 8.3
};
FIXTURE_VARIANT_ADD(index_memory, megatron_with_holes){
	.make = make_megatron_holes, .plain = 10.2, .packed = 14.2
};
FIXTURE_VARIANT_ADD(index_memory, tar){
	.make = make_tar, .plain = 8.2, .packed = 12.2
};
FIXTURE_VARIANT_ADD(index_memory, mds){
	.make = make_mds, .plain = 4.2, .packed = 8.2
};
FIXTURE_VARIANT_ADD(index_memory, raw){
	.make = make_raw, .record = 60, .plain = 0.2, .packed = 4.2
};
FIXTURE_VARIANT_ADD(index_memory, npy){
	.make = make_npy, .plain = 0.2, .packed = 4.2
};

static unsigned int samples(void)
{
	const char *said = getenv("SLC_SAMPLES");

	return said ? (unsigned int)strtoul(said, NULL, 10) : 100000;
}

FIXTURE_SETUP(index_memory)
{
	self->dir = md_folder();
	self->path = variant->make(self->dir, samples());
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
}

FIXTURE_TEARDOWN(index_memory)
{
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

static size_t in_use(void)
{
	struct mallinfo2 m = mallinfo2();

	return m.uordblks + m.hblkhd;
}

/* Bytes a sample that stay taken; packs to `manifest` unless it is NULL. */
static double measure(struct ktap_fixture_index_memory *self, const char *path,
		      uint64_t record, const char *manifest)
{
	struct slc_dataset_attr attr = { .size = sizeof(attr),
					 .record = record,
					 .format = record ? "raw" : NULL };
	struct slc_dataset_info info = { .size = sizeof(info) };
	size_t before = in_use(), after;
	struct slc_dataset *ds;

	if (slc_dataset_open(self->ctx, &path, 1, &attr, &ds)) {
		printf("# %s\n", slc_last_error(self->ctx));
		return 1e9;
	}
	after = in_use();
	MD_MUST(!slc_dataset_query(ds, &info));
	EXPECT_EQ(info.samples, samples());
	/* What it says of itself is what it takes. */
	EXPECT_LT((double)info.index_bytes, (double)(after - before));
	EXPECT_GT((double)info.index_bytes + 0.2 * samples(),
		  (double)(after - before));
	if (manifest)
		EXPECT_EQ(slc_dataset_pack(ds, manifest, NULL), 0);
	slc_dataset_put(ds);
	return (double)(after - before) / samples();
}

TEST_F_TIMEOUT(index_memory, a_sample_takes_less_than_16_bytes, 600)
{
	const char *manifest = md_path("%s/d.slc.json", self->dir);
	double plain, packed;

	if (!in_use())
		SKIP("malloc does not count here (a sanitizer's)");
	plain = measure(self, self->path, variant->record, manifest);
	packed = measure(self, manifest, 0, NULL);
	printf("# %u samples: %.2f bytes a sample, with a manifest %.2f\n",
	       samples(), plain, packed);
	EXPECT_LT(plain, variant->plain);
	EXPECT_LT(packed, variant->packed);
	EXPECT_LT(packed, LIMIT);
}

TEST_HARNESS_MAIN

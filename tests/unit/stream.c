// SPDX-License-Identifier: MIT
/* Streams: every sample once, its bytes, its memory, and what goes wrong. */
#include <errno.h>
#include <sys/resource.h>
#include <sys/time.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"

#define VIEWS 64

FIXTURE(stream)
{
	struct slc_ctx *ctx;
	struct slc_dataset *ds;
	char *dir;
	struct md_samples want;
};
FIXTURE_VARIANT(stream)
{
	const char *name;
	bool packed; /* compressed: no full shuffle */
};
FIXTURE_VARIANT_ADD(stream, raw) { "raw", false };
FIXTURE_VARIANT_ADD(stream, npy) { "npy", false };
FIXTURE_VARIANT_ADD(stream, megatron) { "megatron", false };
FIXTURE_VARIANT_ADD(stream, megatron_holes) { "holes", false };
FIXTURE_VARIANT_ADD(stream, tar) { "tar", false };
FIXTURE_VARIANT_ADD(stream, tar_gz) { "targz", true };
FIXTURE_VARIANT_ADD(stream, mds) { "mds", false };
FIXTURE_VARIANT_ADD(stream, mds_zstd) { "mdszstd", true };
FIXTURE_VARIANT_ADD(stream, safetensors) { "st", false };

static void make_tars(const char *dir, struct md_samples *want, bool gz)
{
	for (int i = 0; i < 3; i++) {
		const char *tar = md_path("%s/s%d.tar", dir, i);

		md_tar(tar, 20 + (unsigned int)i, 3000, want);
		if (gz) {
			md_gzip(tar, md_path("%s.gz", tar));
			unlink(tar);
		}
	}
}

static void make(const char *dir, const char *name, struct md_samples *want)
{
	if (!strcmp(name, "raw")) {
		md_raw(md_path("%s/a.bin", dir), 500, 700, want);
	} else if (!strcmp(name, "npy")) {
		md_npy(md_path("%s/a.npy", dir), 99, 333, want);
		md_npy(md_path("%s/b.npy", dir), 41, 9000, want);
	} else if (!strcmp(name, "megatron")) {
		md_megatron(md_path("%s/a", dir), 300, 150, 0, want);
		md_megatron(md_path("%s/b", dir), 77, 5000, 0, want);
	} else if (!strcmp(name, "holes")) {
		md_megatron(md_path("%s/a", dir), 100, 150, 6000, want);
	} else if (!strcmp(name, "tar")) {
		make_tars(dir, want, false);
	} else if (!strcmp(name, "targz")) {
		make_tars(dir, want, true);
	} else if (!strcmp(name, "mds")) {
		md_mds(dir, 4, 25, 5000, 0, want);
	} else if (!strcmp(name, "mdszstd")) {
		md_mds(dir, 4, 25, 5000, 1, want);
	} else {
		md_safetensors(md_path("%s/a.safetensors", dir), 13, 12345,
			       "t", want);
		md_safetensors(md_path("%s/b.safetensors", dir), 3, 99, "u",
			       want);
	}
}

static int open_dir(struct slc_ctx *ctx, const char *dir, const char *format,
		    uint64_t record, struct slc_dataset **out)
{
	struct slc_dataset_attr da = { .size = sizeof(da), .format = format,
				       .record = record };

	return slc_dataset_open(ctx, &dir, 1, &da, out);
}

FIXTURE_SETUP(stream)
{
	bool raw = !strcmp(variant->name, "raw");

	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	self->dir = md_folder();
	make(self->dir, variant->name, &self->want);
	ASSERT_EQ(open_dir(self->ctx,
			   raw ? md_path("%s/a.bin", self->dir) : self->dir,
			   raw ? "raw" : NULL, raw ? 700 : 0, &self->ds), 0);
}

FIXTURE_TEARDOWN(stream)
{
	slc_dataset_put(self->ds);
	slc_ctx_close(self->ctx);
	md_samples_fini(&self->want);
	if (self->dir)
		md_remove(self->dir);
}

static struct slc_stream_attr attr_of(uint32_t shuffle)
{
	return (struct slc_stream_attr){ .size = sizeof(struct slc_stream_attr),
					 .shuffle = shuffle, .seed = 42,
					 .memory = 8u << 20, .node = -1,
					 .page_size = 4096 };
}

/* The stored bytes of a sample of an uncompressed shard, read apart. */
static uint8_t *read_span(struct slc_dataset *ds, uint64_t sample,
			  uint64_t *len)
{
	struct slc_sample_info si = { .size = sizeof(si) };
	struct slc_shard_info sh = { .size = sizeof(sh) };
	uint8_t *buf;
	int fd;

	MD_MUST(!slc_dataset_sample(ds, sample, &si));
	MD_MUST(!slc_dataset_shard(ds, si.shard, &sh));
	*len = si.len;
	buf = malloc(si.len + 1);
	fd = open(sh.path, O_RDONLY);
	MD_MUST(fd >= 0);
	MD_MUST(pread(fd, buf, si.len, (off_t)si.off) == (ssize_t)si.len);
	close(fd);
	return buf;
}

static void check_view(struct slc_stream *s, struct slc_dataset *ds,
		       const struct md_samples *want, const struct slc_view *v,
		       bool packed)
{
	struct slc_sample_info si = { .size = sizeof(si) };
	uint8_t *addr;
	char key[512];
	uint64_t len;

	ASSERT_LT(v->sample, want->n);
	ASSERT_NOT_NULL(v->ptr);
	ASSERT_EQ(v->payload, want->len[v->sample]);
	ASSERT_EQ(v->flags & ~SLC_VIEW_VERIFIED,
		  SLC_VIEW_CRC | SLC_VIEW_LAST);
	ASSERT_EQ(v->crc, want->crc[v->sample]);
	addr = slc_region_addr(v->region);
	ASSERT_TRUE(addr + v->region_off == v->ptr);
	ASSERT_LE(v->region_off + v->len, slc_region_len(v->region));
	ASSERT_EQ(slc_dataset_sample(ds, v->sample, &si), 0);
	ASSERT_EQ(v->len, si.len);
	ASSERT_EQ(slc_stream_key(s, v, key, sizeof(key)), strlen(si.key));
	ASSERT_STREQ(key, si.key);
	/* Its length too where there is no room for it. */
	ASSERT_EQ(slc_stream_key(s, v, key, 1), strlen(si.key));
	ASSERT_STREQ(key, "");
	if (packed)
		return;
	addr = read_span(ds, v->sample, &len);
	ASSERT_EQ(len, v->len);
	ASSERT_EQ(memcmp(addr, v->ptr, len), 0);
	free(addr);
}

/*
 * Takes up to `most` samples of a stream, checks each, counts it in hits, and
 * leaves a token. Returns how many came.
 */
static uint64_t drain(struct slc_dataset *ds, const struct slc_stream_attr *a,
		      const struct md_samples *want, uint32_t *hits,
		      uint64_t most, bool packed, char *token)
{
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_view v[VIEWS];
	struct slc_stream *s;
	uint64_t got = 0, routed = 0;
	int n = 1, err;

	err = slc_stream_open(ds, a, &s);
	if (err)
		printf("# %s\n", slc_last_error(NULL));
	ASSERT_EQ(err, 0);
	while (got < most && n > 0) {
		uint64_t room = most - got < VIEWS ? most - got : VIEWS;

		n = slc_stream_next(s, v, (uint32_t)room);
		if (n < 0)
			printf("# %s\n", slc_last_error(NULL));
		ASSERT_GE(n, 0);
		for (int i = 0; i < n; i++) {
			check_view(s, ds, want, &v[i], packed);
			ASSERT_EQ(v[i].position % (a->world ? a->world : 1),
				  v[0].position % (a->world ? a->world : 1));
			hits[v[i].sample]++;
		}
		slc_stream_release(s, v, (uint32_t)n);
		got += (uint64_t)n;
	}
	ASSERT_EQ(slc_stream_stats(s, &st), 0);
	ASSERT_EQ(st.samples, got);
	ASSERT_LE(st.max_pinned_bytes, a->memory);
	ASSERT_EQ(st.crc_errors, 0);
	/* All that was handed out was read, by routes that are told. */
	for (uint32_t i = 0; i < st.nroutes; i++)
		routed += st.routes[i].bytes;
	ASSERT_GE(routed, st.bytes);
	if (packed)
		ASSERT_TRUE(st.bytes_read || !got);
	else
		ASSERT_GE(st.bytes_read, st.bytes);
	if (most == UINT64_MAX) {
		ASSERT_EQ(st.samples_total, got);
		ASSERT_EQ(slc_stream_next(s, v, 1), 0);
	}
	if (token)
		ASSERT_EQ(slc_stream_token(s, token, SLC_TOKEN_MAX), 0);
	slc_stream_close(s);
	return got;
}

TEST_F(stream, every_sample_comes_once_whatever_shuffle_and_world)
{
	static const uint32_t worlds[] = { 1, 2, 7 };

	for (uint32_t sh = 0; sh <= 2; sh++) {
		if (sh == SLC_SHUFFLE_FULL && variant->packed)
			continue;
		for (int w = 0; w < 3; w++) {
			uint32_t *hits = calloc(self->want.n, 4);
			struct slc_stream_attr a = attr_of(sh);

			a.world = worlds[w];
			for (a.rank = 0; a.rank < a.world; a.rank++)
				drain(self->ds, &a, &self->want, hits,
				      UINT64_MAX, variant->packed, NULL);
			for (uint64_t i = 0; i < self->want.n; i++)
				ASSERT_EQ(hits[i], 1);
			free(hits);
		}
	}
}

TEST_F(stream, the_sync_engine_gives_the_same)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_SHARD);
	uint32_t *hits = calloc(self->want.n, 4);

	a.engine = "sync";
	drain(self->ds, &a, &self->want, hits, UINT64_MAX, variant->packed,
	      NULL);
	for (uint64_t i = 0; i < self->want.n; i++)
		ASSERT_EQ(hits[i], 1);
	free(hits);
}

TEST_F(stream, through_the_page_cache_it_is_the_same_and_says_so)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_SHARD);
	struct slc_stream_stats st = { .size = sizeof(st) };
	uint32_t *hits = calloc(self->want.n, 4);
	struct slc_view v[VIEWS];
	struct slc_stream *s;

	a.flags = SLC_STREAM_BUFFERED;
	drain(self->ds, &a, &self->want, hits, UINT64_MAX, variant->packed,
	      NULL);
	free(hits);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &s), 0);
	ASSERT_GT(slc_stream_next(s, v, VIEWS), 0);
	ASSERT_EQ(slc_stream_stats(s, &st), 0);
	ASSERT_GE(st.nroutes, 1);
	EXPECT_HAS(slc_route_name(st.routes[0].route), "buffered");
	slc_stream_close(s); /* with views still lent */
}

TEST_F(stream, a_token_goes_on_with_the_rest_on_any_world_size)
{
	static const uint32_t after[] = { 1, 3, 4, 8 };
	const uint64_t steps = self->want.n / 9;

	for (uint32_t sh = 0; sh <= 2; sh++) {
		if (sh == SLC_SHUFFLE_FULL && variant->packed)
			continue;
		for (int w = 0; w < 4; w++) {
			uint32_t *hits = calloc(self->want.n, 4);
			struct slc_stream_attr a = attr_of(sh);
			char token[SLC_TOKEN_MAX];

			a.world = 4;
			for (a.rank = 0; a.rank < 4; a.rank++)
				drain(self->ds, &a, &self->want, hits, steps,
				      variant->packed, token);
			a = attr_of(0); /* the token knows the rest */
			a.seed = 0;
			a.resume = token;
			a.world = after[w];
			for (a.rank = 0; a.rank < a.world; a.rank++)
				drain(self->ds, &a, &self->want, hits,
				      UINT64_MAX, variant->packed, NULL);
			for (uint64_t i = 0; i < self->want.n; i++)
				ASSERT_EQ(hits[i], 1);
			free(hits);
		}
	}
}

TEST_F(stream, an_attr_that_contradicts_its_token_is_einval)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_SHARD), b;
	char token[SLC_TOKEN_MAX];
	struct slc_stream *s;

	a.epoch = 7;
	a.tail = SLC_TAIL_DROP;
	ASSERT_EQ(slc_stream_open(self->ds, &a, &s), 0);
	ASSERT_EQ(slc_stream_token(s, token, sizeof(token)), 0);
	slc_stream_close(s);
	a.resume = token;
	for (int i = 0; i < 6; i++) {
		b = a;
		if (i == 1)
			b.seed = b.epoch = b.shuffle = b.tail = 0;
		else if (i == 2)
			b.seed = 43;
		else if (i == 3)
			b.epoch = 8;
		else if (i == 4)
			b.shuffle = SLC_SHUFFLE_FULL;
		else if (i == 5)
			b.tail = SLC_TAIL_PAD;
		s = NULL;
		ASSERT_EQ(slc_stream_open(self->ds, &b, &s),
			  i < 2 ? 0 : -EINVAL);
		if (i == 2)
			EXPECT_HAS(slc_last_error(self->ctx),
				   "holds seed 42 and 43 was asked for");
		slc_stream_close(s);
	}
}

TEST_F(stream, little_memory_and_small_reads_give_the_same)
{
	struct slc_stream_attr a = attr_of(variant->packed ? 1 : 2);
	uint32_t *hits = calloc(self->want.n, 4);
	struct slc_stream *s;

	a.flags = SLC_STREAM_PARTS;
	a.depth = 2;
	/* The least that opens. */
	for (a.memory = 4096; slc_stream_open(self->ds, &a, &s) < 0;
	     a.memory += 65536) {
		EXPECT_HAS(slc_last_error(NULL), "memory");
		ASSERT_LT(a.memory, 4u << 20);
	}
	slc_stream_close(s);
	drain(self->ds, &a, &self->want, hits, UINT64_MAX, variant->packed,
	      NULL);
	for (uint64_t i = 0; i < self->want.n; i++)
		ASSERT_EQ(hits[i], 1);
	free(hits);
}

TEST_F(stream, views_may_be_released_in_any_order)
{
	struct slc_stream_attr a = attr_of(variant->packed ? 1 : 2);
	struct slc_view lent[40], v;
	struct slc_stream *s;
	uint32_t n = 0, state = 5;
	uint64_t got = 0;
	int res;

	a.memory = 4u << 20;
	ASSERT_EQ(slc_stream_open(self->ds, &a, &s), 0);
	for (;;) {
		state = state * 1664525u + 1013904223u;
		if (n == 40 || (n && state >> 31)) {
			uint32_t i = (state >> 8) % n;

			/* Still what it was when it was lent. */
			if (!strcmp(variant->name, "tar") || variant->packed)
				ASSERT_GT(lent[i].len, 0);
			else
				ASSERT_EQ(slc_crc32c(0, lent[i].ptr,
						     lent[i].len),
					  self->want.crc[lent[i].sample]);
			slc_stream_release(s, &lent[i], 1);
			lent[i] = lent[--n];
			continue;
		}
		res = slc_stream_next(s, &v, 1);
		ASSERT_GE(res, 0);
		if (!res)
			break;
		lent[n++] = v;
		got++;
	}
	EXPECT_EQ(got, self->want.n);
	slc_stream_release(s, lent, n);
	slc_stream_release(s, lent, n); /* twice does no harm */
	slc_stream_close(s);
}

TEST_F(stream, members_are_the_payload)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_NONE);
	struct slc_member m[8];
	struct slc_stream *s;
	struct slc_view v;

	ASSERT_EQ(slc_stream_open(self->ds, &a, &s), 0);
	while (slc_stream_next(s, &v, 1) == 1) {
		int n = slc_stream_members(s, &v, m, 8);
		uint64_t len = 0;
		uint32_t crc = 0;

		ASSERT_GE(n, 1);
		for (int i = 0; i < n; i++) {
			crc = slc_crc32c(crc, m[i].ptr, m[i].len);
			len += m[i].len;
		}
		ASSERT_EQ(crc, v.crc);
		ASSERT_EQ(len, v.payload);
		if (!strncmp(variant->name, "tar", 3)) {
			ASSERT_EQ(n, 2);
			ASSERT_EQ(memcmp(m[0].name, "jpg", 3), 0);
			ASSERT_EQ(m[1].name_len, 3);
		}
		slc_stream_release(s, &v, 1);
	}
	slc_stream_close(s);
}

TEST_F(stream, drop_and_pad_are_even)
{
	for (uint32_t tail = SLC_TAIL_DROP; tail <= SLC_TAIL_PAD; tail++) {
		struct slc_stream_attr a = attr_of(SLC_SHUFFLE_SHARD);
		uint32_t *hits = calloc(self->want.n, 4);
		uint64_t got = 0, n = self->want.n;

		a.tail = tail;
		a.world = 3;
		a.batch = 4;
		for (a.rank = 0; a.rank < 3; a.rank++)
			got += drain(self->ds, &a, &self->want, hits,
				     UINT64_MAX, variant->packed, NULL);
		if (tail == SLC_TAIL_DROP)
			ASSERT_EQ(got, n - n % 12);
		else
			ASSERT_EQ(got, (n + 11) / 12 * 12);
		for (uint64_t i = 0; i < n; i++)
			ASSERT_LE(hits[i], tail == SLC_TAIL_DROP ? 1 : 2);
		free(hits);
	}
}

/* In the middle of a batch, and with the last step dropped or filled. */
TEST_F(stream, a_token_within_a_batch_keeps_the_end_where_it_was)
{
	for (uint32_t tail = SLC_TAIL_UNEVEN; tail <= SLC_TAIL_PAD; tail++) {
		uint32_t *hits = calloc(self->want.n, 4);
		uint32_t *whole = calloc(self->want.n, 4);
		struct slc_stream_attr a = attr_of(SLC_SHUFFLE_SHARD);
		char token[SLC_TOKEN_MAX];

		a.tail = tail;
		a.world = 2;
		a.batch = 4;
		for (a.rank = 0; a.rank < 2; a.rank++)
			drain(self->ds, &a, &self->want, whole, UINT64_MAX,
			      variant->packed, NULL);
		for (a.rank = 0; a.rank < 2; a.rank++)
			drain(self->ds, &a, &self->want, hits, 6,
			      variant->packed, token);
		a = attr_of(0);
		a.resume = token;
		a.world = 2; /* the batch comes from the token */
		for (a.rank = 0; a.rank < 2; a.rank++)
			drain(self->ds, &a, &self->want, hits, UINT64_MAX,
			      variant->packed, NULL);
		ASSERT_EQ(memcmp(hits, whole, self->want.n * 4), 0);
		free(hits);
		free(whole);
	}
}

/* Of 5 samples over 2 ranks, the last is on one rank only. */
static void deal_few(struct slc_dataset *ds, uint32_t tail, uint32_t world,
		     uint32_t rank, bool to_the_end, char *token)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_NONE);
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_stream *s;
	struct slc_view v;

	a.tail = tail;
	a.world = world;
	a.rank = rank;
	ASSERT_EQ(slc_stream_open(ds, &a, &s), 0);
	ASSERT_EQ(slc_stream_stats(s, &st), 0);
	for (uint64_t i = 0; i < st.samples_total; i++) {
		ASSERT_EQ(slc_stream_next(s, &v, 1), 1);
		slc_stream_release(s, &v, 1);
	}
	if (to_the_end)
		ASSERT_EQ(slc_stream_next(s, &v, 1), 0);
	ASSERT_EQ(slc_stream_token(s, token, SLC_TOKEN_MAX), 0);
	slc_stream_close(s);
}

/* Samples that a world of one still has after the token; the first of them. */
static uint64_t rest(struct slc_dataset *ds, const char *token, uint64_t *first)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_NONE);
	struct slc_stream *s;
	struct slc_view v;
	uint64_t n = 0;

	a.resume = token;
	ASSERT_EQ(slc_stream_open(ds, &a, &s), 0);
	while (slc_stream_next(s, &v, 1) == 1) {
		if (!n++)
			*first = v.sample;
		slc_stream_release(s, &v, 1);
	}
	slc_stream_close(s);
	return n;
}

TEST(after_the_end_every_rank_gives_the_token_of_the_end)
{
	char *dir = md_folder(), token[SLC_TOKEN_MAX];
	const char *path = md_path("%s/five.bin", dir);
	struct slc_dataset *ds;
	struct slc_ctx *ctx;
	uint64_t first = 0;

	ASSERT_EQ(slc_ctx_open(NULL, &ctx), 0);
	md_raw(path, 5, 300, NULL);
	ASSERT_EQ(open_dir(ctx, path, "raw", 300, &ds), 0);
	for (uint32_t tail = SLC_TAIL_UNEVEN; tail <= SLC_TAIL_PAD; tail++)
		for (uint32_t rank = 0; rank < 2; rank++) {
			deal_few(ds, tail, 2, rank, true, token);
			/* On a world of one nothing needs to be dropped. */
			EXPECT_EQ(rest(ds, token, &first),
				  tail == SLC_TAIL_DROP);
		}
	/* Two each and no end seen: the fifth is nobody's yet. */
	deal_few(ds, SLC_TAIL_UNEVEN, 2, 1, false, token);
	EXPECT_EQ(rest(ds, token, &first), 1);
	EXPECT_EQ(first, 4);
	/* A rank without samples has nothing, and has not seen the end. */
	deal_few(ds, SLC_TAIL_UNEVEN, 7, 6, false, token);
	EXPECT_EQ(rest(ds, token, &first), 5);
	deal_few(ds, SLC_TAIL_UNEVEN, 7, 6, true, token);
	EXPECT_EQ(rest(ds, token, &first), 0);
	slc_dataset_put(ds);
	slc_ctx_close(ctx);
	md_remove(dir);
}

static uint64_t locked_bytes(void)
{
	unsigned long long kb = 0, sum = 0;
	FILE *f = fopen("/proc/self/status", "r");
	char line[200];

	MD_MUST(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, "VmLck: %llu", &kb) == 1 ||
		    sscanf(line, "HugetlbPages: %llu", &kb) == 1)
			sum += kb;
	fclose(f);
	return sum << 10;
}

TEST_F(stream, the_kernel_counts_no_more_than_the_memory_allowed)
{
	static const uint64_t sizes[] = { 4u << 20, 7u << 20, 24u << 20 };

	for (int i = 0; i < 3; i++) {
		struct slc_stream_attr a = attr_of(SLC_SHUFFLE_NONE);
		uint64_t before = locked_bytes();
		struct slc_stream *s;
		struct slc_view v;

		a.memory = sizes[i];
		ASSERT_EQ(slc_stream_open(self->ds, &a, &s), 0);
		ASSERT_EQ(slc_stream_next(s, &v, 1), 1);
		EXPECT_GT(locked_bytes() - before, 64u << 10);
		EXPECT_LE(locked_bytes() - before, sizes[i]);
		slc_stream_close(s);
	}
}

/* Samples at odd offsets are read in place with the pages around them. */
TEST_F(stream, no_sample_goes_through_a_bounce_buffer)
{
	struct slc_stream_attr a = attr_of(variant->packed ? 1 : 2);
	struct slc_file_info fi = { .size = sizeof(fi) };
	struct slc_shard_info sh = { .size = sizeof(sh) };
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_view v[VIEWS];
	struct slc_stream *s;
	struct slc_file *f;
	int n;

	ASSERT_EQ(slc_dataset_shard(self->ds, 0, &sh), 0);
	ASSERT_EQ(slc_file_open(self->ctx, sh.path, SLC_FILE_READ, &f), 0);
	ASSERT_EQ(slc_file_query(f, &fi), 0);
	slc_file_put(f);
	if (!fi.dio_off_align || fi.dio_off_align > 4096)
		SKIP("no O_DIRECT for %s", self->dir);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &s), 0);
	while ((n = slc_stream_next(s, v, VIEWS)) > 0)
		slc_stream_release(s, v, (uint32_t)n);
	ASSERT_EQ(slc_stream_stats(s, &st), 0);
	for (uint32_t i = 0; i < st.nroutes; i++) {
		if (st.routes[i].route == SLC_ROUTE_BOUNCE)
			EXPECT_HAS(st.routes[i].reason, "inflated");
		else
			EXPECT_HAS(slc_route_name(st.routes[i].route),
				   "direct");
	}
	EXPECT_EQ(st.nroutes, variant->packed ? 2 : 1);
	slc_stream_close(s);
}

TEST_F(stream, a_manifest_verifies_every_byte)
{
	const char *path = md_path("%s/data.slc.json", self->dir);
	struct slc_stream_attr a = attr_of(variant->packed ? 1 : 2);
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_dataset *packed;
	struct slc_view v[VIEWS];
	uint64_t bytes = 0;
	struct slc_stream *s;
	int n;

	a.flags = SLC_STREAM_VERIFY;
	EXPECT_EQ(slc_stream_open(self->ds, &a, &s), -EINVAL);
	EXPECT_HAS(slc_last_error(NULL), "sluice pack");
	n = slc_dataset_pack(self->ds, path, NULL);
	if (n)
		printf("# %s\n", slc_last_error(NULL));
	ASSERT_EQ(n, 0);
	ASSERT_EQ(open_dir(self->ctx, path, NULL, 0, &packed), 0);
	ASSERT_EQ(slc_stream_open(packed, &a, &s), 0);
	while ((n = slc_stream_next(s, v, VIEWS)) > 0) {
		for (int i = 0; i < n; i++) {
			ASSERT_TRUE(v[i].flags & SLC_VIEW_VERIFIED);
			ASSERT_EQ(v[i].crc, self->want.crc[v[i].sample]);
			bytes += v[i].payload;
		}
		slc_stream_release(s, v, (uint32_t)n);
	}
	ASSERT_EQ(n, 0);
	ASSERT_EQ(slc_stream_stats(s, &st), 0);
	EXPECT_EQ(st.bytes_verified, bytes);
	EXPECT_EQ(st.retries, 0);
	slc_stream_close(s);
	slc_dataset_put(packed);
}

TEST_HARNESS_MAIN

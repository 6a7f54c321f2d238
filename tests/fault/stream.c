// SPDX-License-Identifier: MIT
/* Streams over damaged bytes, and over less memory and luck than they would
 * like. */
#include <errno.h>
#include <sys/time.h>

#include "nthfail.h"
#include "stream_fixture.h"

TEST_F(fault, a_flipped_byte_is_an_error_before_delivery)
{
	struct slc_stream_stats st = { .size = sizeof(st) };
	uint64_t got;

	PACKED(1000, 5000);
	flip(self->file, 333 * 5000 + 77);
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	for (uint32_t sh = 0; sh <= 2; sh += 2) {
		struct slc_stream_attr a = attr_of(sh, 0);
		struct slc_view v;

		ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
		ASSERT_EQ(drain(self->s, &got), -EBADMSG);
		EXPECT_LT(got, 1000);
		if (!sh)
			EXPECT_EQ(got, 333);
		EXPECT_HAS(slc_last_error(NULL), "a.bin");
		EXPECT_HAS(slc_last_error(NULL), "sample 333 at offset 1665000");
		EXPECT_HAS(slc_last_error(NULL), "packed");
		/* Only that error again. */
		EXPECT_EQ(slc_stream_next(self->s, &v, 1), -EBADMSG);
		EXPECT_HAS(slc_last_error(NULL), "sample 333");
		ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
		EXPECT_EQ(st.crc_errors, 1);
		EXPECT_EQ(st.retries, 1);
		EXPECT_EQ(st.samples, got);
		slc_stream_close(self->s);
		self->s = NULL;
	}
}

TEST_F(fault, without_a_manifest_a_flip_cannot_be_known)
{
	struct slc_stream_attr a = attr_of(0, 0);
	uint64_t got;

	md_raw(self->file, 100, 5000, &self->want);
	flip(self->file, 777);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(drain(self->s, &got), 0);
	EXPECT_EQ(got, 100);
}

/* A tensor of 40 MB through 8 MiB of memory. */
TEST_F(fault, a_sample_larger_than_the_memory_comes_in_parts)
{
	const uint64_t big = 40u * 1000 * 1000 + 123;
	const char *path = md_path("%s/big.safetensors", self->dir);
	struct md_buf data;
	uint64_t head;

	md_safetensors(path, 1, big, "t", &self->want);
	data = md_load(path);
	head = data.n - big;
	for (int packed = 0; packed < 2; packed++) {
		struct slc_stream_attr a = attr_of(0, 0);
		struct slc_stream_stats st = { .size = sizeof(st) };
		uint64_t at = 0, parts = 0;
		struct slc_view v;
		int n;

		ASSERT_EQ(open_ds(self->ctx, packed ? self->manifest : path, 0,
				  &self->ds), 0);
		ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
		EXPECT_EQ(slc_stream_next(self->s, &v, 1), -EMSGSIZE);
		EXPECT_HAS(slc_last_error(NULL), "sample 0 has 40000123 bytes");
		EXPECT_HAS(slc_last_error(NULL), "parts");
		slc_stream_close(self->s);
		a.flags = SLC_STREAM_PARTS;
		ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
		while ((n = slc_stream_next(self->s, &v, 1)) == 1) {
			ASSERT_EQ(v.part_off, at);
			ASSERT_EQ(v.sample_len, big);
			ASSERT_TRUE(v.flags & SLC_VIEW_PARTIAL);
			ASSERT_EQ(!!(v.flags & SLC_VIEW_VERIFIED), packed);
			ASSERT_EQ(memcmp(v.ptr, data.p + head + at, v.len), 0);
			at += v.len;
			ASSERT_EQ(v.crc, slc_crc32c(0, data.p + head, at));
			ASSERT_EQ(!!(v.flags & SLC_VIEW_LAST), at == big);
			slc_stream_release(self->s, &v, 1);
			parts++;
		}
		ASSERT_EQ(n, 0);
		EXPECT_EQ(at, big);
		EXPECT_GT(parts, 4);
		ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
		EXPECT_EQ(st.samples, 1);
		EXPECT_LE(st.max_pinned_bytes, a.memory);
		slc_stream_close(self->s);
		self->s = NULL;
		if (!packed)
			ASSERT_EQ(slc_dataset_pack(self->ds, self->manifest,
						   NULL), 0);
		slc_dataset_put(self->ds);
		self->ds = NULL;
	}
	free(data.p);
}

TEST_F(fault, a_flip_in_a_large_sample_is_found_before_its_part)
{
	const char *path = md_path("%s/big.safetensors", self->dir);
	struct slc_stream_attr a = attr_of(0, SLC_STREAM_PARTS);
	struct slc_stream_stats st = { .size = sizeof(st) };
	struct slc_view v;
	uint64_t at = 0;
	int n;

	md_safetensors(path, 1, 20u << 20, "t", NULL);
	ASSERT_EQ(open_ds(self->ctx, path, 0, &self->ds), 0);
	ASSERT_EQ(slc_dataset_pack(self->ds, self->manifest, NULL), 0);
	slc_dataset_put(self->ds);
	flip(path, 11u << 20);
	a.memory = 24u << 20;
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	while ((n = slc_stream_next(self->s, &v, 1)) == 1) {
		at += v.len;
		slc_stream_release(self->s, &v, 1);
	}
	EXPECT_EQ(n, -EBADMSG);
	EXPECT_LE(at, 11u << 20);
	EXPECT_HAS(slc_last_error(NULL), "sample 0 at offset 11534336");
	ASSERT_EQ(slc_stream_stats(self->s, &st), 0);
	EXPECT_EQ(st.crc_errors, 1);
	EXPECT_EQ(st.retries, 1);
}

TEST_F(fault, a_large_sample_of_a_compressed_shard_comes_in_parts_too)
{
	const char *dir = md_path("%s/z", self->dir);
	struct slc_stream_attr a = attr_of(0, SLC_STREAM_PARTS);
	uint64_t at = 0, samples = 0;
	struct slc_view v;
	int n;

	a.memory = 4u << 20;
	md_mds(dir, 2, 3, 5u << 20, 1, &self->want);
	ASSERT_EQ(open_ds(self->ctx, dir, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	while ((n = slc_stream_next(self->s, &v, 1)) == 1) {
		ASSERT_EQ(v.part_off, at);
		at += v.len;
		if (v.flags & SLC_VIEW_LAST) {
			ASSERT_EQ(at, self->want.len[v.sample]);
			ASSERT_EQ(v.crc, self->want.crc[v.sample]);
			at = 0;
			samples++;
		}
		slc_stream_release(self->s, &v, 1);
	}
	if (n)
		printf("# %s\n", slc_last_error(NULL));
	EXPECT_EQ(n, 0);
	EXPECT_EQ(samples, 6);
}

TEST_F(fault, a_large_tar_sample_is_refused_with_the_memory_it_needs)
{
	const char *tar = md_path("%s/s.tar", self->dir);
	struct slc_stream_attr a = attr_of(0, SLC_STREAM_PARTS);
	struct slc_view v;

	a.memory = 4u << 20;
	md_tar(tar, 2, 3u << 20, NULL);
	ASSERT_EQ(open_ds(self->ctx, tar, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -EMSGSIZE);
	EXPECT_HAS(slc_last_error(NULL), "memory of");
	slc_stream_close(self->s);
	a.memory = 16u << 20;
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), 1);
}

TEST_F(fault, lent_views_that_fill_the_memory_are_enobufs_and_no_end)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_FULL, 0);
	static struct slc_view v[4000];
	uint32_t n = 0;
	uint64_t got;
	int res;

	a.memory = 4u << 20;
	md_raw(self->file, 4000, 5000, &self->want);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	while ((res = slc_stream_next(self->s, &v[n], 16)) > 0)
		n += (uint32_t)res;
	ASSERT_EQ(res, -ENOBUFS);
	EXPECT_HAS(slc_last_error(NULL), "release");
	EXPECT_LT(n, 1000);
	/* All of them still hold what they held. */
	for (uint32_t i = 0; i < n; i++)
		ASSERT_EQ(slc_crc32c(0, v[i].ptr, v[i].len),
			  self->want.crc[v[i].sample]);
	/* All but the oldest: still no room. */
	slc_stream_release(self->s, v + 1, n - 1);
	EXPECT_EQ(slc_stream_next(self->s, v + 1, 1), -ENOBUFS);
	slc_stream_release(self->s, v, 1);
	EXPECT_EQ(drain(self->s, &got), 0);
	EXPECT_EQ(got + n, 4000);
}

TEST_F(fault, no_sample_one_sample_and_empty_samples_are_fine)
{
	struct slc_stream_attr a;
	struct slc_view v[8];
	uint64_t got;

	for (uint32_t sh = 0; sh <= 2; sh++) {
		const char *st = md_path("%s/x.safetensors", self->dir);

		a = attr_of(sh, 0);
		md_safetensors(st, 0, 10, "t", NULL);
		ASSERT_EQ(open_ds(self->ctx, st, 0, &self->ds), 0);
		ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
		EXPECT_EQ(slc_stream_next(self->s, v, 8), 0);
		EXPECT_EQ(slc_stream_next(self->s, v, 8), 0);
		slc_stream_close(self->s);
		slc_dataset_put(self->ds);
		md_safetensors(st, 5, 0, "t", NULL);
		ASSERT_EQ(open_ds(self->ctx, st, 0, &self->ds), 0);
		ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
		ASSERT_EQ(slc_stream_next(self->s, v, 8), 5);
		for (int i = 0; i < 5; i++) {
			EXPECT_NE((uintptr_t)v[i].ptr, 0);
			EXPECT_EQ(v[i].len, 0);
			EXPECT_EQ(v[i].crc, 0);
		}
		slc_stream_close(self->s);
		slc_dataset_put(self->ds);
		md_raw(self->file, 1, 70, NULL);
		ASSERT_EQ(open_ds(self->ctx, self->file, 70, &self->ds), 0);
		a.world = 3;
		for (a.rank = 0; a.rank < 3; a.rank++) {
			ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
			EXPECT_EQ(drain(self->s, &got), 0);
			EXPECT_EQ(got, a.rank == 0);
			slc_stream_close(self->s);
		}
		slc_dataset_put(self->ds);
		self->ds = NULL;
		self->s = NULL;
	}
}

TEST_F(fault, lent_views_keep_their_bytes_while_the_window_turns_around_them)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_FULL, 0);
	struct slc_view lent[40];
	uint32_t n = 0, state = 5;
	uint64_t got = 0;

	a.memory = 4u << 20; /* 20 MB go through it */
	md_raw(self->file, 4000, 5000, &self->want);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	for (;;) {
		uint32_t i;
		int res;

		state = state * 1664525u + 1013904223u;
		i = n ? (state >> 8) % n : 0;
		if (n < 40 && (!n || state >> 31)) {
			res = slc_stream_next(self->s, &lent[n], 1);
			if (!res)
				break;
			if (res == 1) {
				n++;
				got++;
				continue;
			}
			ASSERT_EQ(res, -ENOBUFS);
		}
		ASSERT_EQ(slc_crc32c(0, lent[i].ptr, lent[i].len),
			  self->want.crc[lent[i].sample]);
		slc_stream_release(self->s, &lent[i], 1);
		lent[i] = lent[--n];
	}
	EXPECT_EQ(got, 4000);
}

static void on_alarm(int sig)
{
	(void)sig;
}

/* Streams self->ds while signals rain: how many samples came in the end. */
static uint64_t drain_in_rain(struct slc_dataset *ds, uint32_t shuffle)
{
	struct sigaction act = { .sa_handler = on_alarm }, old;
	const struct itimerval often = { { 0, 300 }, { 0, 300 } };
	const struct itimerval never = { { 0, 0 }, { 0, 0 } };
	struct slc_stream_attr a = attr_of(shuffle, 0);
	uint64_t got = 0, count;
	struct slc_stream *s;
	int res;

	ASSERT_EQ(slc_stream_open(ds, &a, &s), 0);
	sigaction(SIGALRM, &act, &old);
	setitimer(ITIMER_REAL, &often, NULL);
	do {
		res = drain(s, &count);
		got += count;
	} while (res == -EINTR);
	setitimer(ITIMER_REAL, &never, NULL);
	sigaction(SIGALRM, &old, NULL);
	EXPECT_EQ(res, 0);
	slc_stream_close(s);
	return got;
}

TEST_F(fault, signals_interrupt_and_nothing_is_lost)
{
	md_raw(self->file, 4000, 5000, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 5000, &self->ds), 0);
	EXPECT_EQ(drain_in_rain(self->ds, SLC_SHUFFLE_FULL), 4000);
	slc_dataset_put(self->ds);
	md_mds(md_path("%s/z", self->dir), 40, 10, 30000, 1, NULL);
	ASSERT_EQ(open_ds(self->ctx, md_path("%s/z", self->dir), 0, &self->ds),
		  0);
	EXPECT_EQ(drain_in_rain(self->ds, SLC_SHUFFLE_SHARD), 400);
}

TEST_F(fault, damage_in_a_compressed_shard_is_an_error)
{
	const char *tar = md_path("%s/s.tar", self->dir);
	const char *gz = md_path("%s/s.tar.gz", self->dir);
	struct slc_stream_attr a = attr_of(0, 0);
	struct stat st;
	uint64_t got;
	int err;

	md_tar(tar, 300, 20000, NULL);
	md_gzip(tar, gz);
	unlink(tar);
	ASSERT_EQ(open_ds(self->ctx, gz, 0, &self->ds), 0);
	MD_MUST(!stat(gz, &st));
	/* The sum at its very end: every sample came, and still. */
	flip(gz, st.st_size - 8);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(drain(self->s, &got), -EBADMSG);
	EXPECT_GE(got, 250);
	EXPECT_HAS(slc_last_error(NULL), "s.tar.gz");
	slc_stream_close(self->s);
	flip(gz, st.st_size - 8);
	flip(gz, st.st_size / 2);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	err = drain(self->s, &got);
	EXPECT_EQ(err, -EBADMSG);
	EXPECT_LT(got, 300);
}

TEST_F(fault, what_a_stream_cannot_do_is_said_with_the_way_out)
{
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_FULL, 0);
	char token[SLC_TOKEN_MAX];
	struct md_buf npy;
	uint8_t *where;

	md_mds(md_path("%s/z", self->dir), 2, 20, 1000, 1, NULL);
	ASSERT_EQ(open_ds(self->ctx, md_path("%s/z", self->dir), 0, &self->ds),
		  0);
	EXPECT_EQ(slc_stream_open(self->ds, &a, &self->s), -EOPNOTSUPP);
	EXPECT_HAS(slc_last_error(NULL), "shuffle shard");
	a = attr_of(0, SLC_STREAM_STRICT);
	EXPECT_EQ(slc_stream_open(self->ds, &a, &self->s), -ENOTSUP);
	slc_dataset_put(self->ds);

	md_npy(md_path("%s/f.npy", self->dir), 10, 10, NULL);
	npy = md_load(md_path("%s/f.npy", self->dir));
	where = memmem(npy.p, npy.n, "False", 5);
	ASSERT_NOT_NULL(where);
	memcpy(where, "True ", 5);
	md_save(md_path("%s/f.npy", self->dir), &npy);
	ASSERT_EQ(open_ds(self->ctx, md_path("%s/f.npy", self->dir), 0,
			  &self->ds), 0);
	a = attr_of(0, 0);
	EXPECT_EQ(slc_stream_open(self->ds, &a, &self->s), -EOPNOTSUPP);
	EXPECT_HAS(slc_last_error(NULL), "Fortran");
	slc_dataset_put(self->ds);

	md_raw(self->file, 10, 100, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 100, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(slc_stream_token(self->s, token, 255), -ENOSPC);
	ASSERT_EQ(slc_stream_token(self->s, token, sizeof(token)), 0);
	slc_stream_close(self->s);
	self->s = NULL;
	slc_dataset_put(self->ds);
	ASSERT_EQ(open_ds(self->ctx, self->file, 50, &self->ds), 0);
	a.resume = token;
	EXPECT_EQ(slc_stream_open(self->ds, &a, &self->s), -EINVAL);
	EXPECT_HAS(slc_last_error(NULL), "another dataset");
	slc_dataset_put(self->ds);
	/* As many samples, of another size: only the fingerprint tells. */
	md_raw(md_path("%s/b.bin", self->dir), 10, 200, NULL);
	ASSERT_EQ(open_ds(self->ctx, md_path("%s/b.bin", self->dir), 200,
			  &self->ds), 0);
	EXPECT_EQ(slc_stream_open(self->ds, &a, &self->s), -EINVAL);
	EXPECT_HAS(slc_last_error(NULL), "another dataset");
	a.resume = "slc9.00";
	EXPECT_EQ(slc_stream_open(self->ds, &a, &self->s), -EINVAL);
	EXPECT_HAS(slc_last_error(NULL), "version '9'");
}

TEST_F(fault, wrong_attributes_are_einval)
{
	struct slc_stream_attr good = attr_of(0, 0), a;

	md_raw(self->file, 10, 100, NULL);
	ASSERT_EQ(open_ds(self->ctx, self->file, 100, &self->ds), 0);
#define WRONG(field, value)                                                  \
	do {                                                                 \
		a = good;                                                    \
		a.field = value;                                             \
		EXPECT_EQ(slc_stream_open(self->ds, &a, &self->s), -EINVAL); \
		EXPECT_GT(strlen(slc_last_error(NULL)), 10);                 \
	} while (0)
	WRONG(flags, 1u << 20);
	WRONG(flags, SLC_STREAM_NOCRC | SLC_STREAM_VERIFY);
	WRONG(shuffle, 3);
	WRONG(tail, 3);
	WRONG(rank, 1);
	WRONG(depth, 5000);
	WRONG(max_io, 1000);
	WRONG(memory, 4096);
	WRONG(page_size, 12345);
	WRONG(engine, "steam");
	WRONG(size, 3);
}

TEST_F(fault, on_tmpfs_the_bytes_are_the_same)
{
	char name[] = "/dev/shm/sluice-test-XXXXXX";
	struct slc_stream_attr a = attr_of(SLC_SHUFFLE_FULL, 0);
	struct slc_view v[VIEWS];
	uint64_t got = 0;
	int fd = mkstemp(name), n;

	if (fd < 0)
		SKIP("no /dev/shm here");
	close(fd);
	md_raw(name, 500, 3001, &self->want);
	ASSERT_EQ(open_ds(self->ctx, name, 3001, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	while ((n = slc_stream_next(self->s, v, VIEWS)) > 0) {
		for (int i = 0; i < n; i++)
			ASSERT_EQ(v[i].crc, self->want.crc[v[i].sample]);
		got += (uint64_t)n;
		slc_stream_release(self->s, v, (uint32_t)n);
	}
	unlink(name);
	EXPECT_EQ(n, 0);
	EXPECT_EQ(got, 500);
}

TEST_F_TIMEOUT(fault, every_failing_allocation_is_an_error_without_a_leak, 120)
{
	int failures = 0;

	md_mds(md_path("%s/z", self->dir), 2, 20, 1000, 1, NULL);
	ASSERT_EQ(open_ds(self->ctx, md_path("%s/z", self->dir), 0, &self->ds),
		  0);
	for (uint64_t nth = 1;; nth++) {
		struct slc_stream_attr a = attr_of(SLC_SHUFFLE_SHARD, 0);
		struct slc_stream *s = NULL;
		uint64_t got = 0;
		bool fired;
		int err;

		a.memory = 4u << 20;
		nthfail_arm(nth);
		err = slc_stream_open(self->ds, &a, &s);
		if (!err)
			err = drain(s, &got);
		fired = nthfail_disarm();
		slc_stream_close(s);
		if (!fired) {
			EXPECT_EQ(err, 0);
			EXPECT_EQ(got, 40);
			break;
		}
		/* Where the library can do without, all is as it should be. */
		if (err)
			EXPECT_EQ(err, -ENOMEM);
		else
			EXPECT_EQ(got, 40);
		failures++;
	}
	EXPECT_GT(failures, 8);
}

TEST_HARNESS_MAIN

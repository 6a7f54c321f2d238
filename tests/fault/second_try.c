// SPDX-License-Identifier: MIT
/* Reads that fail or come wrong once, and what the second try makes of them:
 * each branch of stream/verify.c. */
/* WRAP: pread */
#include "stream_fixture.h"

#include "stream/dataset.h"

/* What happens to the next reads that bring the byte at `target`. */
enum { FINE = 0, FLIPPED = -1, SHORT = -2, END = -3 }; /* else an errno */
static int script[8];
static unsigned int nscript, at_line;
static off_t target;

ssize_t __real_pread(int fd, void *buf, size_t n, off_t off);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off);

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off)
{
	int what = FINE;

	if (at_line < nscript && off <= target &&
	    (uint64_t)(target - off) < n)
		what = script[at_line++];
	if (what > 0) {
		errno = what;
		return -1;
	}
	if (what == END)
		return 0;
	if (what == SHORT)
		return __real_pread(fd, buf, 10, off);
	n = (size_t)__real_pread(fd, buf, n, off);
	if (what == FLIPPED)
		((uint8_t *)buf)[target - off] ^= 0x01;
	return (ssize_t)n;
}

#define SCRIPT(where, ...)                                  \
	do {                                                \
		const int lines[] = { __VA_ARGS__ };        \
		memcpy(script, lines, sizeof(lines));       \
		nscript = sizeof(lines) / sizeof(lines[0]); \
		at_line = 0;                                \
		target = (off_t)(where);                    \
	} while (0)

/* By pread through the page cache: each read as it was asked for. */
static struct slc_stream_attr plainly(void)
{
	struct slc_stream_attr a = attr_of(0, SLC_STREAM_BUFFERED);

	a.engine = "sync";
	return a;
}

/* Bytes of the routes with that reason. */
static uint64_t routed(struct slc_stream *s, const char *reason)
{
	struct slc_stream_stats st = { .size = sizeof(st) };
	uint64_t sum = 0;

	MD_MUST(!slc_stream_stats(s, &st));
	for (uint32_t i = 0; i < st.nroutes; i++)
		if (strstr(st.routes[i].reason, reason))
			sum += st.routes[i].bytes;
	return sum;
}

static uint64_t bytes_read(struct slc_stream *s)
{
	struct slc_stream_stats st = { .size = sizeof(st) };

	MD_MUST(!slc_stream_stats(s, &st));
	return st.bytes_read;
}

static uint64_t retries(struct slc_stream *s)
{
	struct slc_stream_stats st = { .size = sizeof(st) };

	MD_MUST(!slc_stream_stats(s, &st));
	return st.retries;
}

/* A sample a read, 20 of 5000 bytes; the script is for sample 7. */
#define LEN 5000u
#define TARGET (8 * LEN - 1)

static void open_packed(struct ktap_fixture_fault *self)
{
	struct slc_stream_attr a = plainly();

	PACKED(20, LEN);
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	a.max_io = 4096;
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
}

/* To the end, every sample as it was made. */
static void expect_all_right(struct ktap_fixture_fault *self)
{
	struct slc_view v;
	uint64_t got = 0;
	int n;

	while ((n = slc_stream_next(self->s, &v, 1)) == 1) {
		EXPECT_EQ(v.sample, got++);
		EXPECT_EQ(v.crc, self->want.crc[v.sample]);
		EXPECT_EQ(slc_crc32c(0, v.ptr, v.len), v.crc);
		slc_stream_release(self->s, &v, 1);
	}
	if (n)
		printf("# %s\n", slc_last_error(NULL));
	EXPECT_EQ(n, 0);
	EXPECT_EQ(got, 20);
	EXPECT_EQ(at_line, nscript);
}

static void expect_error_in_7(struct ktap_fixture_fault *self, int err,
			      const char *what)
{
	uint64_t got;

	EXPECT_EQ(drain(self->s, &got), err);
	EXPECT_EQ(got, 7);
	EXPECT_HAS(slc_last_error(NULL), "sample 7");
	EXPECT_HAS(slc_last_error(NULL), what);
	EXPECT_EQ(at_line, nscript);
}

TEST_F(fault, an_io_error_is_read_again_under_its_name)
{
	open_packed(self);
	SCRIPT(TARGET, EIO);
	expect_all_right(self);
	EXPECT_GE(retries(self->s), 1);
	EXPECT_EQ(routed(self->s, "read again after: I/O error"),
		  retries(self->s) * LEN);
}

TEST_F(fault, another_error_is_read_again_under_another)
{
	open_packed(self);
	SCRIPT(TARGET, ENXIO);
	expect_all_right(self);
	EXPECT_GE(retries(self->s), 1);
	EXPECT_EQ(routed(self->s, "read again after: failed read"),
		  retries(self->s) * LEN);
}

TEST_F(fault, an_end_that_was_none_is_read_again_under_its_name)
{
	open_packed(self);
	SCRIPT(TARGET, END);
	expect_all_right(self);
	EXPECT_GE(retries(self->s), 1);
	EXPECT_EQ(routed(self->s, "read again after: early end of file"),
		  retries(self->s) * LEN);
}

TEST_F(fault, wrong_bytes_are_read_again_under_their_name)
{
	open_packed(self);
	SCRIPT(TARGET, FLIPPED);
	expect_all_right(self);
	EXPECT_EQ(retries(self->s), 1);
	EXPECT_EQ(bytes_read(self->s), 21 * LEN);
	EXPECT_EQ(routed(self->s, "read again after: checksum mismatch"), LEN);
}

TEST_F(fault, a_second_try_goes_on_after_a_signal_and_a_short_read)
{
	open_packed(self);
	SCRIPT(TARGET, FLIPPED, EINTR, SHORT, EINTR, SHORT, FINE);
	expect_all_right(self);
	EXPECT_EQ(retries(self->s), 1);
	EXPECT_EQ(routed(self->s, "read again after: checksum mismatch"), LEN);
}

TEST_F(fault, a_second_error_is_the_end_with_its_offset)
{
	open_packed(self);
	SCRIPT(TARGET, FLIPPED, SHORT, EIO);
	expect_error_in_7(self, -EIO,
			  "at offset 35010 failed: Input/output error");
	EXPECT_EQ(retries(self->s), 1);
	/* What did come is told too. */
	EXPECT_EQ(routed(self->s, "read again after: checksum mismatch"), 10);
}

TEST_F(fault, a_second_early_end_is_the_end)
{
	open_packed(self);
	SCRIPT(TARGET, FLIPPED, SHORT, END);
	expect_error_in_7(self, -ENODATA, "the file ends at offset 35010");
}

TEST_F(fault, wrong_bytes_twice_are_a_mismatch_and_there_is_no_third_try)
{
	open_packed(self);
	SCRIPT(TARGET, FLIPPED, FLIPPED);
	expect_error_in_7(self, -EBADMSG, "checksum mismatch");
	EXPECT_EQ(retries(self->s), 1);
}

TEST_F(fault, wrong_bytes_after_an_error_are_a_mismatch_without_a_third_try)
{
	uint64_t before;

	open_packed(self);
	SCRIPT(TARGET, EIO, FLIPPED);
	expect_error_in_7(self, -EBADMSG, "checksum mismatch");
	before = retries(self->s);
	EXPECT_LE(before, 8); /* each sample of that read once */
	EXPECT_EQ(routed(self->s, "read again after: checksum mismatch"), 0);
}

/* ---- members ---- */

/* A tar without a manifest: only its headers can tell. */
static void open_tar(struct ktap_fixture_fault *self, uint64_t *off,
		     uint64_t *len)
{
	struct slc_stream_attr a = plainly();
	struct slc_sample_info info = { .size = sizeof(info) };
	const char *tar = md_path("%s/a.tar", self->dir);

	md_tar(tar, 20, 3000, &self->want);
	ASSERT_EQ(open_ds(self->ctx, tar, 0, &self->ds), 0);
	ASSERT_EQ(slc_dataset_sample(self->ds, 7, &info), 0);
	*off = info.off;
	*len = info.len;
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
}

TEST_F(fault, members_that_make_no_sense_are_read_again_under_their_name)
{
	struct slc_view v;
	uint64_t off, len, got = 0;
	int n;

	open_tar(self, &off, &len);
	SCRIPT(off + 3, FLIPPED);
	while ((n = slc_stream_next(self->s, &v, 1)) == 1) {
		EXPECT_EQ(v.crc, self->want.crc[got++]);
		slc_stream_release(self->s, &v, 1);
	}
	EXPECT_EQ(n, 0);
	EXPECT_EQ(got, 20);
	EXPECT_EQ(retries(self->s), 1);
	EXPECT_EQ(routed(self->s, "read again after: malformed members"), len);
}

TEST_F(fault, members_that_make_no_sense_twice_are_an_error)
{
	uint64_t off, len;

	open_tar(self, &off, &len);
	SCRIPT(off + 3, FLIPPED, FLIPPED);
	expect_error_in_7(self, -EBADMSG, "changed since it was indexed");
	EXPECT_EQ(retries(self->s), 1);
}

/* ---- parts ---- */

#define BIG (20u << 20)

/* One tensor of 20 MiB in parts; *head: where it begins in the file. */
static void open_big(struct ktap_fixture_fault *self, bool packed,
		     uint64_t flags, uint64_t *head)
{
	struct slc_stream_attr a = plainly();
	struct slc_sample_info info = { .size = sizeof(info) };
	const char *path = md_path("%s/big.safetensors", self->dir);

	md_safetensors(path, 1, BIG, "t", &self->want);
	ASSERT_EQ(open_ds(self->ctx, path, 0, &self->ds), 0);
	if (packed) {
		ASSERT_EQ(slc_dataset_pack(self->ds, self->manifest, NULL), 0);
		slc_dataset_put(self->ds);
		ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	}
	ASSERT_EQ(slc_dataset_sample(self->ds, 0, &info), 0);
	*head = info.off;
	a.flags |= SLC_STREAM_PARTS;
	if (flags) {
		a.flags = SLC_STREAM_PARTS | flags;
		a.engine = NULL;
	}
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
}

/* To the end or an error; the bytes, which were right. */
static int drain_parts(struct ktap_fixture_fault *self, uint64_t *bytes)
{
	uint32_t crc = 0;
	struct slc_view v;
	int n;

	*bytes = 0;
	while ((n = slc_stream_next(self->s, &v, 1)) == 1) {
		crc = slc_crc32c(crc, v.ptr, v.len);
		EXPECT_EQ(v.crc, crc);
		*bytes += v.len;
		if (v.flags & SLC_VIEW_LAST)
			EXPECT_EQ(crc, self->want.crc[0]);
		slc_stream_release(self->s, &v, 1);
	}
	if (n)
		printf("# %s\n", slc_last_error(NULL));
	return n;
}

TEST_F(fault, a_part_that_failed_is_read_again)
{
	uint64_t head, bytes, again;

	for (int packed = 0; packed < 2; packed++) {
		open_big(self, packed, 0, &head);
		SCRIPT(head + 11 * (1u << 20), EIO);
		EXPECT_EQ(drain_parts(self, &bytes), 0);
		EXPECT_EQ(bytes, BIG);
		EXPECT_EQ(retries(self->s), 1);
		again = routed(self->s, "read again after: I/O error");
		EXPECT_GE(again, 1u << 20);
		EXPECT_LT(again, BIG / 2);
		slc_stream_close(self->s);
		slc_dataset_put(self->ds);
		md_samples_fini(&self->want);
		self->s = NULL;
		self->ds = NULL;
	}
}

TEST_F(fault, a_part_that_failed_twice_is_an_error)
{
	uint64_t head, bytes;

	open_big(self, false, 0, &head);
	SCRIPT(head + 11 * (1u << 20), EIO, EIO);
	EXPECT_EQ(drain_parts(self, &bytes), -EIO);
	EXPECT_LT(bytes, BIG);
	EXPECT_HAS(slc_last_error(NULL), "reading sample 0 at offset ");
	EXPECT_EQ(retries(self->s), 1);
}

TEST_F(fault, an_extent_of_a_part_is_read_again_alone)
{
	uint64_t head, bytes;

	open_big(self, true, 0, &head);
	SCRIPT(head + 11 * (1u << 20), FLIPPED);
	EXPECT_EQ(drain_parts(self, &bytes), 0);
	EXPECT_EQ(bytes, BIG);
	EXPECT_EQ(retries(self->s), 1);
	EXPECT_EQ(routed(self->s, "read again after: checksum mismatch"),
		  SLC_EXTENT_BYTES);
}

TEST_F(fault, an_extent_that_cannot_be_read_again_is_an_error)
{
	uint64_t head, bytes;

	open_big(self, true, 0, &head);
	SCRIPT(head + 11 * (1u << 20), FLIPPED, EIO);
	EXPECT_EQ(drain_parts(self, &bytes), -EIO);
	EXPECT_LT(bytes, BIG);
}

TEST_F(fault, an_extent_that_is_wrong_twice_is_a_mismatch)
{
	uint64_t head, bytes;

	open_big(self, true, 0, &head);
	SCRIPT(head + 11 * (1u << 20), FLIPPED, FLIPPED);
	EXPECT_EQ(drain_parts(self, &bytes), -EBADMSG);
	EXPECT_LT(bytes, 12u << 20);
	EXPECT_HAS(slc_last_error(NULL), "checksum mismatch in sample 0");
	EXPECT_EQ(retries(self->s), 1);
}

TEST_F(fault, strict_gives_no_second_try_to_a_part)
{
	uint64_t head, bytes;
	int err;

	open_big(self, true, SLC_STREAM_STRICT, &head);
	flip(md_path("%s/big.safetensors", self->dir),
	     (off_t)head + 11 * (1 << 20));
	err = drain_parts(self, &bytes);
	if (err == -ENOTSUP)
		SKIP("%s", slc_last_error(NULL));
	EXPECT_EQ(err, -EBADMSG);
	EXPECT_EQ(retries(self->s), 0);
}

/* ---- where there is none ---- */

TEST_F(fault, a_worse_route_that_strict_forbids_is_an_error_that_names_it)
{
	struct slc_stream_attr a = attr_of(0, SLC_STREAM_STRICT |
						      SLC_STREAM_BUFFERED);
	struct slc_view v;

	md_raw(self->file, 20, LEN, &self->want);
	ASSERT_EQ(open_ds(self->ctx, self->file, LEN, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	EXPECT_EQ(slc_stream_next(self->s, &v, 1), -ENOTSUP);
	EXPECT_HAS(slc_last_error(NULL), "strict forbids another: sample 0");
	printf("# %s\n", slc_last_error(NULL));
	EXPECT_EQ(retries(self->s), 0);
}

/* Random bytes are stored, so that zstd itself finds nothing wrong. */
TEST_F(fault, what_was_inflated_has_no_second_try)
{
	const char *folder = md_path("%s/z", self->dir);
	const char *shard = md_path("%s/shard.00000.mds.zstd", folder);
	struct slc_stream_attr a = plainly();
	uint64_t got;
	struct stat st;

	md_mds(folder, 1, 20, LEN, 1, &self->want);
	ASSERT_EQ(open_ds(self->ctx, folder, 0, &self->ds), 0);
	ASSERT_EQ(slc_dataset_pack(self->ds, self->manifest, NULL), 0);
	slc_dataset_put(self->ds);
	ASSERT_EQ(open_ds(self->ctx, self->manifest, 0, &self->ds), 0);
	ASSERT_EQ(slc_stream_open(self->ds, &a, &self->s), 0);
	MD_MUST(!stat(shard, &st));
	SCRIPT(st.st_size / 2, FLIPPED);
	EXPECT_EQ(drain(self->s, &got), -EBADMSG);
	EXPECT_HAS(slc_last_error(NULL), "checksum mismatch in sample");
	EXPECT_LT(got, 20);
	EXPECT_EQ(retries(self->s), 0);
}

TEST_F(fault, a_second_try_needs_the_file_to_be_there)
{
	struct slc_view v;

	open_packed(self);
	SCRIPT(TARGET, EIO);
	/* The read that fails is done; what it brought is looked at later. */
	ASSERT_EQ(slc_stream_next(self->s, &v, 1), 1);
	slc_stream_release(self->s, &v, 1);
	MD_MUST(!unlink(self->file));
	for (int n; (n = slc_stream_next(self->s, &v, 1)) != -ENOENT;) {
		ASSERT_EQ(n, 1);
		slc_stream_release(self->s, &v, 1);
	}
	EXPECT_HAS(slc_last_error(NULL), "failed: No such file");
}

TEST_HARNESS_MAIN

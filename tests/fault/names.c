/* SPDX-License-Identifier: MIT */
/* Damage in the headers of a tar that was packed: no name changes silently. */
#include <errno.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "open_one.h"
#include "stream/dataset.h"

FIXTURE(names)
{
	struct slc_ctx *ctx;
	struct slc_dataset *ds;
	char *dir;
	const char *tar, *manifest;
};
FIXTURE_NO_VARIANT(names);

FIXTURE_SETUP(names)
{
	self->dir = md_folder();
	self->tar = md_path("%s/a.tar", self->dir);
	self->manifest = md_path("%s/d.slc.json", self->dir);
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
}

FIXTURE_TEARDOWN(names)
{
	slc_dataset_put(self->ds);
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

/* A header of another type than a file's, before the member it is about. */
static void extended(struct md_buf *b, char type, const void *bytes, size_t n)
{
	size_t at = b->n;
	unsigned int sum = 0;

	md_tar_member(b, "././@LongLink", bytes, n);
	b->p[at + 156] = (uint8_t)type;
	memset(b->p + at + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += b->p[at + (size_t)i];
	snprintf((char *)b->p + at + 148, 8, "%06o", sum);
}

/* Two samples: one named by pax headers, one by a long name and plainly. */
static void write_tar(const char *path)
{
	static const char name[] = "other/two.jpg";
	struct md_buf b = { 0 };

	extended(&b, 'x', "20 path=dir/one.jpg\n", 20);
	md_tar_member(&b, "x", "picture", 7);
	extended(&b, 'x', "20 path=dir/one.cls\n", 20);
	md_tar_member(&b, "y", "7", 1);
	extended(&b, 'L', name, sizeof(name));
	md_tar_member(&b, "z", "another", 7);
	md_tar_member(&b, "other/two.cls", "8", 1);
	md_zero(&b, 1024);
	md_save(path, &b);
}

/* Keys, names and contents as text, or the error. `text` holds 1000 bytes. */
static int list(struct slc_dataset *ds, char *text)
{
	struct slc_stream_attr a = { .size = sizeof(a), .node = -1,
				     .memory = 4u << 20, .page_size = 4096,
				     .engine = "sync",
				     .flags = SLC_STREAM_BUFFERED };
	struct slc_member m[8];
	struct slc_stream *s;
	struct slc_view v;
	int res = slc_stream_open(ds, &a, &s);

	text[0] = 0;
	if (res)
		return res;
	while ((res = slc_stream_next(s, &v, 1)) == 1) {
		char key[100];
		int n = slc_stream_members(s, &v, m, 8);

		MD_MUST(n >= 0 && n <= 8);
		MD_MUST(slc_stream_key(s, &v, key, sizeof(key)) >= 0);
		sprintf(text + strlen(text), "%s:", key);
		for (int i = 0; i < n; i++)
			sprintf(text + strlen(text), " %.*s=%.*s",
				(int)m[i].name_len, m[i].name, (int)m[i].len,
				(const char *)m[i].ptr);
		strcat(text, "\n");
		slc_stream_release(s, &v, 1);
	}
	slc_stream_close(s);
	return res;
}

/* The keys alone, as inspect reads them. */
static int keys(struct slc_dataset *ds, char *text)
{
	struct slc_sample_info info = { .size = sizeof(info) };
	int err = 0;

	text[0] = 0;
	for (uint64_t i = 0; i < ds->nsamples && !err; i++) {
		err = slc_dataset_sample(ds, i, &info);
		if (!err)
			sprintf(text + strlen(text), "%s\n", info.key);
	}
	return err;
}

/* As a disk does it: nothing about the file says so. */
static void put_byte(const char *path, off_t at, uint8_t byte)
{
	struct timespec keep[2];
	struct stat st;
	int fd = open(path, O_RDWR);

	MD_MUST(fd >= 0 && !fstat(fd, &st));
	MD_MUST(pwrite(fd, &byte, 1, at) == 1);
	keep[0] = st.st_atim;
	keep[1] = st.st_mtim;
	MD_MUST(!futimens(fd, keep));
	close(fd);
}

static void expect_same_or_error(struct ktap_fixture_names *self, off_t at,
				 const char *text_then, const char *keys_then,
				 unsigned int *errors)
{
	char now[1000];
	int err = list(self->ds, now);

	if (err) {
		EXPECT_EQ(err, -EBADMSG);
		EXPECT_HAS(slc_last_error(self->ctx), "a.tar: ");
		(*errors)++;
	} else if (strcmp(now, text_then)) {
		ktap_fail(__FILE__, __LINE__, "byte %lld: the list is now %s",
			  (long long)at, now);
	}
	err = keys(self->ds, now);
	if (err) {
		EXPECT_EQ(err, -EBADMSG);
		EXPECT_HAS(slc_last_error(self->ctx),
			   "checksum mismatch in its names at offset 0");
	} else if (strcmp(now, keys_then)) {
		ktap_fail(__FILE__, __LINE__, "byte %lld: the keys are now %s",
			  (long long)at, now);
	}
}

TEST_F_TIMEOUT(names, a_flip_of_any_byte_is_the_same_list_or_an_error, 150)
{
	char then[1000], keys_then[1000];
	unsigned int errors = 0;
	struct slc_dataset *ds;
	struct md_buf b;

	write_tar(self->tar);
	ASSERT_EQ(open_one(self->ctx, self->tar, &ds), 0);
	ASSERT_EQ(slc_dataset_pack(ds, self->manifest, NULL), 0);
	slc_dataset_put(ds);
	ASSERT_EQ(open_one(self->ctx, self->manifest, &self->ds), 0);
	ASSERT_EQ(list(self->ds, then), 0);
	EXPECT_STREQ(then, "dir/one: jpg=picture cls=7\n"
			   "other/two: jpg=another cls=8\n");
	ASSERT_EQ(keys(self->ds, keys_then), 0);
	EXPECT_STREQ(keys_then, "dir/one\nother/two\n");
	b = md_load(self->tar);
	for (size_t at = 0; at < b.n; at++) {
		put_byte(self->tar, (off_t)at,
			 b.p[at] ^ (uint8_t)(1u << (at * 5 % 8)));
		expect_same_or_error(self, (off_t)at, then, keys_then,
				     &errors);
		put_byte(self->tar, (off_t)at, b.p[at]);
		if (ktap_now->failed > 10)
			break;
	}
	/* All but the zeros at the end belong to a sample. */
	EXPECT_EQ(errors, b.n - 1024);
	free(b.p);
	EXPECT_EQ(list(self->ds, then), 0);
}

/* A codec that checks nothing itself: what it makes is held to the manifest. */
TEST_F(names, a_flip_in_a_compressed_tar_without_checksums_is_an_error_too)
{
	const char *zst = md_path("%s/a.tar.zst", self->dir);
	unsigned int errors = 0, same = 0;
	char then[1000], now[1000];
	struct slc_dataset *ds;
	struct md_buf b;

	write_tar(self->tar);
	md_zstd(self->tar, zst);
	ASSERT_EQ(open_one(self->ctx, zst, &ds), 0);
	ASSERT_EQ(slc_dataset_pack(ds, self->manifest, NULL), 0);
	slc_dataset_put(ds);
	ASSERT_EQ(open_one(self->ctx, self->manifest, &self->ds), 0);
	ASSERT_EQ(list(self->ds, then), 0);
	b = md_load(zst);
	for (size_t at = 0; at < b.n; at++) {
		put_byte(zst, (off_t)at, b.p[at] ^ (uint8_t)(1u << (at % 8)));
		if (list(self->ds, now))
			errors++;
		else if (strcmp(now, then))
			ktap_fail(__FILE__, __LINE__, "byte %zu: %s", at, now);
		else
			same++;
		EXPECT_EQ(keys(self->ds, now), -EBADMSG);
		put_byte(zst, (off_t)at, b.p[at]);
	}
	EXPECT_GT(errors, same);
	free(b.p);
}

TEST_F(names, a_file_that_changed_since_is_stale_when_its_names_are_read)
{
	struct timespec times[2] = { { 1, 0 }, { 1, 0 } };
	char text[1000];
	struct slc_dataset *ds;

	write_tar(self->tar);
	ASSERT_EQ(open_one(self->ctx, self->tar, &ds), 0);
	ASSERT_EQ(slc_dataset_pack(ds, self->manifest, NULL), 0);
	slc_dataset_put(ds);
	ASSERT_EQ(open_one(self->ctx, self->manifest, &self->ds), 0);
	ASSERT_EQ(utimensat(AT_FDCWD, self->tar, times, 0), 0);
	EXPECT_EQ(keys(self->ds, text), -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "open it again");
	ASSERT_EQ(truncate(self->tar, 1 << 20), 0);
	EXPECT_EQ(keys(self->ds, text), -ESTALE);
}

TEST_HARNESS_MAIN

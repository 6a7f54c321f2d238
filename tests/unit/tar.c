/* SPDX-License-Identifier: MIT */
/* WebDataset archives: keys, samples, and members in memory. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "tar_archive.h"

#include "compress.h"
#include "format/tar_walk.h"
#include "tests/nthfail.h"

static void add_hex(struct bytes *out, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		add(out, "%02x", (unsigned char)p[i]);
	if (!n)
		add(out, "-");
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

/* One sample in the words of tar_reference.py, from a copy of its span. */
static int add_sample(struct bytes *out, const uint8_t *p, uint64_t len)
{
	uint8_t *span = malloc(len);
	struct slc_piece piece;
	struct slc_diag diag;
	uint64_t pos = 0;
	int res, count = 0;

	memcpy(span, p, len);
	while ((res = FORMAT->member(span, len, &pos, &piece, &diag)) > 0) {
		char key[4096];
		size_t n = slc_piece_key(&piece, key, sizeof(key));

		if (!count++)
			add_hex(out, key, n);
		for (uint32_t i = 0; i < piece.name_len; i++)
			key[i] = lower(piece.name[i]);
		add(out, " ");
		add_hex(out, key, piece.name_len);
		add(out, ":%llu:%08lx", (unsigned long long)piece.len,
		    crc32(0, span + piece.off, (uInt)piece.len));
	}
	add(out, "\n");
	free(span);
	return res ? res : count ? 0 : -ENOENT;
}

/* The whole archive so, or "refused". */
static struct bytes describe(const struct bytes *b)
{
	struct parsed r = parse_bytes(FORMAT, b->p, b->len, 0);
	struct bytes out = { 0 };

	if (r.err == -EBADMSG)
		add(&out, "refused\n");
	else if (r.err)
		add(&out, "error %d\n", r.err);
	for (uint64_t i = 0; i < r.t.n; i++) {
		uint64_t off, len;

		slc_table_span(&r.t, i, &off, &len);
		if (off > b->len || len > b->len - off ||
		    add_sample(&out, b->p + off, len))
			add(&out, "bad span\n");
	}
	put(&out, "", 1);
	parsed_free(&r);
	return out;
}

TEST(golden_archive_gives_spans_and_members)
{
	struct bytes b = golden();
	struct parsed r = parse_bytes(FORMAT, b.p, b.len, 0);
	uint64_t off, len;

	ASSERT_EQ(r.err, 0);
	ASSERT_EQ(r.t.n, 3);
	slc_table_span(&r.t, 0, &off, &len);
	EXPECT_EQ(off, 512);
	EXPECT_EQ(len, 2048);
	slc_table_span(&r.t, 1, &off, &len);
	EXPECT_EQ(off, 512 + 2048);
	EXPECT_EQ(len, 1024 + 1024 + 512); /* with README between */
	slc_table_span(&r.t, 2, &off, &len);
	EXPECT_EQ(off, 512 + 2048 + 2560);
	EXPECT_EQ(len, 1024 + 1024); /* from the long name on */
	parsed_free(&r);
	EXPECT_BRIEF(&b, "train/000 jpg CLS|train/001 jpg cls|"
			 "train/a-name-that-is-long seg.png");
	bytes_free(&b);
}

TEST(content_of_a_member_is_where_the_piece_says)
{
	struct bytes b = golden();
	struct slc_piece p;
	struct slc_diag diag;
	uint64_t pos = 0;

	ASSERT_EQ(FORMAT->member(b.p + 512, 2048, &pos, &p, &diag), 1);
	EXPECT_EQ(p.off, 512);
	EXPECT_EQ(p.len, 10);
	EXPECT_EQ(memcmp(b.p + 512 + p.off, "jpeg bytes", 10), 0);
	ASSERT_EQ(FORMAT->member(b.p + 512, 2048, &pos, &p, &diag), 1);
	EXPECT_EQ(p.off, 1536);
	EXPECT_EQ(p.len, 1);
	EXPECT_EQ(FORMAT->member(b.p + 512, 2048, &pos, &p, &diag), 0);
	EXPECT_EQ(FORMAT->member(b.p + 512, 2048, &pos, &p, &diag), 0);
	bytes_free(&b);
}

TEST(the_end_may_be_two_blocks_one_block_or_none)
{
	struct bytes b = golden();

	put_text(&b, "anything may follow");
	EXPECT_BRIEF(&b, "train/000 jpg CLS|train/001 jpg cls|"
			 "train/a-name-that-is-long seg.png");
	b.len -= 19 + 512;
	EXPECT_BRIEF(&b, "train/000 jpg CLS|train/001 jpg cls|"
			 "train/a-name-that-is-long seg.png");
	b.len -= 512;
	EXPECT_BRIEF(&b, "train/000 jpg CLS|train/001 jpg cls|"
			 "train/a-name-that-is-long seg.png");
	bytes_free(&b);
	put_end(&b);
	EXPECT_BRIEF(&b, "");
	b.len = 0;
	expect_bad(&b, 0, "empty");
	bytes_free(&b);
}

TEST(every_truncation_is_refused_or_ends_after_a_member)
{
	struct bytes b = golden();
	/* The ends of members, and what the long name begins. */
	static const size_t good[] = { 512,  1536, 2560, 3584,
				       4608, 5120, 7168 };
	size_t next = 0;

	for (size_t n = 0; n < 7168 + 512; n++) {
		struct parsed r = parse_bytes(FORMAT, b.p, n, 0);

		if (next < 7 && n == good[next]) {
			EXPECT_EQ(r.err, 0);
			next++;
		} else {
			EXPECT_EQ(r.err, -EBADMSG);
			EXPECT_LE(r.diag.off, n);
		}
		parsed_free(&r);
	}
	EXPECT_EQ(next, 7);
	bytes_free(&b);
}

TEST(every_bit_flip_is_refused_or_changes_no_span)
{
	struct bytes b = golden();
	struct parsed want = parse_bytes(FORMAT, b.p, b.len, 0);
	int refused = 0;

	for (size_t bit = 0; bit < 8 * b.len; bit++) {
		struct parsed r;

		b.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		r = parse_bytes(FORMAT, b.p, b.len, 0);
		if (r.err) {
			EXPECT_EQ(r.err, -EBADMSG);
			refused++;
		} else if (bit / 8 < 5120 || bit / 8 >= 6144) {
			ASSERT_EQ(r.t.n, want.t.n);
			EXPECT_EQ(memcmp(r.t.words, want.t.words, r.t.n * 8),
				  0);
		} else { /* the long name may become another */
			EXPECT_TRUE(spans_are_inside(&r.t, b.len));
		}
		b.p[bit / 8] ^= (uint8_t)(1 << (bit & 7));
		parsed_free(&r);
	}
	/* 8 headers and a zero block, but for blanks in a few fields. */
	EXPECT_GT(refused, 9 * 512 * 8 - 100);
	parsed_free(&want);
	bytes_free(&b);
}

TEST(an_extension_twice_in_a_sample_is_refused)
{
	struct bytes b = { 0 };

	put_file(&b, "a.txt", "1");
	put_file(&b, "a.jpg", "1");
	put_file(&b, "a.TXT", "2");
	put_file(&b, "b.txt", "3");
	expect_bad(&b, 2048, "a second .txt in the sample a");
	bytes_free(&b);
	put_file(&b, "a.txt", "1");
	put_file(&b, "b.txt", "1");
	put_file(&b, "a.txt", "1"); /* not neighbours: two samples */
	EXPECT_BRIEF(&b, "a txt|b txt|a txt");
	bytes_free(&b);
}

TEST(extensions_that_webdataset_keeps_for_itself_are_refused)
{
	static const char *const names[] = { "a.__key__", "a.__url__",
					     "a.__bad__", "a.__KEY__" };

	for (int i = 0; i < 4; i++) {
		struct bytes b = { 0 };

		put_file(&b, "a.txt", "1");
		put_file(&b, names[i], "1");
		expect_bad(&b, 1024, "WebDataset's own");
		bytes_free(&b);
	}
}

TEST(names_with_marks_and_folders_and_others_are_passed_over)
{
	static const char *const passed[] = {
		"__x__", "__", "___", "____", "__x__/y.txt", "____/y.txt",
		"noext", "dir/noext", ".hidden", "d.x/y", "d.x/.y", "a.b/",
		"__x__\n", "__a.b__", "__a.b__\n", "__.__", "__a.b__/c.txt",
	};
	static const char *const kept[] = {
		"__x", "x__", "_x__", "a/__x__", "___/y", "__x__y", "_", "x\n",
	};

	for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++) {
		struct bytes b = { 0 };

		put_file(&b, passed[i], "1");
		EXPECT_BRIEF(&b, "");
		bytes_free(&b);
	}
	for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++) {
		struct bytes b = { 0 };
		char name[50], want[50];

		snprintf(name, sizeof(name), "%s.q", kept[i]);
		snprintf(want, sizeof(want), "%s q", kept[i]);
		put_file(&b, name, "1");
		EXPECT_BRIEF(&b, want);
		bytes_free(&b);
	}
}

TEST(a_span_with_other_bytes_is_refused_or_stays_inside)
{
	struct bytes b = golden();
	uint8_t *span = malloc(7168 - 2560);
	uint32_t x = 1;

	for (int round = 0; round < 20000; round++) {
		struct slc_piece p;
		struct slc_diag diag;
		uint64_t pos = 0, len = 7168 - 2560, last = 0;
		int res;

		memcpy(span, b.p + 2560, len);
		for (int i = 0; i < 3; i++) {
			x = x * 1664525 + 1013904223;
			span[(x >> 8) % len] = (uint8_t)x;
		}
		for (uint64_t h = 0; h + 512 <= len; h += 512)
			if (span[h + 257] == 'u')
				set_sum(span + h, false);
		x = x * 1664525 + 1013904223;
		len -= (x >> 8) % 600;
		while ((res = FORMAT->member(span, len, &pos, &p, &diag)) > 0) {
			ASSERT_GT(pos, last);
			ASSERT_LE(pos, len);
			ASSERT_TRUE(p.off <= len && p.len <= len - p.off);
			last = pos;
		}
		ASSERT_TRUE(!res || res == -EBADMSG);
	}
	free(span);
	bytes_free(&b);
}

TEST(a_span_with_an_end_inside_is_refused)
{
	struct bytes b = { 0 };
	struct slc_piece p;
	struct slc_diag diag;
	uint64_t pos = 0;

	put_end(&b);
	EXPECT_EQ(FORMAT->member(b.p, b.len, &pos, &p, &diag), -EBADMSG);
	pos = 4096;
	EXPECT_EQ(FORMAT->member(b.p, b.len, &pos, &p, &diag), -EBADMSG);
	bytes_free(&b);
}

TEST(compressed_archives_give_the_same_table)
{
	struct bytes b = golden();
	struct parsed want = parse_bytes(FORMAT, b.p, b.len, 0);

	for (uint32_t codec = SLC_CODEC_GZIP; codec <= SLC_CODEC_ZSTD; codec++) {
		struct parsed r = parse_inflated(FORMAT, codec, b.p, b.len);

		ASSERT_EQ(r.err, 0);
		ASSERT_EQ(r.t.n, want.t.n);
		EXPECT_EQ(memcmp(r.t.words, want.t.words, want.t.n * 8), 0);
		parsed_free(&r);
		for (size_t n = 0; n < b.len; n += 100) {
			struct parsed whole = parse_bytes(FORMAT, b.p, n, 0);

			r = parse_inflated(FORMAT, codec, b.p, n);
			EXPECT_EQ(r.err, whole.err);
			EXPECT_EQ(r.t.n, whole.t.n);
			parsed_free(&r);
			parsed_free(&whole);
		}
	}
	parsed_free(&want);
	bytes_free(&b);
}

TEST(large_members_are_stepped_over_not_read)
{
	struct bytes b = { 0 };
	struct source_broken src;
	struct slc_parse in = { &src.base, 0, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;

	put_header(&b, "a.b", '0', 4 << 20);
	put_zeros(&b, 4 << 20);
	put_file(&b, "c.d", "x");
	source_broken_init(&src, &b, 1 << 20, -EIO);
	EXPECT_EQ(FORMAT->parse(&in, &t, &diag), -EIO);
	EXPECT_EQ(diag.off, 512 + (4 << 20)); /* the next header, no payload */
	EXPECT_HAS(diag.what, "Input/output error");
	bytes_free(&b);
}

/* Files of 512 x 2^32 bytes and more: two headers in nothing. */
static uint64_t far_header;
static int64_t far_read(struct slc_source *src, uint64_t off, void *buf,
			uint64_t len)
{
	struct bytes b = { 0 };
	uint64_t base = off >= far_header ? far_header : 0;

	if (off >= src->size)
		return 0;
	if (len > src->size - off)
		len = src->size - off;
	memset(buf, 0, len);
	put_header(&b, base ? "c.d" : "a.b", '0', 0);
	if (!base) {
		uint64_t size = far_header - 512;

		for (int i = 0; i < 12; i++)
			b.p[124 + i] = i < 4 ? (i ? 0 : 0x80) :
					       (uint8_t)(size >> (8 * (11 - i)));
		set_sum(b.p, false);
	}
	if (off - base < 512)
		memcpy(buf, b.p + (off - base),
		       len < 512 - (off - base) ? len : 512 - (off - base));
	bytes_free(&b);
	return (int64_t)len;
}

TEST(a_sample_past_2_tib_is_refused_clearly)
{
	struct slc_source src = { far_read, 0 };
	struct slc_parse in = { &src, 0, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;
	uint64_t off, len;

	far_header = 512ull * UINT32_MAX;
	src.size = far_header + 512;
	ASSERT_EQ(FORMAT->parse(&in, &t, &diag), 0);
	ASSERT_EQ(t.n, 2);
	slc_table_span(&t, 1, &off, &len);
	EXPECT_EQ(off, far_header);
	slc_table_fini(&t);
	far_header += 512;
	src.size = far_header + 512;
	EXPECT_EQ(FORMAT->parse(&in, &t, &diag), -EBADMSG);
	EXPECT_EQ(diag.off, 0); /* 2^32 blocks: the first one is too long */
	EXPECT_HAS(diag.what, "2 TiB");
}

TEST(every_failed_allocation_is_enomem)
{
	struct bytes b = golden();
	struct slc_source_mem src;
	struct slc_parse in = { &src.base, 0, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;
	uint64_t n;
	int err;

	slc_source_mem_init(&src, b.p, b.len);
	for (n = 1;; n++) {
		memset(&t, 0, sizeof(t));
		nthfail_arm(n);
		err = FORMAT->parse(&in, &t, &diag);
		if (!nthfail_disarm())
			break;
		/* Giving back spare room may fail: nothing is lost then. */
		if (!err)
			EXPECT_EQ(t.n, 3);
		else
			EXPECT_EQ(err, -ENOMEM);
		slc_table_fini(&t);
	}
	EXPECT_EQ(err, 0);
	EXPECT_GT(n, 6);
	slc_table_fini(&t);
	bytes_free(&b);
}

TEST(endless_repetition_ends_early)
{
	struct bytes b = { 0 };
	struct parsed r;

	for (int i = 0; i < 200000; i++)
		put_header(&b, "a.b", '0', 0);
	r = parse_inflated(FORMAT, SLC_CODEC_ZSTD, b.p, b.len);
	EXPECT_EQ(r.err, -EBADMSG);
	EXPECT_EQ(r.diag.off, 512);
	parsed_free(&r);
	bytes_free(&b);
}

TEST(a_hundred_thousand_members_of_one_sample_are_no_trouble)
{
	struct bytes b = { 0 };
	struct parsed r;
	char name[32];

	for (int i = 0; i < 100000; i++) {
		snprintf(name, sizeof(name), "a.%d", i);
		put_header(&b, name, '0', 0);
	}
	r = parse_bytes(FORMAT, b.p, b.len, 0);
	EXPECT_EQ(r.err, 0);
	EXPECT_EQ(r.t.n, 1);
	parsed_free(&r);
	put_header(&b, "a.77777", '0', 0);
	expect_bad(&b, 512 * 100000, "a second .77777");
	bytes_free(&b);
}

/* ---- against Python's tarfile ---- */

static void save(const char *dir, const char *name, const struct bytes *b)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "wb");
	ASSERT_NOT_NULL(f);
	fwrite(b->p, 1, b->len, f);
	fclose(f);
}

static void save_our_own(const char *dir)
{
	struct bytes b = golden();

	save(dir, "golden.tar", &b);
	bytes_free(&b);
	put_long(&b, 'K', "target");
	put_long(&b, 'L', "gnu/one.txt");
	put_file(&b, "x", "1");
	put_pax(&b, 'g', "17 comment=hello\n");
	put_pax(&b, 'x', "16 path=old.six\n17 path=pax.five\n");
	put_file(&b, "x", "22");
	put_pax(&b, 'x', "18 path=pax.three\n");
	put_long(&b, 'L', "gnu.three");
	put_file(&b, "x", "333");
	put_pax(&b, 'x', "12 size=600\n20 path=pax/size.//\n");
	put_header(&b, "a.b", '0', 0);
	put_zeros(&b, 1024);
	put_header(&b, "cont.txt", '7', 0);
	put_header(&b, "unknown.txt", 'V', 5);
	put_text(&b, "label");
	pad(&b);
	put_file(&b, "last.txt", "4");
	put_end(&b);
	save(dir, "extended.tar", &b);
	bytes_free(&b);
}

static bool ends_in(const char *name, const char *ending)
{
	size_t n = strlen(name), e = strlen(ending);

	return n > e && !strcmp(name + n - e, ending);
}

/* How many archives of the folder were compared; removes the files. */
static int compare_all(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	int n = 0;

	ASSERT_NOT_NULL(d);
	while ((e = readdir(d))) {
		struct bytes b = { 0 }, want = { 0 }, got;
		char path[4400];

		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		if (!ends_in(path, ".tar") || !bytes_load(&b, path))
			continue;
		memcpy(path + strlen(path) - 3, "want", 5);
		EXPECT_TRUE(bytes_load(&want, path));
		put(&want, "", 1);
		got = describe(&b);
		if (strcmp((char *)got.p, (char *)want.p))
			printf("# %s differs:\n", e->d_name);
		EXPECT_STREQ((char *)got.p, (char *)want.p);
		bytes_free(&b);
		bytes_free(&want);
		bytes_free(&got);
		n++;
	}
	closedir(d);
	return n;
}

TEST(keys_order_and_content_are_those_of_python)
{
	const char *tmp = getenv("TMPDIR"), *shared = shared_dir();
	char dir[4096], command[9000], script[4096] = __FILE__;
	struct bytes b = { 0 };
	int n;

	if (system("python3 -c 'import tarfile' 2>/dev/null"))
		SKIP("no python3 with its tarfile");
	strcpy(strrchr(script, '/') + 1, "tar_reference.py");
	if (access(script, R_OK))
		SKIP("%s is not readable from here", script);
	snprintf(dir, sizeof(dir), "%s/sluice-tar-XXXXXX", tmp ? tmp : "/tmp");
	ASSERT_NOT_NULL(mkdtemp(dir));
	save_our_own(dir);
	if (shared) {
		snprintf(command, sizeof(command),
			 "%s/samples/webdataset/compressed.tar", shared);
		ASSERT_TRUE(bytes_load(&b, command));
		save(dir, "compressed.tar", &b);
		bytes_free(&b);
	}
	snprintf(command, sizeof(command), "python3 %s %s", script, dir);
	ASSERT_EQ(system(command), 0);
	n = compare_all(dir);
	printf("# %d archives agree with tarfile\n", n);
	EXPECT_GT(n, 100);
	snprintf(command, sizeof(command), "rm -rf %s", dir);
	EXPECT_EQ(system(command), 0);
}

TEST(sample_files_are_read_whole)
{
	const char *dir = shared_dir();
	struct bytes b = { 0 };
	struct slc_source_inflate src;
	struct slc_source_mem mem;
	struct slc_parse in = { &src.base, 0, 0 };
	struct slc_table t = { 0 };
	struct slc_diag diag;
	char path[4096];

	if (!dir)
		SKIP("no sample files: SLC_SHARED is not set");
	snprintf(path, sizeof(path), "%s/samples/webdataset/compressed.tar",
		 dir);
	ASSERT_TRUE(bytes_load(&b, path));
	EXPECT_BRIEF(&b, "compressed/0001 txt.gz|compressed/0002 txt.gz|"
			 "compressed/0003 txt.gz");
	b.len = 10 * 128; /* as dd bs=128 count=10 */
	expect_bad(&b, 512, "ends inside the member");
	b.len = 0;
	snprintf(path, sizeof(path), "%s/samples/webdataset/sample.tgz", dir);
	ASSERT_TRUE(bytes_load(&b, path));
	EXPECT_TRUE(slc_format_detect(path, b.p, b.len) == FORMAT);
	slc_source_mem_init(&mem, b.p, b.len);
	ASSERT_EQ(slc_source_inflate_init(&src, slc_codec_detect(b.p, b.len),
					  &mem.base), 0);
	EXPECT_EQ(FORMAT->parse(&in, &t, &diag), 0);
	EXPECT_EQ(t.n, 90);
	slc_table_fini(&t);
	slc_source_inflate_fini(&src);
	bytes_free(&b);
}

TEST_HARNESS_MAIN

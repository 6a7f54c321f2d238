/* SPDX-License-Identifier: MIT */
/* WebDataset archives: headers, keys, samples, and members in memory. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include "ktap.h"

#include "compress.h"
#include "format/tar_walk.h"
#include "tests/nthfail.h"

#define FORMAT (&slc_format_tar)

/* ---- archives made by hand ---- */

static void set_sum(uint8_t *h, bool as_signed)
{
	int sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += as_signed ? (int8_t)h[i] : h[i];
	snprintf((char *)h + 148, 8, "%06o", (unsigned int)sum);
	h[155] = ' ';
}

static void put_header(struct bytes *b, const char *name, char type,
		       uint64_t size)
{
	uint8_t h[512] = { 0 };
	size_t n = strlen(name);
	char octal[24];

	memcpy(h, name, n < 100 ? n : 100);
	memcpy(h + 100, "0000644\0000000000\0000000000", 24);
	snprintf(octal, sizeof(octal), "%011llo", (unsigned long long)size);
	memcpy(h + 124, octal, 12);
	memcpy(h + 136, "00000000000", 12);
	h[156] = (uint8_t)type;
	memcpy(h + 257, "ustar\00000", 8);
	set_sum(h, false);
	put(b, h, 512);
}

static uint8_t *last_header(struct bytes *b)
{
	return b->p + b->len - 512;
}

static void pad(struct bytes *b)
{
	put_zeros(b, (512 - b->len % 512) % 512);
}

static void put_file(struct bytes *b, const char *name, const char *content)
{
	put_header(b, name, '0', strlen(content));
	put_text(b, content);
	pad(b);
}

static void put_long(struct bytes *b, char type, const char *text)
{
	put_header(b, "././@LongLink", type, strlen(text) + 1);
	put(b, text, strlen(text) + 1);
	pad(b);
}

static void put_pax(struct bytes *b, char type, const char *records)
{
	put_header(b, "./PaxHeaders/x", type, strlen(records));
	put_text(b, records);
	pad(b);
}

static void put_end(struct bytes *b)
{
	put_zeros(b, 1024);
}

static struct bytes golden(void)
{
	struct bytes b = { 0 };

	put_header(&b, "train/", '5', 0);
	put_file(&b, "train/000.jpg", "jpeg bytes");
	put_file(&b, "train/000.CLS", "7");
	put_file(&b, "train/001.jpg", "more");
	put_file(&b, "train/README", "no extension");
	put_file(&b, "train/001.cls", "");
	put_long(&b, 'L', "train/a-name-that-is-long.seg.png");
	put_file(&b, "train/a-name", "png");
	put_end(&b);
	return b;
}

/* ---- what the parser makes of them ---- */

static void add(struct bytes *out, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static void add(struct bytes *out, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_text(out, text);
}

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

/* Samples by name: "key ext ext|key ext". */
static struct bytes brief(const struct bytes *b)
{
	struct parsed r = parse_bytes(FORMAT, b->p, b->len, 0);
	struct bytes out = { 0 };

	if (r.err)
		add(&out, "%s", r.diag.what);
	for (uint64_t i = 0; i < r.t.n; i++) {
		struct slc_piece piece;
		uint64_t off, len, pos = 0;
		char key[4096];
		int count = 0;

		slc_table_span(&r.t, i, &off, &len);
		while (FORMAT->member(b->p + off, len, &pos, &piece,
				      &r.diag) > 0) {
			slc_piece_key(&piece, key, sizeof(key));
			if (!count++)
				add(&out, "%s%s", i ? "|" : "", key);
			add(&out, " %.*s", (int)piece.name_len, piece.name);
		}
	}
	put(&out, "", 1);
	parsed_free(&r);
	return out;
}

#define EXPECT_BRIEF(b, text)                                             \
	do {                                                              \
		struct bytes got_ = brief(b);                             \
		EXPECT_STREQ((char *)got_.p, text);                       \
		bytes_free(&got_);                                        \
	} while (0)

static void expect_bad(const struct bytes *b, uint64_t off, const char *what)
{
	struct parsed r = parse_bytes(FORMAT, b->p, b->len, 0);

	EXPECT_EQ(r.err, -EBADMSG);
	EXPECT_EQ(r.diag.off, off);
	EXPECT_HAS(r.diag.what, what);
	EXPECT_NULL(r.t.words);
	parsed_free(&r);
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

TEST(a_wrong_checksum_names_its_header)
{
	struct bytes b = golden();

	b.p[512 + 20] ^= 1;
	expect_bad(&b, 512, "the checksum of this header is wrong");
	b.p[20] ^= 1;
	expect_bad(&b, 0, "no tar header");
	bytes_free(&b);
}

TEST(signed_checksums_of_old_tars_are_right_too)
{
	struct bytes b = { 0 };

	put_header(&b, "\xc3\xa9.txt", '0', 0);
	set_sum(last_header(&b), true);
	EXPECT_BRIEF(&b, "\xc3\xa9 txt");
	bytes_free(&b);
}

TEST(v7_headers_have_folders_by_their_slash)
{
	struct bytes b = { 0 };

	put_header(&b, "folder.x/", 0, 512);
	memset(last_header(&b) + 257, 0, 255);
	set_sum(last_header(&b), false);
	put_header(&b, "file.txt", 0, 3);
	memset(last_header(&b) + 257, 0, 255);
	set_sum(last_header(&b), false);
	put_text(&b, "abc");
	pad(&b);
	EXPECT_BRIEF(&b, "file txt");
	bytes_free(&b);
}

static const struct {
	const char *field;
	size_t len;
	int64_t size; /* -1: refused */
} numbers[] = {
	{ "00000000005\0", 12, 5 },
	{ "000000000005", 12, 5 },
	{ "          5 ", 12, 5 },
	{ "5\0ignored...", 12, 5 },
	{ "\0\0\0\0\0\0\0\0\0\0\0", 12, 0 },
	{ "            ", 12, 0 },
	{ "\200\0\0\0\0\0\0\0\0\0\0\5", 12, 5 },
	{ "\200\0\0\0\200\0\0\0\0\0\0\0", 12, -1 },
	{ "\200\1\0\0\0\0\0\0\0\0\0\5", 12, -1 },
	{ "\201\0\0\0\0\0\0\0\0\0\0\5", 12, -1 },
	{ "\377\377\377\377\377\377\377\377\377\377\377\377", 12, -1 },
	{ "0000000000x5", 12, -1 },
	{ "-0000000005", 12, -1 },
	{ "00000000008", 12, -1 },
	{ "1 2", 4, -1 },
};

TEST(sizes_are_octal_or_base_256)
{
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		struct bytes b = { 0 };

		put_header(&b, "a.b", '0', 0);
		memset(last_header(&b) + 124, 0, 12);
		memcpy(last_header(&b) + 124, numbers[i].field, numbers[i].len);
		set_sum(last_header(&b), false);
		if (numbers[i].size < 0) {
			expect_bad(&b, 124, "size of this member");
		} else {
			struct slc_piece p;
			struct slc_diag diag;
			uint64_t pos = 0;

			put(&b, "12345", (size_t)numbers[i].size);
			pad(&b);
			EXPECT_BRIEF(&b, "a b");
			EXPECT_EQ(FORMAT->member(b.p, b.len, &pos, &p, &diag),
				  1);
			EXPECT_EQ(p.len, numbers[i].size);
		}
		bytes_free(&b);
	}
}

TEST(a_size_past_the_end_is_refused)
{
	struct bytes b = { 0 };

	put_file(&b, "x.y", "1");
	put_header(&b, "a.b", '0', 077777777777);
	expect_bad(&b, 1024, "ends inside the member a.b");
	bytes_free(&b);
	put_header(&b, "a.b", '0', 0);
	memcpy(last_header(&b) + 124, "\200\0\0\0\177\377\377\377\377\377\377\377", 12);
	set_sum(last_header(&b), false);
	expect_bad(&b, 0, "ends inside the member");
	bytes_free(&b);
	put_header(&b, "x", 'x', 1ull << 32);
	expect_bad(&b, 0, "ends past the end of the file");
	bytes_free(&b);
	put_header(&b, "x", 'L', (1 << 20) + 1);
	put_zeros(&b, (1 << 20) + 512);
	expect_bad(&b, 0, "at most 1048576");
	bytes_free(&b);
}

TEST(ustar_prefix_stands_before_the_name)
{
	struct bytes b = { 0 };

	put_header(&b, "c.tar.gz", '0', 0);
	memcpy(last_header(&b) + 345, "a/b", 3);
	set_sum(last_header(&b), false);
	put_header(&b, "c.idx", '0', 0);
	memcpy(last_header(&b) + 345, "a/b", 3);
	set_sum(last_header(&b), false);
	put_header(&b, ".x", '0', 0);
	memcpy(last_header(&b) + 345, "dir", 3);
	set_sum(last_header(&b), false);
	put_header(&b, "__x__.y", '0', 0);
	memcpy(last_header(&b) + 345, "__dir__", 7);
	set_sum(last_header(&b), false);
	/* The same key by another way of writing it. */
	put_pax(&b, 'x', "14 path=dir/.z\n");
	b.p[b.len - 512 + 1] = '5';
	b.len -= 1024;
	put_pax(&b, 'x', "15 path=dir/.z\n");
	put_file(&b, "short.name", "");
	EXPECT_BRIEF(&b, "a/b/c tar.gz idx|dir/ x z");
	bytes_free(&b);
}

TEST(long_names_and_pax_paths_name_the_next_member)
{
	struct bytes b = { 0 };

	put_long(&b, 'K', "some/link/target");
	put_long(&b, 'L', "gnu.one");
	put_file(&b, "x", "");
	put_pax(&b, 'x', "30 mtime=1350244992.023960108\n16 path=pax.two\n");
	put_file(&b, "x", "");
	put_pax(&b, 'x', "18 path=pax.three\n");
	put_long(&b, 'L', "gnu.three"); /* what comes first counts */
	put_file(&b, "x", "");
	put_file(&b, "plain.four", "");
	put_pax(&b, 'x', "16 path=old.six\n17 path=pax.five\n");
	put_file(&b, "x", "");
	put_pax(&b, 'X', "15 path=sun.os\n");
	put_file(&b, "x", "");
	EXPECT_BRIEF(&b, "gnu one|pax two three|plain four|pax five|sun os");
	bytes_free(&b);
}

TEST(a_pax_size_counts_and_not_the_one_of_the_header)
{
	struct bytes b = { 0 };

	put_pax(&b, 'x', "12 size=600\n");
	put_header(&b, "a.b", '0', 0);
	put_zeros(&b, 1024);
	put_file(&b, "a.c", "1");
	EXPECT_BRIEF(&b, "a b c");
	bytes_free(&b);
	put_pax(&b, 'x', "12 size=600\n");
	put_header(&b, "a.b", '5', 0); /* a folder has no content */
	put_file(&b, "a.c", "1");
	EXPECT_BRIEF(&b, "a c");
	bytes_free(&b);
}

static const struct {
	const char *records, *what;
	char type;
	uint64_t off;
} bad_pax[] = {
	{ "12 size=6x0\n", "not a number", 'x', 512 },
	{ "11 size=-1\n", "not a number", 'x', 512 },
	{ "9 size=\n\n", "not a number", 'x', 512 },
	{ "28 size=9223372036854775808\n", "not a number", 'x', 512 },
	{ "29 size=18446744073709551617\n", "not a number", 'x', 512 },
	{ "8 path=\n", "empty", 'x', 512 },
	{ "13 path=a.b\n", "not LENGTH", 'x', 512 },
	{ "11 path=a.b\n", "not LENGTH", 'x', 512 },
	{ "0 path=a.b\n", "not LENGTH", 'x', 512 },
	{ "99999999999999999999 path=a\n", "not LENGTH", 'x', 512 },
	{ "path=a.b\n", "not LENGTH", 'x', 512 },
	{ "12path=a.b\n", "not LENGTH", 'x', 512 },
	{ "4 =\n", "not LENGTH", 'x', 512 },
	{ "5 ab\n", "not LENGTH", 'x', 512 },
	{ "7 k=ok\n22 GNU.sparse.major=1\n", "sparse", 'x', 519 },
	{ "24 GNU.sparse.size=1000\n", "sparse", 'g', 512 },
	{ "12 path=a.b\n", "global", 'g', 512 },
	{ "10 size=5\n", "global", 'g', 512 },
};

TEST(bad_pax_records_are_refused_where_they_stand)
{
	for (size_t i = 0; i < sizeof(bad_pax) / sizeof(bad_pax[0]); i++) {
		struct bytes b = { 0 };

		put_pax(&b, bad_pax[i].type, bad_pax[i].records);
		put_file(&b, "a.b", "");
		expect_bad(&b, bad_pax[i].off, bad_pax[i].what);
		bytes_free(&b);
	}
}

TEST(global_headers_of_git_are_passed_over)
{
	struct bytes b = { 0 };

	put_pax(&b, 'g', "52 comment=0123456789012345678901234567890123456789\n");
	put_file(&b, "a.b", "");
	EXPECT_BRIEF(&b, "a b");
	bytes_free(&b);
}

TEST(sparse_members_are_refused)
{
	struct bytes b = { 0 };

	put_header(&b, "a.b", 'S', 0);
	expect_bad(&b, 0, "sparse");
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

TEST(extended_headers_lie_across_the_windows_of_the_reader)
{
	struct bytes b = { 0 };
	struct parsed r;
	char records[2000];

	for (int i = 0; i < 400; i++) {
		snprintf(records, sizeof(records), "1500 path=%0*d.x\n", 1487,
			 i);
		put_pax(&b, 'x', records);
		put_file(&b, "short", "1");
	}
	r = parse_bytes(FORMAT, b.p, b.len, 0);
	EXPECT_EQ(r.err, 0);
	EXPECT_STREQ(r.diag.what, "");
	EXPECT_EQ(r.t.n, 400);
	parsed_free(&r);
	bytes_free(&b);
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

TEST(magic_needs_a_right_checksum)
{
	struct bytes b = golden();

	EXPECT_TRUE(FORMAT->magic(b.p, 512));
	EXPECT_FALSE(FORMAT->magic(b.p, 511));
	b.p[0] ^= 1;
	EXPECT_FALSE(FORMAT->magic(b.p, 512));
	bytes_free(&b);
}

TEST_HARNESS_MAIN

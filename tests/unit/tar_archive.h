/* SPDX-License-Identifier: MIT */
/* tar_archive.h - archives made by hand, and what the parser makes of them. */
#ifndef SLC_TESTS_TAR_ARCHIVE_H
#define SLC_TESTS_TAR_ARCHIVE_H

#include <errno.h>

#include "ktap.h"

#include "bytes.h"

#define FORMAT (&slc_format_tar)

/* ---- archives made by hand ---- */

static inline void set_sum(uint8_t *h, bool as_signed)
{
	int sum = 0;

	memset(h + 148, ' ', 8);
	for (int i = 0; i < 512; i++)
		sum += as_signed ? (int8_t)h[i] : h[i];
	snprintf((char *)h + 148, 8, "%06o", (unsigned int)sum & 0777777);
	h[155] = ' ';
}

static inline void put_header(struct bytes *b, const char *name, char type,
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

static inline uint8_t *last_header(struct bytes *b)
{
	return b->p + b->len - 512;
}

static inline void pad(struct bytes *b)
{
	put_zeros(b, (512 - b->len % 512) % 512);
}

static inline void put_file(struct bytes *b, const char *name,
			    const char *content)
{
	put_header(b, name, '0', strlen(content));
	put_text(b, content);
	pad(b);
}

static inline void put_long(struct bytes *b, char type, const char *text)
{
	put_header(b, "././@LongLink", type, strlen(text) + 1);
	put(b, text, strlen(text) + 1);
	pad(b);
}

static inline void put_pax(struct bytes *b, char type, const char *records)
{
	put_header(b, "./PaxHeaders/x", type, strlen(records));
	put_text(b, records);
	pad(b);
}

static inline void put_end(struct bytes *b)
{
	put_zeros(b, 1024);
}

static inline struct bytes golden(void)
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

static inline void add(struct bytes *out, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
static inline void add(struct bytes *out, const char *fmt, ...)
{
	char text[200];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_text(out, text);
}

/* Samples by name: "key ext ext|key ext". */
static inline struct bytes brief(const struct bytes *b)
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

static inline void expect_bad(const struct bytes *b, uint64_t off,
			      const char *what)
{
	struct parsed r = parse_bytes(FORMAT, b->p, b->len, 0);

	EXPECT_EQ(r.err, -EBADMSG);
	EXPECT_EQ(r.diag.off, off);
	EXPECT_HAS(r.diag.what, what);
	EXPECT_NULL(r.t.words);
	parsed_free(&r);
}

#endif

/* SPDX-License-Identifier: MIT */
/*
 * makedata.h - small files of every format, made here and now, and what their
 * samples are. Everything aborts on failure: a test without data is no test.
 */
#ifndef SLC_TESTS_MAKEDATA_H
#define SLC_TESTS_MAKEDATA_H

#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>
#include <zstd.h>

#include <sluice/sluice.h>

#define MD_MUST(x)                                                          \
	do {                                                                \
		if (!(x)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,  \
				#x);                                        \
			abort();                                            \
		}                                                           \
	} while (0)

/* ---- bytes that grow ---- */

struct md_buf {
	uint8_t *p;
	size_t n, cap;
};

static inline void md_put(struct md_buf *b, const void *bytes, size_t n)
{
	if (b->n + n > b->cap) {
		b->cap = (b->n + n) * 2;
		b->p = realloc(b->p, b->cap);
		MD_MUST(b->p);
	}
	if (n)
		memcpy(b->p + b->n, bytes, n);
	b->n += n;
}

static inline void md_zero(struct md_buf *b, size_t n)
{
	static const uint8_t zeroes[4096];

	for (; n > sizeof(zeroes); n -= sizeof(zeroes))
		md_put(b, zeroes, sizeof(zeroes));
	md_put(b, zeroes, n);
}

static inline void md_u8(struct md_buf *b, uint8_t v)
{
	md_put(b, &v, 1);
}

static inline void md_u32(struct md_buf *b, uint32_t v)
{
	md_put(b, &v, 4);
}

static inline void md_u64(struct md_buf *b, uint64_t v)
{
	md_put(b, &v, 8);
}

static inline void md_random(struct md_buf *b, size_t n, uint64_t seed)
{
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 0x1234567u;

	for (size_t i = 0; i < n; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		md_u8(b, (uint8_t)(x >> 32));
	}
}

/* ---- what the samples are ---- */

struct md_samples {
	uint64_t n, cap;
	uint32_t *crc; /* of the payload */
	uint64_t *len; /* of the payload */
};

static inline void md_sample(struct md_samples *s, uint32_t crc, uint64_t len)
{
	if (!s)
		return;
	if (s->n == s->cap) {
		s->cap = s->cap ? s->cap * 2 : 64;
		s->crc = realloc(s->crc, s->cap * sizeof(*s->crc));
		s->len = realloc(s->len, s->cap * sizeof(*s->len));
		MD_MUST(s->crc && s->len);
	}
	s->crc[s->n] = crc;
	s->len[s->n++] = len;
}

static inline void md_samples_fini(struct md_samples *s)
{
	free(s->crc);
	free(s->len);
	memset(s, 0, sizeof(*s));
}

/* ---- files ---- */

/* A formatted path. All are kept to the end of the test. */
__attribute__((format(printf, 1, 2))) static inline const char *
md_path(const char *fmt, ...)
{
	static struct md_kept {
		struct md_kept *next;
		char text[];
	} *kept;
	struct md_kept *k = malloc(sizeof(*k) + 4096);
	va_list ap;

	MD_MUST(k);
	va_start(ap, fmt);
	vsnprintf(k->text, 4096, fmt, ap);
	va_end(ap);
	k->next = kept;
	kept = k;
	return k->text;
}

/* A new folder below $TMPDIR or /tmp; the caller frees the name. */
static inline char *md_folder(void)
{
	const char *base = getenv("TMPDIR");
	char *dir;

	MD_MUST(asprintf(&dir, "%s/sluice-test-XXXXXX",
			 base && *base ? base : "/tmp") > 0);
	MD_MUST(mkdtemp(dir));
	return dir;
}

static inline void md_remove(char *dir)
{
	char *cmd;

	MD_MUST(asprintf(&cmd, "rm -rf '%s'", dir) > 0);
	MD_MUST(!system(cmd));
	free(cmd);
	free(dir);
}

static inline void md_write(const char *path, const void *bytes, size_t n)
{
	FILE *f = fopen(path, "wb");

	MD_MUST(f);
	MD_MUST(fwrite(bytes, 1, n, f) == n);
	MD_MUST(!fclose(f));
}

static inline void md_save(const char *path, struct md_buf *b)
{
	md_write(path, b->p, b->n);
	free(b->p);
	memset(b, 0, sizeof(*b));
}

static inline struct md_buf md_load(const char *path)
{
	struct md_buf b = { 0 };
	struct stat st;
	FILE *f = fopen(path, "rb");

	MD_MUST(f && !fstat(fileno(f), &st));
	md_zero(&b, (size_t)st.st_size);
	MD_MUST(fread(b.p, 1, b.n, f) == b.n);
	fclose(f);
	return b;
}

/* ---- formats ---- */

static inline void md_safetensors(const char *path, unsigned int ntensors,
				  size_t bytes, const char *prefix,
				  struct md_samples *s)
{
	struct md_buf json = { 0 }, out = { 0 };

	md_put(&json, "{", 1);
	for (unsigned int i = 0; i < ntensors; i++) {
		char text[200];

		snprintf(text, sizeof(text),
			"%s\"%s%u\":{\"dtype\":\"U8\",\"shape\":[%zu],\"data_offsets\":[%zu,%zu]}",
			i ? "," : "", prefix, i, bytes, i * bytes,
			(i + 1) * bytes);

		md_put(&json, text, strlen(text));
	}
	md_put(&json, "}", 1);
	while (json.n % 8)
		md_put(&json, " ", 1);
	md_u64(&out, json.n);
	md_put(&out, json.p, json.n);
	for (unsigned int i = 0; i < ntensors; i++) {
		md_random(&out, bytes, i + 77);
		md_sample(s, slc_crc32c(0, out.p + out.n - bytes, bytes),
			  bytes);
	}
	free(json.p);
	md_save(path, &out);
}

/* `rows` rows of `cols` u1. */
static inline void md_npy(const char *path, unsigned int rows,
			  unsigned int cols, struct md_samples *s)
{
	struct md_buf out = { 0 };
	char head[118];
	int n;

	memset(head, ' ', sizeof(head));
	n = snprintf(head, sizeof(head),
		     "{'descr': '|u1', 'fortran_order': False, 'shape': (%u, %u), }",
		     rows, cols);
	head[n] = ' ';
	head[117] = '\n';
	md_put(&out, "\x93NUMPY\x01\x00\x76\x00", 10);
	md_put(&out, head, 118);
	for (unsigned int i = 0; i < rows; i++) {
		md_random(&out, cols, i + 5);
		md_sample(s, slc_crc32c(0, out.p + out.n - cols, cols), cols);
	}
	md_save(path, &out);
}

static inline void md_raw(const char *path, unsigned int n, size_t record,
			  struct md_samples *s)
{
	struct md_buf out = { 0 };

	for (unsigned int i = 0; i < n; i++) {
		md_random(&out, record, i + 11);
		md_sample(s, slc_crc32c(0, out.p + out.n - record, record),
			  record);
	}
	md_save(path, &out);
}

/* STEM.bin and STEM.idx of u16 tokens; every seventh sequence is empty. With
 * `holes` a gap stands before each. */
static inline void md_megatron(const char *stem, unsigned int nseq,
			       unsigned int tokens, size_t holes,
			       struct md_samples *s)
{
	struct md_buf bin = { 0 }, idx = { 0 }, ptr = { 0 };

	md_put(&idx, "MMIDIDX\0\0", 9);
	md_u64(&idx, 1);
	md_u8(&idx, 8);
	md_u64(&idx, nseq);
	md_u64(&idx, 2);
	for (unsigned int i = 0; i < nseq; i++) {
		uint32_t len = i % 7 == 6 ? 0 : tokens + i % 3;

		md_zero(&bin, holes);
		md_u64(&ptr, bin.n);
		md_u32(&idx, len);
		md_random(&bin, 2 * len, i + 3);
		md_sample(s, slc_crc32c(0, bin.p + bin.n - 2 * len, 2 * len),
			  2 * len);
	}
	md_put(&idx, ptr.p, ptr.n);
	md_u64(&idx, 0);
	md_u64(&idx, nseq);
	free(ptr.p);
	md_save(md_path("%s.bin", stem), &bin);
	md_save(md_path("%s.idx", stem), &idx);
}

static inline void md_tar_member(struct md_buf *b, const char *name,
				 const void *bytes, size_t n)
{
	uint8_t h[512] = { 0 };
	unsigned int sum = 0;

	snprintf((char *)h, 100, "%s", name);
	snprintf((char *)h + 100, 8, "%07o", 0644);
	snprintf((char *)h + 108, 8, "%07o", 0);
	snprintf((char *)h + 116, 8, "%07o", 0);
	snprintf((char *)h + 124, 12, "%011zo", n);
	snprintf((char *)h + 136, 12, "%011o", 0);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	for (int i = 0; i < 512; i++)
		sum += h[i];
	snprintf((char *)h + 148, 8, "%06o", sum);
	md_put(b, h, 512);
	md_put(b, bytes, n);
	md_zero(b, (512 - n % 512) % 512);
}

/* Samples "d/00000i" of .jpg (`bytes` and a few) and .cls; a file that is no
 * sample before each third. */
static inline void md_tar(const char *path, unsigned int n, size_t bytes,
			  struct md_samples *s)
{
	struct md_buf out = { 0 }, data = { 0 };

	for (unsigned int i = 0; i < n; i++) {
		char cls[16], jpg[32], name[32];
		uint32_t crc;

		snprintf(cls, sizeof(cls), "%u", i * 31);
		snprintf(jpg, sizeof(jpg), "d/%06u.jpg", i);
		snprintf(name, sizeof(name), "d/%06u.cls", i);

		if (i % 3 == 0)
			md_tar_member(&out, "README", "not a sample", 12);
		data.n = 0;
		md_random(&data, bytes + i % 13, i + 1);
		md_tar_member(&out, jpg, data.p, data.n);
		md_tar_member(&out, name, cls, strlen(cls));
		crc = slc_crc32c(0, data.p, data.n);
		crc = slc_crc32c(crc, cls, strlen(cls));
		md_sample(s, crc, data.n + strlen(cls));
	}
	md_zero(&out, 1024);
	free(data.p);
	md_save(path, &out);
}

/* ---- codecs ---- */

static inline void md_gzip(const char *from, const char *to)
{
	struct md_buf b = md_load(from);
	gzFile f = gzopen(to, "wb");

	MD_MUST(f);
	MD_MUST(gzwrite(f, b.p, (unsigned int)b.n) == (int)b.n);
	MD_MUST(gzclose(f) == Z_OK);
	free(b.p);
}

static inline size_t md_zstd(const char *from, const char *to)
{
	struct md_buf b = md_load(from);
	size_t room = ZSTD_compressBound(b.n);
	uint8_t *out = malloc(room);
	size_t n = ZSTD_compress(out, room, b.p, b.n, 1);

	MD_MUST(!ZSTD_isError(n));
	md_write(to, out, n);
	free(out);
	free(b.p);
	return n;
}

/* One MDS shard of one bytes column "x". Returns its bytes. */
static inline size_t md_mds_shard(const char *path, unsigned int n,
				  size_t bytes, unsigned int seed,
				  struct md_samples *s)
{
	static const char cfg[] =
		"{\"column_encodings\": [\"bytes\"], \"column_names\": [\"x\"], \"column_sizes\": [null], \"compression\": null, \"format\": \"mds\", \"hashes\": [], \"size_limit\": 67108864, \"version\": 2}";
	struct md_buf out = { 0 };
	uint32_t at = (uint32_t)(4 + 4 * (n + 1) + sizeof(cfg) - 1);
	size_t total;

	md_u32(&out, n);
	for (unsigned int i = 0; i <= n; i++) {
		md_u32(&out, at);
		at += (uint32_t)(4 + bytes + i % 5);
	}
	md_put(&out, cfg, sizeof(cfg) - 1);
	for (unsigned int i = 0; i < n; i++) {
		size_t len = bytes + i % 5, begin = out.n;

		md_u32(&out, (uint32_t)len);
		md_random(&out, len, seed * 1000 + i);
		md_sample(s, slc_crc32c(0, out.p + begin, len + 4), len + 4);
	}
	total = out.n;
	md_save(path, &out);
	return total;
}

/* A folder of `shards` shards and its index.json; `zstd`: compressed ones. */
static inline void md_mds(const char *dir, unsigned int shards, unsigned int n,
			  size_t bytes, int zstd, struct md_samples *s)
{
	struct md_buf json = { 0 };

	mkdir(dir, 0777);
	md_put(&json, "{\"shards\": [", 12);
	for (unsigned int i = 0; i < shards; i++) {
		char raw[4096], zip[4096], text[1024], zip_text[200] = "null";
		const char *comp = "null";
		size_t size, packed;

		snprintf(raw, sizeof(raw), "%s/shard.%05u.mds", dir, i);
		snprintf(zip, sizeof(zip), "%s/shard.%05u.mds.zstd", dir, i);
		size = md_mds_shard(raw, n, bytes, i + 1, s);
		if (zstd) {
			packed = md_zstd(raw, zip);
			MD_MUST(!unlink(raw));
			comp = "\"zstd:1\"";
			snprintf(
				zip_text, sizeof(zip_text),
				"{\"basename\": \"shard.%05u.mds.zstd\", \"bytes\": %zu, \"hashes\": {}}",
				i, packed);
		}
		snprintf(
			text, sizeof(text),
			"%s{\"column_encodings\": [\"bytes\"], \"column_names\": [\"x\"], \"column_sizes\": [null], \"compression\": %s, \"format\": \"mds\", \"hashes\": [], \"raw_data\": {\"basename\": \"shard.%05u.mds\", \"bytes\": %zu, \"hashes\": {}}, \"samples\": %u, \"size_limit\": 67108864, \"version\": 2, \"zip_data\": %s}",
			i ? ", " : "", comp, i, size, n, zip_text);
		md_put(&json, text, strlen(text));
	}
	md_put(&json, "], \"version\": 2}", strlen("], \"version\": 2}"));
	md_save(md_path("%s/index.json", dir), &json);
}

#endif

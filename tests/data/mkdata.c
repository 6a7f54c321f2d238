// SPDX-License-Identifier: MIT
/*
 * mkdata - writes data of a chosen size in real formats, the same for a seed.
 *
 *	mkdata DIR --bytes N[K|M|G] [--only FORMAT] [--seed S]
 *
 * Below DIR: megatron/corpus.{bin,idx}, webdataset/shard-NNNNNN.tar,
 * webdataset-gz/small.tar.gz, mds/ and mds-zstd/ with an index.json each,
 * safetensors/model.safetensors, safetensors-sharded/, npy/features.npy,
 * gguf/model.gguf. The compressed and the GGUF ones stay small.
 */
#include <getopt.h>

#include <zstd.h>

#include "out.h"

#define SHARD (64ull << 20) /* bytes of a tar or MDS shard at most */
#define SMALL (4ull << 20)  /* of what is compressed, and of GGUF */
#define MTIME 1700000000u

/* ---- Megatron ---- */

static void make_megatron(uint64_t bytes, struct rng *r)
{
	uint64_t tokens = bytes / 2, n = 0, room = 0, at = 0, docs = 0;
	uint32_t *lens = NULL;
	struct out o;

	while (tokens) {
		uint64_t len = rng_in(r, 16, 2048);

		if (n == room) {
			room = room * 2 + 1024;
			lens = need(realloc(lens, room * sizeof(*lens)));
		}
		if (len > tokens)
			len = tokens;
		lens[n++] = (uint32_t)len;
		tokens -= len;
	}
	out_open(&o, false, "megatron/corpus.bin");
	put_random(&o, r, &u16_tokens, bytes / 2 * 2);
	out_close(&o);

	/* A document is up to three sequences. */
	docs = (n + 2) / 3 + 1;
	out_open(&o, false, "megatron/corpus.idx");
	put(&o, "MMIDIDX\0\0", 9);
	put_le(&o, 1, 8);
	put_le(&o, 8, 1); /* u16 */
	put_le(&o, n, 8);
	put_le(&o, docs, 8);
	for (uint64_t i = 0; i < n; i++)
		put_le(&o, lens[i], 4);
	for (uint64_t i = 0; i < n; i++) {
		put_le(&o, at, 8);
		at += (uint64_t)lens[i] * 2;
	}
	for (uint64_t i = 0; i < docs; i++)
		put_le(&o, i * 3 < n ? i * 3 : n, 8);
	out_close(&o);
	free(lens);
}

/* ---- WebDataset ---- */

static void put_member(struct out *o, const char *name, const void *bytes,
		       uint64_t len)
{
	char h[512] = { 0 };
	unsigned int sum = 0;

	snprintf(h, 100, "%s", name);
	memcpy(h + 100, "0000644", 8);
	memcpy(h + 108, "0001750", 8);
	memcpy(h + 116, "0001750", 8);
	snprintf(h + 124, 12, "%011llo", (unsigned long long)len);
	snprintf(h + 136, 12, "%011o", MTIME);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	memcpy(h + 265, "big", 4);
	memcpy(h + 297, "big", 4);
	for (int i = 0; i < 512; i++)
		sum += (uint8_t)h[i];
	snprintf(h + 148, 8, "%06o", sum & 0777777);
	put(o, h, 512);
	put(o, bytes, len);
	put_fill(o, 0, (512 - len % 512) % 512);
}

/* Something that begins and ends as a JPEG does. */
static void fill_jpeg(struct rng *r, uint8_t *p, uint64_t len)
{
	fill_random(r, &any_bytes, p, len);
	memcpy(p, "\xff\xd8\xff\xe0", 4);
	memcpy(p + len - 2, "\xff\xd9", 2);
}

static void sizes_for(uint64_t bytes, uint64_t *low, uint64_t *high)
{
	*high = bytes / 16 > 160 << 10 ? 160 << 10 : bytes / 16;
	if (*high < 512)
		*high = 512;
	*low = *high / 16;
}

static void make_tar(const char *stem, bool gz, uint64_t bytes, struct rng *r)
{
	uint64_t low, high, done = 0, sample = 0, shard = 0;
	char name[64], text[128];
	uint8_t *image;
	struct out o;

	sizes_for(bytes, &low, &high);
	image = need(malloc(high));
	do {
		uint64_t limit = bytes - done < SHARD ? bytes - done : SHARD;

		if (gz)
			out_open(&o, true, "%s.tar.gz", stem);
		else
			out_open(&o, false, "%s-%06llu.tar", stem,
				 (unsigned long long)shard);
		do {
			uint64_t len = rng_in(r, low, high);

			fill_jpeg(r, image, len);
			snprintf(name, sizeof(name), "%09llu.jpg",
				 (unsigned long long)sample);
			put_member(&o, name, image, len);
			memcpy(name + 10, "cls", 4);
			put_member(&o, name, text,
				   (uint64_t)snprintf(text, sizeof(text), "%llu",
					(unsigned long long)rng_in(r, 0, 999)));
			if (sample % 4 == 3) {
				memcpy(name + 10, "json", 5);
				put_member(&o, name, text,
					   (uint64_t)snprintf(text, sizeof(text),
						"{\"sample\": %llu, \"bytes\": %llu}",
						(unsigned long long)sample,
						(unsigned long long)len));
			}
			sample++;
		} while (o.len + high < limit);
		put_fill(&o, 0, 1024);
		put_fill(&o, 0, (10240 - o.len % 10240) % 10240);
		done += o.len > limit ? limit : o.len;
		out_close(&o);
		shard++;
	} while (done + high * 2 < bytes);
	free(image);
}

/* ---- MosaicML MDS ---- */

#define MDS_COLUMNS                                                  \
	"\"column_encodings\": [\"bytes\", \"int\"], "               \
	"\"column_names\": [\"image\", \"label\"], "                 \
	"\"column_sizes\": [null, 8], "

/* The bytes of one shard; *n samples of at most `limit` bytes together. */
static uint8_t *mds_shard(uint64_t limit, uint64_t low, uint64_t high,
			  const char *codec, struct rng *r, uint64_t *n,
			  uint64_t *len)
{
	uint64_t room = limit / (low + 16) + 2, count = 0, at, sum = 0;
	uint32_t *sizes = need(malloc(room * sizeof(*sizes)));
	struct text config = { 0 };
	uint8_t *shard;

	say(&config, "{" MDS_COLUMNS "\"compression\": %s, \"format\": \"mds\", "
	    "\"hashes\": [], \"size_limit\": %llu, \"version\": 2}", codec,
	    SHARD);
	do {
		sizes[count] = (uint32_t)rng_in(r, low, high);
		sum += 4 + 4 + sizes[count++] + 8; /* an offset, a size, a label */
	} while (sum + config.len + high + 32 < limit);
	at = 4 + 4 * (count + 1) + config.len;
	*len = at + sum - 4 * count;
	shard = need(malloc(*len));
	memcpy(shard, &(uint32_t){ (uint32_t)count }, 4);
	memcpy(shard + 4 + 4 * (count + 1), config.at, config.len);
	for (uint64_t i = 0; i < count; i++) {
		memcpy(shard + 4 + 4 * i, &(uint32_t){ (uint32_t)at }, 4);
		memcpy(shard + at, &sizes[i], 4);
		fill_jpeg(r, shard + at + 4, sizes[i]);
		memcpy(shard + at + 4 + sizes[i],
		       &(int64_t){ (int64_t)rng_in(r, 0, 999) }, 8);
		at += 4 + sizes[i] + 8;
	}
	memcpy(shard + 4 + 4 * count, &(uint32_t){ (uint32_t)at }, 4);
	*n = count;
	free(sizes);
	free(config.at);
	return shard;
}

/* Writes one shard and its entry of index.json; returns its raw bytes. */
static uint64_t put_mds(struct text *index, const char *dir, bool zstd,
			uint64_t number, uint64_t limit, uint64_t low,
			uint64_t high, struct rng *r)
{
	const char *codec = zstd ? "\"zstd\"" : "null";
	unsigned long long k = number;
	uint64_t n, len, zlen = 0;
	uint8_t *shard, *packed;
	struct out o;

	shard = mds_shard(limit, low, high, codec, r, &n, &len);
	say(index, "%s{" MDS_COLUMNS "\"compression\": %s, \"format\": \"mds\", \"hashes\": [], "
	    "\"raw_data\": {\"basename\": \"shard.%05llu.mds\", \"bytes\": %llu, \"hashes\": {}}, "
	    "\"samples\": %llu, \"size_limit\": %llu, \"version\": 2, \"zip_data\": ",
	    number ? ", " : "", codec, k, (unsigned long long)len,
	    (unsigned long long)n, SHARD);
	if (zstd) {
		packed = need(malloc(ZSTD_compressBound(len)));
		zlen = ZSTD_compress(packed, ZSTD_compressBound(len), shard, len, 1);
		if (ZSTD_isError(zlen))
			die("zstd: %s", ZSTD_getErrorName(zlen));
		out_open(&o, false, "%s/shard.%05llu.mds.zstd", dir, k);
		put(&o, packed, zlen);
		free(packed);
		say(index, "{\"basename\": \"shard.%05llu.mds.zstd\", \"bytes\": %llu, \"hashes\": {}}}",
		    k, (unsigned long long)zlen);
	} else {
		out_open(&o, false, "%s/shard.%05llu.mds", dir, k);
		put(&o, shard, len);
		say(index, "null}");
	}
	out_close(&o);
	free(shard);
	return len;
}

static void make_mds(const char *dir, bool zstd, uint64_t bytes, struct rng *r)
{
	struct text index = { 0 };
	uint64_t low, high, done = 0, number = 0;
	struct out o;

	sizes_for(bytes, &low, &high);
	say(&index, "{\"shards\": [");
	do {
		uint64_t limit = bytes - done < SHARD ? bytes - done : SHARD;

		done += put_mds(&index, dir, zstd, number++, limit, low, high,
				r);
	} while (done + high * 2 < bytes);
	say(&index, "], \"version\": 2}");
	out_open(&o, false, "%s/index.json", dir);
	put(&o, index.at, index.len);
	out_close(&o);
	free(index.at);
}

/* ---- safetensors ---- */

/* The side of a square BF16 weight, so that about 8 or more make `bytes`. */
static uint64_t side_for(uint64_t bytes)
{
	uint64_t d = 1024;

	while (d > 4 && d * d * 2 * 8 > bytes)
		d /= 2;
	return d;
}

/* Layers [first, last): F32 norms, then BF16 weights, as the writer orders. */
static uint64_t put_safetensors(struct out *o, uint64_t first, uint64_t last,
				uint64_t d, struct rng *r)
{
	struct text h = { 0 };
	uint64_t at = 0, norm = d * 4, weight = d * d * 2;

	say(&h, "{\"__metadata__\":{\"format\":\"pt\"}");
	for (uint64_t i = first; i < last; i++, at += norm)
		say(&h, ",\"model.layers.%llu.norm.weight\":{\"dtype\":\"F32\",\"shape\":[%llu],\"data_offsets\":[%llu,%llu]}",
		    (unsigned long long)i, (unsigned long long)d,
		    (unsigned long long)at, (unsigned long long)(at + norm));
	for (uint64_t i = first; i < last; i++, at += weight)
		say(&h, ",\"model.layers.%llu.proj.weight\":{\"dtype\":\"BF16\",\"shape\":[%llu,%llu],\"data_offsets\":[%llu,%llu]}",
		    (unsigned long long)i, (unsigned long long)d,
		    (unsigned long long)d, (unsigned long long)at,
		    (unsigned long long)(at + weight));
	say(&h, "}");
	while (h.len % 8)
		say(&h, " ");
	put_le(o, h.len, 8);
	put(o, h.at, h.len);
	put_random(o, r, &f32_words, norm * (last - first));
	put_random(o, r, &bf16_words, weight * (last - first));
	free(h.at);
	return at;
}

static void make_safetensors(uint64_t bytes, struct rng *r)
{
	uint64_t d = side_for(bytes), n = bytes / (d * d * 2 + d * 4);
	struct out o;

	out_open(&o, false, "safetensors/model.safetensors");
	put_safetensors(&o, 0, n ? n : 1, d, r);
	out_close(&o);
}

static void make_sharded(uint64_t bytes, struct rng *r)
{
	uint64_t d = side_for(bytes), n = bytes / (d * d * 2 + d * 4);
	uint64_t files = n < 3 ? 1 : 3, sum = 0;
	struct text map = { 0 }, head = { 0 };
	struct out o;

	n = n ? n : 1;
	for (uint64_t f = 0; f < files; f++) {
		uint64_t first = n * f / files, last = n * (f + 1) / files;
		char name[64];

		snprintf(name, sizeof(name), "model-%05llu-of-%05llu.safetensors",
			 (unsigned long long)f + 1, (unsigned long long)files);
		out_open(&o, false, "safetensors-sharded/%s", name);
		sum += put_safetensors(&o, first, last, d, r);
		out_close(&o);
		for (uint64_t i = first; i < last; i++)
			say(&map, "%s\n    \"model.layers.%llu.norm.weight\": \"%s\",\n    \"model.layers.%llu.proj.weight\": \"%s\"",
			    i ? "," : "", (unsigned long long)i, name,
			    (unsigned long long)i, name);
	}
	out_open(&o, false, "safetensors-sharded/model.safetensors.index.json");
	say(&head, "{\n  \"metadata\": {\"total_size\": %llu},\n  \"weight_map\": {",
	    (unsigned long long)sum);
	put(&o, head.at, head.len);
	put(&o, map.at, map.len);
	put(&o, "\n  }\n}\n", 7);
	out_close(&o);
	free(head.at);
	free(map.at);
}

/* ---- .npy ---- */

static void make_npy(uint64_t bytes, struct rng *r)
{
	uint64_t width = bytes >= 64 << 10 ? 1024 : 16;
	uint64_t rows = bytes / (width * 4);
	char h[256];
	struct out o;
	int n;

	rows = rows ? rows : 1;
	n = snprintf(h, sizeof(h), "{'descr': '<f4', 'fortran_order': False, 'shape': (%llu, %llu), }",
		     (unsigned long long)rows, (unsigned long long)width);
	out_open(&o, false, "npy/features.npy");
	put(&o, "\x93NUMPY\1", 7);
	put_le(&o, 0, 1);
	put_le(&o, 128 - 10, 2);
	put(&o, h, (uint64_t)n);
	put_fill(&o, ' ', 128 - 10 - (uint64_t)n - 1);
	put(&o, "\n", 1);
	put_random(&o, r, &f32_words, rows * width * 4);
	out_close(&o);
}

/* ---- GGUF ---- */

static void put_string(struct out *o, const char *s)
{
	put_le(o, strlen(s), 8);
	put(o, s, strlen(s));
}

static void put_tensor(struct out *o, const char *name, uint64_t cols,
		       uint64_t rows, uint32_t type, uint64_t off)
{
	put_string(o, name);
	put_le(o, rows ? 2 : 1, 4);
	put_le(o, cols, 8);
	if (rows)
		put_le(o, rows, 8);
	put_le(o, type, 4);
	put_le(o, off, 8);
}

static void make_gguf(uint64_t bytes, struct rng *r)
{
	uint64_t cols = 256, rows = bytes / (cols / 32 * 34 + cols * 2), at;
	char token[32];
	struct out o;

	rows = rows ? rows : 1;
	out_open(&o, false, "gguf/model.gguf");
	put(&o, "GGUF", 4);
	put_le(&o, 3, 4);
	put_le(&o, 3, 8);
	put_le(&o, 3, 8);
	put_string(&o, "general.architecture");
	put_le(&o, 8, 4);
	put_string(&o, "llama");
	put_string(&o, "general.alignment");
	put_le(&o, 4, 4);
	put_le(&o, 64, 4);
	put_string(&o, "tokenizer.ggml.tokens");
	put_le(&o, 9, 4);
	put_le(&o, 8, 4);
	put_le(&o, 1000, 8);
	for (int i = 0; i < 1000; i++) {
		snprintf(token, sizeof(token), "<token %d>", i);
		put_string(&o, token);
	}
	/* Each is a multiple of 64 bytes but the Q8_0: it comes last. */
	at = 0;
	put_tensor(&o, "output_norm.weight", cols, 0, 0, at);
	at += cols * 4;
	put_tensor(&o, "token_embd.weight", cols, rows, 1, at);
	at += cols * 2 * rows;
	put_tensor(&o, "blk.0.ffn_up.weight", cols, rows, 8, at);
	put_fill(&o, 0, (64 - o.len % 64) % 64);
	put_random(&o, r, &f32_words, cols * 4);
	put_random(&o, r, &bf16_words, cols * 2 * rows);
	put_random(&o, r, &any_bytes, cols / 32 * 34 * rows);
	put_fill(&o, 0, (64 - o.len % 64) % 64);
	out_close(&o);
}

/* ---- the whole ---- */

static void tar_plain(uint64_t bytes, struct rng *r)
{
	make_tar("webdataset/shard", false, bytes, r);
}

static void tar_gz(uint64_t bytes, struct rng *r)
{
	make_tar("webdataset-gz/small", true, bytes < SMALL ? bytes : SMALL, r);
}

static void mds_plain(uint64_t bytes, struct rng *r)
{
	make_mds("mds", false, bytes, r);
}

static void mds_zstd(uint64_t bytes, struct rng *r)
{
	make_mds("mds-zstd", true, bytes, r);
}

static void gguf_small(uint64_t bytes, struct rng *r)
{
	make_gguf(bytes < SMALL ? bytes : SMALL, r);
}

static const struct {
	const char *name;
	uint32_t permille; /* of --bytes */
	uint64_t most;
	void (*make)(uint64_t bytes, struct rng *r);
} formats[] = {
	{ "megatron", 300, UINT64_MAX, make_megatron },
	{ "tar", 300, UINT64_MAX, tar_plain },
	{ "mds", 200, UINT64_MAX, mds_plain },
	{ "safetensors", 70, UINT64_MAX, make_safetensors },
	{ "safetensors-sharded", 50, UINT64_MAX, make_sharded },
	{ "npy", 60, UINT64_MAX, make_npy },
	{ "tar-gz", 5, SMALL, tar_gz },
	{ "mds-zstd", 10, 4 * SMALL, mds_zstd },
	{ "gguf", 5, SMALL, gguf_small },
};
#define NFORMATS (sizeof(formats) / sizeof(formats[0]))

static uint64_t parse_bytes(const char *s)
{
	static const char units[] = "KMGT";
	char *end;
	uint64_t v;
	const char *u;
	int shift;

	errno = 0;
	v = strtoull(s, &end, 10);
	if (end == s || errno || *s == '-')
		die("--bytes %s: not a number", s);
	u = *end ? strchr(units, *end) : NULL;
	shift = u ? 10 * (int)(u - units + 1) : 0;
	if ((*end && (!u || end[1])) || v > UINT64_MAX >> shift >> 1)
		die("--bytes %s: a number with K, M, G or T", s);
	return v << shift;
}

static void make(size_t i, uint64_t bytes, uint64_t seed)
{
	uint64_t was_bytes = total_bytes, was_files = total_files;
	struct rng r;

	rng_seed(&r, seed * NFORMATS + i);
	formats[i].make(bytes > 4096 ? bytes : 4096, &r);
	printf("%-20s %12llu bytes %5llu files\n", formats[i].name,
	       (unsigned long long)(total_bytes - was_bytes),
	       (unsigned long long)(total_files - was_files));
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "bytes", required_argument, NULL, 'b' },
		{ "only", required_argument, NULL, 'o' },
		{ "seed", required_argument, NULL, 's' },
		{ 0 },
	};
	uint64_t bytes = 0, seed = 1;
	const char *only = NULL;
	bool made = false;
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (c == 'b')
			bytes = parse_bytes(optarg);
		else if (c == 'o')
			only = optarg;
		else if (c == 's')
			seed = strtoull(optarg, NULL, 0);
		else
			return 1;
	}
	if (optind != argc - 1 || !bytes)
		die("usage: mkdata DIR --bytes N[K|M|G] [--only FORMAT] [--seed S]");
	folder = argv[optind];
	make_folder(folder);
	for (size_t i = 0; i < NFORMATS; i++) {
		uint64_t part = bytes / 1000 * formats[i].permille;

		if (only && strcmp(only, formats[i].name))
			continue;
		part = only ? bytes : part;
		make(i, part < formats[i].most ? part : formats[i].most, seed);
		made = true;
	}
	if (!made) {
		fprintf(stderr, "mkdata: --only %s is none of", only);
		for (size_t i = 0; i < NFORMATS; i++)
			fprintf(stderr, " %s", formats[i].name);
		fputc('\n', stderr);
		return 1;
	}
	return 0;
}

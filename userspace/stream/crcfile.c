/* SPDX-License-Identifier: MIT */
#include "stream/crcfile.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/ctx.h"
#include "stream/packed_file.h"
#include "stream/source_file.h"

#define HEADER_BYTES 64
#define ENTRY_BYTES 16
#define VERSION 2

uint64_t slc_crcfile_words(const struct slc_format *format, uint32_t codec,
			   uint64_t samples)
{
	if (format == &slc_format_tar)
		return 2 * samples;
	return codec ? samples + 1 : 0;
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htole32(v);
	memcpy(p, &v, sizeof(v));
}

static void put64(uint8_t *p, uint64_t v)
{
	v = htole64(v);
	memcpy(p, &v, sizeof(v));
}

static uint32_t get32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return le32toh(v);
}

static uint64_t get64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return le64toh(v);
}

/* ---- writing ---- */

static int write_words(struct slc_atomic_file *f, const uint32_t *v,
		       uint64_t n)
{
	uint8_t le[4096];
	int err = 0;

	while (n && !err) {
		uint64_t k = n < sizeof(le) / 4 ? n : sizeof(le) / 4;

		for (uint64_t i = 0; i < k; i++)
			put32(le + 4 * i, v[i]);
		err = slc_atomic_write(f, le, 4 * k);
		v += k;
		n -= k;
	}
	return err;
}

int slc_crcfile_write(struct slc_atomic_file *f,
		      const struct slc_crcfile_shard *shards, uint64_t nshards)
{
	uint64_t bytes = HEADER_BYTES + ENTRY_BYTES * nshards, samples = 0;
	uint8_t h[HEADER_BYTES] = { 0 }, e[ENTRY_BYTES];
	int err;

	for (uint64_t i = 0; i < nshards; i++) {
		samples += shards[i].samples;
		bytes += 4 * (shards[i].samples + shards[i].nwords);
	}
	memcpy(h, SLC_PACKED_INDEX_MAGIC, SLC_PACKED_INDEX_MAGIC_BYTES);
	put32(h + 8, VERSION);
	put64(h + 16, bytes);
	put64(h + 24, nshards);
	put64(h + 32, samples);
	put32(h + 12, slc_crc32c(0, h, sizeof(h)));
	err = slc_atomic_write(f, h, sizeof(h));
	for (uint64_t i = 0; i < nshards && !err; i++) {
		put64(e, shards[i].samples);
		put64(e + 8, shards[i].nwords);
		err = slc_atomic_write(f, e, sizeof(e));
	}
	for (uint64_t i = 0; i < nshards && !err; i++) {
		err = write_words(f, shards[i].crc, shards[i].samples);
		if (!err)
			err = write_words(f, shards[i].words,
					  shards[i].nwords);
	}
	return err;
}

/* ---- reading ---- */

struct reader {
	struct slc_ctx *ctx;
	const char *path;
	struct slc_source_file src;
	uint64_t at;
	uint32_t crc;
};

static int bad(struct reader *r, const char *what)
{
	return slc_fail(r->ctx, -EBADMSG,
			"%s: manifest index: offset %" PRIu64
			": %s: run sluice pack again", r->path, r->at, what);
}

static int take(struct reader *r, void *buf, uint64_t n)
{
	int64_t got = r->src.base.read(&r->src.base, r->at, buf, n);

	if (got < 0)
		return slc_fail(r->ctx, (int)got,
				"cannot read %s at offset %" PRIu64 ": %s",
				r->path, r->at, strerror((int)-got));
	if ((uint64_t)got < n)
		return bad(r, "the file ends too early");
	r->crc = slc_crc32c(r->crc, buf, n);
	r->at += n;
	return 0;
}

/* *out is malloc'd. */
static int take_words(struct reader *r, uint64_t n, uint32_t **out)
{
	uint64_t bytes;
	uint32_t *v;
	int err;

	if (!slc_mul(n, 4, &bytes) ||
	    !slc_within(r->at, bytes, r->src.base.size))
		return bad(r, "more checksums than bytes");
	v = malloc(bytes ? bytes : 1);
	if (!v)
		return slc_fail(r->ctx, -ENOMEM, "no memory for the index %s",
				r->path);
	err = take(r, v, bytes);
	if (err) {
		free(v);
		return err;
	}
	for (uint64_t i = 0; i < n; i++)
		v[i] = le32toh(v[i]);
	*out = v;
	return 0;
}

static int take_header(struct reader *r, uint64_t bytes, uint64_t nshards)
{
	uint8_t h[HEADER_BYTES], zeroed[HEADER_BYTES];
	int err;

	if (r->src.base.size != bytes)
		return bad(r, "its size is not what the manifest says");
	err = take(r, h, sizeof(h));
	if (err)
		return err;
	memcpy(zeroed, h, sizeof(h));
	put32(zeroed + 12, 0);
	r->at = 0;
	if (!slc_packed_is_index(h, sizeof(h)))
		return bad(r, "it is not an index that sluice pack wrote");
	if (get32(h + 12) != slc_crc32c(0, zeroed, sizeof(zeroed)))
		return bad(r, "its header is damaged");
	if (get32(h + 8) != VERSION)
		return bad(r, "it is not of version 2, which alone is known");
	if (get64(h + 16) != bytes || get64(h + 24) != nshards)
		return bad(r, "its header does not fit the manifest");
	r->at = HEADER_BYTES;
	return 0;
}

static int take_entries(struct reader *r, const struct slc_found *found,
			uint64_t n)
{
	uint8_t e[ENTRY_BYTES];

	for (uint64_t i = 0; i < n; i++) {
		const struct slc_found *f = &found[i];
		int err = take(r, e, sizeof(e));

		if (err)
			return err;
		if (get64(e) != f->samples ||
		    get64(e + 8) != slc_crcfile_words(f->format, f->codec,
						      f->samples))
			return bad(r, "its shards are not those of the manifest");
	}
	return 0;
}

static int take_all(struct reader *r, uint64_t bytes, uint32_t crc,
		    struct slc_found *found, uint64_t n)
{
	int err = take_header(r, bytes, n);

	if (!err)
		err = take_entries(r, found, n);
	for (uint64_t i = 0; i < n && !err; i++) {
		struct slc_found *f = &found[i];

		f->nwords = slc_crcfile_words(f->format, f->codec, f->samples);
		err = take_words(r, f->samples, &f->sample_crc);
		if (!err && f->nwords)
			err = take_words(r, f->nwords, &f->words);
	}
	if (!err && r->at != r->src.base.size)
		err = bad(r, "bytes are left over at its end");
	r->at = 0;
	if (!err && r->crc != crc)
		err = bad(r, "its checksum is not what the manifest says");
	return err;
}

int slc_crcfile_read(struct slc_ctx *ctx, const char *path, uint64_t bytes,
		     uint32_t crc, struct slc_found *found, uint64_t n)
{
	struct reader r = { .ctx = ctx, .path = path };
	int err;

	err = slc_source_file_open(ctx, path, &r.src);
	if (err)
		return err;
	err = take_all(&r, bytes, crc, found, n);
	slc_source_file_close(&r.src);
	return err;
}

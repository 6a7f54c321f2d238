/* SPDX-License-Identifier: MIT */
/* compress.h - gzip and zstd streams, made in the test. */
#ifndef SLC_TESTS_COMPRESS_H
#define SLC_TESTS_COMPRESS_H

#include <zlib.h>
#include <zstd.h>

#include "bytes.h"
#include "format/inflate.h"

static inline void put_gzip(struct bytes *b, const void *p, size_t n)
{
	z_stream z = { 0 };
	size_t room = n + n / 100 + 1000;
	uint8_t *out = malloc(room);

	if (!out || deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, 0) != Z_OK)
		abort();
	z.next_in = (Bytef *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = out;
	z.avail_out = (uInt)room;
	if (deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	put(b, out, z.total_out);
	deflateEnd(&z);
	free(out);
}

static inline void put_zstd_window(struct bytes *b, const void *p, size_t n,
				   int window_log)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();
	size_t room = ZSTD_compressBound(n), len;
	uint8_t *out = malloc(room);
	ZSTD_inBuffer zin = { p, n, 0 };
	ZSTD_outBuffer zout = { out, room, 0 };

	if (!c || !out)
		abort();
	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	if (window_log) {
		ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
		/* The streaming call, without the size: it keeps the window. */
		len = ZSTD_compressStream2(c, &zout, &zin, ZSTD_e_continue);
		if (!ZSTD_isError(len))
			len = ZSTD_compressStream2(c, &zout, &zin, ZSTD_e_end);
		len = ZSTD_isError(len) ? len : zout.pos;
	} else {
		len = ZSTD_compress2(c, out, room, p, n);
	}
	if (ZSTD_isError(len))
		abort();
	put(b, out, len);
	ZSTD_freeCCtx(c);
	free(out);
}

static inline void put_codec(struct bytes *b, uint32_t codec, const void *p,
			     size_t n)
{
	if (codec == SLC_CODEC_GZIP)
		put_gzip(b, p, n);
	else
		put_zstd_window(b, p, n, 0);
}

/* Parses `plain` through an inflating source over its compressed form. */
static inline struct parsed parse_inflated(const struct slc_format *format,
					   uint32_t codec, const void *plain,
					   size_t len)
{
	struct parsed r = { 0 };
	struct slc_source_inflate src;
	struct slc_source_mem mem;
	struct slc_parse in = { &src.base, 0, 0 };
	struct bytes packed = { 0 };

	put_codec(&packed, codec, plain, len);
	slc_source_mem_init(&mem, packed.p, packed.len);
	if (slc_source_inflate_init(&src, codec, &mem.base))
		abort();
	r.err = format->parse(&in, &r.t, &r.diag);
	slc_source_inflate_fini(&src);
	bytes_free(&packed);
	return r;
}

#endif

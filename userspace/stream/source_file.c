/* SPDX-License-Identifier: MIT */
#include "stream/source_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/checked.h"
#include "base/ctx.h"
#include "base/open.h"
#include "stream/dataset.h"

/*
 * A tar of small files is read header by header, nearly in sequence; one of
 * large files, header by far away header. So the window doubles while reads
 * come in sequence, and falls back to two pages (a header and what comes
 * after it) when one jumps. Over less than NEAR_ALONE a drive reads on in the
 * time that one read takes; of many at once it does 1 / NEAR_SPARE of a byte.
 */
#define PAGE 4096u
#define AHEAD_MIN (2 * PAGE)
#define AHEAD_MAX (512u << 10)
#define NEAR_ALONE (256u << 10)
#define NEAR_SPARE (16u << 10)
/* On the reference machine 64 bring no more. */
#define READERS_MAX 32u

/* Up to len bytes at off, short only at the end of the file. */
static int64_t read_full(int fd, uint64_t off, uint8_t *buf, uint64_t len)
{
	uint64_t done = 0;

	while (done < len) {
		uint64_t want = len - done;
		ssize_t got;

		/* The kernel moves at most 2 GiB - 4 KiB in one call. */
		if (want > 1u << 30)
			want = 1u << 30;
		got = pread(fd, buf + done, want, (off_t)(off + done));
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (uint64_t)got;
	}
	return (int64_t)done;
}

/* Reads [at, at + len) into an empty window of that size. */
static int64_t read_window(struct slc_source_file *src, uint64_t at,
			   uint64_t len)
{
	int64_t got;

	src->have = 0;
	if (src->room < len) {
		free(src->window);
		src->window = malloc(len);
		src->room = src->window ? len : 0;
		if (!src->window)
			return -ENOMEM;
	}
	src->at = at;
	got = read_full(src->fd, at, src->window, len);
	if (got > 0)
		src->have = (uint64_t)got;
	return got;
}

/* The kernel reads on by itself, or what it is asked for and no more. */
static void read_on(struct slc_source_file *src, bool on)
{
	if (src->near == NEAR_ALONE || src->reads_on == on)
		return;
	/* A refusal costs time only. */
	posix_fadvise(src->fd, 0, 0,
		      on ? POSIX_FADV_NORMAL : POSIX_FADV_RANDOM);
	src->reads_on = on;
}

/* A new window around off; its size follows how reads have come so far. */
static int64_t refill(struct slc_source_file *src, uint64_t off)
{
	uint64_t end = src->at + src->have;

	if (off < src->at || off > end + src->near)
		src->ahead = AHEAD_MIN;
	else if (src->ahead < AHEAD_MAX)
		src->ahead *= 2;
	read_on(src, src->ahead == AHEAD_MAX);
	return read_window(src, slc_align_down(off, PAGE), src->ahead);
}

/* The whole extent around off, and only if it is what was packed. */
static int64_t refill_verified(struct slc_source_file *src, uint64_t off)
{
	uint64_t i = off / SLC_EXTENT_BYTES;
	uint64_t want = src->base.size - i * SLC_EXTENT_BYTES;
	int64_t got;

	if (want > SLC_EXTENT_BYTES)
		want = SLC_EXTENT_BYTES;
	got = read_window(src, i * SLC_EXTENT_BYTES, want);
	if (got < 0)
		return got;
	src->got_crc = slc_crc32c(0, src->window, (uint64_t)got);
	if ((uint64_t)got < want || src->got_crc != src->extent_crc[i]) {
		src->have = 0;
		src->mismatch = true;
		return -EBADMSG;
	}
	return got;
}

static int64_t file_read(struct slc_source *base, uint64_t off, void *buf,
			 uint64_t len)
{
	struct slc_source_file *src = (struct slc_source_file *)base;
	uint8_t *to = buf;
	uint64_t done = 0;
	int64_t got;

	/* What the file was when opened is what it is: growth is not read. */
	if (off >= base->size)
		return 0;
	if (len > base->size - off)
		len = base->size - off;
	while (done < len) {
		uint64_t at = off + done, n;

		if (at >= src->at && at - src->at < src->have) {
			n = src->have - (at - src->at);
			if (n > len - done)
				n = len - done;
			memcpy(to + done, src->window + (at - src->at), n);
			done += n;
			continue;
		}
		if (!src->extent_crc && len - done >= AHEAD_MAX) {
			read_on(src, true);
			got = read_full(src->fd, at, to + done, len - done);
			return got < 0 ? got : (int64_t)done + got;
		}
		got = src->extent_crc ? refill_verified(src, at) :
					refill(src, at);
		if (got < 0)
			return got;
		if (!got)
			break;
	}
	return (int64_t)done;
}

int slc_source_file_open(struct slc_ctx *ctx, const char *path,
			 struct slc_source_file *src)
{
	memset(src, 0, sizeof(*src));
	src->fd = slc_open_data(ctx, path, O_RDONLY, false, &src->st);
	if (src->fd < 0)
		return src->fd;
	/* The first window doubles it. */
	src->ahead = AHEAD_MIN / 2;
	src->near = NEAR_ALONE;
	src->reads_on = true;
	src->base.read = file_read;
	src->base.size = (uint64_t)src->st.st_size;
	return 0;
}

void slc_source_file_spare(struct slc_source_file *src)
{
	src->near = NEAR_SPARE;
	read_on(src, false);
}

void slc_source_file_verify(struct slc_source_file *src,
			    const uint32_t *extent_crc)
{
	src->have = 0;
	src->extent_crc = extent_crc;
}

unsigned int slc_source_readers(void)
{
	struct rlimit lim;

	/* One descriptor each; most are for others. */
	if (!getrlimit(RLIMIT_NOFILE, &lim) && lim.rlim_cur / 4 < READERS_MAX)
		return (unsigned int)(lim.rlim_cur / 4);
	return READERS_MAX;
}

int slc_fail_mismatch(struct slc_ctx *ctx, const char *path, const char *what,
		      const struct slc_source_file *src)
{
	return slc_fail(ctx, -EBADMSG,
			"%s: checksum mismatch in its %s at offset %" PRIu64
			" (got %08x, packed %08x): the file changed since it was packed",
			path, what, src->at, src->got_crc,
			src->extent_crc[src->at / SLC_EXTENT_BYTES]);
}

void slc_source_file_close(struct slc_source_file *src)
{
	free(src->window);
	close(src->fd);
	memset(src, 0, sizeof(*src));
	src->fd = -1;
}

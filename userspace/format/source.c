/* SPDX-License-Identifier: MIT */
#include "format/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

static int64_t mem_read(struct slc_source *src, uint64_t off, void *buf,
			uint64_t len)
{
	struct slc_source_mem *mem = (struct slc_source_mem *)src;

	if (off >= src->size)
		return 0;
	if (len > src->size - off)
		len = src->size - off;
	if (len)
		memcpy(buf, mem->bytes + off, len);
	return (int64_t)len;
}

void slc_source_mem_init(struct slc_source_mem *src, const void *bytes,
			 uint64_t len)
{
	src->base.read = mem_read;
	src->base.size = len;
	src->bytes = bytes;
}

int slc_bad(struct slc_diag *diag, uint64_t off, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(diag->what, sizeof(diag->what), fmt, ap);
	va_end(ap);
	diag->off = off;
	for (char *p = diag->what; *p; p++)
		if ((unsigned char)*p < 0x20 || (unsigned char)*p >= 0x7f)
			*p = '?';
	return -EBADMSG;
}

int slc_source_exact(struct slc_source *src, uint64_t off, void *buf,
		     uint64_t len, const char *what, struct slc_diag *diag)
{
	int64_t got = src->read(src, off, buf, len);

	if (got < 0) {
		slc_bad(diag, off, "cannot read %s: %s", what,
			got == -EBADMSG ? "the compressed data is damaged" :
					  strerror((int)-got));
		return (int)got;
	}
	if ((uint64_t)got < len)
		return slc_bad(diag, off + (uint64_t)got,
			       "the file ends inside %s (%llu of %llu bytes)",
			       what, (unsigned long long)got,
			       (unsigned long long)len);
	return 0;
}

int slc_source_load(struct slc_source *src, uint64_t off, uint64_t len,
		    const char *what, uint8_t **out, struct slc_diag *diag)
{
	/* A known size bounds the allocation; an unknown one, what came. */
	uint64_t room = len, done = 0, total;
	uint8_t *buf = NULL, *bigger;
	int err = 0;

	if (src->size == SLC_SIZE_UNKNOWN && room > 1 << 20)
		room = 1 << 20;
	else if (src->size != SLC_SIZE_UNKNOWN &&
		 !slc_within(off, len, src->size))
		return slc_bad(diag, src->size,
			       "the file ends inside %s (%llu of %llu bytes)",
			       what,
			       (unsigned long long)(off < src->size ?
						    src->size - off : 0),
			       (unsigned long long)len);
	for (;;) {
		if (!slc_add(room, 1, &total) ||
		    !(bigger = realloc(buf, total))) {
			err = -ENOMEM;
			break;
		}
		buf = bigger;
		err = slc_source_exact(src, off + done, buf + done,
				       room - done, what, diag);
		done = room;
		if (err || done == len)
			break;
		room = len - room > room ? room * 2 : len;
	}
	if (err == -ENOMEM)
		slc_bad(diag, off, "no memory for %s of %llu bytes", what,
			(unsigned long long)len);
	if (err) {
		free(buf);
		return err;
	}
	buf[len] = 0;
	*out = buf;
	return 0;
}

int slc_source_size(struct slc_source *src, uint64_t from, uint64_t *size,
		    struct slc_diag *diag)
{
	uint64_t step = 1 << 16;
	uint8_t *buf;
	int64_t got;

	if (src->size != SLC_SIZE_UNKNOWN) {
		*size = src->size;
		return 0;
	}
	buf = malloc(step);
	if (!buf) {
		slc_bad(diag, from, "no memory to read the file to its end");
		return -ENOMEM;
	}
	do {
		got = src->read(src, from, buf, step);
		if (got > 0)
			from += (uint64_t)got;
	} while (got == (int64_t)step);
	free(buf);
	if (got < 0) {
		slc_bad(diag, from, "cannot read the file to its end: %s",
			strerror((int)-got));
		return (int)got;
	}
	*size = from;
	return 0;
}

int slc_source_ends(struct slc_source *src, uint64_t from, uint64_t min_end,
		    uint64_t max_end, struct slc_diag *diag)
{
	uint64_t size;
	int err;

	err = slc_source_size(src, from, &size, diag);
	if (err)
		return err;
	if (size < min_end)
		return slc_bad(diag, size,
			       "the file ends here, %llu bytes short of what it describes",
			       (unsigned long long)(min_end - size));
	if (size > max_end)
		return slc_bad(diag, max_end,
			       "%llu trailing bytes that nothing describes",
			       (unsigned long long)(size - max_end));
	return 0;
}

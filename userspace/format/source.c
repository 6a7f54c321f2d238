/* SPDX-License-Identifier: MIT */
#include "format/source.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

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

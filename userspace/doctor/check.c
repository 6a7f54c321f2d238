/* SPDX-License-Identifier: MIT */
#include "doctor/check.h"

#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem/node.h"

static void append(char *buf, size_t n, const char *fmt, va_list ap)
{
	size_t len = strlen(buf);

	vsnprintf(buf + len, n - len, fmt, ap);
}

void slc_saw(struct slc_finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append(f->saw, sizeof(f->saw), fmt, ap);
	va_end(ap);
}

void slc_why(struct slc_finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	append(f->why, sizeof(f->why), fmt, ap);
	va_end(ap);
}

void slc_fix(struct slc_finding *f, uint32_t status, const char *fmt, ...)
{
	va_list ap;

	/* A later, lesser finding of one check never hides an earlier. */
	if (status > f->status)
		f->status = status;
	if (*f->fix && *fmt)
		strncat(f->fix, "; ", sizeof(f->fix) - strlen(f->fix) - 1);
	va_start(ap, fmt);
	append(f->fix, sizeof(f->fix), fmt, ap);
	va_end(ap);
}

const char *slc_size_text(uint64_t bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	static _Thread_local char ring[4][24];
	static _Thread_local unsigned int at;
	char *buf = ring[at++ % 4];
	double v = (double)bytes;
	size_t i = 0;

	while (i + 1 < sizeof(units) / sizeof(units[0]) && v >= 1024) {
		v /= 1024;
		i++;
	}
	snprintf(buf, sizeof(ring[0]), "%.*f %s",
		 v < 10 && v != (double)(uint64_t)v ? 1 : 0, v, units[i]);
	return buf;
}

static int peek(const struct slc_patient *p, char *buf, size_t n,
		const char *fmt, va_list ap)
{
	char name[PATH_MAX];
	int len = snprintf(name, sizeof(name), "%s", p->root);

	*buf = '\0';
	if (len < 0 || (size_t)len >= sizeof(name))
		return -ENAMETOOLONG;
	if ((size_t)vsnprintf(name + len, sizeof(name) - (size_t)len, fmt,
			      ap) >= sizeof(name) - (size_t)len)
		return -ENAMETOOLONG;
	len = slc_text_read(name, buf, n);
	if (len)
		*buf = '\0';
	return len;
}

int slc_peek(const struct slc_patient *p, char *buf, size_t n, const char *fmt,
	     ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = peek(p, buf, n, fmt, ap);
	va_end(ap);
	return ret;
}

int64_t slc_peek_number(const struct slc_patient *p, int64_t otherwise,
			const char *fmt, ...)
{
	char buf[64], *end;
	long long v;
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = peek(p, buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (ret < 0)
		return otherwise;
	v = strtoll(buf, &end, 10);
	return end == buf ? otherwise : v;
}

int64_t slc_field(const char *text, const char *key)
{
	size_t n = strlen(key);

	for (const char *line = text; line;) {
		if (!strncmp(line, key, n) && line[n] == ':')
			return strtoll(line + n + 1, NULL, 10);
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return -1;
}

bool slc_may_lock(const struct slc_patient *p)
{
	const unsigned int cap_ipc_lock = 14; /* linux/capability.h */
	char text[8192];
	const char *caps;

	slc_peek(p, text, sizeof(text), "/proc/self/status");
	caps = strstr(text, "CapEff:");
	return caps && (strtoull(caps + 7, NULL, 16) >> cap_ipc_lock) & 1;
}

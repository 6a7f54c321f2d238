/* SPDX-License-Identifier: MIT */
#include "units.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/checked.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static const struct unit {
	const char *name;
	uint64_t bytes;
} units[] = {
	{ "", 1 },
	{ "b", 1 },
	{ "k", 1ull << 10 },   { "kib", 1ull << 10 }, { "kb", 1000ull },
	{ "m", 1ull << 20 },   { "mib", 1ull << 20 }, { "mb", 1000000ull },
	{ "g", 1ull << 30 },   { "gib", 1ull << 30 }, { "gb", 1000000000ull },
	{ "t", 1ull << 40 },   { "tib", 1ull << 40 }, { "tb", 1000000000000ull },
};

static int digits(const char **s, uint64_t *out)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++)
		if (!slc_mul(v, 10, &v) ||
		    !slc_add(v, (uint64_t)(*p - '0'), &v))
			return -ERANGE;
	*s = p;
	*out = v;
	return 0;
}

/* ".5" as billionths; digits past the ninth are too fine to matter. */
static int fraction(const char **s, uint64_t *out)
{
	uint64_t scale = 100000000, v = 0;
	const char *p = *s;

	*out = 0;
	if (*p != '.')
		return 0;
	p++;
	if (*p < '0' || *p > '9')
		return -EINVAL;
	for (; *p >= '0' && *p <= '9'; p++) {
		v += (uint64_t)(*p - '0') * scale;
		scale /= 10;
	}
	*s = p;
	*out = v;
	return 0;
}

int slc_parse_size(const char *s, uint64_t *out)
{
	uint64_t whole, billionths, v;
	int err;

	err = digits(&s, &whole);
	if (err)
		return err;
	err = fraction(&s, &billionths);
	if (err)
		return err;
	for (size_t i = 0; i < LEN(units); i++) {
		if (strcasecmp(s, units[i].name))
			continue;
		if (billionths && units[i].bytes == 1)
			return -EINVAL;
		if (!slc_mul(whole, units[i].bytes, &v))
			return -ERANGE;
		/* At most 1e9 * 2^40: needs more than 64 bits. */
		if (!slc_add(v,
			     (uint64_t)((unsigned __int128)billionths *
					units[i].bytes / 1000000000u),
			     &v))
			return -ERANGE;
		*out = v;
		return 0;
	}
	return -EINVAL;
}

int slc_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out)
{
	uint64_t v;
	int err = digits(&s, &v);

	if (err)
		return err;
	if (*s)
		return -EINVAL;
	if (v < min || v > max)
		return -ERANGE;
	*out = v;
	return 0;
}

size_t slc_escape_byte(char *out, unsigned char byte)
{
	static const char hex[] = "0123456789abcdef";

	out[0] = '\\';
	if (byte == '\\') {
		out[1] = '\\';
		return 2;
	}
	if (byte >= 0x20 && byte != 0x7f) {
		out[0] = (char)byte;
		return 1;
	}
	out[1] = 'x';
	out[2] = hex[byte >> 4];
	out[3] = hex[byte & 15];
	return 4;
}

/* Three digits that matter: 9.87, 98.7, 987. */
static void three(char *buf, size_t n, double v, const char *unit)
{
	int places = v < 9.995 ? 2 : v < 99.95 ? 1 : 0;

	snprintf(buf, n, "%.*f %s", places, v, unit);
}

char *slc_human_bytes(char *buf, size_t n, uint64_t v)
{
	static const char *const names[] = { "B",   "KiB", "MiB", "GiB",
					     "TiB", "PiB", "EiB" };
	size_t i = 0;

	while (i + 1 < LEN(names) && v >> (10 * (i + 1)))
		i++;
	if (!(v & ((1ull << (10 * i)) - 1)))
		snprintf(buf, n, "%llu %s",
			 (unsigned long long)(v >> (10 * i)), names[i]);
	else
		three(buf, n, (double)v / (double)(1ull << (10 * i)), names[i]);
	return buf;
}

char *slc_human_count(char *buf, size_t n, uint64_t v)
{
	char raw[24];
	size_t len = (size_t)snprintf(raw, sizeof(raw), "%llu",
				      (unsigned long long)v);
	size_t at = 0;

	for (size_t i = 0; i < len && at + 1 < n; i++) {
		if (i && (len - i) % 3 == 0)
			buf[at++] = ',';
		if (at + 1 < n)
			buf[at++] = raw[i];
	}
	if (n)
		buf[at] = '\0';
	return buf;
}

static void scaled_rate(char *buf, size_t n, double v, double step,
			const char *const *names, size_t nnames)
{
	size_t i = 0;

	/* Also false for NaN, so no rate makes this run away. */
	while (i + 1 < nnames && v >= step * 0.9995) {
		v /= step;
		i++;
	}
	three(buf, n, v, names[i]);
}

char *slc_short_rate(char *buf, size_t n, double bytes_per_s)
{
	static const char *const names[] = { "B/s", "kB/s", "MB/s", "GB/s",
					     "TB/s" };

	scaled_rate(buf, n, bytes_per_s, 1000, names, LEN(names));
	return buf;
}

char *slc_human_rate(char *buf, size_t n, double bytes_per_s)
{
	static const char *const names[] = { "B/s", "KiB/s", "MiB/s", "GiB/s",
					     "TiB/s" };
	char si[24], iec[24];

	slc_short_rate(si, sizeof(si), bytes_per_s);
	scaled_rate(iec, sizeof(iec), bytes_per_s, 1024, names, LEN(names));
	snprintf(buf, n, "%s (%s)", si, iec);
	return buf;
}

char *slc_human_time(char *buf, size_t n, uint64_t ns)
{
	uint64_t s = ns / 1000000000u;

	if (ns < 1000)
		snprintf(buf, n, "%u ns", (unsigned int)ns);
	else if (ns < 1000000)
		three(buf, n, (double)ns / 1e3, "us");
	else if (ns < 1000000000)
		three(buf, n, (double)ns / 1e6, "ms");
	else if (s < 100)
		three(buf, n, (double)ns / 1e9, "s");
	else if (s < 3600)
		snprintf(buf, n, "%llu min %02llu s",
			 (unsigned long long)(s / 60),
			 (unsigned long long)(s % 60));
	else
		snprintf(buf, n, "%llu h %02llu min",
			 (unsigned long long)(s / 3600),
			 (unsigned long long)(s / 60 % 60));
	return buf;
}

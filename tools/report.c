/* SPDX-License-Identifier: MIT */
#include "report.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "units.h"

#define LIST_BYTES (256u << 10)
#define ESCAPED_MAX 4 /* bytes that one of a key may become */
#define COLUMNS_MAX 64 /* number, sum, tabs, end of line */

int slc_list_init(struct slc_list *l)
{
	l->buf = malloc(LIST_BYTES);
	l->len = 0;
	l->err = 0;
	return l->buf ? 0 : -ENOMEM;
}

void slc_list_fini(struct slc_list *l)
{
	free(l->buf);
	l->buf = NULL;
}

int slc_list_flush(struct slc_list *l)
{
	size_t at = 0;

	while (at < l->len && !l->err) {
		ssize_t n = write(STDOUT_FILENO, l->buf + at, l->len - at);

		if (n >= 0)
			at += (size_t)n;
		else if (errno != EINTR)
			l->err = -errno;
	}
	l->len = 0;
	return l->err;
}

static char *put_number(char *p, uint64_t v)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while (v /= 10);
	while (n)
		*p++ = digits[--n];
	return p;
}

static char *put_hex(char *p, uint32_t v, int digits)
{
	while (digits--)
		*p++ = "0123456789abcdef"[v >> (4 * digits) & 15];
	return p;
}

static int make_room(struct slc_list *l, size_t n)
{
	return l->len + n > LIST_BYTES ? slc_list_flush(l) : l->err;
}

/* In pieces that fit: a key may be longer than the buffer. */
static int put_key(struct slc_list *l, const char *key, size_t len)
{
	const size_t most = LIST_BYTES / ESCAPED_MAX;

	while (len) {
		size_t n = len < most ? len : most;

		if (make_room(l, n * ESCAPED_MAX))
			return l->err;
		for (size_t i = 0; i < n; i++)
			l->len += slc_escape_byte(l->buf + l->len,
						  (unsigned char)key[i]);
		key += n;
		len -= n;
	}
	return 0;
}

int slc_list_add(struct slc_list *l, const char *key, size_t key_len,
		 uint64_t bytes, uint32_t crc)
{
	char *p;

	if (put_key(l, key, key_len) || make_room(l, COLUMNS_MAX))
		return l->err;
	p = l->buf + l->len;
	*p++ = '\t';
	p = put_number(p, bytes);
	*p++ = '\t';
	p = put_hex(p, crc, 8);
	*p++ = '\n';
	l->len = (size_t)(p - l->buf);
	return l->err;
}

static double per_second(const struct slc_report *r, uint64_t bytes)
{
	return r->seconds > 0 ? (double)bytes / r->seconds : 0;
}

/*
 * What counts towards the limit, bytes a second: the payload, or of compressed
 * shards what was read, as the CPU made the rest.
 */
static double counted(const struct slc_report *r)
{
	return per_second(r, r->inflated ? r->stats.bytes_read : r->stats.bytes);
}

static json_t *routes_json(const struct slc_stream_stats *st)
{
	json_t *list = json_array();

	for (uint32_t i = 0; i < st->nroutes; i++) {
		const struct slc_route_stat *rt = &st->routes[i];

		json_array_append_new(
			list, json_pack("{s:s, s:I, s:s%}", "route",
					slc_route_name(rt->route), "bytes",
					(json_int_t)rt->bytes, "reason",
					rt->reason, strlen(rt->reason)));
	}
	return list;
}

static void put_int(json_t *o, const char *name, uint64_t v)
{
	json_object_set_new(o, name, json_integer((json_int_t)v));
}

static void put_real(json_t *o, const char *name, double v)
{
	json_object_set_new(o, name, json_real(v));
}

static const char *page_words(uint32_t kind)
{
	switch (kind) {
	case SLC_PAGE_HUGETLB:
		return "hugetlb pages";
	case SLC_PAGE_THP:
		return "transparent huge pages";
	case SLC_PAGE_MODULE:
		return "memory of the module";
	default:
		return "base pages";
	}
}

static const char *pin_words(uint32_t kind)
{
	return kind == SLC_PIN_MLOCK ? "mlock" :
	       kind == SLC_PIN_HUGETLB ? "hugetlb" :
	       kind == SLC_PIN_MODULE ? "module" : "none";
}

static json_t *memory_json(const struct slc_stream_stats *st)
{
	json_t *o = json_object();

	put_int(o, "window_bytes", st->window_bytes);
	put_int(o, "page_size", st->page_size);
	json_object_set_new(o, "pages", json_string(page_words(st->page_kind)));
	json_object_set_new(o, "pinned_by", json_string(pin_words(st->pin_kind)));
	json_object_set_new(o, "reason", json_string(st->memory_reason));
	return o;
}

int slc_report_json(const struct slc_report *r, FILE *out)
{
	const struct slc_stream_stats *st = &r->stats;
	json_t *o = json_object();
	int err;

	if (!o)
		return -ENOMEM;
	put_int(o, "bytes", st->bytes);
	put_int(o, "samples", st->samples);
	put_int(o, "samples_total", st->samples_total);
	put_real(o, "seconds", r->seconds);
	put_real(o, "bytes_per_second", per_second(r, st->bytes));
	if (r->limit > 0) {
		put_real(o, "limit_bytes_per_second", r->limit);
		put_real(o, "fraction_of_limit", counted(r) / r->limit);
	} else {
		json_object_set_new(o, "limit_bytes_per_second", json_null());
		json_object_set_new(o, "fraction_of_limit", json_null());
	}
	json_object_set_new(o, "limit_counts",
			    json_string(r->inflated ? "bytes_read" : "bytes"));
	put_int(o, "crc_errors", st->crc_errors);
	put_int(o, "retries", st->retries);
	put_int(o, "max_pinned_bytes", st->max_pinned_bytes);
	json_object_set_new(o, "memory", memory_json(st));
	json_object_set_new(o, "resume", json_string(r->resume));
	json_object_set_new(o, "routes", routes_json(st));
	put_int(o, "bytes_read", st->bytes_read);
	put_int(o, "bytes_verified", st->bytes_verified);
	json_object_set_new(o, "has_checksums",
			    json_boolean(r->dataset.verified));
	put_real(o, "wait_seconds", (double)st->wait_ns / 1e9);
	put_real(o, "cpu_seconds", r->cpu_seconds);
	put_real(o, "open_seconds", r->open_seconds);
	put_int(o, "index_bytes", r->dataset.index_bytes);
	json_object_set_new(o, "stopped", json_boolean(r->stopped));
	if (r->error[0])
		json_object_set_new(o, "error",
				    json_stringn_nocheck(r->error,
							 strlen(r->error)));
	err = json_dumpf(o, out, JSON_COMPACT | JSON_REAL_PRECISION(9));
	fputc('\n', out);
	json_decref(o);
	return err ? -ENOMEM : 0;
}

static void row(FILE *out, const char *name, const char *a, const char *b)
{
	fprintf(out, "  %-10s %s%s%s\n", name, a, *b ? "  " : "", b);
}

static void checksum_row(const struct slc_report *r, FILE *out)
{
	char text[160], n[48];

	if (!r->crc) {
		row(out, "checksums", "none, as asked", "");
		return;
	}
	slc_human_bytes(n, sizeof(n), r->stats.bytes_verified);
	if (r->dataset.verified)
		snprintf(text, sizeof(text),
			 "CRC32C, %s held against the manifest, %llu wrong", n,
			 (unsigned long long)r->stats.crc_errors);
	else
		snprintf(text, sizeof(text),
			 "CRC32C computed, unverified: no manifest (sluice pack makes one)");
	row(out, "checksums", text, "");
}

void slc_report_table(const struct slc_report *r, FILE *out)
{
	const struct slc_stream_stats *st = &r->stats;
	char a[64], b[64], c[64], text[256];

	fprintf(out, "%s samples, %s in %s%s\n",
		slc_human_count(a, sizeof(a), st->samples),
		slc_human_bytes(b, sizeof(b), st->bytes),
		slc_human_time(c, sizeof(c), (uint64_t)(r->seconds * 1e9)),
		r->stopped ? " (stopped)" : "");
	row(out, "rate", slc_human_rate(a, sizeof(a), per_second(r, st->bytes)), "");
	if (r->limit > 0) {
		snprintf(text, sizeof(text),
			 "%.1f %% of %s, plain reads of the same files in this run%s",
			 100 * counted(r) / r->limit,
			 slc_human_rate(a, sizeof(a), r->limit),
			 r->inflated ? " (of stored bytes: the CPU inflates them)" : "");
		row(out, "limit", text, "");
	}
	checksum_row(r, out);
	snprintf(text, sizeof(text), "%s of %s allowed, %s",
		 slc_human_bytes(a, sizeof(a), st->max_pinned_bytes),
		 slc_human_bytes(b, sizeof(b), r->memory),
		 page_words(st->page_kind));
	/* Transparent huge pages for hugetlb are as good: no word on them. */
	row(out, "pinned", text,
	    st->pin_kind == SLC_PIN_NONE || st->page_kind == SLC_PAGE_SMALL ?
		    st->memory_reason : "");
	for (uint32_t i = 0; i < st->nroutes; i++) {
		const struct slc_route_stat *rt = &st->routes[i];

		snprintf(text, sizeof(text), "%s  %s",
			 slc_route_name(rt->route),
			 slc_human_bytes(a, sizeof(a), rt->bytes));
		row(out, "route", text, rt->reason);
	}
	if (st->samples < st->samples_total)
		row(out, "resume", r->resume, "");
}

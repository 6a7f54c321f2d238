/* SPDX-License-Identifier: MIT */
/* units.h - sizes, rates and times as people write and read them. */
#ifndef SLC_TOOLS_UNITS_H
#define SLC_TOOLS_UNITS_H

#include <stddef.h>
#include <stdint.h>

/*
 * "4096", "64K", "256M", "6G", "1.5G", "2T". K, M, G, T and KiB... are powers
 * of 1024, KB, MB, GB, TB powers of 1000; case does not matter. A fraction
 * must come out as whole bytes rounded down. 0; -EINVAL for anything else
 * (empty, signs, spaces, a unit alone); -ERANGE past 2^64 - 1.
 */
int slc_parse_size(const char *s, uint64_t *out);

/* Decimal digits only, min to max. 0, -EINVAL or -ERANGE. */
int slc_parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *out);

/*
 * One byte of a key or name in a line of columns: as it is, a backslash
 * doubled, a control byte as \xNN, so that no line or column ends within and
 * the bytes can be had back. Writes 1 to 4 bytes, no NUL, and returns how many.
 */
size_t slc_escape_byte(char *out, unsigned char byte);

/* Each writes at most n bytes with a NUL and returns buf. 32 is enough, 48
 * for a rate. */
char *slc_human_bytes(char *buf, size_t n, uint64_t v);	  /* "256 MiB" */
char *slc_human_count(char *buf, size_t n, uint64_t v);	  /* "1,234,567" */
/* "2.31 GB/s (2.15 GiB/s)" from bytes a second. */
char *slc_human_rate(char *buf, size_t n, double bytes_per_s);
/* The same for a narrow column: "2.31 GB/s". */
char *slc_short_rate(char *buf, size_t n, double bytes_per_s);
char *slc_human_time(char *buf, size_t n, uint64_t ns);	  /* "1.24 s" */

#endif

/* SPDX-License-Identifier: MIT */
/*
 * packed_file.h - the files that pack writes: what they are called, and how
 * they begin.
 *
 *	NAME.slc.json			the manifest
 *	NAME.slc.CRC.idx		its index file (crcfile.h)
 *	.NAME.slc.json.HOST.PID.N.tmp	either, until it is whole
 *
 * A folder of data may hold all of them, and none of them is data. The first
 * two are known by their first bytes, whatever they are called; the third is
 * hidden, and walk.h leaves out what is.
 */
#ifndef SLC_STREAM_PACKED_FILE_H
#define SLC_STREAM_PACKED_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLC_PACKED_INDEX_MAGIC "SLCCRC\r\n"
#define SLC_PACKED_INDEX_MAGIC_BYTES 8

/*
 * The index file of the manifest at `path`, with that checksum: its own name
 * for each content, so that the manifest that is there goes on to be true
 * until the new one replaces it. malloc'd, NULL without memory.
 */
char *slc_packed_index(const char *path, uint32_t crc);

/*
 * ".NAME.HOST.": how the temporary files for `path` begin. The host, since a
 * lock of a folder may hold on one host only (NFS), and process ids do.
 * malloc'd, NULL without memory.
 */
char *slc_packed_temp_prefix(const char *path);

/* Is `name` that prefix and "PID.N.tmp"? */
bool slc_packed_is_temp(const char *name, const char *prefix);

/* Does a file that begins with these `n` bytes (512, or all) look like one? */
bool slc_packed_is_manifest(const uint8_t *head, size_t n);
bool slc_packed_is_index(const uint8_t *head, size_t n);

#endif

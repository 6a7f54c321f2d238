/* SPDX-License-Identifier: MIT */
/* manifest_json.h - what reading and writing a manifest share. */
#ifndef SLC_STREAM_MANIFEST_JSON_H
#define SLC_STREAM_MANIFEST_JSON_H

#include <jansson.h>
#include <stdint.h>

/*
 * The CRC32C of the manifest itself, whose "crc32c" was taken out or is not yet
 * in: of the compact text with sorted keys, so that laying it out anew does not
 * matter. 0, -ENOMEM.
 */
int slc_manifest_crc(const json_t *root, uint32_t *crc);

#endif

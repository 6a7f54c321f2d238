/* SPDX-License-Identifier: MIT */
/* manifest_json.h - what reading and writing a manifest share. */
#ifndef SLC_STREAM_MANIFEST_JSON_H
#define SLC_STREAM_MANIFEST_JSON_H

#include <jansson.h>
#include <stdint.h>

/*
 * The CRC32C of the manifest itself: of all but its "crc32c", compact and with
 * sorted keys, so that laying the text out anew does not matter. 0, -ENOMEM.
 */
int slc_manifest_crc(const json_t *root, uint32_t *crc);

#endif

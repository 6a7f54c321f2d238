/* SPDX-License-Identifier: MIT */
/* mds_columns.h - what a shard's config and an index entry say alike. */
#ifndef SLC_FORMAT_MDS_COLUMNS_H
#define SLC_FORMAT_MDS_COLUMNS_H

#include "format/json_tree.h"

/*
 * Checks version 2, format mds, and the columns of `object`. *least is the
 * number of bytes that a sample has at least, 1 or more. `off` is for diag.
 * 0, -EBADMSG, -ENOMEM.
 */
int slc_mds_columns(const json_t *object, uint64_t off, uint64_t *least,
		    struct slc_diag *diag);

#endif

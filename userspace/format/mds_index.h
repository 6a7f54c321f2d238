/* SPDX-License-Identifier: MIT */
/* mds_index.h - the index.json of a MosaicML streaming dataset. */
#ifndef SLC_FORMAT_MDS_INDEX_H
#define SLC_FORMAT_MDS_INDEX_H

#include "format/inflate.h"

struct slc_mds_shard {
	char *raw;	    /* path below the folder of the index */
	uint64_t raw_bytes; /* inflated size of the shard */
	char *zip;	    /* likewise, of the compressed file, or NULL */
	uint64_t zip_bytes;
	uint32_t codec;	    /* enum slc_codec of the zip file */
	uint32_t ncolumns;
	uint64_t samples;
	char **columns; /* ncolumns names */
};

struct slc_mds_index {
	struct slc_mds_shard *shards;
	uint64_t nshards;
	uint64_t samples;   /* sum over the shards */
	uint64_t raw_bytes; /* likewise */
};

/*
 * Checks and takes in the whole index: version 2, format mds, paths that stay
 * below its folder (merged datasets have "part/shard.00000.mds"), each used
 * once, columns that can be read without running code from the file, counts
 * that can be true. 0, -EBADMSG with *diag, -ENOMEM; on failure *out needs no
 * fini.
 */
int slc_mds_index_parse(const void *bytes, uint64_t len,
			struct slc_mds_index *out, struct slc_diag *diag);
void slc_mds_index_fini(struct slc_mds_index *index);

#endif

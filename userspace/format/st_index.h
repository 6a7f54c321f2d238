/* SPDX-License-Identifier: MIT */
/* st_index.h - model.safetensors.index.json: which tensor is in which file. */
#ifndef SLC_FORMAT_ST_INDEX_H
#define SLC_FORMAT_ST_INDEX_H

#include <stdbool.h>

#include "format/source.h"

struct slc_st_entry {
	char *tensor;
	uint32_t file; /* index in slc_st_index.files */
	uint32_t reserved;
};

struct slc_st_index {
	char **files; /* distinct names without a folder, in byte order */
	uint64_t nfiles;
	struct slc_st_entry *entries; /* by tensor name, in byte order */
	uint64_t nentries;
	bool has_total;
	uint64_t total_size; /* metadata.total_size: bytes of all tensors */
};

/* 0, -EBADMSG with *diag, -ENOMEM; on failure *out needs no fini. */
int slc_st_index_parse(const void *bytes, uint64_t len,
		       struct slc_st_index *out, struct slc_diag *diag);
void slc_st_index_fini(struct slc_st_index *index);

/* The file (index in files) of a tensor, or -1 when the map lacks it. */
int64_t slc_st_index_find(const struct slc_st_index *index, const char *tensor);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * model.safetensors.index.json (FORMATS.md 1.1):
 *
 *	{"metadata": {"total_size": 123}, "weight_map": {"tensor": "file"}}
 */
#include "format/st_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/json_tree.h"

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int by_tensor(const void *a, const void *b)
{
	return strcmp(((const struct slc_st_entry *)a)->tensor,
		      ((const struct slc_st_entry *)b)->tensor);
}

/* Optional; some writers of it are Python, and their sum a float. */
static int take_total(const json_t *metadata, struct slc_st_index *out,
		      struct slc_diag *diag)
{
	const json_t *total = json_object_get(metadata, "total_size");
	double d;

	if (metadata && !json_is_object(metadata))
		return slc_bad(diag, 0, "metadata is not an object");
	if (!total)
		return 0;
	out->has_total = true;
	if (slc_json_count(metadata, "total_size", &out->total_size))
		return 0;
	d = json_real_value(total);
	if (json_is_real(total) && d >= 0 && d <= 9007199254740992.0) {
		out->total_size = (uint64_t)d;
		if ((double)out->total_size == d)
			return 0;
	}
	return slc_bad(diag, 0, "total_size is not a count of bytes");
}

/* Checks each entry and lists its file, not yet sorted or distinct. */
static int list_entries(json_t *map, struct slc_st_index *out,
			struct slc_diag *diag)
{
	const char *tensor;
	json_t *file;

	json_object_foreach(map, tensor, file) {
		const char *name = json_string_value(file);

		if (!name)
			return slc_bad(diag, 0,
				       "tensor %.100s: its file is not text",
				       tensor);
		if (!slc_json_path_is_safe(name, false))
			return slc_bad(diag, 0,
				       "tensor %.60s: the file name %.80s is not one in the folder",
				       tensor, name);
		out->entries[out->nentries].tensor = strdup(tensor);
		if (!out->entries[out->nentries].tensor)
			return -ENOMEM;
		out->nentries++;
		out->files[out->nfiles] = strdup(name);
		if (!out->files[out->nfiles])
			return -ENOMEM;
		out->nfiles++;
	}
	return 0;
}

static void make_distinct(struct slc_st_index *out)
{
	uint64_t kept = 0;

	qsort(out->files, out->nfiles, sizeof(*out->files), by_name);
	for (uint64_t i = 0; i < out->nfiles; i++) {
		if (kept && !strcmp(out->files[kept - 1], out->files[i]))
			free(out->files[i]);
		else
			out->files[kept++] = out->files[i];
	}
	out->nfiles = kept;
}

static int take_map(json_t *map, struct slc_st_index *out,
		    struct slc_diag *diag)
{
	uint64_t n = json_object_size(map);
	int err;

	out->entries = calloc(n ? n : 1, sizeof(*out->entries));
	out->files = calloc(n ? n : 1, sizeof(*out->files));
	if (!out->entries || !out->files)
		return -ENOMEM;
	err = list_entries(map, out, diag);
	if (err)
		return err;
	make_distinct(out);
	for (uint64_t i = 0; i < out->nentries; i++) {
		const char *name = json_string_value(json_object_get(
			map, out->entries[i].tensor));
		char **at = bsearch(&name, out->files, out->nfiles,
				    sizeof(*out->files), by_name);

		out->entries[i].file = (uint32_t)(at - out->files);
	}
	qsort(out->entries, out->nentries, sizeof(*out->entries), by_tensor);
	return 0;
}

int slc_st_index_parse(const void *bytes, uint64_t len,
		       struct slc_st_index *out, struct slc_diag *diag)
{
	json_t *root, *map;
	int err;

	memset(out, 0, sizeof(*out));
	err = slc_json_tree(bytes, len, 0, "the index", &root, diag);
	if (err)
		return err;
	map = json_object_get(root, "weight_map");
	if (!json_is_object(map))
		err = slc_bad(diag, 0, "there is no weight_map");
	else if (json_object_size(map) > UINT32_MAX)
		err = slc_bad(diag, 0, "more than 2^32 tensors");
	else
		err = take_total(json_object_get(root, "metadata"), out, diag);
	if (!err)
		err = take_map(map, out, diag);
	json_decref(root);
	if (err)
		slc_st_index_fini(out);
	return err;
}

void slc_st_index_fini(struct slc_st_index *index)
{
	for (uint64_t i = 0; i < index->nentries; i++)
		free(index->entries[i].tensor);
	for (uint64_t i = 0; i < index->nfiles; i++)
		free(index->files[i]);
	free(index->entries);
	free(index->files);
	memset(index, 0, sizeof(*index));
}

int64_t slc_st_index_find(const struct slc_st_index *index, const char *tensor)
{
	struct slc_st_entry key = { .tensor = (char *)(uintptr_t)tensor };
	const struct slc_st_entry *at;

	if (!index->nentries)
		return -1;
	at = bsearch(&key, index->entries, index->nentries,
		     sizeof(*index->entries), by_tensor);
	return at ? (int64_t)at->file : -1;
}

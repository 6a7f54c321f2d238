/* SPDX-License-Identifier: MIT */
#include "format/mds_index.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/mds_columns.h"

/*
 * jansson keeps no places: a shard is named by its number, and the offset that
 * goes with it is that of the document.
 */
static int bad_shard(struct slc_diag *diag, uint64_t i, const char *what)
{
	return slc_bad(diag, 0, "shard %llu: %s", (unsigned long long)i, what);
}

/* raw_data or zip_data: a name and a size. */
static int take_file(const json_t *file, uint64_t i, char **name,
		     uint64_t *bytes, struct slc_diag *diag)
{
	const char *base = json_string_value(json_object_get(file, "basename"));

	if (!base || !slc_json_count(file, "bytes", bytes))
		return bad_shard(diag, i,
				 "raw_data or zip_data without basename and bytes");
	if (!slc_json_path_is_safe(base, true))
		return slc_bad(diag, 0,
			       "shard %llu: the file name %.100s leads out of the folder",
			       (unsigned long long)i, base);
	*name = strdup(base);
	return *name ? 0 : -ENOMEM;
}

/* "zstd", "zstd:7", "gz": the codec. */
static int take_codec(const json_t *shard, uint64_t i, uint32_t *codec,
		      struct slc_diag *diag)
{
	const char *name =
		json_string_value(json_object_get(shard, "compression"));
	size_t len = name ? strcspn(name, ":") : 0;

	if (len == 4 && !memcmp(name, "zstd", 4))
		*codec = SLC_CODEC_ZSTD;
	else if (len == 2 && !memcmp(name, "gz", 2))
		*codec = SLC_CODEC_GZIP;
	else
		return slc_bad(diag, 0,
			       "shard %llu: compression %.40s: known are zstd and gz",
			       (unsigned long long)i, name ? name : "null");
	return 0;
}

static int take_columns(const json_t *shard, struct slc_mds_shard *out)
{
	const json_t *names = json_object_get(shard, "column_names");
	size_t n = json_array_size(names);

	out->columns = calloc(n, sizeof(*out->columns));
	if (!out->columns)
		return -ENOMEM;
	out->ncolumns = (uint32_t)n;
	for (size_t i = 0; i < n; i++) {
		out->columns[i] =
			strdup(json_string_value(json_array_get(names, i)));
		if (!out->columns[i])
			return -ENOMEM;
	}
	return 0;
}

/* Can a shard of that size hold that many samples, with their offsets? */
static bool samples_fit(const struct slc_mds_shard *s, uint64_t least)
{
	uint64_t bytes;

	return slc_add(least, 4, &bytes) && slc_mul(bytes, s->samples, &bytes) &&
	       slc_add(bytes, 8, &bytes) && bytes <= s->raw_bytes;
}

static int take_shard(const json_t *shard, uint64_t i,
		      struct slc_mds_shard *out, struct slc_diag *diag)
{
	const json_t *zip = json_object_get(shard, "zip_data");
	struct slc_diag inner;
	uint64_t least;
	int err;

	if (!json_is_object(shard))
		return bad_shard(diag, i, "not an object");
	err = slc_mds_columns(shard, 0, &least, &inner);
	if (err == -EBADMSG)
		return bad_shard(diag, i, inner.what);
	if (!err)
		err = take_columns(shard, out);
	if (!err)
		err = take_file(json_object_get(shard, "raw_data"), i,
				&out->raw, &out->raw_bytes, diag);
	if (err)
		return err;
	if (zip && !json_is_null(zip)) {
		err = take_file(zip, i, &out->zip, &out->zip_bytes, diag);
		if (!err)
			err = take_codec(shard, i, &out->codec, diag);
		if (err)
			return err;
	}
	if (!slc_json_count(shard, "samples", &out->samples))
		return bad_shard(diag, i, "no count of samples");
	if (out->raw_bytes > UINT32_MAX)
		return bad_shard(diag, i,
				 "raw_data of 4 GiB or more, which 32-bit offsets do not reach");
	if (!samples_fit(out, least))
		return bad_shard(diag, i, "more samples than its bytes hold");
	return 0;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The same file twice would give its samples twice. */
static int check_distinct(const struct slc_mds_index *index,
			  struct slc_diag *diag)
{
	char **names = malloc((2 * index->nshards + 1) * sizeof(*names));
	uint64_t n = 0;
	int err = 0;

	if (!names)
		return -ENOMEM;
	for (uint64_t i = 0; i < index->nshards; i++) {
		names[n++] = index->shards[i].raw;
		if (index->shards[i].zip)
			names[n++] = index->shards[i].zip;
	}
	qsort(names, n, sizeof(*names), by_name);
	for (uint64_t i = 1; i < n && !err; i++)
		if (!strcmp(names[i - 1], names[i]))
			err = slc_bad(diag, 0, "the file %.150s comes twice",
				      names[i]);
	free(names);
	return err;
}

static int take_shards(const json_t *list, struct slc_mds_index *out,
		       struct slc_diag *diag)
{
	uint64_t n = json_array_size(list);
	int err;

	out->shards = calloc(n ? n : 1, sizeof(*out->shards));
	if (!out->shards)
		return -ENOMEM;
	out->nshards = n;
	for (uint64_t i = 0; i < n; i++) {
		struct slc_mds_shard *s = &out->shards[i];

		err = take_shard(json_array_get(list, i), i, s, diag);
		if (err)
			return err;
		if (!slc_add(out->samples, s->samples, &out->samples) ||
		    !slc_add(out->raw_bytes, s->raw_bytes, &out->raw_bytes))
			return bad_shard(diag, i, "sums past 2^64");
	}
	return check_distinct(out, diag);
}

int slc_mds_index_parse(const void *bytes, uint64_t len,
			struct slc_mds_index *out, struct slc_diag *diag)
{
	const json_t *list;
	uint64_t version;
	json_t *root;
	int err;

	memset(out, 0, sizeof(*out));
	err = slc_json_tree(bytes, len, 0, "the index", &root, diag);
	if (err)
		return err;
	list = json_object_get(root, "shards");
	if (!slc_json_count(root, "version", &version))
		err = slc_bad(diag, 0, "there is no version");
	else if (version != 2)
		err = slc_bad(diag, 0, "version %llu: only 2 is known",
			      (unsigned long long)version);
	else if (!json_is_array(list))
		err = slc_bad(diag, 0, "there is no list of shards");
	else
		err = take_shards(list, out, diag);
	json_decref(root);
	if (err)
		slc_mds_index_fini(out);
	return err;
}

void slc_mds_index_fini(struct slc_mds_index *index)
{
	for (uint64_t i = 0; i < index->nshards; i++) {
		struct slc_mds_shard *s = &index->shards[i];

		for (uint32_t c = 0; c < s->ncolumns; c++)
			free(s->columns[c]);
		free(s->columns);
		free(s->raw);
		free(s->zip);
	}
	free(index->shards);
	memset(index, 0, sizeof(*index));
}

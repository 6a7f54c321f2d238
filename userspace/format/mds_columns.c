/* SPDX-License-Identifier: MIT */
#include "format/mds_columns.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "base/checked.h"

static const struct {
	const char *name;
	uint32_t bytes;
} scalars[] = {
	{ "int", 8 },	  { "uint8", 1 },  { "uint16", 2 },  { "uint32", 4 },
	{ "uint64", 8 },  { "int8", 1 },   { "int16", 2 },   { "int32", 4 },
	{ "int64", 8 },	  { "float16", 2 }, { "float32", 4 }, { "float64", 8 },
};

static uint64_t scalar_bytes(const char *name, size_t len)
{
	for (size_t i = 0; i < sizeof(scalars) / sizeof(scalars[0]); i++)
		if (strlen(scalars[i].name) == len &&
		    !memcmp(scalars[i].name, name, len))
			return scalars[i].bytes;
	return 0;
}

/* "3,224,224" times unit; false when it is no such list. */
static bool dims_bytes(const char *dims, uint64_t unit, uint64_t *out)
{
	for (;;) {
		uint64_t d = 0;

		if (!isdigit((unsigned char)*dims))
			return false;
		for (; isdigit((unsigned char)*dims); dims++)
			if (!slc_mul(d, 10, &d) ||
			    !slc_add(d, (uint64_t)(*dims - '0'), &d))
				return false;
		if (!d || !slc_mul(unit, d, &unit))
			return false;
		if (*dims != ',')
			break;
		dims++;
	}
	*out = unit;
	return !*dims;
}

/*
 * The bytes that an encoding always takes, 0 when they vary. False when it
 * cannot be one: "ndarray[:dtype[:d0,d1]]" with an unknown dtype or shape.
 */
static bool fixed_bytes(const char *encoding, uint64_t *out)
{
	const char *dtype, *dims;
	size_t len;

	*out = scalar_bytes(encoding, strlen(encoding));
	if (*out || strncmp(encoding, "ndarray:", 8))
		return true;
	dtype = encoding + 8;
	len = strcspn(dtype, ":");
	dims = dtype + len;
	if (!*dtype)
		return true;
	*out = scalar_bytes(dtype, len);
	if (!*out || !strncmp(dtype, "int:", 4) || !strcmp(dtype, "int"))
		return false; /* "int" is a scalar encoding, not a dtype */
	if (!*dims) {
		*out = 0;
		return true;
	}
	return dims_bytes(dims + 1, *out, out);
}

static bool runs_code(const char *encoding)
{
	size_t len = strcspn(encoding, ":");

	return (len == 3 && !memcmp(encoding, "pkl", 3)) ||
	       !strcmp(encoding, "list[pkl]");
}

static int check_column(const char *name, const char *encoding,
			const json_t *size, uint64_t off, uint64_t *least,
			struct slc_diag *diag)
{
	uint64_t fixed, bytes = 0;

	if (runs_code(encoding))
		return slc_bad(diag, off,
			       "column %.60s holds pickles, which run code when read: write it as bytes or json",
			       name);
	if (!fixed_bytes(encoding, &fixed))
		return slc_bad(diag, off, "column %.60s: %.80s is no encoding",
			       name, encoding);
	if (json_is_integer(size) && json_integer_value(size) >= 0)
		bytes = (uint64_t)json_integer_value(size);
	else if (!json_is_null(size))
		return slc_bad(diag, off,
			       "column %.60s: its size is neither null nor a count of bytes",
			       name);
	if (fixed && bytes && bytes != fixed)
		return slc_bad(diag, off,
			       "column %.60s: %.60s takes %llu bytes, not %llu",
			       name, encoding, (unsigned long long)fixed,
			       (unsigned long long)bytes);
	/* As the reference: size 0 means that each sample says its own. */
	if (!slc_add(*least, bytes ? bytes : 4, least))
		return slc_bad(diag, off, "column %.60s: sizes past 2^64",
			       name);
	return 0;
}

static int check_columns(const json_t *names, const json_t *encodings,
			 const json_t *sizes, uint64_t off, uint64_t *least,
			 struct slc_diag *diag)
{
	json_t *seen = json_object();
	int err = 0;

	if (!seen)
		return -ENOMEM;
	for (size_t i = 0; i < json_array_size(names) && !err; i++) {
		const char *name = json_string_value(json_array_get(names, i));
		const char *enc =
			json_string_value(json_array_get(encodings, i));

		if (!name || !enc)
			err = slc_bad(diag, off,
				      "column %zu: its name or encoding is not text",
				      i);
		else if (json_object_get(seen, name))
			err = slc_bad(diag, off, "two columns are named %.100s",
				      name);
		else if (json_object_set_new(seen, name, json_true()))
			err = -ENOMEM;
		else
			err = check_column(name, enc, json_array_get(sizes, i),
					   off, least, diag);
	}
	json_decref(seen);
	return err;
}

int slc_mds_columns(const json_t *object, uint64_t off, uint64_t *least,
		    struct slc_diag *diag)
{
	const json_t *names = json_object_get(object, "column_names");
	const json_t *encodings = json_object_get(object, "column_encodings");
	const json_t *sizes = json_object_get(object, "column_sizes");
	const json_t *format = json_object_get(object, "format");
	uint64_t version;

	if (!slc_json_count(object, "version", &version))
		return slc_bad(diag, off, "there is no version");
	if (version != 2)
		return slc_bad(diag, off, "version %llu: only 2 is known",
			       (unsigned long long)version);
	if (!json_is_string(format) ||
	    strcmp(json_string_value(format), "mds"))
		return slc_bad(diag, off, "format %.60s: only mds is known",
			       json_is_string(format) ?
				       json_string_value(format) :
				       "is missing");
	if (!json_is_array(names) || !json_is_array(encodings) ||
	    !json_is_array(sizes) || !json_array_size(names) ||
	    json_array_size(names) != json_array_size(encodings) ||
	    json_array_size(names) != json_array_size(sizes))
		return slc_bad(diag, off,
			       "column_names, column_encodings and column_sizes are not lists of one length");
	*least = 0;
	return check_columns(names, encodings, sizes, off, least, diag);
}

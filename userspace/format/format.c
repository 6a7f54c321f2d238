/* SPDX-License-Identifier: MIT */
#include "format/format.h"

#include <string.h>
#include <strings.h>

const struct slc_format *const slc_formats[] = {
	&slc_format_safetensors, &slc_format_gguf,     &slc_format_npy,
	&slc_format_megatron,	 &slc_format_mds,      &slc_format_tar,
	&slc_format_raw,	 NULL,
};

const struct slc_format *slc_format_by_name(const char *name)
{
	for (const struct slc_format *const *f = slc_formats; *f; f++)
		if (!strcmp((*f)->name, name))
			return *f;
	return NULL;
}

static bool ends_with(const char *path, size_t len, const char *ending)
{
	size_t n = strlen(ending);

	return len > n && !strncasecmp(path + len - n, ending, n);
}

/* The length of the name without the ending of a compressor. */
static size_t bare_length(const char *path)
{
	static const char *const codecs[] = { ".gz", ".zst", ".zstd", NULL };
	size_t len = strlen(path);

	for (const char *const *c = codecs; *c; c++)
		if (ends_with(path, len, *c))
			return len - strlen(*c);
	return len;
}

const struct slc_format *slc_format_detect(const char *path,
					   const uint8_t *head, size_t n)
{
	size_t len = bare_length(path);

	for (const struct slc_format *const *f = slc_formats; *f; f++)
		for (const char *const *e = (*f)->endings; *e; e++)
			if (ends_with(path, len, *e))
				return *f;
	for (const struct slc_format *const *f = slc_formats; *f; f++)
		if ((*f)->magic && (*f)->magic(head, n))
			return *f;
	return NULL;
}

static size_t append(char *buf, size_t n, size_t at, const char *text,
		     size_t len)
{
	if (at + 1 < n && len)
		memcpy(buf + at, text, len < n - 1 - at ? len : n - 1 - at);
	return at + len;
}

size_t slc_piece_key(const struct slc_piece *piece, char *buf, size_t n)
{
	size_t at = 0;

	if (piece->dir_len) {
		at = append(buf, n, at, piece->dir, piece->dir_len);
		at = append(buf, n, at, "/", 1);
	}
	at = append(buf, n, at, piece->key, piece->key_len);
	if (n)
		buf[at < n ? at : n - 1] = 0;
	return at;
}

/* SPDX-License-Identifier: MIT */
#include "stream/packed_file.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

char *slc_packed_index(const char *path, uint32_t crc)
{
	const char *name = name_of(path);
	size_t n = strlen(name);
	char *out;

	if (n > 5 && !strcmp(name + n - 5, ".json"))
		n -= 5;
	if (asprintf(&out, "%.*s%.*s.%08x.idx", (int)(name - path), path,
		     (int)n, name, crc) < 0)
		return NULL;
	return out;
}

char *slc_packed_temp_prefix(const char *path)
{
	char host[65] = "", *out;

	gethostname(host, sizeof(host) - 1);
	return asprintf(&out, ".%s.%s.", name_of(path), host) < 0 ? NULL : out;
}

bool slc_packed_is_temp(const char *name, const char *prefix)
{
	const char *s = name + strlen(prefix);
	size_t pid, n;

	if (strncmp(name, prefix, strlen(prefix)))
		return false;
	pid = strspn(s, "0123456789");
	if (!pid || s[pid] != '.')
		return false;
	s += pid + 1;
	n = strspn(s, "0123456789");
	return n && !strcmp(s + n, ".tmp");
}

/* An object with that key: a text that speaks of manifests is none. */
bool slc_packed_is_manifest(const uint8_t *head, size_t n)
{
	static const char key[] = "\"sluice_manifest\"";
	size_t at = 0;

	while (at < n && memchr(" \t\r\n", head[at], 4))
		at++;
	return at < n && head[at] == '{' &&
	       memmem(head, n, key, sizeof(key) - 1);
}

bool slc_packed_is_index(const uint8_t *head, size_t n)
{
	return n >= SLC_PACKED_INDEX_MAGIC_BYTES &&
	       !memcmp(head, SLC_PACKED_INDEX_MAGIC,
		       SLC_PACKED_INDEX_MAGIC_BYTES);
}

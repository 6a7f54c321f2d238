/* SPDX-License-Identifier: MIT */
#include "format/unique.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a: collisions cost only the comparison of bytes. */
static uint64_t hash(const char *p, uint32_t len)
{
	uint64_t h = 0xcbf29ce484222325ull;

	while (len--)
		h = (h ^ (uint8_t)*p++) * 0x100000001b3ull;
	return h;
}

int slc_names_add(struct slc_names *names, const char *text, uint32_t off,
		  uint32_t len)
{
	if (names->n == names->room) {
		uint64_t room = names->room ? names->room * 2 : 64;
		struct slc_name *at = realloc(names->at, room * sizeof(*at));

		if (!at)
			return -ENOMEM;
		names->at = at;
		names->room = room;
	}
	names->at[names->n++] = (struct slc_name){ hash(text + off, len), off,
						   len };
	return 0;
}

static int compare(const void *va, const void *vb, void *vtext)
{
	const struct slc_name *a = va, *b = vb;
	const char *text = vtext;
	int diff;

	if (a->hash != b->hash)
		return a->hash < b->hash ? -1 : 1;
	if (a->len != b->len)
		return a->len < b->len ? -1 : 1;
	diff = memcmp(text + a->off, text + b->off, a->len);
	if (diff)
		return diff;
	return a->off < b->off ? -1 : a->off > b->off;
}

const struct slc_name *slc_names_twice(struct slc_names *names,
				       const char *text)
{
	if (names->n < 2)
		return NULL;
	qsort_r(names->at, names->n, sizeof(*names->at), compare,
		(void *)(uintptr_t)text);
	for (uint64_t i = 1; i < names->n; i++) {
		const struct slc_name *a = &names->at[i - 1], *b = a + 1;

		if (a->hash == b->hash && a->len == b->len &&
		    !memcmp(text + a->off, text + b->off, a->len))
			return b;
	}
	return NULL;
}

void slc_names_fini(struct slc_names *names)
{
	free(names->at);
	*names = (struct slc_names){ 0 };
}

/* SPDX-License-Identifier: MIT */
/* unique.h - finds a name that comes twice among millions of hostile ones. */
#ifndef SLC_FORMAT_UNIQUE_H
#define SLC_FORMAT_UNIQUE_H

#include <stdint.h>

struct slc_name {
	uint64_t hash;
	uint32_t off, len; /* of the bytes in one common text */
};

/* A growing list; zero it first. */
struct slc_names {
	struct slc_name *at;
	uint64_t n, room;
};

/* 0 or -ENOMEM. */
int slc_names_add(struct slc_names *names, const char *text, uint32_t off,
		  uint32_t len);

/*
 * Sorts the list and returns one that an earlier name equals, NULL when all
 * differ. O(n log n) whatever the names are: equal hashes are sorted by bytes.
 */
const struct slc_name *slc_names_twice(struct slc_names *names,
				       const char *text);

void slc_names_fini(struct slc_names *names);

#endif

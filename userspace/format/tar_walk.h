/* SPDX-License-Identifier: MIT */
/* tar_walk.h - the members of a tar archive, one after the other. */
#ifndef SLC_FORMAT_TAR_WALK_H
#define SLC_FORMAT_TAR_WALK_H

#include <stdbool.h>

#include "format/format.h"

#define SLC_TAR_BLOCK 512
#define SLC_TAR_EXTENDED_MAX (1u << 20) /* bytes of a long name or pax header */

struct slc_tar_member {
	/* The name is dir + '/' + name, or name alone when dir_len is 0. Life:
	 * the next call; the archive when that is in memory. */
	const char *dir, *name;
	uint32_t dir_len, name_len;
	bool regular;	     /* a file with content */
	uint64_t first;	     /* of its first header, a pax or long name one */
	uint64_t data, size; /* of the content */
	uint64_t end;	     /* where the next header is */
};

/* A walk over a source, forward only, or over memory without a copy. */
struct slc_tar {
	struct slc_source *src; /* borrowed, NULL for memory */
	const uint8_t *mem;
	uint64_t size;	/* of mem */
	uint64_t at;	/* the next header */
	uint8_t *win;	/* a window of the source */
	uint64_t win_off, win_len, win_cap;
	char *path;	/* a long name, while its member is looked for */
	uint64_t path_cap;
	bool ended;	/* by a zero block */
};

void slc_tar_open(struct slc_tar *t, struct slc_source *src);
/* No fini needed. */
void slc_tar_open_mem(struct slc_tar *t, const uint8_t *bytes, uint64_t len,
		      uint64_t at);
void slc_tar_fini(struct slc_tar *t);

/*
 * The next member: 1; 0 at the end of the archive (a zero block, or the end of
 * the source right after a member); -EBADMSG with *diag; -ENOMEM; the source's
 * -errno.
 */
int slc_tar_next(struct slc_tar *t, struct slc_tar_member *m,
		 struct slc_diag *diag);

/*
 * Is the member one of a WebDataset sample? Then fills *p, with the offset of
 * its content in the source that was walked.
 */
bool slc_tar_piece(const struct slc_tar_member *m, struct slc_piece *p);

/* The first block surely is a tar header (ustar magic, checksum). */
bool slc_tar_magic(const uint8_t *head, size_t n);

#endif

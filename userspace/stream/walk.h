/* SPDX-License-Identifier: MIT */
/* walk.h - every file below a folder, in byte order of the path. */
#ifndef SLC_STREAM_WALK_H
#define SLC_STREAM_WALK_H

#include <sluice/sluice.h>

struct slc_paths {
	char **v;
	uint64_t n, cap;
};

/*
 * Appends the regular files below `folder` (links to files too), sorted. Left
 * out with a line in the log: hidden names, links to folders (they may loop),
 * anything that is no file. A folder in which `whole` answers 1 for its path
 * is represented by what `whole` put in *path (malloc'd) alone.
 *
 * 0, -ELOOP past 64 levels, -errno of opendir with the sentence.
 */
int slc_walk(struct slc_ctx *ctx, const char *folder,
	     int (*whole)(struct slc_ctx *ctx, const char *folder,
			  char **path),
	     struct slc_paths *out);
void slc_paths_fini(struct slc_paths *paths);

#endif

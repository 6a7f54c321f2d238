/* SPDX-License-Identifier: MIT */
/* open_one.h - a dataset of one path, all else as it comes. */
#ifndef SLC_TESTS_OPEN_ONE_H
#define SLC_TESTS_OPEN_ONE_H

#include <sluice/stream.h>

static inline int open_one(struct slc_ctx *ctx, const char *path,
			   struct slc_dataset **out)
{
	return slc_dataset_open(ctx, &path, 1, NULL, out);
}

#endif

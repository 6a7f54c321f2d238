/* SPDX-License-Identifier: MIT */
/* open.h - opening files of data, and what a failure of it means. */
#ifndef SLC_BASE_OPEN_H
#define SLC_BASE_OPEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/ctx.h"

/* ": raise ..." where a table of open files is full, else "". err > 0. */
const char *slc_open_fix(int err);

/* What an open(2) or stat(2) failure means for `path`; returns -err. */
int slc_fail_open(struct slc_ctx *ctx, int err, const char *path);

/* Times of last change, ns since the epoch: of the content, of anything. */
int64_t slc_stat_mtime_ns(const struct stat *st);
int64_t slc_stat_ctime_ns(const struct stat *st);

/* stat(2) of a path that must be a regular file, links followed. */
int slc_stat_regular(struct slc_ctx *ctx, const char *path, struct stat *st);

/*
 * Opens a regular file, or with `device` a block device too, by the flags of
 * open(2); O_NONBLOCK is set in the descriptor, as a FIFO must not hold us. The
 * descriptor and *st of it, or -errno with the sentence.
 */
int slc_open_data(struct slc_ctx *ctx, const char *path, int flags,
		  bool device, struct stat *st);

#endif

/* SPDX-License-Identifier: MIT */
/* shard_open.c - a shard for the queue: still the file that was indexed? */
#include <errno.h>

#include "base/ctx.h"
#include "stream/dataset.h"

int slc_shard_open(struct slc_dataset *ds, uint64_t shard, uint32_t flags,
		   struct slc_file **out)
{
	const struct slc_shard *sh = &ds->shards[shard];
	struct slc_file_info info = { .size = sizeof(info) };
	const char *what = NULL;
	struct slc_file *file;
	int err;

	err = slc_file_open(ds->ctx, sh->path, SLC_FILE_READ | flags, &file);
	if (err)
		return err;
	err = slc_file_query(file, &info);
	if (err)
		goto put_file;
	if (info.dev != sh->dev || info.ino != sh->ino)
		what = "another file is at its path";
	else if (info.len != sh->size)
		what = "its size";
	else if (info.mtime_ns != sh->mtime_ns)
		what = "its time of change";
	if (what) {
		err = slc_fail(ds->ctx, -ESTALE,
			       "%s changed since the dataset was opened (%s): open it again",
			       sh->path, what);
		goto put_file;
	}
	*out = file;
	return 0;

put_file:
	slc_file_put(file);
	return err;
}

/* SPDX-License-Identifier: MIT */
#include <sluice/stream.h>

#include "commands.h"

int slc_cmd_open(char **paths, uint32_t npaths,
		 const struct slc_dataset_attr *attr, struct slc_ctx **ctx,
		 struct slc_dataset **ds)
{
	struct slc_ctx_attr ctx_attr = { .size = sizeof(ctx_attr),
					 .log = slc_cmd_log };
	struct slc_ctx *opened;
	int err;

	err = slc_ctx_open(&ctx_attr, &opened);
	if (err)
		return slc_cmd_fail(NULL, err);
	err = slc_dataset_open(opened, (const char *const *)paths, npaths, attr,
			       ds);
	if (err) {
		err = slc_cmd_fail(opened, err);
		slc_ctx_close(opened);
		return err;
	}
	*ctx = opened;
	return SLC_EXIT_OK;
}

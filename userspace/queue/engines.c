/* SPDX-License-Identifier: MIT */
/*
 * The one list of engines. Nothing else is in this file, so that a test can
 * link a list of its own in its place.
 */
#include "queue/engine.h"

const struct slc_engine_ops *const slc_engines[] = {
	&slc_uring_ops,
	&slc_sync_ops,
	NULL,
};

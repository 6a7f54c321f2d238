/* SPDX-License-Identifier: MIT */
/*
 * probe.h - how fast the same files come when nothing is done with them: plain
 * reads through a queue, of the same size and pattern, no order, no checksum.
 */
#ifndef SLC_TOOLS_PROBE_H
#define SLC_TOOLS_PROBE_H

#include <signal.h>
#include <stdbool.h>

#include <sluice/stream.h>

struct slc_probe {
	struct slc_ctx *ctx;
	const struct slc_dataset *ds;
	bool random;	   /* in any order, else one after the other */
	bool buffered;	   /* through the page cache, as the stream will */
	uint64_t access;   /* bytes of one read */
	uint64_t stride;   /* from one read to the next; >= access */
	uint64_t memory;   /* pinned at most, the queue's own included */
	uint64_t page_size;
	int32_t node;
	const char *engine;
	const volatile sig_atomic_t *stop; /* set: leave early */
};

/*
 * Reads for 0.3 s, or 512 MiB if that comes first, from chunk `begin` of 16 on
 * (0: the start of the data). *rate is bytes a second; *pinned is raised to the
 * bytes that were pinned meanwhile, when those are more. 0 or -errno with
 * slc_last_error().
 */
int slc_probe_run(const struct slc_probe *probe, unsigned int begin,
		  double *rate, uint64_t *pinned);

#endif

/* SPDX-License-Identifier: MIT */
/* room.h - how much memory may still be taken before the OOM killer comes. */
#ifndef SLC_MEM_ROOM_H
#define SLC_MEM_ROOM_H

#include <stdint.h>

struct slc_room {
	uint64_t bytes; /* UINT64_MAX if nothing is known */
	char who[160];	/* what sets this bound, for a sentence */
};

/*
 * The least of what the machine has available and what each memory cgroup
 * above this process still allows, page cache counted as free.
 */
void slc_room(struct slc_room *room);

/* What the machine has available; 0 if unknown. */
uint64_t slc_memory_available(void);

#endif

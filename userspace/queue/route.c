/* SPDX-License-Identifier: MIT */
/* Places and the names of routes. */
#include <sluice/queue.h>

static const char *const route_names[] = {
	[SLC_ROUTE_NONE] = "none",
	[SLC_ROUTE_URING_DIRECT] = "uring-direct",
	[SLC_ROUTE_URING_BUFFERED] = "uring-buffered",
	[SLC_ROUTE_SYNC_DIRECT] = "sync-direct",
	[SLC_ROUTE_SYNC_BUFFERED] = "sync-buffered",
	[SLC_ROUTE_BOUNCE] = "bounce",
	[SLC_ROUTE_MEMCPY] = "memcpy",
};

_Static_assert(sizeof(route_names) / sizeof(route_names[0]) ==
		       SLC_ROUTE_COUNT,
	       "each route has a name");

const char *slc_route_name(uint32_t route)
{
	return route < SLC_ROUTE_COUNT ? route_names[route] : "unknown";
}

struct slc_place slc_at_file(struct slc_file *file, uint64_t off)
{
	struct slc_place place = { .kind = SLC_PLACE_FILE, .off = off };

	place.file = file;
	return place;
}

struct slc_place slc_at_region(struct slc_region *region, uint64_t off)
{
	struct slc_place place = { .kind = SLC_PLACE_REGION, .off = off };

	place.region = region;
	return place;
}

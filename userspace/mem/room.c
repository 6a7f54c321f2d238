/* SPDX-License-Identifier: MIT */
/*
 * How much memory may still be taken.
 * Source: Linux Documentation/admin-guide/cgroup-v2.rst and
 * cgroup-v1/memory.rst.
 */
#include "mem/room.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem/node.h"

/* The names of the same things in the two kinds of cgroups. */
struct names {
	const char *mount, *limit, *usage, *inactive, *active;
};

static const struct names v1 = { "/sys/fs/cgroup/memory",
				 "memory.limit_in_bytes",
				 "memory.usage_in_bytes",
				 "\ntotal_inactive_file ",
				 "\ntotal_active_file " };
static const struct names v2 = { "/sys/fs/cgroup", "memory.max",
				 "memory.current", "\ninactive_file ",
				 "\nactive_file " };

uint64_t slc_memory_available(void)
{
	char text[4096], *p;

	if (slc_text_read("/proc/meminfo", text, sizeof(text)))
		return 0;
	p = strstr(text, "MemAvailable:");
	return p ? 1024 * strtoull(p + 13, NULL, 10) : 0;
}

static bool read_number(const char *dir, const char *file, uint64_t *out)
{
	char path[600], text[32], *end;

	snprintf(path, sizeof(path), "%s/%s", dir, file);
	if (slc_text_read(path, text, sizeof(text)))
		return false;
	*out = strtoull(text, &end, 10); /* "max" is no number */
	return end != text && !*end;
}

static uint64_t field(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

static void bound_by(struct slc_room *room, const struct names *n,
		     const char *dir)
{
	uint64_t limit, usage, cache, left;
	char path[600], stat[8192];

	if (!read_number(dir, n->limit, &limit) ||
	    !read_number(dir, n->usage, &usage))
		return;
	cache = 0;
	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	if (!slc_text_read(path, stat, sizeof(stat)))
		cache = field(stat, n->inactive) + field(stat, n->active);
	usage = usage > cache ? usage - cache : 0;
	left = limit > usage ? limit - usage : 0;
	if (left >= room->bytes)
		return;
	room->bytes = left;
	snprintf(room->who, sizeof(room->who), "%.120s/%s", dir, n->limit);
}

/* From the cgroup of this process up to the root: each may be the narrowest. */
static void bound_by_all(struct slc_room *room, const struct names *n,
			 const char *group)
{
	char dir[500], *slash;
	size_t root;

	root = strlen(n->mount);
	if ((size_t)snprintf(dir, sizeof(dir), "%s%s", n->mount, group) >=
	    sizeof(dir))
		return;
	for (;;) {
		bound_by(room, n, dir);
		slash = strrchr(dir, '/');
		if (strlen(dir) <= root || !slash)
			return;
		*slash = 0;
	}
}

static void bound_by_cgroups(struct slc_room *room)
{
	char text[8192], *line, *rest = text, *group;

	if (slc_text_read("/proc/self/cgroup", text, sizeof(text)))
		return;
	/* Lines of "ID:CONTROLLERS:/PATH"; v2 has no controllers. */
	while ((line = strsep(&rest, "\n"))) {
		if (!strncmp(line, "0::", 3))
			bound_by_all(room, &v2, line + 3);
		else if ((group = strstr(line, ":memory:")))
			bound_by_all(room, &v1, group + 8);
	}
}

void slc_room(struct slc_room *room)
{
	uint64_t available = slc_memory_available();

	room->bytes = available ? available : UINT64_MAX;
	snprintf(room->who, sizeof(room->who), "this machine");
	bound_by_cgroups(room);
}

/* SPDX-License-Identifier: MIT */
/* memory.c - how much memory can be pinned, in which pages, on which node. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "doctor/check.h"
#include "mem/node.h"

void slc_check_memlock(const struct slc_patient *p, struct slc_finding *f)
{
	bool may = slc_may_lock(p);
	struct rlimit r;

	slc_why(f, "Memory that the drive writes into must not move; a stream pins 256 MiB unless --memory says otherwise.");
	if (getrlimit(RLIMIT_MEMLOCK, &r)) {
		slc_saw(f, "RLIMIT_MEMLOCK cannot be read: %s",
			strerror(errno));
		f->status = SLC_CHECK_WARN;
		return;
	}
	if (may || r.rlim_cur == RLIM_INFINITY) {
		f->value = -1;
		slc_saw(f, "no limit (%s)", may ? "CAP_IPC_LOCK" :
						  "ulimit -l unlimited");
		return;
	}
	f->value = (int64_t)r.rlim_cur;
	slc_saw(f, "%s may be locked (ulimit -l), no CAP_IPC_LOCK",
		slc_size_text(r.rlim_cur));
	if (r.rlim_cur >= SLC_USUAL_MEMORY)
		return;
	if (r.rlim_max == RLIM_INFINITY || r.rlim_max >= SLC_USUAL_MEMORY)
		slc_fix(f, SLC_CHECK_WARN, "ulimit -l %llu # KiB",
			SLC_USUAL_MEMORY >> 10);
	else
		slc_fix(f, SLC_CHECK_WARN,
			"echo '* - memlock unlimited' | sudo tee /etc/security/limits.d/sluice.conf # then log in again; containers: --ulimit memlock=-1");
}

void slc_check_memory(const struct slc_patient *p, struct slc_finding *f)
{
	char text[8192];
	int64_t total, available;

	slc_why(f, "Pinned memory cannot be reclaimed, so it must fit beside everything else.");
	slc_peek(p, text, sizeof(text), "/proc/meminfo");
	total = slc_field(text, "MemTotal");
	available = slc_field(text, "MemAvailable");
	if (total < 0 || available < 0) {
		slc_saw(f, "/proc/meminfo does not say");
		f->status = SLC_CHECK_NOTE;
		return;
	}
	f->value = available * 1024;
	slc_saw(f, "%s of %s can be had",
		slc_size_text((uint64_t)available << 10),
		slc_size_text((uint64_t)total << 10));
	if ((uint64_t)available << 10 < 2 * SLC_USUAL_MEMORY)
		slc_fix(f, SLC_CHECK_WARN, "sluice stream --memory 64M ...");
}

struct pool {
	uint64_t free_bytes, total_bytes;
};

/* One size of one node (or of the machine when it has no nodes). */
static void add_pool(const struct slc_patient *p, struct slc_finding *f,
		     const char *dir, int node, const char *name,
		     struct pool *sum)
{
	uint64_t kb = strtoull(name + strlen("hugepages-"), NULL, 10);
	int64_t total = slc_peek_number(p, 0, "%s/%s/nr_hugepages", dir, name);
	int64_t avail = slc_peek_number(p, 0, "%s/%s/free_hugepages", dir,
					name);

	if (!kb || total <= 0)
		return;
	if (avail < 0)
		avail = 0;
	slc_saw(f, "%s", *f->saw ? ", " : "");
	if (node >= 0)
		slc_saw(f, "node %d: ", node);
	slc_saw(f, "%lld of %lld x %s free", (long long)avail,
		(long long)total, slc_size_text(kb << 10));
	sum->total_bytes += (uint64_t)total * (kb << 10);
	sum->free_bytes += (uint64_t)avail * (kb << 10);
}

static bool walk_pools(const struct slc_patient *p, struct slc_finding *f,
		       const char *dir, int node, struct pool *sum)
{
	char path[PATH_MAX];
	struct dirent *e;
	DIR *d;

	if ((size_t)snprintf(path, sizeof(path), "%s%s", p->root, dir) >=
	    sizeof(path))
		return false;
	d = opendir(path);
	if (!d)
		return false;
	while ((e = readdir(d)))
		if (!strncmp(e->d_name, "hugepages-", 10))
			add_pool(p, f, dir, node, e->d_name, sum);
	closedir(d);
	return true;
}

static bool nodes_of(const struct slc_patient *p, struct slc_bits *nodes)
{
	char list[4096];

	return !slc_peek(p, list, sizeof(list),
			 "/sys/devices/system/node/has_memory") &&
	       slc_bits_parse(list, nodes);
}

void slc_check_hugepages(const struct slc_patient *p, struct slc_finding *f)
{
	struct slc_bits nodes;
	struct pool sum = { 0 };
	char dir[96], thp[128];
	bool known = false;

	slc_why(f, "A read into huge pages is one piece for the drive where 4 KiB pages make 256 of each MiB.");
	if (nodes_of(p, &nodes))
		for (int i = 0; i < SLC_MAX_NODES; i++) {
			if (!slc_bit(&nodes, (unsigned int)i))
				continue;
			snprintf(dir, sizeof(dir),
				 "/sys/devices/system/node/node%d/hugepages",
				 i);
			known |= walk_pools(p, f, dir, i, &sum);
		}
	if (!known)
		known = walk_pools(p, f, "/sys/kernel/mm/hugepages", -1, &sum);
	if (!known) {
		slc_saw(f, "this kernel has no pool of huge pages");
		f->status = SLC_CHECK_NOTE;
		return;
	}
	f->value = (int64_t)sum.free_bytes;
	if (sum.free_bytes >= SLC_USUAL_MEMORY)
		return;
	slc_peek(p, thp, sizeof(thp),
		 "/sys/kernel/mm/transparent_hugepage/enabled");
	if (!sum.total_bytes)
		slc_saw(f, "none reserved");
	slc_saw(f, "; %s for a stream's 256 MiB, transparent ones are %s",
		sum.total_bytes ? "too few free" : "none",
		*thp && !strstr(thp, "[never]") ? "used instead" :
						  "off as well");
	slc_fix(f,
		*thp && !strstr(thp, "[never]") ? SLC_CHECK_NOTE :
						  SLC_CHECK_WARN,
		"sysctl -w vm.nr_hugepages=%llu",
		(unsigned long long)((sum.total_bytes + SLC_USUAL_MEMORY) >>
				     21));
}

/* The word in brackets: "always [madvise] never". */
static const char *chosen(char *text)
{
	char *from = strchr(text, '['), *to = from ? strchr(from, ']') : NULL;

	if (!to)
		return *text ? text : "absent";
	*to = '\0';
	return from + 1;
}

void slc_check_thp(const struct slc_patient *p, struct slc_finding *f)
{
	static const char dir[] = "/sys/kernel/mm/transparent_hugepage";
	char enabled[128], shmem[128], defrag[128];
	const char *mode;

	slc_peek(p, enabled, sizeof(enabled), "%s/enabled", dir);
	slc_peek(p, shmem, sizeof(shmem), "%s/shmem_enabled", dir);
	slc_peek(p, defrag, sizeof(defrag), "%s/defrag", dir);
	mode = chosen(enabled);
	slc_why(f, "Where no huge pages are reserved, sluice asks for transparent ones by madvise.");
	slc_saw(f, "enabled: %s, shmem_enabled: %s, defrag: %s", mode,
		chosen(shmem), chosen(defrag));
	if (!strcmp(mode, "absent"))
		f->status = SLC_CHECK_NOTE;
	else if (!strcmp(mode, "never"))
		slc_fix(f, SLC_CHECK_WARN, "echo madvise | sudo tee %s/enabled",
			dir);
}

void slc_check_numa(const struct slc_patient *p, struct slc_finding *f)
{
	unsigned long long most = 0, least = ULLONG_MAX;
	char text[8192], cpus[256];
	struct slc_bits nodes;
	int64_t balancing;
	int n = 0;

	slc_why(f, "Memory on the drive's node is reached without crossing the link between sockets.");
	if (!nodes_of(p, &nodes)) {
		slc_saw(f, "this kernel has no NUMA: one node");
		f->value = 1;
		return;
	}
	for (int i = 0; i < SLC_MAX_NODES; i++) {
		int64_t kb = -1;
		char *at;

		if (!slc_bit(&nodes, (unsigned int)i))
			continue;
		slc_peek(p, text, sizeof(text),
			 "/sys/devices/system/node/node%d/meminfo", i);
		at = strstr(text, "MemFree:");
		if (at)
			kb = strtoll(at + strlen("MemFree:"), NULL, 10);
		slc_peek(p, cpus, sizeof(cpus),
			 "/sys/devices/system/node/node%d/cpulist", i);
		slc_saw(f, "%snode %d: CPUs %s, %s unused", n ? "; " : "", i,
			*cpus ? cpus : "none",
			kb < 0 ? "?" : slc_size_text((uint64_t)kb << 10));
		if (kb >= 0 && (unsigned long long)kb > most)
			most = (unsigned long long)kb;
		if (kb >= 0 && (unsigned long long)kb < least)
			least = (unsigned long long)kb;
		n++;
	}
	f->value = n;
	balancing = slc_peek_number(p, 0, "/proc/sys/kernel/numa_balancing");
	if (n > 1)
		slc_saw(f, "; numa_balancing=%d", (int)balancing);
	if (n > 1 && balancing > 0)
		slc_fix(f, SLC_CHECK_NOTE, "sysctl -w kernel.numa_balancing=0");
	if (n > 1 && least << 10 < 2 * SLC_USUAL_MEMORY)
		slc_fix(f, SLC_CHECK_WARN, "sync; sysctl -w vm.drop_caches=1 # a node is nearly full");
}

void slc_check_swap(const struct slc_patient *p, struct slc_finding *f)
{
	char text[8192], *save = NULL, name[128];
	unsigned long long size, used, total = 0, in_use = 0;
	int n = 0;

	slc_peek(p, text, sizeof(text), "/proc/swaps");
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		if (sscanf(line, "%127s %*s %llu %llu", name, &size, &used) !=
		    3)
			continue; /* the heading */
		total += size << 10;
		in_use += used << 10;
		n++;
	}
	slc_why(f, "Pinned memory never swaps, but what it pushes out does: then the trainer waits.");
	f->value = (int64_t)in_use;
	if (!n) {
		slc_saw(f, "none");
		return;
	}
	slc_saw(f, "%s of %s in use", slc_size_text(in_use),
		slc_size_text(total));
	if (in_use > (64u << 20))
		slc_fix(f, SLC_CHECK_NOTE, "sysctl -w vm.swappiness=1");
}

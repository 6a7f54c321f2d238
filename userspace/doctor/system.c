/* SPDX-License-Identifier: MIT */
/* system.c - the kernel, the CPUs, the container around us, the module. */
#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/clock.h"
#include "doctor/check.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

void slc_check_kernel(const struct slc_patient *p, struct slc_finding *f)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;
	void *page;
	bool populates;

	(void)p;
	slc_why(f, "Linux 6.1 is the oldest with all that sluice uses; what an older one lacks goes a slower way.");
	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	populates = page != MAP_FAILED &&
		    !madvise(page, 4096, MADV_POPULATE_WRITE);
	if (page != MAP_FAILED)
		munmap(page, 4096);
	slc_saw(f, "%s %s on %s, MADV_POPULATE_WRITE %s", u.sysname, u.release,
		u.machine, populates ? "works" : "is refused");
	if (major < 6 || (major == 6 && minor < 1))
		slc_fix(f, SLC_CHECK_WARN, "apt-get install linux-image-amd64");
}

/* ---- container ---- */

static const char *container_name(const struct slc_patient *p, char *buf,
				  size_t n)
{
	static const char *const marks[][2] = {
		{ "/.dockerenv", "docker" },
		{ "/run/.containerenv", "podman" },
		{ "/var/run/secrets/kubernetes.io", "kubernetes" },
	};
	char name[PATH_MAX];

	for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++) {
		snprintf(name, sizeof(name), "%s%s", p->root, marks[i][0]);
		if (!access(name, F_OK))
			return marks[i][1];
	}
	if (!slc_peek(p, buf, n, "/run/systemd/container") && *buf)
		return buf;
	return NULL;
}

/* The folder of this process under a controller of cgroup v1, or v2 (""). */
static bool cgroup_of(const struct slc_patient *p, const char *controller,
		      char *out, size_t n)
{
	char text[8192], *save = NULL;

	if (slc_peek(p, text, sizeof(text), "/proc/self/cgroup"))
		return false;
	for (char *line = strtok_r(text, "\n", &save); line;
	     line = strtok_r(NULL, "\n", &save)) {
		char *list = strchr(line, ':'), *path;

		path = list ? strchr(list + 1, ':') : NULL;
		if (!path)
			continue;
		*path++ = '\0';
		if (!strcmp(list + 1, controller))
			return (size_t)snprintf(out, n, "%s",
						strcmp(path, "/") ? path :
								    "") < n;
	}
	return false;
}

/* The tightest memory limit from our cgroup up to its root; 0: none. */
static uint64_t memory_limit(const struct slc_patient *p)
{
	uint64_t least = 0;
	char dir[2048];
	const char *base = "/sys/fs/cgroup", *file = "memory.max";

	if (!cgroup_of(p, "", dir, sizeof(dir)))
		*dir = '\0';
	if (cgroup_of(p, "memory", dir, sizeof(dir))) {
		base = "/sys/fs/cgroup/memory";
		file = "memory.limit_in_bytes";
	}
	for (;;) {
		int64_t v = slc_peek_number(p, 0, "%s%s/%s", base, dir, file);
		char *slash = strrchr(dir, '/');

		/* v1 says "no limit" by a number near 2^63. */
		if (v > 0 && v < INT64_MAX / 2 && (!least || (uint64_t)v < least))
			least = (uint64_t)v;
		if (!slash)
			return least;
		*slash = '\0';
	}
}

void slc_check_container(const struct slc_patient *p, struct slc_finding *f)
{
	char buf[64], quota[64], dir[2048] = "";
	const char *name = container_name(p, buf, sizeof(buf));
	uint64_t limit = memory_limit(p);
	unsigned long long us = 0, period = 0;

	slc_why(f, "Pinned memory and the page cache count against the limit of the group.");
	slc_saw(f, "%s", name ? name : "none seen");
	slc_saw(f, ", memory limit of the cgroup: %s",
		limit ? slc_size_text(limit) : "none");
	if (limit && limit < 2 * SLC_USUAL_MEMORY)
		slc_fix(f, SLC_CHECK_WARN, "docker run --memory=2g ...");
	cgroup_of(p, "", dir, sizeof(dir));
	slc_peek(p, quota, sizeof(quota), "/sys/fs/cgroup%s/cpu.max", dir);
	if (sscanf(quota, "%llu %llu", &us, &period) == 2 && period) {
		slc_saw(f, ", CPU quota: %.1f", (double)us / (double)period);
		if (us < 2 * period)
			slc_fix(f, SLC_CHECK_NOTE, "docker run --cpus=2 ...");
	}
}

/* ---- CPUs ---- */

static double steal_share(const struct slc_patient *p)
{
	unsigned long long t[8] = { 0 }, sum = 0;
	char text[256];

	/* user nice system idle iowait irq softirq steal, in ticks: proc(5) */
	slc_peek(p, text, sizeof(text), "/proc/stat");
	if (sscanf(text, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &t[0],
		   &t[1], &t[2], &t[3], &t[4], &t[5], &t[6], &t[7]) != 8)
		return 0;
	for (int i = 0; i < 8; i++)
		sum += t[i];
	return sum ? (double)t[7] / (double)sum : 0;
}

void slc_check_cpus(const struct slc_patient *p, struct slc_finding *f)
{
	char governor[64], online[256];
	double steal = steal_share(p);
	cpu_set_t set;
	int n;

	slc_why(f, "One core waits for the drive, a second checks sums; a core that sleeps or is taken away delays both.");
	CPU_ZERO(&set);
	n = sched_getaffinity(0, sizeof(set), &set) ? 0 : CPU_COUNT(&set);
	slc_peek(p, online, sizeof(online),
		 "/sys/devices/system/cpu/online");
	slc_peek(p, governor, sizeof(governor),
		 "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
	f->value = n;
	slc_saw(f, "%d allowed (online: %s), governor: %s, stolen since boot: %.1f %%",
		n, *online ? online : "?", *governor ? governor : "none",
		100 * steal);
	if (n < 2)
		slc_fix(f, SLC_CHECK_WARN, "taskset -pc 0-1 $$ # a second CPU");
	if (!strcmp(governor, "powersave"))
		slc_fix(f, SLC_CHECK_NOTE,
			"echo performance | sudo tee /sys/devices/system/cpu/cpu*/cpufreq/scaling_governor");
	if (steal > 0.02)
		f->status = f->status < SLC_CHECK_NOTE ? SLC_CHECK_NOTE :
							 f->status;
}

void slc_check_nofile(const struct slc_patient *p, struct slc_finding *f)
{
	struct rlimit r = { 0 };

	(void)p;
	slc_why(f, "Each shard that is being read holds a file open.");
	getrlimit(RLIMIT_NOFILE, &r);
	f->value = r.rlim_cur > INT64_MAX ? INT64_MAX : (int64_t)r.rlim_cur;
	slc_saw(f, "%llu files may be open (hard limit %llu)",
		(unsigned long long)r.rlim_cur,
		(unsigned long long)r.rlim_max);
	if (r.rlim_cur < 1024)
		slc_fix(f, SLC_CHECK_WARN, "ulimit -n %llu",
			(unsigned long long)(r.rlim_max < 65536 ? r.rlim_max :
								  65536));
}

void slc_check_crc32c(const struct slc_patient *p, struct slc_finding *f)
{
	const uint64_t len = 8u << 20;
	unsigned char *buf = malloc(len);
	double begin, spent, best = 0;
	uint32_t crc = 0;

	slc_why(f, "Every byte is summed on its way; this must be well above the drive.");
	if (!buf) {
		slc_saw(f, "not measured: no memory");
		f->status = SLC_CHECK_NOTE;
		return;
	}
	memset(buf, 0x5a, len);
	for (int i = 0; i < 8; i++) {
		begin = slc_now_s();
		crc = slc_crc32c(crc, buf, len);
		spent = slc_now_s() - begin;
		if (spent > 0 && (double)len / spent > best)
			best = (double)len / spent;
	}
	free(buf);
	f->value = (int64_t)best;
	slc_saw(f, "%.1f GB/s on one core over 8 MiB (ISA-L)", best / 1e9);
	if (best < 4e9)
		slc_fix(f, SLC_CHECK_WARN,
			"grep -ow -e sse4_2 -e pclmulqdq -e vpclmulqdq /proc/cpuinfo | sort -u # what ISA-L can use");
	(void)p;
}

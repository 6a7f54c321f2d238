/* SPDX-License-Identifier: MIT */
/* storage.c - the filesystem and the drive beneath a path. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <sluice/queue.h>

#include "doctor/check.h"

/* ---- filesystem ---- */

struct mount {
	char type[64], source[256], options[512];
};

/*
 * The line of /proc/self/mountinfo for a device number: proc(5). The last one
 * wins, as the topmost of mounts over each other. A btrfs subvolume has a
 * device number that no line shows; then the longest mount point that the
 * path begins with is taken.
 */
static bool find_mount(const struct slc_patient *p, struct mount *m)
{
	char name[PATH_MAX], real[PATH_MAX], *line = NULL;
	size_t cap = 0, longest = 0;
	bool found = false;
	FILE *in;

	if (!realpath(p->path, real) ||
	    (size_t)snprintf(name, sizeof(name), "%s/proc/self/mountinfo",
			     p->root) >= sizeof(name))
		return false;
	in = fopen(name, "re");
	if (!in)
		return false;
	while (getline(&line, &cap, in) > 0) {
		unsigned int major, minor;
		struct mount this;
		char point[1024];
		char *tail = strstr(line, " - ");
		size_t n;

		if (!tail ||
		    sscanf(line, "%*d %*d %u:%u %*s %1023s", &major, &minor,
			   point) != 3 ||
		    sscanf(tail, " - %63s %255s %511s", this.type,
			   this.source, this.options) != 3)
			continue;
		n = strcmp(point, "/") ? strlen(point) : 0;
		if (strncmp(real, point, n) || (real[n] && real[n] != '/') ||
		    n < longest)
			continue;
		longest = n;
		*m = this;
		found = true;
	}
	free(line);
	fclose(in);
	return found;
}

static const struct {
	const char *type;
	uint32_t status;
	const char *saw, *fix;
} known[] = {
	{ "tmpfs", SLC_CHECK_NOTE,
	  "it lives in memory: reads are copies, there is no drive to saturate",
	  "" },
	{ "ramfs", SLC_CHECK_NOTE, "it lives in memory", "" },
	{ "overlay", SLC_CHECK_WARN,
	  "a container's own layers: the data should lie on a volume",
	  "docker run -v /data:/data ..." },
	{ "nfs", SLC_CHECK_NOTE,
	  "the network is the limit; O_DIRECT bypasses the client's cache",
	  "mount -o remount,nconnect=8 # several connections" },
	{ "nfs4", SLC_CHECK_NOTE,
	  "the network is the limit; O_DIRECT bypasses the client's cache",
	  "mount -o remount,nconnect=8 # several connections" },
	{ "fuse", SLC_CHECK_WARN,
	  "each read goes through a process in user space", "" },
	{ "9p", SLC_CHECK_WARN, "a guest's view of its host: slow", "" },
	{ "virtiofs", SLC_CHECK_NOTE, "a guest's view of its host", "" },
	{ "zfs", SLC_CHECK_NOTE,
	  "before OpenZFS 2.3 O_DIRECT is accepted and goes through the ARC all the same",
	  "" },
};

static void check_btrfs(const struct mount *m, struct slc_finding *f)
{
	if (strstr(m->options, "compress"))
		slc_fix(f, SLC_CHECK_WARN,
			"mount -o remount,compress=no %s # compressed extents are never read by O_DIRECT",
			m->source);
	else
		f->status = SLC_CHECK_NOTE;
	slc_saw(f, "; checksummed or compressed extents may be read through the page cache");
}

void slc_check_filesystem(const struct slc_patient *p, struct slc_finding *f)
{
	struct mount m;

	slc_why(f, "Not every filesystem lets a drive write straight into the reader's memory.");
	if (p->is_drive) {
		slc_saw(f, "none: %s is the drive itself", p->path);
		return;
	}
	if (!find_mount(p, &m)) {
		slc_saw(f, "no line of /proc/self/mountinfo covers %s",
			p->path);
		f->status = SLC_CHECK_NOTE;
		return;
	}
	slc_saw(f, "%s on %s (%.80s)", m.type, m.source, m.options);
	if (!strcmp(m.type, "btrfs"))
		check_btrfs(&m, f);
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
		bool same = !strcmp(m.type, known[i].type) ||
			    (!strcmp(known[i].type, "fuse") &&
			     !strncmp(m.type, "fuse.", 5));

		if (!same)
			continue;
		slc_saw(f, "; %s", known[i].saw);
		slc_fix(f, known[i].status, "%s", known[i].fix);
	}
}

/* ---- O_DIRECT ---- */

/* A regular file of the folder that can be read, or -1. */
static int any_file(const char *folder)
{
	DIR *d = opendir(folder);
	struct dirent *e;
	int fd = -1;

	while (d && fd < 0 && (e = readdir(d))) {
		struct stat st;

		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !S_ISREG(st.st_mode) || !st.st_size)
			continue;
		fd = openat(dirfd(d), e->d_name,
			    O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	}
	if (d)
		closedir(d);
	return fd;
}

/* A file without a name in the folder, else any file that is there, or -1. */
static int trial_file(const char *folder)
{
	static const char zeros[65536];
	int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	if (fd >= 0 && write(fd, zeros, sizeof(zeros)) == sizeof(zeros))
		return fd;
	if (fd >= 0)
		close(fd);
	return any_file(folder);
}

static void judge_direct(const struct slc_file_info *info,
			 struct slc_finding *f)
{
	if (!info->dio_off_align) {
		slc_saw(f, "refused: %s", info->reason);
		slc_fix(f, SLC_CHECK_WARN,
			"findmnt -t xfs,ext4 # put the data on one of these");
		return;
	}
	f->value = info->dio_off_align;
	slc_saw(f, "works: memory aligned to %u bytes, offsets to %u",
		info->dio_mem_align, info->dio_off_align);
}

void slc_check_odirect(const struct slc_patient *p, struct slc_finding *f)
{
	struct slc_file_info info = { .size = sizeof(info) };
	struct slc_file *file;
	char name[32];
	int fd = -1, err;

	slc_why(f, "With O_DIRECT the drive writes into pinned memory itself; else the CPU copies each byte out of the page cache.");
	if (p->is_dir) {
		fd = trial_file(p->path);
		if (fd < 0) {
			slc_saw(f, "not tried: %s can neither be written nor has it a file to read",
				p->path);
			f->status = SLC_CHECK_NOTE;
			return;
		}
		snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	}
	err = slc_file_open(p->ctx, p->is_dir ? name : p->path, SLC_FILE_READ,
			    &file);
	if (err) {
		slc_saw(f, "%s", slc_last_error(p->ctx));
		f->status = SLC_CHECK_FAIL;
	} else {
		if (!slc_file_query(file, &info))
			judge_direct(&info, f);
		slc_file_put(file);
	}
	if (fd >= 0)
		close(fd);
}

/* ---- the drive ---- */

/*
 * The folder of sysfs for the drive beneath the path: that of the whole disk
 * for a partition. False, with the reason in saw, when there is none.
 */
static bool find_drive(const struct slc_patient *p, struct slc_finding *f,
		       char *dir, size_t n)
{
	char name[PATH_MAX], real[PATH_MAX], partition[8];

	snprintf(name, sizeof(name), "%s/sys/dev/block/%u:%u", p->root,
		 major(p->dev), minor(p->dev));
	if (!realpath(name, real)) {
		struct mount m;

		slc_saw(f, "no block device");
		if (find_mount(p, &m))
			slc_saw(f, ": %s on %s", m.type, m.source);
		f->status = SLC_CHECK_NOTE;
		return false;
	}
	/* What is below the root is named from it again by slc_peek(). */
	if (strlen(real) < strlen(p->root) + 1)
		return false;
	memmove(real, real + strlen(p->root), strlen(real + strlen(p->root)) + 1);
	if (!slc_peek(p, partition, sizeof(partition), "%s/partition", real))
		*strrchr(real, '/') = '\0';
	return (size_t)snprintf(dir, n, "%s", real) < n;
}

static const char *last_part(const char *dir)
{
	const char *slash = strrchr(dir, '/');

	return slash ? slash + 1 : dir;
}

static void judge_scheduler(const char *name, char *text,
			    struct slc_finding *f)
{
	char *from = strchr(text, '['), *to = from ? strchr(from, ']') : NULL;

	if (!to)
		return;
	*to = '\0';
	slc_saw(f, "scheduler %s, ", from + 1);
	if (!strncmp(name, "nvme", 4) && strcmp(from + 1, "none"))
		slc_fix(f, SLC_CHECK_NOTE,
			"echo none | sudo tee /sys/block/%s/queue/scheduler",
			name);
}

void slc_check_drive_queue(const struct slc_patient *p, struct slc_finding *f)
{
	char dir[PATH_MAX], scheduler[128], cache[64];
	int64_t largest, hardware, requests, spins;
	const char *name;

	slc_why(f, "How deep and how large the requests are that the kernel hands to the drive.");
	if (!find_drive(p, f, dir, sizeof(dir)))
		return;
	name = last_part(dir);
	slc_peek(p, scheduler, sizeof(scheduler), "%s/queue/scheduler", dir);
	slc_peek(p, cache, sizeof(cache), "%s/queue/write_cache", dir);
	largest = slc_peek_number(p, -1, "%s/queue/max_sectors_kb", dir);
	hardware = slc_peek_number(p, -1, "%s/queue/max_hw_sectors_kb", dir);
	requests = slc_peek_number(p, -1, "%s/queue/nr_requests", dir);
	spins = slc_peek_number(p, 0, "%s/queue/rotational", dir);
	slc_saw(f, "%s: ", name);
	judge_scheduler(name, scheduler, f);
	slc_saw(f, "requests of %lld KiB at most, %lld queued, write cache: %s",
		(long long)largest, (long long)requests,
		*cache ? cache : "not said");
	if (largest > 0 && largest < 1024 && hardware > largest)
		slc_fix(f, SLC_CHECK_NOTE,
			"echo %lld | sudo tee /sys/block/%s/queue/max_sectors_kb",
			(long long)(hardware < 1024 ? hardware : 1024), name);
	/* virtio drives say they spin when the host does not tell. */
	if (spins && strncmp(name, "vd", 2)) {
		slc_saw(f, ", it spins: shuffled reads wait for its arm");
		slc_fix(f, SLC_CHECK_WARN, "sluice stream --shuffle shard ...");
	}
}

void slc_check_drive_node(const struct slc_patient *p, struct slc_finding *f)
{
	char dir[PATH_MAX];
	int64_t node;

	slc_why(f, "Buffers on the drive's own node spare the link between sockets.");
	if (!find_drive(p, f, dir, sizeof(dir)))
		return;
	slc_saw(f, "%s: ", last_part(dir));
	/* The first device on the way up that has a node is the PCI function. */
	while (strlen(dir) > strlen("/sys/devices")) {
		node = slc_peek_number(p, -2, "%s/device/numa_node", dir);
		if (node == -2)
			node = slc_peek_number(p, -2, "%s/numa_node", dir);
		if (node >= 0) {
			f->value = node;
			slc_saw(f, "on node %lld (%s)", (long long)node,
				last_part(dir));
			return;
		}
		if (node == -1) {
			slc_saw(f, "%s has no node: a machine with one node, or its firmware does not say",
				last_part(dir));
			f->status = SLC_CHECK_NOTE;
			return;
		}
		*strrchr(dir, '/') = '\0';
	}
	slc_saw(f, "no device above it has a node (a virtual, RAID or network drive)");
	f->status = SLC_CHECK_NOTE;
}

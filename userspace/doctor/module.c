/* SPDX-License-Identifier: MIT */
/* module.c - the kernel module: is it there, can it be, what can it do here? */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "doctor/check.h"
#include "mem/module.h"

static bool there(const struct slc_patient *p, const char *path)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s%s", p->root, path);
	return !access(name, F_OK);
}

static int open_module(const struct slc_patient *p, struct sluice_info *info,
		       char *why)
{
	char name[PATH_MAX];

	snprintf(name, sizeof(name), "%s" SLC_MODULE_DEVICE, p->root);
	return slc_module_open(name, info, why);
}

static void kernel_release(const struct slc_patient *p, char *buf, size_t n)
{
	if (slc_peek(p, buf, n, "/proc/sys/kernel/osrelease"))
		snprintf(buf, n, "unknown");
}

void slc_check_module(const struct slc_patient *p, struct slc_finding *f)
{
	static const char *const names[] = { "alloc", "pin", "peer", "ring",
					     "fault" };
	char why[SLC_MODULE_WHY];
	struct sluice_info info;
	int dev;

	slc_why(f, "Optional. It gives regions that outlive their process and serve drive, NIC and GPU by one pin; streaming does not need it.");
	dev = open_module(p, &info, why);
	if (dev < 0) {
		slc_saw(f, "%s", why);
		f->status = SLC_CHECK_NOTE;
		return;
	}
	close(dev);
	slc_saw(f, "/dev/sluice is there, ABI %u; works here:", info.abi);
	for (uint32_t i = 0; i < SLUICE_NFEATURES; i++)
		if (info.features >> i & 1)
			slc_saw(f, " %s", names[i]);
	f->value = info.abi;
}

_Static_assert(SLUICE_NFEATURES == 5, "each feature has a name above");

static void check_feature(const struct slc_patient *p, struct slc_finding *f,
			  uint32_t index)
{
	char why[SLC_MODULE_WHY];
	int dev = open_module(p, NULL, why);

	if (dev < 0) {
		slc_saw(f, "not asked: the module cannot be reached");
		f->status = SLC_CHECK_NOTE;
		return;
	}
	slc_module_why_not(dev, index, why);
	close(dev);
	slc_saw(f, "%s", *why ? why : "works");
	if (*why)
		f->status = SLC_CHECK_NOTE;
}

void slc_check_module_alloc(const struct slc_patient *p, struct slc_finding *f)
{
	slc_why(f, "Memory in contiguous runs on one node, with a dma-buf; with a name it outlives its process.");
	check_feature(p, f, SLUICE_FEATURE_ALLOC);
}

void slc_check_module_pin(const struct slc_patient *p, struct slc_finding *f)
{
	slc_why(f, "A dma-buf of memory that a program already has, huge pages included.");
	check_feature(p, f, SLUICE_FEATURE_PIN);
}

void slc_check_module_peer(const struct slc_patient *p, struct slc_finding *f)
{
	slc_why(f, "Memory of a PCI function (a card's BAR) that a drive can read into without a copy in host memory.");
	check_feature(p, f, SLUICE_FEATURE_PEER);
}

void slc_check_module_ring(const struct slc_patient *p, struct slc_finding *f)
{
	slc_why(f, "A region enters an io_uring's table at once, with no page pinned for it; else it is registered page by page.");
	check_feature(p, f, SLUICE_FEATURE_RING);
}

/* ---- can it be had here? ---- */

static bool is_installed(const struct slc_patient *p, const char *release)
{
	static const char *const where[] = { "updates/dkms", "updates",
					     "extra" };
	static const char *const packed[] = { "", ".xz", ".zst", ".gz" };
	char name[PATH_MAX];

	for (size_t i = 0; i < sizeof(where) / sizeof(where[0]); i++)
		for (size_t k = 0; k < sizeof(packed) / sizeof(packed[0]); k++) {
			snprintf(name, sizeof(name),
				 "/lib/modules/%s/%s/sluice.ko%s", release,
				 where[i], packed[k]);
			if (there(p, name))
				return true;
		}
	return false;
}

void slc_check_module_build(const struct slc_patient *p, struct slc_finding *f)
{
	char release[256], headers[PATH_MAX];

	slc_why(f, "The module is built for the kernel that runs, by its headers.");
	kernel_release(p, release, sizeof(release));
	snprintf(headers, sizeof(headers), "/lib/modules/%s/build/Makefile",
		 release);
	if (there(p, "/sys/module/sluice")) {
		slc_saw(f, "loaded into %s", release);
	} else if (!there(p, "/proc/modules")) {
		slc_saw(f, "the kernel %s loads no modules (CONFIG_MODULES is not set)",
			release);
		f->status = SLC_CHECK_NOTE;
	} else if (is_installed(p, release)) {
		slc_saw(f, "built for %s, not loaded", release);
		slc_fix(f, SLC_CHECK_NOTE, "sudo modprobe sluice");
	} else if (there(p, headers)) {
		slc_saw(f, "not built for %s; its headers are there", release);
		slc_fix(f, SLC_CHECK_NOTE,
			"make module && sudo insmod build/sluice.ko");
	} else {
		slc_saw(f, "not built for %s, and its headers are not there",
			release);
		slc_fix(f, SLC_CHECK_NOTE,
			"sudo apt-get install linux-headers-%s && make module && sudo insmod build/sluice.ko",
			release);
	}
}

void slc_check_module_signing(const struct slc_patient *p,
			      struct slc_finding *f)
{
	char text[128], enforced[16], *from, *to;
	const char *lockdown = "none";

	slc_why(f, "Under lockdown or enforced signatures the kernel loads only modules signed by a key it knows.");
	slc_peek(p, text, sizeof(text), "/sys/kernel/security/lockdown");
	from = strchr(text, '[');
	to = from ? strchr(from, ']') : NULL;
	if (to) {
		*to = '\0';
		lockdown = from + 1;
	}
	slc_peek(p, enforced, sizeof(enforced),
		 "/sys/module/module/parameters/sig_enforce");
	slc_saw(f, "lockdown: %s, signatures are %s", lockdown,
		*enforced == 'Y' ? "enforced" : "not enforced");
	if (strcmp(lockdown, "none") || *enforced == 'Y')
		slc_fix(f, SLC_CHECK_NOTE,
			"sudo mokutil --import /var/lib/dkms/mok.pub # and reboot: DKMS signs with that key");
	if (slc_peek_number(p, 0, "/proc/sys/kernel/modules_disabled") > 0) {
		slc_saw(f, "; no module at all is loaded until the next boot (kernel.modules_disabled=1)");
		slc_fix(f, SLC_CHECK_NOTE, "sudo reboot");
	}
}

/* ---- who may use it ---- */

/* The id of a group in /etc/group, or -1. */
static int64_t group_id(const struct slc_patient *p, const char *name)
{
	size_t n = strlen(name), room = 1u << 20;
	char *text = malloc(room), *line, *save = NULL;
	int64_t id = -1;

	if (!text)
		return -1;
	slc_peek(p, text, room, "/etc/group");
	for (line = strtok_r(text, "\n", &save); line && id < 0;
	     line = strtok_r(NULL, "\n", &save))
		/* name:password:id:members, group(5) */
		if (!strncmp(line, name, n) && line[n] == ':' &&
		    (line = strchr(line + n + 1, ':')))
			id = strtoll(line + 1, NULL, 10);
	free(text);
	return id;
}

static bool is_member(int64_t gid)
{
	gid_t groups[1024];
	int n = getgroups(1024, groups);

	for (int i = 0; i < n; i++)
		if (groups[i] == (gid_t)gid)
			return true;
	return getegid() == (gid_t)gid || !geteuid();
}

static bool has_rule(const struct slc_patient *p)
{
	char pattern[PATH_MAX];
	bool found = false;
	glob_t g;

	snprintf(pattern, sizeof(pattern),
		 "%s/{etc,lib,usr/lib}/udev/rules.d/*sluice*.rules", p->root);
	if (!glob(pattern, GLOB_BRACE | GLOB_NOSORT, NULL, &g)) {
		found = g.gl_pathc;
		globfree(&g);
	}
	return found;
}

void slc_check_module_group(const struct slc_patient *p, struct slc_finding *f)
{
	int64_t gid = group_id(p, "sluice");
	bool rule = has_rule(p);
	char name[PATH_MAX];
	struct stat st;

	slc_why(f, "/dev/sluice is for root and the group sluice; a udev rule gives it to that group.");
	slc_saw(f, "group sluice: %s, udev rule: %s", gid < 0 ? "none" : "there",
		rule ? "there" : "none");
	snprintf(name, sizeof(name), "%s" SLC_MODULE_DEVICE, p->root);
	if (!stat(name, &st))
		slc_saw(f, ", device: mode %03o, group %u%s",
			(unsigned int)st.st_mode & 0777,
			(unsigned int)st.st_gid,
			gid >= 0 && st.st_gid == (gid_t)gid ? " (sluice)" : "");
	if (gid < 0)
		slc_fix(f, SLC_CHECK_NOTE, "sudo groupadd --system sluice");
	if (!rule)
		slc_fix(f, SLC_CHECK_NOTE,
			"echo 'KERNEL==\"sluice\", GROUP=\"sluice\", MODE=\"0660\"' | sudo tee /etc/udev/rules.d/60-sluice.rules");
	if (gid >= 0 && !is_member(gid)) {
		slc_saw(f, ", this user is not in the group");
		slc_fix(f, SLC_CHECK_NOTE,
			"sudo usermod -aG sluice $USER # and log in again");
	}
}

/* ---- what the kernel was built with ---- */

/* 1 it is set to y, 0 it is not, -1 this file cannot be read. */
static int read_config(const struct slc_patient *p, const char *path,
		       const char *option)
{
	char name[PATH_MAX], line[512];
	size_t n = strlen(option);
	int set = 0;
	gzFile in;

	snprintf(name, sizeof(name), "%s%s", p->root, path);
	/* It reads plain text, too. */
	in = gzopen(name, "rbe");
	if (!in)
		return -1;
	while (!set && gzgets(in, line, sizeof(line)))
		set = !strncmp(line, option, n) && !strncmp(line + n, "=y", 2);
	gzclose(in);
	return set;
}

void slc_check_module_p2pdma(const struct slc_patient *p,
			     struct slc_finding *f)
{
	const char *option = "CONFIG_PCI_P2PDMA";
	char release[256], path[PATH_MAX] = "/proc/config.gz";
	int set = read_config(p, path, option);

	slc_why(f, "Without it the kernel lets no drive read into another card's memory.");
	if (set < 0) {
		kernel_release(p, release, sizeof(release));
		snprintf(path, sizeof(path), "/boot/config-%s", release);
		set = read_config(p, path, option);
	}
	if (set < 0) {
		slc_saw(f, "neither /proc/config.gz nor %s can be read", path);
		f->status = SLC_CHECK_NOTE;
		return;
	}
	f->value = set;
	slc_saw(f, "%s: %s %s", path, option, set ? "is on" : "is off");
	if (!set)
		slc_fix(f, SLC_CHECK_NOTE,
			"sudo apt-get install -t trixie-backports linux-image-amd64 # Debian 13; its 7.3 has it");
}

void slc_check_module_limits(const struct slc_patient *p,
			     struct slc_finding *f)
{
	static const char *const dir = "/sys/module/sluice/parameters";
	int64_t all = slc_peek_number(p, -1, "%s/max_bytes", dir);
	int64_t user = slc_peek_number(p, -1, "%s/max_user_bytes", dir);
	char drain[16];

	slc_why(f, "What regions may take besides ulimit -l: all together, and of one user.");
	if (all < 0 && user < 0) {
		slc_saw(f, "the module is not loaded");
		f->status = SLC_CHECK_NOTE;
		return;
	}
	slc_saw(f, "all regions: %s", all > 0 ? slc_size_text((uint64_t)all) :
						"no limit");
	slc_saw(f, ", one user's locked memory: %s",
		user > 0 ? slc_size_text((uint64_t)user) : "no limit");
	slc_peek(p, drain, sizeof(drain), "%s/drain", dir);
	if (*drain == 'Y') {
		slc_saw(f, "; it is being drained and gives out nothing");
		slc_fix(f, SLC_CHECK_WARN, "echo 0 | sudo tee %s/drain", dir);
	}
}

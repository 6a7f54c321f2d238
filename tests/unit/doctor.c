/* SPDX-License-Identifier: MIT */
/* The doctor on machines made of files: what it sees, says and mends. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include <sluice/doctor.h>

#include "doctor/check.h"
#include "ktap.h"

#define MAX_CHECKS 64

struct seen {
	char id[32], saw[700], why[400], fix[400];
	uint32_t status;
	int64_t value;
};

FIXTURE(doctor)
{
	struct slc_ctx *ctx;
	char root[64];
	struct seen seen[MAX_CHECKS];
	int n, failed;
};

FIXTURE_NO_VARIANT(doctor);

FIXTURE_SETUP(doctor)
{
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	snprintf(self->root, sizeof(self->root), "/tmp/slc-doctor-XXXXXX");
	ASSERT_NOT_NULL(mkdtemp(self->root));
}

FIXTURE_TEARDOWN(doctor)
{
	char cmd[128];

	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", self->root);
	EXPECT_EQ(system(cmd), 0);
	slc_ctx_close(self->ctx);
}

/* A text file of the machine, its folders made on the way. */
static void put(struct ktap_fixture_doctor *self, const char *path,
		const char *text)
{
	char name[512];
	FILE *out;

	snprintf(name, sizeof(name), "%s%s", self->root, path);
	for (char *p = name + strlen(self->root) + 1; (p = strchr(p, '/'));
	     p++) {
		*p = '\0';
		mkdir(name, 0755);
		*p = '/';
	}
	out = fopen(name, "w");
	ASSERT_NOT_NULL(out);
	fputs(text, out);
	fclose(out);
}

static int note(void *user, const struct slc_check *c)
{
	struct ktap_fixture_doctor *self = user;
	struct seen *s = &self->seen[self->n++];

	snprintf(s->id, sizeof(s->id), "%s", c->id);
	snprintf(s->saw, sizeof(s->saw), "%s", c->saw);
	snprintf(s->why, sizeof(s->why), "%s", c->why);
	snprintf(s->fix, sizeof(s->fix), "%s", c->fix);
	s->status = c->status;
	s->value = c->value;
	return 0;
}

static void look_by(struct ktap_fixture_doctor *self, const char *root,
		    uint64_t flags)
{
	struct slc_doctor_attr attr = { .size = sizeof(attr),
					.flags = flags,
					.path = self->root };

	self->n = 0;
	self->failed = slc_doctor_run_at(self->ctx, &attr, root, note, self);
	ASSERT_GE(self->failed, 0);
}

static void look_at(struct ktap_fixture_doctor *self, const char *root)
{
	look_by(self, root, 0);
}

static const struct seen *of(struct ktap_fixture_doctor *self, const char *id)
{
	for (int i = 0; i < self->n; i++)
		if (!strcmp(self->seen[i].id, id))
			return &self->seen[i];
	ktap_fail(__FILE__, __LINE__, "no check %s", id);
	longjmp(ktap_leave, 1);
}

TEST_F(doctor, every_check_says_what_it_saw_and_why_it_matters)
{
	look_at(self, "");
	EXPECT_GE(self->n, 12);
	for (int i = 0; i < self->n; i++) {
		const struct seen *s = &self->seen[i];

		EXPECT_GT(strlen(s->saw), 3);
		EXPECT_GT(strlen(s->why), 20);
		EXPECT_GE(s->status, SLC_CHECK_OK);
		EXPECT_LE(s->status, SLC_CHECK_FAIL);
		for (int k = 0; k < i; k++)
			EXPECT_NE(strcmp(self->seen[k].id, s->id), 0);
	}
}

TEST_F(doctor, an_empty_machine_is_described_without_a_crash)
{
	look_at(self, self->root);
	EXPECT_GE(self->n, 12);
	EXPECT_HAS(of(self, "hugepages")->saw, "no pool");
	EXPECT_HAS(of(self, "memory")->saw, "does not say");
	EXPECT_EQ(of(self, "drive.node")->value, SLC_CHECK_NO_VALUE);
	EXPECT_HAS(of(self, "drive.node")->saw, "no block device");
	EXPECT_EQ(of(self, "numa")->value, 1);
}

TEST_F(doctor, huge_pages_are_counted_per_node_and_the_fix_gives_enough)
{
	put(self, "/sys/devices/system/node/has_memory", "0-1\n");
	put(self, "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages", "10\n");
	put(self, "/sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages", "4\n");
	put(self, "/sys/devices/system/node/node1/hugepages/hugepages-2048kB/nr_hugepages", "0\n");
	put(self, "/sys/kernel/mm/transparent_hugepage/enabled",
	    "always madvise [never]\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "hugepages")->status, SLC_CHECK_WARN);
	EXPECT_EQ(of(self, "hugepages")->value, 4 * 2 << 20);
	EXPECT_HAS(of(self, "hugepages")->saw, "node 0: 4 of 10 x 2 MiB free");
	EXPECT_STREQ(of(self, "hugepages")->fix,
		     "sysctl -w vm.nr_hugepages=138");
	EXPECT_EQ(of(self, "thp")->status, SLC_CHECK_WARN);
	EXPECT_HAS(of(self, "thp")->fix, "echo madvise");

	put(self, "/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/nr_hugepages", "2\n");
	put(self, "/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/free_hugepages", "1\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "hugepages")->status, SLC_CHECK_OK);
	EXPECT_HAS(of(self, "hugepages")->saw, "node 1: 1 of 2 x 1 GiB free");
	EXPECT_EQ(of(self, "hugepages")->value, (1ll << 30) + (8 << 20));
}

TEST_F(doctor, a_small_memlock_without_the_capability_is_a_warning)
{
	struct rlimit r = { 65536, 65536 };

	put(self, "/proc/self/status", "Name:\tx\nCapEff:\t0000000000000000\n");
	ASSERT_EQ(setrlimit(RLIMIT_MEMLOCK, &r), 0);
	look_at(self, self->root);
	EXPECT_EQ(of(self, "memlock")->status, SLC_CHECK_WARN);
	EXPECT_EQ(of(self, "memlock")->value, 65536);
	EXPECT_HAS(of(self, "memlock")->saw, "64 KiB");
	EXPECT_HAS(of(self, "memlock")->fix, "memlock unlimited");

	put(self, "/proc/self/status", "Name:\tx\nCapEff:\t0000000000004000\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "memlock")->status, SLC_CHECK_OK);
	EXPECT_EQ(of(self, "memlock")->value, -1);
}

TEST_F(doctor, two_nodes_with_balancing_on_are_noted)
{
	put(self, "/sys/devices/system/node/has_memory", "0,2\n");
	put(self, "/sys/devices/system/node/node0/cpulist", "0-7\n");
	put(self, "/sys/devices/system/node/node0/meminfo",
	    "Node 0 MemTotal: 9000000 kB\nNode 0 MemFree: 8388608 kB\n");
	put(self, "/sys/devices/system/node/node2/meminfo",
	    "Node 2 MemTotal: 9000000 kB\nNode 2 MemFree: 1024 kB\n");
	put(self, "/proc/sys/kernel/numa_balancing", "1\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "numa")->value, 2);
	EXPECT_HAS(of(self, "numa")->saw, "node 0: CPUs 0-7, 8 GiB unused");
	EXPECT_HAS(of(self, "numa")->saw, "node 2: CPUs none, 1 MiB unused");
	EXPECT_HAS(of(self, "numa")->fix, "kernel.numa_balancing=0");
	EXPECT_EQ(of(self, "numa")->status, SLC_CHECK_WARN);
}

TEST_F(doctor, swap_in_use_is_summed_over_its_devices)
{
	put(self, "/proc/swaps",
	    "Filename Type Size Used Priority\n"
	    "/dev/vdb partition 1048576 65536 -2\n"
	    "/swapfile file 1048576 65536 -3\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "swap")->value, 128 << 20);
	EXPECT_HAS(of(self, "swap")->saw, "128 MiB of 2 GiB in use");
	EXPECT_EQ(of(self, "swap")->status, SLC_CHECK_NOTE);
}

/* An NVMe partition on node 1, as sysfs lays it out. */
static void put_drive(struct ktap_fixture_doctor *self, const char *node)
{
	const char *nvme = "/sys/devices/pci0000:3a/0000:3b:00.0/nvme/nvme0/nvme0n1";
	char name[256], target[256];
	struct stat st;

	ASSERT_EQ(stat(self->root, &st), 0);
	snprintf(name, sizeof(name), "%s/nvme0n1p1/partition", nvme);
	put(self, name, "1\n");
	snprintf(name, sizeof(name), "%s/queue/scheduler", nvme);
	put(self, name, "none [mq-deadline] kyber\n");
	snprintf(name, sizeof(name), "%s/queue/max_sectors_kb", nvme);
	put(self, name, "128\n");
	snprintf(name, sizeof(name), "%s/queue/max_hw_sectors_kb", nvme);
	put(self, name, "2048\n");
	put(self, "/sys/devices/pci0000:3a/0000:3b:00.0/numa_node", node);
	put(self, "/sys/dev/block/keep", "");
	snprintf(name, sizeof(name), "%s/sys/dev/block/%u:%u", self->root,
		 major(st.st_dev), minor(st.st_dev));
	snprintf(target, sizeof(target), "../..%s/nvme0n1p1", nvme + 4);
	ASSERT_EQ(symlink(target, name), 0);
}

TEST_F(doctor, the_drive_of_a_partition_is_found_with_its_node_and_queue)
{
	put_drive(self, "1\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "drive.node")->value, 1);
	EXPECT_HAS(of(self, "drive.node")->saw, "nvme0n1: on node 1 (0000:3b:00.0)");
	EXPECT_HAS(of(self, "drive.queue")->saw, "scheduler mq-deadline");
	EXPECT_HAS(of(self, "drive.queue")->fix,
		   "echo none | sudo tee /sys/block/nvme0n1/queue/scheduler");
	EXPECT_HAS(of(self, "drive.queue")->fix,
		   "echo 1024 | sudo tee /sys/block/nvme0n1/queue/max_sectors_kb");
}

TEST_F(doctor, a_drive_without_a_node_has_no_value_and_a_reason)
{
	put_drive(self, "-1\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "drive.node")->value, SLC_CHECK_NO_VALUE);
	EXPECT_HAS(of(self, "drive.node")->saw, "0000:3b:00.0 has no node");
}

TEST_F(doctor, the_filesystem_is_that_of_the_deepest_mount)
{
	char text[9000], real[4096];

	ASSERT_NOT_NULL(realpath(self->root, real));
	snprintf(text, sizeof(text),
		 "20 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
		 "21 20 0:50 / %s rw shared:1 - overlay overlay rw,lowerdir=/x\n"
		 "22 20 0:51 / %s-other rw - tmpfs tmpfs rw\n",
		 real, real);
	put(self, "/proc/self/mountinfo", text);
	look_at(self, self->root);
	EXPECT_HAS(of(self, "filesystem")->saw, "overlay on overlay");
	EXPECT_HAS(of(self, "filesystem")->fix, "docker run -v");
	put(self, "/proc/self/mountinfo",
	    "20 1 0:40 / / rw - btrfs /dev/sda1 rw,compress=zstd:1\n");
	look_at(self, self->root);
	EXPECT_EQ(of(self, "filesystem")->status, SLC_CHECK_WARN);
	EXPECT_HAS(of(self, "filesystem")->fix, "compress=no /dev/sda1");
}

TEST_F(doctor, the_tightest_memory_limit_of_the_cgroups_counts)
{
	put(self, "/proc/self/cgroup", "0::/pod/app\n");
	put(self, "/sys/fs/cgroup/pod/app/memory.max", "max\n");
	put(self, "/sys/fs/cgroup/pod/memory.max", "134217728\n");
	put(self, "/sys/fs/cgroup/pod/app/cpu.max", "150000 100000\n");
	put(self, "/.dockerenv", "");
	look_at(self, self->root);
	EXPECT_HAS(of(self, "container")->saw, "docker");
	EXPECT_HAS(of(self, "container")->saw, "128 MiB");
	EXPECT_HAS(of(self, "container")->saw, "CPU quota: 1.5");
	EXPECT_EQ(of(self, "container")->status, SLC_CHECK_WARN);
}

/* EPERM for io_uring_setup, as in a container. False: filters are forbidden. */
static bool forbid_io_uring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 425, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = 4, .filter = code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

TEST_F(doctor, io_uring_forbidden_by_seccomp_fails_with_the_reason)
{
	if (!forbid_io_uring())
		SKIP("no seccomp filter can be set here");
	look_at(self, "");
	EXPECT_GE(self->failed, 1);
	EXPECT_EQ(of(self, "io_uring")->status, SLC_CHECK_FAIL);
	EXPECT_HAS(of(self, "io_uring")->saw, "seccomp filter is on");
	EXPECT_HAS(of(self, "io_uring")->fix, "--security-opt seccomp");
	EXPECT_EQ(of(self, "io_uring.modes")->status, SLC_CHECK_NOTE);
}

TEST_F(doctor, io_uring_disabled_by_sysctl_is_told_from_seccomp)
{
	put(self, "/proc/sys/kernel/io_uring_disabled", "2\n");
	if (!forbid_io_uring())
		SKIP("no seccomp filter can be set here");
	look_at(self, self->root);
	EXPECT_STREQ(of(self, "io_uring")->fix,
		     "sysctl -w kernel.io_uring_disabled=0");
}

static int stop_at_third(void *user, const struct slc_check *c)
{
	(void)c;
	return ++*(int *)user == 3 ? 42 : 0;
}

TEST_F(doctor, the_callback_can_end_the_run)
{
	int n = 0;

	EXPECT_EQ(slc_doctor_run(self->ctx, NULL, stop_at_third, &n), 42);
	EXPECT_EQ(n, 3);
}

TEST_F(doctor, a_path_that_is_not_there_or_no_data_is_refused)
{
	struct slc_doctor_attr attr = { .size = sizeof(attr) };
	char name[128];
	int n = 0;

	snprintf(name, sizeof(name), "%s/absent", self->root);
	attr.path = name;
	EXPECT_EQ(slc_doctor_run(self->ctx, &attr, stop_at_third, &n),
		  -ENOENT);
	EXPECT_HAS(slc_last_error(self->ctx), name);
	ASSERT_EQ(mkfifo(name, 0600), 0);
	EXPECT_EQ(slc_doctor_run(self->ctx, &attr, stop_at_third, &n),
		  -EINVAL);
	attr.path = NULL;
	attr.flags = 2;
	EXPECT_EQ(slc_doctor_run(self->ctx, &attr, stop_at_third, &n),
		  -EINVAL);
	EXPECT_EQ(slc_doctor_run(self->ctx, NULL, NULL, &n), -EINVAL);
	EXPECT_EQ(n, 0);
}

TEST_F(doctor, of_the_module_only_the_modules_checks_are_made)
{
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_EQ(self->n, 10);
	for (int i = 0; i < self->n; i++) {
		EXPECT_EQ(strncmp(self->seen[i].id, "module", 6), 0);
		EXPECT_GT(strlen(self->seen[i].saw), 3);
		EXPECT_GT(strlen(self->seen[i].why), 20);
		EXPECT_LE(self->seen[i].status, SLC_CHECK_NOTE);
	}
	EXPECT_EQ(self->failed, 0);
	EXPECT_HAS(of(self, "module")->saw, "the module is not loaded");
	EXPECT_HAS(of(self, "module.ring")->saw, "not asked");
	EXPECT_HAS(of(self, "module.limits")->saw, "not loaded");
	EXPECT_HAS(of(self, "module.build")->saw, "loads no modules");
	EXPECT_HAS(of(self, "module.p2pdma")->saw, "can be read");
}

TEST_F(doctor, how_to_have_the_module_is_told_step_by_step)
{
	put(self, "/proc/sys/kernel/osrelease", "6.1.0-44-amd64\n");
	put(self, "/proc/modules", "");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_STREQ(of(self, "module.build")->fix,
		     "sudo apt-get install linux-headers-6.1.0-44-amd64 && make module && sudo insmod build/sluice.ko");
	put(self, "/lib/modules/6.1.0-44-amd64/build/Makefile", "");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_STREQ(of(self, "module.build")->fix,
		     "make module && sudo insmod build/sluice.ko");
	put(self, "/lib/modules/6.1.0-44-amd64/updates/dkms/sluice.ko.xz", "");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_STREQ(of(self, "module.build")->fix, "sudo modprobe sluice");
	put(self, "/sys/module/sluice/parameters/max_bytes", "0\n");
	put(self, "/sys/module/sluice/parameters/max_user_bytes",
	    "1073741824\n");
	put(self, "/sys/module/sluice/parameters/drain", "Y\n");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_STREQ(of(self, "module.build")->saw, "loaded into 6.1.0-44-amd64");
	EXPECT_EQ(of(self, "module.build")->status, SLC_CHECK_OK);
	EXPECT_HAS(of(self, "module.limits")->saw, "all regions: no limit");
	EXPECT_HAS(of(self, "module.limits")->saw, "memory: 1 GiB");
	EXPECT_EQ(of(self, "module.limits")->status, SLC_CHECK_WARN);
}

TEST_F(doctor, a_kernel_that_takes_no_unsigned_module_is_said)
{
	put(self, "/sys/kernel/security/lockdown",
	    "none [integrity] confidentiality\n");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_HAS(of(self, "module.signing")->saw, "lockdown: integrity");
	EXPECT_HAS(of(self, "module.signing")->fix, "mokutil");
	put(self, "/sys/kernel/security/lockdown",
	    "[none] integrity confidentiality\n");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_EQ(of(self, "module.signing")->status, SLC_CHECK_OK);
	put(self, "/sys/module/module/parameters/sig_enforce", "Y\n");
	put(self, "/proc/sys/kernel/modules_disabled", "1\n");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_HAS(of(self, "module.signing")->saw, "signatures are enforced");
	EXPECT_HAS(of(self, "module.signing")->saw, "until the next boot");
}

TEST_F(doctor, the_group_and_its_rule_are_looked_for)
{
	put(self, "/etc/group", "root:x:0:\nsluices:x:7:\n");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_HAS(of(self, "module.group")->saw, "group sluice: none");
	EXPECT_HAS(of(self, "module.group")->fix, "groupadd --system sluice");
	EXPECT_HAS(of(self, "module.group")->fix, "60-sluice.rules");
	put(self, "/etc/group", "root:x:0:\nsluice:x:990:joe\n");
	put(self, "/usr/lib/udev/rules.d/60-sluice.rules", "");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_HAS(of(self, "module.group")->saw,
		   "group sluice: there, udev rule: there");
	if (geteuid())
		EXPECT_HAS(of(self, "module.group")->fix, "usermod -aG");
	else
		EXPECT_EQ(of(self, "module.group")->status, SLC_CHECK_OK);
	/* A file of that name is no device of the module. */
	put(self, "/dev/sluice", "");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_HAS(of(self, "module")->saw, "no device of the module");
}

TEST_F(doctor, peer_memory_depends_on_how_the_kernel_was_built)
{
	put(self, "/proc/sys/kernel/osrelease", "7.3.0\n");
	put(self, "/boot/config-7.3.0",
	    "CONFIG_PCI=y\nCONFIG_PCI_P2PDMA=y\n");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_EQ(of(self, "module.p2pdma")->value, 1);
	EXPECT_EQ(of(self, "module.p2pdma")->status, SLC_CHECK_OK);
	put(self, "/boot/config-7.3.0",
	    "# CONFIG_PCI_P2PDMA is not set\nCONFIG_PCI_P2PDMA_X=y\n");
	look_by(self, self->root, SLC_DOCTOR_MODULE);
	EXPECT_EQ(of(self, "module.p2pdma")->value, 0);
	EXPECT_HAS(of(self, "module.p2pdma")->saw, "/boot/config-7.3.0");
	if (!system("command -v gzip >/dev/null")) {
		char cmd[300];

		put(self, "/proc/config", "CONFIG_PCI_P2PDMA=y\n");
		snprintf(cmd, sizeof(cmd), "gzip '%s/proc/config'", self->root);
		ASSERT_EQ(system(cmd), 0);
		look_by(self, self->root, SLC_DOCTOR_MODULE);
		EXPECT_HAS(of(self, "module.p2pdma")->saw, "/proc/config.gz");
		EXPECT_EQ(of(self, "module.p2pdma")->value, 1);
	}
}

TEST_HARNESS_MAIN

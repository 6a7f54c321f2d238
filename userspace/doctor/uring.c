/* SPDX-License-Identifier: MIT */
/* uring.c - can io_uring be used here, and which of its ways? */
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/utsname.h>

#include "doctor/check.h"

static int ring_open(struct io_uring *ring, unsigned int flags)
{
	struct io_uring_params params = { .flags = flags };

	return io_uring_queue_init_params(8, ring, &params);
}

/* Which of the three gates is shut: the sysctl, seccomp, or the kernel. */
static void explain_refusal(const struct slc_patient *p, struct slc_finding *f,
			    int err)
{
	int64_t disabled = slc_peek_number(
		p, 0, "/proc/sys/kernel/io_uring_disabled");
	char status[8192];

	slc_peek(p, status, sizeof(status), "/proc/self/status");
	slc_saw(f, "io_uring_setup: %s", strerror(-err));
	if (disabled > 0) {
		slc_saw(f, ", sysctl kernel.io_uring_disabled=%d%s",
			(int)disabled,
			disabled == 1 ? " (allowed for a group only)" : "");
		slc_fix(f, SLC_CHECK_FAIL,
			"sysctl -w kernel.io_uring_disabled=0");
	} else if (slc_field(status, "Seccomp") == 2) {
		slc_saw(f, ", a seccomp filter is on (Seccomp: 2)");
		slc_fix(f, SLC_CHECK_FAIL,
			"docker run --security-opt seccomp=unconfined ... # or a profile that allows io_uring_setup, io_uring_enter, io_uring_register");
	} else if (err == -ENOMEM) {
		slc_fix(f, SLC_CHECK_FAIL, "ulimit -l unlimited");
	} else {
		slc_fix(f, SLC_CHECK_FAIL,
			"apt-get install linux-image-amd64 # a kernel with CONFIG_IO_URING");
	}
}

void slc_check_uring(const struct slc_patient *p, struct slc_finding *f)
{
	struct io_uring ring;
	int err = ring_open(&ring, 0);

	slc_why(f, "Without io_uring reads go one by one through pread, far below the drive's limit.");
	if (err) {
		explain_refusal(p, f, err);
		return;
	}
	slc_saw(f, "a ring can be made, sysctl kernel.io_uring_disabled=%d",
		(int)slc_peek_number(p, 0,
				     "/proc/sys/kernel/io_uring_disabled"));
	io_uring_queue_exit(&ring);
}

void slc_check_uring_modes(const struct slc_patient *p, struct slc_finding *f)
{
	const unsigned int single = 1u << 12; /* IORING_SETUP_SINGLE_ISSUER */
	const unsigned int defer = 1u << 13;  /* IORING_SETUP_DEFER_TASKRUN */
	struct io_uring ring;
	int err;

	(void)p;
	slc_why(f, "With both, completions are handled when sluice asks for them, not by interrupting its thread.");
	err = ring_open(&ring, 0);
	if (err) {
		slc_saw(f, "not asked: io_uring itself is refused (%s)",
			strerror(-err));
		f->status = SLC_CHECK_NOTE;
		return;
	}
	io_uring_queue_exit(&ring);
	err = ring_open(&ring, single | defer);
	if (!err) {
		io_uring_queue_exit(&ring);
		slc_saw(f, "SINGLE_ISSUER and DEFER_TASKRUN are accepted");
		return;
	}
	slc_saw(f, "SINGLE_ISSUER with DEFER_TASKRUN: %s (they came with Linux 6.0 and 6.1)",
		strerror(-err));
	slc_fix(f, SLC_CHECK_NOTE,
		"apt-get install linux-image-amd64 # 6.1 or later");
}

void slc_check_uring_buffers(const struct slc_patient *p,
			     struct slc_finding *f)
{
	struct iovec iov = { .iov_len = 2u << 20 };
	struct io_uring ring;
	int err;

	(void)p;
	slc_why(f, "Registered buffers are pinned once; else the kernel pins and unpins the pages of each read.");
	err = ring_open(&ring, 0);
	if (err) {
		slc_saw(f, "not asked: io_uring itself is refused (%s)",
			strerror(-err));
		f->status = SLC_CHECK_NOTE;
		return;
	}
	iov.iov_base = mmap(NULL, iov.iov_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (iov.iov_base == MAP_FAILED) {
		slc_saw(f, "not asked: no memory for a test buffer");
		f->status = SLC_CHECK_WARN;
	} else {
		err = io_uring_register_buffers(&ring, &iov, 1);
		munmap(iov.iov_base, iov.iov_len);
		if (err) {
			slc_saw(f, "a buffer of 2 MiB: %s", strerror(-err));
			slc_fix(f, SLC_CHECK_WARN, "ulimit -l unlimited");
		} else {
			slc_saw(f, "a buffer of 2 MiB was registered");
			f->value = (int64_t)iov.iov_len;
		}
	}
	io_uring_queue_exit(&ring);
}

/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - is this machine set up so that sluice can be fast here?
 *
 * Each check looks at one thing and says what it saw, why that matters and,
 * where something can be better, the command that makes it so. Nothing on the
 * machine is changed.
 */
#ifndef SLUICE_DOCTOR_H
#define SLUICE_DOCTOR_H

#include <sluice/sluice.h>

#ifdef __cplusplus
extern "C" {
#endif

enum slc_check_status {
	SLC_CHECK_OK = 1,
	SLC_CHECK_NOTE, /* good to know; nothing to do */
	SLC_CHECK_WARN, /* slower than it could be, or a limit that is near */
	SLC_CHECK_FAIL, /* does not work, or only by a slow fallback */
};

#define SLC_CHECK_NO_VALUE INT64_MIN

/* Valid during the callback only. Ids are stable; so is the unit of each. */
struct slc_check {
	size_t size;
	const char *id;	 /* "hugepages", "drive.node", ... */
	uint32_t status; /* enum slc_check_status */
	uint32_t reserved;
	const char *saw; /* a sentence with the values found */
	const char *why; /* a sentence: why it matters */
	const char *fix; /* a shell command, or "" when there is none */
	int64_t value;	 /* see slc_doctor_run(); or SLC_CHECK_NO_VALUE */
};

/* Non-zero ends the run, which then returns that. */
typedef int (*slc_check_fn)(void *user, const struct slc_check *check);

/* Look at the kernel module only: what it can do here, and how to have it. */
#define SLC_DOCTOR_MODULE (1u << 0)

struct slc_doctor_attr {
	size_t size;
	uint64_t flags;	  /* SLC_DOCTOR_MODULE */
	const char *path; /* file or folder with the data; NULL: "." */
};

/*
 * Runs every check in a fixed order and calls `fn` for each. An attr of NULL is
 * that of the defaults. Takes about a
 * tenth of a second: it opens a small io_uring, writes a 64 KiB unlinked
 * temporary file into a folder it is given, and measures CRC32C.
 *
 * slc_check.value: io_uring.buffers, memlock, memory, hugepages (free), swap
 * (used): bytes, memlock -1 for no limit; odirect: bytes of alignment;
 * drive.node: the node; numa: nodes; cpus: CPUs allowed; nofile: files;
 * crc32c: bytes a second; module: its ABI; module.p2pdma: 1 or 0. The others
 * have none.
 *
 * Returns how many checks failed, or -ENOENT, -EACCES (path), -EINVAL, -E2BIG,
 * or what `fn` returned. Any thread.
 */
int slc_doctor_run(struct slc_ctx *ctx, const struct slc_doctor_attr *attr,
		   slc_check_fn fn, void *user);

/* "ok", "note", "warn", "fail"; "unknown" otherwise. Static. */
const char *slc_check_status_name(uint32_t status);

#ifdef __cplusplus
}
#endif
#endif

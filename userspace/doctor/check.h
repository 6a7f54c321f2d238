/* SPDX-License-Identifier: MIT */
/* check.h - what one check looks at and what it fills. */
#ifndef SLC_DOCTOR_CHECK_H
#define SLC_DOCTOR_CHECK_H

#include <stdbool.h>
#include <sys/types.h>

#include <sluice/doctor.h>

/* Pinned bytes that a stream asks for when nobody says otherwise. */
#define SLC_USUAL_MEMORY (256ull << 20)

struct slc_patient {
	struct slc_ctx *ctx;
	const char *path;
	const char *root; /* before /proc, /sys, /dev; "" outside of tests */
	dev_t dev;	  /* of path */
	bool is_dir, is_drive;
};

/* Zeroed before each check; status then is SLC_CHECK_OK, value none. */
struct slc_finding {
	uint32_t status;
	int64_t value;
	char saw[600], why[300], fix[300];
};

/* Each appends to its text, cut at the end of the buffer. */
void slc_saw(struct slc_finding *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void slc_why(struct slc_finding *f, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
void slc_fix(struct slc_finding *f, uint32_t status, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* "2 MiB" into a static thread-local ring of four buffers. */
const char *slc_size_text(uint64_t bytes);

/* A text file below the root, made by fmt, without its last newline. 0,
 * or -errno and then buf is "". */
int slc_peek(const struct slc_patient *p, char *buf, size_t n, const char *fmt,
	     ...) __attribute__((format(printf, 4, 5)));

/* The number at the start of such a file, or `otherwise`. */
int64_t slc_peek_number(const struct slc_patient *p, int64_t otherwise,
			const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The number after "KEY:" in the text of /proc/meminfo or status; -1. */
int64_t slc_field(const char *text, const char *key);

/* The process may lock as much as it likes (CAP_IPC_LOCK). */
bool slc_may_lock(const struct slc_patient *p);

typedef void (*slc_check_run)(const struct slc_patient *p,
			      struct slc_finding *f);

/* uring.c */
void slc_check_uring(const struct slc_patient *p, struct slc_finding *f);
void slc_check_uring_modes(const struct slc_patient *p, struct slc_finding *f);
void slc_check_uring_buffers(const struct slc_patient *p,
			     struct slc_finding *f);
/* memory.c */
void slc_check_memlock(const struct slc_patient *p, struct slc_finding *f);
void slc_check_memory(const struct slc_patient *p, struct slc_finding *f);
void slc_check_hugepages(const struct slc_patient *p, struct slc_finding *f);
void slc_check_thp(const struct slc_patient *p, struct slc_finding *f);
void slc_check_numa(const struct slc_patient *p, struct slc_finding *f);
void slc_check_swap(const struct slc_patient *p, struct slc_finding *f);
/* storage.c */
void slc_check_filesystem(const struct slc_patient *p, struct slc_finding *f);
void slc_check_odirect(const struct slc_patient *p, struct slc_finding *f);
void slc_check_drive_node(const struct slc_patient *p, struct slc_finding *f);
void slc_check_drive_queue(const struct slc_patient *p, struct slc_finding *f);
/* system.c */
void slc_check_kernel(const struct slc_patient *p, struct slc_finding *f);
void slc_check_container(const struct slc_patient *p, struct slc_finding *f);
void slc_check_cpus(const struct slc_patient *p, struct slc_finding *f);
void slc_check_nofile(const struct slc_patient *p, struct slc_finding *f);
void slc_check_crc32c(const struct slc_patient *p, struct slc_finding *f);
/* module.c */
void slc_check_module(const struct slc_patient *p, struct slc_finding *f);
void slc_check_module_group(const struct slc_patient *p, struct slc_finding *f);
void slc_check_module_alloc(const struct slc_patient *p, struct slc_finding *f);
void slc_check_module_pin(const struct slc_patient *p, struct slc_finding *f);
void slc_check_module_peer(const struct slc_patient *p, struct slc_finding *f);
void slc_check_module_ring(const struct slc_patient *p, struct slc_finding *f);
void slc_check_module_limits(const struct slc_patient *p,
			     struct slc_finding *f);
void slc_check_module_build(const struct slc_patient *p, struct slc_finding *f);
void slc_check_module_signing(const struct slc_patient *p,
			      struct slc_finding *f);
void slc_check_module_p2pdma(const struct slc_patient *p,
			     struct slc_finding *f);

/* slc_doctor_run() with another root for /proc, /sys and /dev. */
int slc_doctor_run_at(struct slc_ctx *ctx, const struct slc_doctor_attr *attr,
		      const char *root, slc_check_fn fn, void *user);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * source.h - the bytes that a parser looks at, and what it says is wrong.
 *
 * Parsers are pure: they ask a source for byte ranges and do no I/O of their
 * own. Memory, a file and an inflating stream are sources.
 */
#ifndef SLC_FORMAT_SOURCE_H
#define SLC_FORMAT_SOURCE_H

#include <stddef.h>
#include <stdint.h>

#define SLC_SIZE_UNKNOWN UINT64_MAX /* an inflating source before its end */

struct slc_source {
	/*
	 * Required. Copies up to len bytes at off into buf. Returns the count,
	 * short only where the source ends (0 at and past the end), or -errno.
	 * A source whose size is unknown may only be read forward: an offset
	 * before the last one read is -ESPIPE.
	 */
	int64_t (*read)(struct slc_source *src, uint64_t off, void *buf,
			uint64_t len);
	uint64_t size; /* bytes, or SLC_SIZE_UNKNOWN */
};

struct slc_source_mem {
	struct slc_source base;
	const uint8_t *bytes;
};

/* `bytes` must outlive the source. */
void slc_source_mem_init(struct slc_source_mem *src, const void *bytes,
			 uint64_t len);

/* What is wrong with the input, and at which byte of it. */
struct slc_diag {
	uint64_t off;
	char what[256]; /* printable ASCII, one line */
};

/*
 * Fills *diag; bytes of the input that are quoted are made printable. Returns
 * -EBADMSG, so that a refusal is one line.
 */
int slc_bad(struct slc_diag *diag, uint64_t off, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Reads exactly len bytes: 0, -EBADMSG with "ends inside WHAT" when the source
 * is shorter, or the source's -errno with diag set.
 */
int slc_source_exact(struct slc_source *src, uint64_t off, void *buf,
		     uint64_t len, const char *what, struct slc_diag *diag);

/*
 * Reads len bytes at off into memory that the caller frees, with a NUL behind
 * them. Never allocates more than about twice what the source really holds,
 * whatever len says: 0, -EBADMSG as above, -ENOMEM or the source's -errno.
 */
int slc_source_load(struct slc_source *src, uint64_t off, uint64_t len,
		    const char *what, uint8_t **out, struct slc_diag *diag);

/*
 * The source must hold at least min_end and at most max_end bytes: 0,
 * -EBADMSG, or its -errno. A source whose size is unknown is read from `from`
 * on, where the parser stopped, to its end.
 */
int slc_source_ends(struct slc_source *src, uint64_t from, uint64_t min_end,
		    uint64_t max_end, struct slc_diag *diag);

/* The size; where it is unknown, found by reading from `from` to the end. */
int slc_source_size(struct slc_source *src, uint64_t from, uint64_t *size,
		    struct slc_diag *diag);

#endif

/* SPDX-License-Identifier: MIT */
/*
 * attach.h - the files and regions a queue has met, and the sentences it gives.
 *
 * An attachment holds one reference for the queue, from the first move (or
 * slc_queue_attach_*) until detach, close, or, for a file, until the queue is
 * the last to know it and no move uses it. Tables are made once: a meeting
 * allocates nothing.
 */
#ifndef SLC_QUEUE_ATTACH_H
#define SLC_QUEUE_ATTACH_H

#include "queue/engine.h"
#include "queue/file.h"

#define SLC_ATT_BUCKETS 256u /* a power of two */
#define SLC_REASON_MAX 256u  /* bytes of one sentence */
#define SLC_REASONS 128u     /* distinct sentences of one queue */

/* What both kinds begin with. */
struct slc_att {
	void *object; /* the file or region; NULL: free */
	int32_t next; /* in its bucket or in the free list, -1: last */
	uint32_t users; /* moves between submit and completion */
};

struct slc_file_att {
	struct slc_att a;
	struct slc_file *file;
	int32_t slot[2];   /* [direct]: in the registered table, or -1 */
	bool tried[2];	   /* registration, whatever came of it */
	bool dio_refused;  /* O_DIRECT failed with -EINVAL on the way */
	bool poll_refused; /* the device cannot be polled */
	uint32_t dio_writes; /* moves that write around the page cache now */
	const char *why_buffered; /* "" when O_DIRECT works */
	const char *why_edge;	/* of a bounce at head or tail */
	const char *why_phase;	/* of a bounce of everything */
	const char *why_no_slot; /* "" when registered */
};

struct slc_region_att {
	struct slc_att a;
	struct slc_region *region;
	char *addr;
	uint64_t len;
	int32_t slot; /* the first of ceil(len / SLC_BUF_CHUNK), or -1 */
	bool from_zero; /* addresses in a slot count from its first byte */
	const char *why_plain; /* why it is not registered, or not by its
				* dma-buf; "" */
};

struct slc_att_table {
	char *items;
	size_t stride;
	uint32_t n, hand; /* hand: where the search for idle ones goes on */
	int32_t free;
	struct slc_att *last; /* the last one found */
	int32_t bucket[SLC_ATT_BUCKETS];
};

/* Sentences, each kept once. The last is "and more". */
struct slc_reasons {
	uint32_t n;
	const char *memo[5]; /* the last join: its parts, its result */
	char text[SLC_REASONS][SLC_REASON_MAX];
};

struct slc_attach {
	const struct slc_engine_ops *ops; /* not ours */
	void *state;
	struct slc_engine_caps caps;
	struct slc_att_table files, regions;
	bool buf_used[256]; /* slots of registered buffers */
	struct slc_reasons *reasons;
};

/* 0 or -ENOMEM, and then nothing is left behind. */
int slc_attach_init(struct slc_attach *t, const struct slc_engine_ops *ops,
		    void *state, const struct slc_engine_caps *caps);
/*
 * Drops every reference. The engine is still open; in a forked child it is the
 * parent's, and is left alone.
 */
void slc_attach_fini(struct slc_attach *t, bool forked);

/* Finds or meets. NULL: every entry is used by a move in flight. */
struct slc_file_att *slc_attach_file(struct slc_attach *t,
				     struct slc_file *file);
struct slc_region_att *slc_attach_region(struct slc_attach *t,
					 struct slc_region *region);

/* The registered slot of that descriptor of the file, or -1. */
int32_t slc_attach_slot(struct slc_attach *t, struct slc_file_att *fa,
			bool direct);

/* The registered slot that holds [addr, addr + len), or -1. */
static inline int32_t slc_attach_buffer(const struct slc_region_att *ra,
					const char *addr, uint32_t len)
{
	uint64_t off = (uint64_t)(addr - ra->addr);

	/* An I/O across two slots, one in a GiB, goes unregistered. */
	if (ra->slot < 0 ||
	    (off / SLC_BUF_CHUNK) != (off + len - 1) / SLC_BUF_CHUNK)
		return -1;
	return ra->slot + (int32_t)(off / SLC_BUF_CHUNK);
}

/* The address that counts as 0 in the slot that holds addr. */
static inline uint64_t slc_attach_zero(const struct slc_region_att *ra,
				       const char *addr)
{
	uint64_t off = (uint64_t)(addr - ra->addr);

	if (!ra->from_zero)
		return 0;
	return (uint64_t)(uintptr_t)addr - off % SLC_BUF_CHUNK;
}

/* 0, -ENOENT, -EBUSY. */
int slc_detach_file(struct slc_attach *t, struct slc_file *file);
int slc_detach_region(struct slc_attach *t, struct slc_region *region);

/* A move has let go of it. */
void slc_attach_left_file(struct slc_attach *t, struct slc_file_att *fa);

/* A sentence that lives as long as the queue. */
const char *slc_reason(struct slc_reasons *r, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Those of the four that are not "", with "; " between. */
const char *slc_reason_join(struct slc_reasons *r, const char *a,
			    const char *b, const char *c, const char *d);

#endif

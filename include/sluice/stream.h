/* SPDX-License-Identifier: MIT */
/*
 * stream.h - datasets, and samples in order out of pinned memory.
 *
 * A dataset is shards (files), each an ordered list of samples, numbered from
 * 0 across all shards. A stream delivers samples in an order that depends only
 * on (dataset, shuffle, seed, epoch), as zero-copy views of one region.
 */
#ifndef SLUICE_STREAM_H
#define SLUICE_STREAM_H

#include <sluice/queue.h>

#ifdef __cplusplus
extern "C" {
#endif

struct slc_dataset;
struct slc_stream;

/* ---- datasets ---- */

/* Of a manifest only the list of files is taken: the way to pack it again
 * after files changed. The dataset is unverified. */
#define SLC_DATASET_RELIST (1u << 0)

struct slc_dataset_attr {
	size_t size;
	uint64_t flags;	    /* SLC_DATASET_* */
	const char *format; /* NULL: by name and magic; "raw", "megatron", ... */
	uint64_t record;    /* bytes of a record, with format "raw" */
};

/*
 * Opens a dataset: a manifest made by slc_dataset_pack(), files, or folders
 * (every file below with a known format, in byte order of the path; a folder
 * with an MDS index.json is that MDS dataset). Reads headers and indexes, no
 * payload; but a compressed shard without a manifest is inflated to its end.
 * That takes half a second a MiB at worst (1 MiB of gzip is 1 GiB then): one
 * that makes more than 1032 times its size and 64 MiB is refused as a bomb.
 * Many shards are read by up to 32 threads that are gone when it returns; the
 * log is called in the calling thread alone.
 * Without a manifest the dataset is unverified. An attr of NULL is that of the
 * defaults; it and the paths are read during the call only.
 *
 * Returns 0; -EBADMSG for malformed input: slc_last_error() is then
 * "FILE: FORMAT: offset N: what is wrong"; -ESTALE when a file is not the one
 * the manifest describes (size, mtime); -ENOENT, -EACCES, -EINVAL (not a
 * regular file, unknown format, no path), -ENOMEM. Any thread.
 */
int slc_dataset_open(struct slc_ctx *ctx, const char *const *paths,
		     uint32_t npaths, const struct slc_dataset_attr *attr,
		     struct slc_dataset **out);
struct slc_dataset *slc_dataset_get(struct slc_dataset *ds);
void slc_dataset_put(struct slc_dataset *ds);

struct slc_dataset_info {
	size_t size;
	uint64_t samples;
	uint64_t shards;
	uint64_t bytes;	      /* of the shard files */
	uint64_t index_bytes; /* memory that the sample index takes */
	uint64_t fingerprint; /* of shards, sizes, formats and sample counts */
	uint32_t verified;    /* 1 when a manifest gave checksums */
	uint32_t reserved;
};
int slc_dataset_query(const struct slc_dataset *ds,
		      struct slc_dataset_info *info);

struct slc_shard_info {
	size_t size;
	const char *path;   /* Life: the dataset */
	const char *format; /* "safetensors", ... */
	const char *codec;  /* "", "gzip", "zstd" */
	uint64_t bytes;	    /* of the file */
	uint64_t samples;
	uint64_t first;	    /* dataset number of its first sample */
};
int slc_dataset_shard(const struct slc_dataset *ds, uint64_t shard,
		      struct slc_shard_info *info);

/* What the index knows of a sample without reading its payload. */
struct slc_sample_info {
	size_t size;
	uint64_t shard;
	uint64_t off;	   /* in the (inflated) shard file, bytes */
	uint64_t len;	   /* stored bytes, container headers between parts too */
	const char *dtype; /* "F32", "i32", "" when the format has none. Static */
	uint32_t ndim;	   /* 0 with dtype "": no shape */
	uint32_t reserved;
	uint64_t shape[64];
	char key[512];	   /* text, cut with "..." when longer */
};
/*
 * 0, -ERANGE past the last sample, -EINVAL. A tar key is read from the file,
 * and with a manifest held against it: that may fail with its -errno, -EBADMSG
 * or -ESTALE.
 */
int slc_dataset_sample(const struct slc_dataset *ds, uint64_t sample,
		       struct slc_sample_info *info);

struct slc_pack_attr {
	size_t size;
	uint64_t flags; /* must be 0 */
	/* Called about 10 times a second in the calling thread; may be NULL. A
	 * non-zero return stops the pack with -ECANCELED and leaves nothing. */
	int (*progress)(void *user, uint64_t bytes_done, uint64_t bytes_total);
	void *user;
};
/*
 * Reads every byte of the dataset once and writes a manifest to `path`, and
 * the per-sample checksums to a file beside it, each by temp file, fsync,
 * rename and directory fsync; the manifest last. On failure what was at `path`
 * is as it was.
 *
 * 0; -EEXIST when something else than a manifest is at `path`; -ESTALE for a
 * file that changed; -ECANCELED; -EINVAL (an array in Fortran order); -EMFILE
 * with fewer than 3 descriptors left (more read ahead over small files);
 * -ENOSPC, -EIO and others of the files. One thread.
 */
int slc_dataset_pack(struct slc_dataset *ds, const char *path,
		     const struct slc_pack_attr *attr);

/* ---- streams ---- */

enum slc_shuffle {
	SLC_SHUFFLE_NONE = 0,  /* shard by shard, in order */
	SLC_SHUFFLE_SHARD = 1, /* shards permuted, samples of a shard in order */
	SLC_SHUFFLE_FULL = 2,  /* one permutation of all samples, O(1) memory */
};

enum slc_tail {
	SLC_TAIL_UNEVEN = 0, /* each sample exactly once; ranks may differ by 1 */
	SLC_TAIL_DROP = 1,   /* drop the last samples % (world x batch) */
	SLC_TAIL_PAD = 2,    /* repeat from the start of the order until even */
};

#define SLC_STREAM_STRICT (1u << 0) /* a fallback route, or memory that cannot
				     * be pinned, is an error */
#define SLC_STREAM_NOCRC (1u << 1)  /* no CRC32C: neither given nor checked */
#define SLC_STREAM_PARTS (1u << 2)  /* samples too large come in parts */
#define SLC_STREAM_VERIFY (1u << 3) /* a dataset without checksums is an error */
#define SLC_STREAM_BUFFERED (1u << 4) /* through the page cache, by wish */

#define SLC_TOKEN_MAX 256 /* bytes of a resume token, its NUL included */

struct slc_stream_attr {
	size_t size;
	uint64_t flags;
	uint32_t shuffle;	/* enum slc_shuffle */
	uint32_t tail;		/* enum slc_tail */
	uint64_t seed;
	uint64_t epoch;
	uint32_t rank, world;	/* world 0: 1 */
	uint32_t batch;		/* samples per rank and step; 0: 1 */
	uint32_t depth;		/* I/Os in flight; 0: chosen */
	uint64_t memory;	/* pinned bytes at most, all told; 0: 256 MiB */
	uint64_t page_size;	/* of the region, as in region.h */
	int32_t node;		/* of the region and the queue: a NUMA node, or
				 * SLC_NODE_CALLER; 0 is node 0 */
	uint32_t max_io;	/* largest single read; 0: 1 MiB */
	const char *resume;	/* token or NULL; seed, epoch, shuffle and tail
				 * then come from it, and a batch of 0: set to
				 * another value than its own, other than 0,
				 * they are -EINVAL. Read during the call */
	const char *engine;	/* as in slc_queue_attr */
};

#define SLC_VIEW_CRC (1u << 0)	     /* crc is set */
#define SLC_VIEW_VERIFIED (1u << 1)  /* every stored byte is as it was packed */
#define SLC_VIEW_PARTIAL (1u << 2)   /* one part of a sample */
#define SLC_VIEW_LAST (1u << 3)	     /* the last or only part */

/* A sample lent to the consumer. */
struct slc_view {
	uint64_t sample;   /* its number in the dataset */
	uint64_t position; /* its place in the order, over all ranks */
	const void *ptr;   /* stored bytes; valid until released */
	uint64_t len;	   /* bytes at ptr */
	uint64_t payload;  /* bytes of payload: = len, less for tar */
	struct slc_region *region; /* borrowed: valid until released */
	uint64_t region_off;	   /* of ptr */
	uint64_t part_off;	   /* first byte of this part in the sample */
	uint64_t sample_len;	   /* stored bytes of the whole sample */
	uint32_t crc;	   /* CRC32C of the payload; of the whole sample in the
			    * last part, of all parts so far before it */
	uint32_t flags;	   /* SLC_VIEW_* */
	uint64_t cookie;   /* the stream's own */
};

/* One named piece of a sample: a tar member; the sample itself elsewhere. */
struct slc_member {
	const char *name; /* extension after the key for tar, else "" */
	uint32_t name_len;
	uint32_t reserved;
	const void *ptr;
	uint64_t len;
};

/*
 * Opens a stream for the calling thread: allocates and pins its memory, and
 * reads nothing yet. It keeps the dataset.
 *
 * @attr: NULL for the defaults, on node 0. Read during the call only.
 * @out: for slc_stream_close().
 *
 * Returns 0; -EINVAL (attr, a token that is damaged, of another dataset or of
 * another order than attr has, too little memory), -EOPNOTSUPP for what these
 * shards cannot do (a full shuffle of compressed ones, Fortran order, STRICT
 * where they must be inflated), -EPERM (STRICT without leave to pin), -ENOMEM,
 * -E2BIG, and what slc_queue_open() and slc_region_alloc() return.
 */
int slc_stream_open(struct slc_dataset *ds, const struct slc_stream_attr *attr,
		    struct slc_stream **out);
void slc_stream_close(struct slc_stream *s);

/*
 * Lends up to `max` next samples in delivery order: the count, 0 at the end,
 * -ENOBUFS when the lent views leave no room (release some), -EBADMSG for a
 * checksum mismatch, -ENODATA for a file that ended early, -ESTALE for one
 * that changed, -EIO, -EINTR after a signal, or -EMSGSIZE for a sample larger
 * than half the memory without SLC_STREAM_PARTS. slc_last_error() names file,
 * offset and sample. After an error other than -ENOBUFS and -EINTR the stream
 * only gives that error again. One thread.
 */
int slc_stream_next(struct slc_stream *s, struct slc_view *views, uint32_t max);

/* Gives views back, in any order. The thread of slc_stream_next(). */
void slc_stream_release(struct slc_stream *s, const struct slc_view *views,
			uint32_t n);

/*
 * The text key of a view into buf, cut to n - 1 bytes, with a NUL. Returns the
 * length of the whole key, as snprintf() does: n or more says that it was cut.
 * -EINVAL (n 0), -EBADMSG for a tar header that is damaged.
 */
int slc_stream_key(struct slc_stream *s, const struct slc_view *view, char *buf,
		   size_t n);

/* The members of a whole view, at most max of them: how many there are. */
int slc_stream_members(struct slc_stream *s, const struct slc_view *view,
		       struct slc_member *members, uint32_t max);

/*
 * The resume token: text, no spaces, versioned and checksummed. With it every
 * rank of any world size goes on with exactly the samples not yet handed out
 * by slc_stream_next(), given that all ranks had taken equally many. Once
 * slc_stream_next() gave 0, the token is that of the end on every rank: with
 * SLC_TAIL_UNEVEN a rank may have one sample less than others, and its token
 * from before that 0 still holds the last samples of those as not handed out.
 * What SLC_TAIL_DROP left over is dealt anew where the world size changes.
 * 0 or -ENOSPC (n < SLC_TOKEN_MAX).
 */
int slc_stream_token(struct slc_stream *s, char *buf, size_t n);

struct slc_route_stat {
	uint32_t route; /* enum slc_route */
	uint32_t reserved;
	uint64_t bytes;
	const char *reason; /* Life: the stream */
};

struct slc_stream_stats {
	size_t size;
	uint64_t samples;     /* handed out, whole ones */
	uint64_t bytes;	      /* payload handed out */
	uint64_t bytes_read;  /* from storage, supersets included */
	uint64_t samples_total; /* for this rank, from the start or resume on */
	uint64_t bytes_verified;
	uint64_t crc_errors;
	uint64_t retries;
	uint64_t max_pinned_bytes; /* window and queue; 0 of what is not pinned */
	uint64_t wait_ns;     /* the consumer waited for storage */
	uint32_t nroutes;
	uint32_t reserved;
	struct slc_route_stat routes[16];
	uint64_t window_bytes;
	uint64_t page_size;	   /* of the window, bytes */
	uint32_t page_kind;	   /* enum slc_page_kind */
	uint32_t pin_kind;	   /* enum slc_pin_kind */
	const char *memory_reason; /* each step down; "". Life: the stream */
};
int slc_stream_stats(const struct slc_stream *s, struct slc_stream_stats *out);

#ifdef __cplusplus
}
#endif
#endif

/* SPDX-License-Identifier: MIT */
/* stream_fixture.h - a folder for a dataset, and what damages its files. */
#ifndef SLC_TESTS_STREAM_FIXTURE_H
#define SLC_TESTS_STREAM_FIXTURE_H

#include <errno.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"

#define VIEWS 64

FIXTURE(fault)
{
	struct slc_ctx *ctx;
	struct slc_dataset *ds;
	struct slc_stream *s;
	char *dir, *file, *manifest;
	struct md_samples want;
};
FIXTURE_NO_VARIANT(fault);

FIXTURE_SETUP(fault)
{
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	self->dir = md_folder();
	self->file = strdup(md_path("%s/a.bin", self->dir));
	self->manifest = strdup(md_path("%s/a.slc.json", self->dir));
}

FIXTURE_TEARDOWN(fault)
{
	slc_stream_close(self->s);
	slc_dataset_put(self->ds);
	slc_ctx_close(self->ctx);
	md_samples_fini(&self->want);
	md_remove(self->dir);
	free(self->file);
	free(self->manifest);
}

static inline int open_ds(struct slc_ctx *ctx, const char *path,
			  uint64_t record, struct slc_dataset **out)
{
	struct slc_dataset_attr da = { .size = sizeof(da), .record = record,
				       .format = record ? "raw" : NULL };

	return slc_dataset_open(ctx, &path, 1, &da, out);
}

static inline struct slc_stream_attr attr_of(uint32_t shuffle, uint64_t flags)
{
	return (struct slc_stream_attr){ .size = sizeof(struct slc_stream_attr),
					 .shuffle = shuffle, .seed = 7,
					 .flags = flags, .memory = 8u << 20,
					 .node = -1, .page_size = 4096 };
}

/* Samples until the end (0) or an error; how many came before. */
static inline int drain(struct slc_stream *s, uint64_t *got)
{
	struct slc_view v[VIEWS];
	int n;

	*got = 0;
	while ((n = slc_stream_next(s, v, VIEWS)) > 0) {
		for (int i = 0; i < n; i++)
			*got += v[i].flags & SLC_VIEW_LAST ? 1 : 0;
		slc_stream_release(s, v, (uint32_t)n);
	}
	if (n < 0 && n != -EINTR)
		printf("# %s\n", slc_last_error(NULL));
	return n;
}

static inline void flip(const char *path, off_t at)
{
	struct timespec keep[2];
	struct stat st;
	uint8_t byte;
	int fd = open(path, O_RDWR);

	MD_MUST(fd >= 0 && !fstat(fd, &st));
	MD_MUST(pread(fd, &byte, 1, at) == 1);
	byte ^= 0x10;
	MD_MUST(pwrite(fd, &byte, 1, at) == 1);
	/* As a disk does it: nothing about the file says so. */
	keep[0] = st.st_atim;
	keep[1] = st.st_mtim;
	MD_MUST(!futimens(fd, keep));
	close(fd);
}

/* A raw file of n records and its manifest, open as self->ds. */
#define PACKED(n, record)                                                    \
	do {                                                                 \
		struct slc_dataset *plain;                                   \
		md_raw(self->file, n, record, &self->want);                  \
		ASSERT_EQ(open_ds(self->ctx, self->file, record, &plain), 0); \
		ASSERT_EQ(slc_dataset_pack(plain, self->manifest, NULL), 0); \
		slc_dataset_put(plain);                                      \
	} while (0)

#endif

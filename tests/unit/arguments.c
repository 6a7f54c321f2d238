// SPDX-License-Identifier: MIT
/* What the calls that open or allocate say of an argument that is missing. */
#include <errno.h>

#include <sluice/doctor.h>
#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"

static int ignore(void *user, const struct slc_check *check)
{
	(void)user;
	(void)check;
	return 0;
}

#define EXPECT_MISSING(call, what)                                            \
	do {                                                                  \
		errno = 77;                                                   \
		EXPECT_EQ(call, -EINVAL);                                     \
		EXPECT_HAS(slc_last_error(NULL), what " is NULL");            \
		EXPECT_EQ(errno, 77);                                         \
	} while (0)

TEST(a_missing_argument_is_einval_with_its_name)
{
	struct slc_region_attr ra = { .size = sizeof(ra), .len = 4096 };
	const char *none[] = { NULL }, *path;
	struct slc_dataset *ds = NULL;
	struct slc_region *r = NULL;
	struct slc_queue *q = NULL;
	struct slc_file *f = NULL;
	struct slc_stream *s = NULL;
	char *dir = md_folder();
	struct slc_ctx *ctx;

	path = md_path("%s/a.npy", dir);
	md_npy(path, 10, 100, NULL);
	EXPECT_MISSING(slc_ctx_open(NULL, NULL), "slc_ctx_open: out");
	ASSERT_EQ(slc_ctx_open(NULL, &ctx), 0);
	EXPECT_MISSING(slc_region_alloc(NULL, &ra, &r), "slc_region_alloc: ctx");
	EXPECT_MISSING(slc_region_alloc(ctx, &ra, NULL), "slc_region_alloc: out");
	EXPECT_EQ(slc_region_alloc(ctx, NULL, &r), -EINVAL); /* of no length */
	EXPECT_MISSING(slc_queue_open(NULL, NULL, &q), "slc_queue_open: ctx");
	EXPECT_MISSING(slc_queue_open(ctx, NULL, NULL), "slc_queue_open: out");
	EXPECT_MISSING(slc_file_open(NULL, path, SLC_FILE_READ, &f),
		       "slc_file_open: ctx");
	EXPECT_MISSING(slc_file_open(ctx, NULL, SLC_FILE_READ, &f),
		       "slc_file_open: path");
	EXPECT_MISSING(slc_file_open(ctx, path, SLC_FILE_READ, NULL),
		       "slc_file_open: out");
	EXPECT_MISSING(slc_dataset_open(NULL, &path, 1, NULL, &ds),
		       "slc_dataset_open: ctx");
	EXPECT_MISSING(slc_dataset_open(ctx, NULL, 1, NULL, &ds),
		       "slc_dataset_open: a path");
	EXPECT_MISSING(slc_dataset_open(ctx, none, 1, NULL, &ds),
		       "slc_dataset_open: a path");
	EXPECT_MISSING(slc_dataset_open(ctx, &path, 1, NULL, NULL),
		       "slc_dataset_open: out");
	EXPECT_EQ(slc_dataset_open(ctx, NULL, 0, NULL, &ds), -EINVAL);
	EXPECT_MISSING(slc_stream_open(NULL, NULL, &s), "slc_stream_open: ds");
	ASSERT_EQ(slc_dataset_open(ctx, &path, 1, NULL, &ds), 0);
	EXPECT_MISSING(slc_stream_open(ds, NULL, NULL), "slc_stream_open: out");
	EXPECT_MISSING(slc_doctor_run(NULL, NULL, ignore, NULL),
		       "slc_doctor_run: ctx");
	EXPECT_MISSING(slc_doctor_run(ctx, NULL, NULL, NULL),
		       "slc_doctor_run: fn");
	EXPECT_TRUE(!r && !q && !f && !s);
	slc_dataset_put(ds);
	slc_ctx_close(ctx);
	md_remove(dir);
}

TEST(close_and_put_take_null_for_nothing)
{
	errno = 77;
	slc_ctx_close(NULL);
	slc_region_put(NULL);
	slc_file_put(NULL);
	slc_queue_close(NULL);
	slc_dataset_put(NULL);
	slc_stream_close(NULL);
	EXPECT_EQ(errno, 77);
}

TEST(an_attr_of_null_is_that_of_the_defaults)
{
	struct slc_dataset *ds;
	struct slc_stream *s;
	struct slc_queue *q;
	struct slc_ctx *ctx;
	const char *path;
	char *dir = md_folder();

	path = md_path("%s/a.npy", dir);
	md_npy(path, 10, 100, NULL);
	ASSERT_EQ(slc_ctx_open(NULL, &ctx), 0);
	ASSERT_EQ(slc_queue_open(ctx, NULL, &q), 0);
	slc_queue_close(q);
	ASSERT_EQ(slc_dataset_open(ctx, &path, 1, NULL, &ds), 0);
	ASSERT_EQ(slc_stream_open(ds, NULL, &s), 0);
	slc_stream_close(s);
	slc_dataset_put(ds);
	slc_ctx_close(ctx);
	md_remove(dir);
}

TEST_HARNESS_MAIN

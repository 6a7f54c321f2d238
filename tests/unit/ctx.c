/* SPDX-License-Identifier: MIT */
/* The context: attrs from the future, the log hook, out of memory. */
#include <errno.h>

#include <sluice/sluice.h>

#include "ktap.h"
#include "nthfail.h"

#include "base/ctx.h"

TEST(attr_of_an_older_program_is_filled_with_defaults)
{
	struct slc_ctx_attr attr = { .size = 16 };
	struct slc_ctx *ctx = NULL;

	/* What lies past attr.size is the caller's own and not looked at. */
	attr.log = (slc_log_fn)(uintptr_t)0x1;
	ASSERT_EQ(slc_ctx_open(&attr, &ctx), 0);
	slc_log(ctx, SLC_LOG_ERROR, "would jump to 0x1");
	slc_ctx_close(ctx);
}

TEST(attr_of_a_newer_program_is_refused_when_it_asks_for_more)
{
	struct {
		struct slc_ctx_attr known;
		uint64_t later;
	} attr = { .known = { .size = sizeof(attr) } };
	struct slc_ctx *ctx = NULL;

	ASSERT_EQ(slc_ctx_open(&attr.known, &ctx), 0);
	slc_ctx_close(ctx);
	ctx = NULL;
	attr.later = 1ull << 63;
	EXPECT_EQ(slc_ctx_open(&attr.known, &ctx), -E2BIG);
	EXPECT_NULL(ctx);
	EXPECT_HAS(slc_last_error(NULL), "update the library");
}

TEST(attr_without_size_is_refused)
{
	struct slc_ctx_attr attr = { 0 };
	struct slc_ctx *ctx = NULL;

	EXPECT_EQ(slc_ctx_open(&attr, &ctx), -EINVAL);
	EXPECT_HAS(slc_last_error(NULL), "size");
	attr.size = sizeof(attr);
	attr.flags = 1;
	EXPECT_EQ(slc_ctx_open(&attr, &ctx), -EINVAL);
	EXPECT_NULL(ctx);
}

TEST(every_failed_allocation_is_enomem)
{
	struct slc_ctx *ctx = NULL;
	int err;

	for (uint64_t n = 1;; n++) {
		ASSERT_LT(n, 100);
		nthfail_arm(n);
		err = slc_ctx_open(NULL, &ctx);
		if (!nthfail_disarm())
			break;
		EXPECT_EQ(err, -ENOMEM);
		EXPECT_NULL(ctx);
	}
	EXPECT_EQ(err, 0);
	EXPECT_GT(nthfail_count(), 0);
	slc_ctx_close(ctx);
}

static void keep(void *user, enum slc_log_level level, const char *msg)
{
	if (level == SLC_LOG_DEBUG)
		snprintf(user, 200, "%s", msg);
}

TEST(failure_sets_the_sentence_and_keeps_errno)
{
	char seen[200] = "";
	struct slc_ctx_attr attr = { .size = sizeof(attr),
				     .log = keep,
				     .log_user = seen };
	struct slc_ctx *ctx;

	ASSERT_EQ(slc_ctx_open(&attr, &ctx), 0);
	errno = 123;
	EXPECT_EQ(slc_fail(ctx, -EIO, "first %d", 1), -EIO);
	EXPECT_EQ(errno, 123);
	EXPECT_STREQ(slc_last_error(ctx), "first 1");
	EXPECT_STREQ(seen, "first 1");
	/* A sentence may quote the one before it. */
	slc_fail(ctx, -EIO, "second, after %s", slc_last_error(ctx));
	EXPECT_STREQ(slc_last_error(ctx), "second, after first 1");
	slc_ctx_close(ctx);
}

TEST(version_is_that_of_the_header)
{
	char v[32];

	snprintf(v, sizeof(v), "%d.%d.%d", SLC_VERSION_MAJOR,
		 SLC_VERSION_MINOR, SLC_VERSION_PATCH);
	EXPECT_STREQ(slc_version(), v);
}

TEST_HARNESS_MAIN

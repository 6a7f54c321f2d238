// SPDX-License-Identifier: MIT
/* Regions: what was asked is got, or said in words. */
#include <sluice/region.h>

#include <errno.h>

#include "ktap.h"

#define MIB (1ull << 20)

static struct slc_ctx *ctx;

static struct slc_region *get(uint64_t len, uint64_t page_size, uint64_t flags)
{
	struct slc_region_attr attr = { .size = sizeof(attr),
					.len = len,
					.page_size = page_size,
					.node = SLC_NODE_CALLER,
					.flags = flags };
	struct slc_region *r = NULL;
	int err;

	if (!ctx)
		ASSERT_EQ(0, slc_ctx_open(NULL, &ctx));
	err = slc_region_alloc(ctx, &attr, &r);
	if (err)
		printf("# %s\n", slc_last_error(ctx));
	ASSERT_EQ(0, err);
	return r;
}

static struct slc_region_info info_of(const struct slc_region *r)
{
	struct slc_region_info info = { .size = sizeof(info) };

	ASSERT_EQ(0, slc_region_query(r, &info));
	return info;
}

TEST(every_byte_can_be_written_and_begins_as_zero)
{
	static const uint64_t sizes[] = { 4096, 2 * MIB, 1u << 30 };

	for (int shared = 0; shared < 2; shared++)
		for (int i = 0; i < 3; i++) {
			struct slc_region *r;
			unsigned char *p;

			/* 1 GiB steps down on a machine with a small pool. */
			r = get(10 * MIB + 1, sizes[i],
				shared ? SLC_REGION_SHARED : 0);
			p = slc_region_addr(r);
			ASSERT_GE(slc_region_len(r), 10 * MIB + 1);
			EXPECT_EQ(0u, slc_region_len(r) % info_of(r).page_size);
			printf("# %s\n", info_of(r).reason);
			for (uint64_t b = 0; b < slc_region_len(r); b++)
				if (p[b]++)
					ASSERT_EQ(0, 1);
			slc_region_put(r);
		}
	slc_ctx_close(ctx);
}

TEST(verify_counts_every_byte)
{
	struct slc_region *r = get(10 * MIB, 0, 0);
	struct slc_residency res = { .size = sizeof(res) };

	ASSERT_EQ(0, slc_region_verify(r, &res));
	EXPECT_EQ(slc_region_len(r), res.bytes);
	EXPECT_EQ(res.bytes, res.bytes_on_node + res.bytes_elsewhere);
	EXPECT_EQ(0u, res.bytes_absent);
	slc_region_put(r);
	slc_ctx_close(ctx);
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: MIT
/* Which routes a stream's bytes took: no entry tells of another's. */
#include <stdlib.h>

#include "ktap.h"
#include "stream/stream.h"

#define MAX 16u

static char reasons[MAX + 4][8];

TEST(kinds_past_the_last_entry_are_told_together_and_as_such)
{
	struct slc_stream *s = calloc(1, sizeof(*s));
	struct slc_stream_stats *st;
	uint64_t sum = 0;

	ASSERT_NOT_NULL(s);
	st = &s->stats;
	ASSERT_EQ(sizeof(st->routes) / sizeof(st->routes[0]), MAX);
	for (uint32_t i = 0; i < MAX + 4; i++) {
		snprintf(reasons[i], sizeof(reasons[i]), "r%u", i);
		slc_fetch_route(s, SLC_ROUTE_BOUNCE, reasons[i], 1000 + i);
	}
	/* Known ones stay apart; the one that became "others" is one of them. */
	slc_fetch_route(s, SLC_ROUTE_BOUNCE, reasons[3], 10);
	slc_fetch_route(s, SLC_ROUTE_BOUNCE, reasons[MAX - 1], 1);
	EXPECT_EQ(st->nroutes, MAX);
	for (uint32_t i = 0; i < MAX - 1; i++) {
		EXPECT_STREQ(st->routes[i].reason, reasons[i]);
		EXPECT_EQ(st->routes[i].route, SLC_ROUTE_BOUNCE);
		EXPECT_EQ(st->routes[i].bytes, 1000 + i + (i == 3 ? 10 : 0));
	}
	for (uint32_t i = MAX - 1; i < MAX + 4; i++)
		sum += 1000 + i;
	EXPECT_EQ(st->routes[MAX - 1].route, SLC_ROUTE_NONE);
	EXPECT_HAS(st->routes[MAX - 1].reason, "other routes");
	EXPECT_EQ(st->routes[MAX - 1].bytes, sum + 1);
	free(s);
}

TEST(a_kind_that_fills_the_last_entry_keeps_its_name)
{
	struct slc_stream *s = calloc(1, sizeof(*s));

	ASSERT_NOT_NULL(s);
	for (uint32_t i = 0; i < MAX; i++) {
		snprintf(reasons[i], sizeof(reasons[i]), "r%u", i);
		slc_fetch_route(s, SLC_ROUTE_BOUNCE, reasons[i], 1);
	}
	EXPECT_EQ(s->stats.nroutes, MAX);
	EXPECT_STREQ(s->stats.routes[MAX - 1].reason, reasons[MAX - 1]);
	free(s);
}

TEST_HARNESS_MAIN

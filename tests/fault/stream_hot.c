// SPDX-License-Identifier: MIT
/* WRAP: slc_queue_poll */
/* Which slots are used: the hot part alone while the consumer keeps up. */
#include <errno.h>

#include "stream/stream.h"
#include "stream_fixture.h"

#define DEPTH 64u
#define SAMPLES 16000u

/* The move 0 comes late, behind `hold` others; none comes unless waited for. */
static uint32_t hold;
static bool kept;
static struct slc_done late;

int __real_slc_queue_poll(struct slc_queue *q, struct slc_done *done,
			  uint32_t max, uint32_t min, int64_t timeout_ns);
int __wrap_slc_queue_poll(struct slc_queue *q, struct slc_done *done,
			  uint32_t max, uint32_t min, int64_t timeout_ns);

int __wrap_slc_queue_poll(struct slc_queue *q, struct slc_done *done,
			  uint32_t max, uint32_t min, int64_t timeout_ns)
{
	int n, i;

	if (!hold && !kept)
		return __real_slc_queue_poll(q, done, max, min, timeout_ns);
	if (!min)
		return 0;
	if (!hold) {
		done[0] = late;
		kept = false;
		return 1;
	}
	do {
		n = __real_slc_queue_poll(q, done, 4, 1, timeout_ns);
		for (i = 0; i < n && done[i].user_data; i++)
			;
		if (i < n) {
			late = done[i];
			kept = true;
			done[i] = done[--n];
		}
	} while (!n);
	if (n > 0)
		hold -= (uint32_t)n < hold ? (uint32_t)n : hold;
	return n;
}

static uint64_t hot_end(const struct slc_stream *s)
{
	return s->hot.base + s->hot.size;
}

#define OPEN()                                                               \
	do {                                                                 \
		struct slc_stream_attr a_ = attr_of(SLC_SHUFFLE_FULL, 0);    \
		a_.memory = 96u << 20;                                       \
		a_.depth = DEPTH;                                            \
		md_raw(self->file, SAMPLES, 9000, NULL);                     \
		ASSERT_EQ(open_ds(self->ctx, self->file, 9000, &self->ds), 0); \
		ASSERT_EQ(slc_stream_open(self->ds, &a_, &self->s), 0);      \
		ASSERT_GT(self->s->hot.size, 0);                             \
	} while (0)

TEST_F(fault, a_late_read_does_not_spill_a_busy_stream_into_cold_memory)
{
	struct slc_view v[VIEWS];
	int n;

	OPEN();
	hold = DEPTH + DEPTH / 4;
	n = slc_stream_next(self->s, v, VIEWS);
	ASSERT_GT(n, 0);
	EXPECT_EQ(hold, 0);
	/* The reads beyond the hot part are not even begun. */
	for (uint64_t i = self->s->oldest; i != self->s->tail; i++)
		EXPECT_LT(slc_fetch_of(self->s, i)->data, hot_end(self->s));
}

TEST_F(fault, a_consumer_that_lends_much_gets_all_the_memory)
{
	static struct slc_view v[SAMPLES];
	uint64_t bytes = 0, cold = 0;
	uint32_t n = 0;
	int got;

	OPEN();
	while (n + VIEWS <= SAMPLES &&
	       (got = slc_stream_next(self->s, v + n, VIEWS)) > 0)
		for (; got; got--, n++) {
			bytes += v[n].len;
			cold += v[n].region_off >= hot_end(self->s);
		}
	EXPECT_EQ(got, -ENOBUFS);
	EXPECT_GT(cold, 0);
	EXPECT_GT(bytes, self->s->hot.size + self->s->ring.size / 2);
	slc_stream_release(self->s, v, n);
	EXPECT_GT(slc_stream_next(self->s, v, VIEWS), 0);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* The engine that reads and writes while one waits: pread and pwrite. */
#include "queue/engine.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct sync_state {
	struct slc_io *head, **tail; /* started, not yet done */
};

static int sync_open(uint32_t depth, uint64_t flags, void **state,
		     struct slc_engine_caps *caps, char *why, size_t size)
{
	struct sync_state *s = calloc(1, sizeof(*s));

	(void)depth;
	(void)flags;
	if (!s) {
		snprintf(why, size, "no memory");
		return -ENOMEM;
	}
	s->tail = &s->head;
	caps->async = false;
	*state = s;
	return 0;
}

static void sync_close(void *state)
{
	free(state);
}

static int sync_start(void *state, struct slc_io *io)
{
	struct sync_state *s = state;

	io->next = NULL;
	*s->tail = io;
	s->tail = &io->next;
	return 0;
}

static int32_t carry(const struct slc_io *io)
{
	char *addr = io->addr + io->have;
	size_t len = io->len - io->have;
	off_t off = (off_t)(io->off + io->have);
	int saved = errno;
	ssize_t n;

	n = io->write ? pwrite(io->fd, addr, len, off) :
			pread(io->fd, addr, len, off);
	if (n < 0)
		n = -errno;
	errno = saved;
	return (int32_t)n;
}

/* At least one, if there is one: a caller that only looks gets on, too. */
static int sync_wait(void *state, struct slc_landed *out, uint32_t max,
		     uint32_t min, int64_t timeout_ns)
{
	struct sync_state *s = state;
	uint32_t n = 0;

	/* With a time limit, the caller looks at the clock after each. */
	if (timeout_ns != SLC_FOREVER || !min)
		min = 1;
	while (s->head && n < min && n < max) {
		struct slc_io *io = s->head;

		s->head = io->next;
		if (!s->head)
			s->tail = &s->head;
		out[n].io = io;
		out[n].res = io->cancelled ? -ECANCELED : carry(io);
		n++;
	}
	return (int)n;
}

static void sync_cancel(void *state, struct slc_io *io)
{
	(void)state;
	io->cancelled = true;
}

const struct slc_engine_ops slc_sync_ops = {
	.name = "sync",
	.direct = SLC_ROUTE_SYNC_DIRECT,
	.buffered = SLC_ROUTE_SYNC_BUFFERED,
	.open = sync_open,
	.close = sync_close,
	.start = sync_start,
	.wait = sync_wait,
	.cancel = sync_cancel,
};

// SPDX-License-Identifier: MIT
/*
 * A queue over regions that the module puts into its ring. The double stands
 * between liburing and the kernel: it takes SLUICE_RING_REGISTER, checks that
 * fixed reads and writes then count from 0, and carries them as plain ones.
 */
#include <sluice/queue.h>

#include <liburing.h>

#include "fake_module.h"

/* WRAP: open ioctl mmap io_uring_submit io_uring_submit_and_wait io_uring_submit_and_wait_timeout io_uring_submit_and_get_events io_uring_register_buffers_update_tag */

#define MIB (1ull << 20)
#define GIB (1ull << 30)
#define LEN (8 * MIB)
#define NSLOTS 4096

static struct {
	char *base; /* of the double's own mapping of the range; NULL: none */
	uint64_t len;
} slots[NSLOTS];

static struct {
	bool real;	    /* the kernel gets the command as it is */
	uint32_t refuse_at; /* the nth command from 1 fails with EBADF */
	bool no_pages;	    /* registering page by page is ENOMEM */
	uint32_t commands, fixed, pages, cleared, wrong;
} ring_seen;

/* -EBADF in place of what was asked. */
static void spoil(struct io_uring_sqe *sqe)
{
	uint64_t user_data = sqe->user_data;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_READ;
	sqe->fd = -1;
	sqe->user_data = user_data;
}

static void take_command(struct io_uring_sqe *sqe)
{
	uint64_t user_data = sqe->user_data;
	struct sluice_ring arg;

	memcpy(&arg, sqe->cmd, sizeof(arg));
	ring_seen.commands++;
	if (ring_seen.real)
		return;
	if (sqe->cmd_op != SLUICE_RING_REGISTER || sqe->len || sqe->addr ||
	    sqe->rw_flags || !fake_of(arg.fd) || arg.index >= NSLOTS ||
	    slots[arg.index].base ||
	    (uint64_t)arg.npages * 4096 > UINT32_MAX ||
	    ((uint64_t)arg.page + arg.npages) * 4096 > fake_of(arg.fd)->len) {
		ring_seen.wrong++;
		spoil(sqe);
		return;
	}
	if (ring_seen.commands == ring_seen.refuse_at) {
		spoil(sqe);
		return;
	}
	slots[arg.index].len = (uint64_t)arg.npages * 4096;
	slots[arg.index].base = __real_mmap(NULL, slots[arg.index].len,
					    PROT_READ | PROT_WRITE, MAP_SHARED,
					    arg.fd, (off_t)arg.page * 4096);
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_NOP;
	sqe->user_data = user_data;
}

static void carry_fixed(struct io_uring_sqe *sqe)
{
	uint32_t slot = sqe->buf_index;

	if (slot >= NSLOTS || !slots[slot].base)
		return;
	ring_seen.fixed++;
	if (sqe->addr + sqe->len > slots[slot].len) {
		ring_seen.wrong++;
		spoil(sqe);
		return;
	}
	sqe->addr += (uintptr_t)slots[slot].base;
	sqe->opcode = sqe->opcode == IORING_OP_READ_FIXED ? IORING_OP_READ :
							    IORING_OP_WRITE;
	sqe->buf_index = 0;
}

static void pass(struct io_uring *ring)
{
	const struct io_uring_sq *sq = &ring->sq;

	for (unsigned int i = sq->sqe_head; i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & sq->ring_mask];

		if (sqe->opcode == IORING_OP_URING_CMD)
			take_command(sqe);
		else if (sqe->opcode == IORING_OP_READ_FIXED ||
			 sqe->opcode == IORING_OP_WRITE_FIXED)
			carry_fixed(sqe);
	}
}

int __real_io_uring_submit(struct io_uring *);
int __wrap_io_uring_submit(struct io_uring *);
int __wrap_io_uring_submit(struct io_uring *ring)
{
	pass(ring);
	return __real_io_uring_submit(ring);
}

int __real_io_uring_submit_and_wait(struct io_uring *, unsigned);
int __wrap_io_uring_submit_and_wait(struct io_uring *, unsigned);
int __wrap_io_uring_submit_and_wait(struct io_uring *ring, unsigned n)
{
	pass(ring);
	return __real_io_uring_submit_and_wait(ring, n);
}

int __real_io_uring_submit_and_wait_timeout(struct io_uring *,
					    struct io_uring_cqe **, unsigned,
					    struct __kernel_timespec *,
					    sigset_t *);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *,
					    struct io_uring_cqe **, unsigned,
					    struct __kernel_timespec *,
					    sigset_t *);
int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring,
					    struct io_uring_cqe **cqe,
					    unsigned n,
					    struct __kernel_timespec *ts,
					    sigset_t *mask)
{
	pass(ring);
	return __real_io_uring_submit_and_wait_timeout(ring, cqe, n, ts, mask);
}

int __real_io_uring_submit_and_get_events(struct io_uring *);
int __wrap_io_uring_submit_and_get_events(struct io_uring *);
int __wrap_io_uring_submit_and_get_events(struct io_uring *ring)
{
	pass(ring);
	return __real_io_uring_submit_and_get_events(ring);
}

int __real_io_uring_register_buffers_update_tag(struct io_uring *, unsigned,
						const struct iovec *,
						const __u64 *, unsigned);
int __wrap_io_uring_register_buffers_update_tag(struct io_uring *, unsigned,
						const struct iovec *,
						const __u64 *, unsigned);
int __wrap_io_uring_register_buffers_update_tag(struct io_uring *ring,
						unsigned off,
						const struct iovec *iov,
						const __u64 *tags, unsigned n)
{
	if (iov->iov_base) {
		ring_seen.pages++;
		if (ring_seen.no_pages)
			return -ENOMEM;
	} else if (off < NSLOTS && slots[off].base) {
		ring_seen.cleared++;
		munmap(slots[off].base, slots[off].len);
		slots[off].base = NULL;
	}
	return __real_io_uring_register_buffers_update_tag(ring, off, iov, tags,
							   n);
}

FIXTURE(ring)
{
	struct slc_ctx *ctx;
	struct slc_file *file, *out;
	struct slc_region *r;
	struct slc_queue *q;
	unsigned char *want;
	char path[200], out_path[220];
};
FIXTURE_NO_VARIANT(ring);

static struct slc_region *region(struct ktap_fixture_ring *self, uint64_t len)
{
	struct slc_region_attr ra = { .size = sizeof(ra),
				      .len = len,
				      .node = SLC_NODE_CALLER,
				      .flags = SLC_REGION_MODULE |
					       SLC_REGION_STRICT };
	struct slc_region *r = NULL;

	ASSERT_EQ(slc_region_alloc(self->ctx, &ra, &r), 0);
	return r;
}

static void open_queue(struct ktap_fixture_ring *self, const char *engine,
		       uint64_t flags)
{
	struct slc_queue_attr qa = { .size = sizeof(qa),
				     .engine = engine,
				     .flags = flags,
				     .depth = 16,
				     .max_io = 1 << 20,
				     .node = SLC_NODE_CALLER };

	if (slc_queue_open(self->ctx, &qa, &self->q))
		SKIP("%s", slc_last_error(self->ctx));
	memset(&ring_seen, 0, sizeof(ring_seen));
}

FIXTURE_SETUP(ring)
{
	const char *dir = getenv("TMPDIR");
	int fd;

	fake_reset();
	unsetenv("SLC_REGIONS");
	unsetenv("SLC_ENGINE");
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
	self->want = malloc(LEN);
	ASSERT_NOT_NULL(self->want);
	for (uint32_t i = 0; i < LEN; i++)
		self->want[i] = (unsigned char)(i * 31 + i / 251);
	snprintf(self->path, sizeof(self->path), "%s/sluice-ring-XXXXXX",
		 dir ? dir : "/tmp");
	fd = mkstemp(self->path);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(write(fd, self->want, LEN), (ssize_t)LEN);
	close(fd);
	snprintf(self->out_path, sizeof(self->out_path), "%s.out", self->path);
	ASSERT_EQ(slc_file_open(self->ctx, self->path, SLC_FILE_READ,
				&self->file),
		  0);
}

FIXTURE_TEARDOWN(ring)
{
	if (self->q)
		slc_queue_close(self->q);
	slc_file_put(self->file);
	slc_file_put(self->out);
	slc_region_put(self->r);
	slc_ctx_close(self->ctx);
	unlink(self->path);
	unlink(self->out_path);
	free(self->want);
	EXPECT_EQ(ring_seen.wrong, 0);
}

static struct slc_done read_to(struct ktap_fixture_ring *self, uint64_t off,
			       uint64_t len)
{
	unsigned char *p = slc_region_addr(self->r);
	struct slc_move mv = { .src = slc_at_file(self->file, 0),
			       .dst = slc_at_region(self->r, off),
			       .len = len };
	struct slc_done d;

	memset(p + off, 0xa5, len);
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	ASSERT_EQ(d.result, (int64_t)len);
	EXPECT_EQ(memcmp(p + off, self->want, len), 0);
	return d;
}

static void expect_no_word(const struct slc_done *d)
{
	EXPECT_EQ(strstr(d->reason, "regist") != NULL, 0);
}

TEST_F(ring, a_region_of_the_module_is_registered_by_it)
{
	struct slc_done d;

	open_queue(self, "uring", 0);
	self->r = region(self, LEN);
	d = read_to(self, 0, LEN);
	expect_no_word(&d);
	EXPECT_EQ(ring_seen.commands, 1);
	EXPECT_EQ(ring_seen.pages, 0);
	EXPECT_EQ(ring_seen.fixed, 8);
	d = read_to(self, 4096, 3 * MIB + 4096);
	expect_no_word(&d);
	EXPECT_EQ(ring_seen.commands, 1);
	EXPECT_EQ(ring_seen.fixed, 12);
}

TEST_F(ring, a_write_comes_from_it_too)
{
	struct slc_move mv = { .len = LEN };
	unsigned char *got = malloc(LEN);
	struct slc_done d;
	FILE *f;

	open_queue(self, "uring", 0);
	self->r = region(self, 2 * LEN);
	ASSERT_EQ(slc_file_open(self->ctx, self->out_path,
				SLC_FILE_WRITE | SLC_FILE_CREATE, &self->out),
		  0);
	memcpy((char *)slc_region_addr(self->r) + LEN, self->want, LEN);
	mv.src = slc_at_region(self->r, LEN);
	mv.dst = slc_at_file(self->out, 0);
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_poll(self->q, &d, 1, 1, SLC_FOREVER), 1);
	EXPECT_EQ(d.result, (int64_t)LEN);
	expect_no_word(&d);
	EXPECT_GE(ring_seen.fixed, 8);
	f = fopen(self->out_path, "r");
	ASSERT_NOT_NULL(f);
	EXPECT_EQ(fread(got, 1, LEN, f), LEN);
	EXPECT_EQ(memcmp(got, self->want, LEN), 0);
	fclose(f);
	free(got);
}

TEST_F(ring, addresses_count_from_the_slot_in_a_region_of_several)
{
	open_queue(self, "uring", 0);
	/* Nothing of it is touched but what is read. */
	self->r = region(self, 5 * GIB + 2 * MIB);
	read_to(self, 0, MIB);
	EXPECT_EQ(ring_seen.commands, 6);
	read_to(self, GIB, MIB);
	read_to(self, 3 * GIB - 4096, 4096);
	read_to(self, 4 * GIB + 8192, LEN);
	read_to(self, 5 * GIB + MIB, MIB);
	EXPECT_EQ(ring_seen.fixed, 1 + 1 + 1 + 8 + 1);
	/* One that lies in two slots goes unregistered. */
	read_to(self, 2 * GIB - 4096, 8192);
	EXPECT_EQ(ring_seen.fixed, 12);
	EXPECT_EQ(slc_queue_detach_region(self->q, self->r), 0);
	EXPECT_EQ(ring_seen.cleared, 6);
	EXPECT_EQ(ring_seen.pages, 0);
}

TEST_F(ring, slots_are_given_back_and_taken_again)
{
	open_queue(self, "uring", 0);
	self->r = region(self, GIB + 2 * MIB);
	for (int i = 0; i < 1500; i++) {
		ASSERT_EQ(slc_queue_attach_region(self->q, self->r), 0);
		ASSERT_EQ(slc_queue_detach_region(self->q, self->r), 0);
	}
	EXPECT_EQ(ring_seen.commands, 3000);
	EXPECT_EQ(ring_seen.cleared, 3000);
	read_to(self, GIB, MIB);
	EXPECT_EQ(ring_seen.fixed, 1);
}

TEST_F(ring, ios_that_land_while_a_region_is_registered_are_not_lost)
{
	struct slc_region *other = NULL;
	struct slc_move mv[12];
	struct slc_done d[12];
	uint64_t seen = 0;
	int n = 0;

	open_queue(self, "uring", 0);
	self->r = region(self, 12 * MIB);
	other = region(self, 4 * MIB);
	for (int i = 0; i < 12; i++)
		mv[i] = (struct slc_move){
			.src = slc_at_file(self->file, (uint64_t)(i % 8) * MIB),
			.dst = slc_at_region(self->r, (uint64_t)i * MIB),
			.len = MIB,
			.user_data = (uint64_t)i,
		};
	ASSERT_EQ(slc_queue_submit(self->q, mv, 12), 12);
	ASSERT_EQ(slc_queue_attach_region(self->q, other), 0);
	EXPECT_EQ(ring_seen.commands, 2);
	while (n < 12) {
		int got = slc_queue_poll(self->q, d, 5, 1, 5000000000);

		ASSERT_GT(got, 0);
		for (int i = 0; i < got; i++) {
			EXPECT_EQ(d[i].result, (int64_t)MIB);
			seen |= 1ull << d[i].user_data;
		}
		n += got;
	}
	EXPECT_EQ(seen, 0xfff);
	for (int i = 0; i < 12; i++)
		EXPECT_EQ(memcmp((char *)slc_region_addr(self->r) + i * MIB,
				 self->want + (i % 8) * MIB, MIB),
			  0);
	slc_region_put(other);
}

TEST_F(ring, a_queue_closed_with_ios_that_landed_so_waits_for_none)
{
	struct slc_region *other;
	struct slc_move mv;

	open_queue(self, "uring", 0);
	self->r = region(self, LEN);
	other = region(self, 4 * MIB);
	mv = (struct slc_move){ .src = slc_at_file(self->file, 0),
				.dst = slc_at_region(self->r, 0),
				.len = LEN };
	ASSERT_EQ(slc_queue_submit(self->q, &mv, 1), 1);
	ASSERT_EQ(slc_queue_attach_region(self->q, other), 0);
	slc_queue_close(self->q);
	self->q = NULL;
	slc_region_put(other);
}

TEST_F(ring, a_kernel_without_it_registers_page_by_page_and_says_why)
{
	struct slc_done d;

	open_queue(self, "uring", 0);
	fake.features &= ~(1u << SLUICE_FEATURE_RING);
	self->r = region(self, LEN);
	d = read_to(self, 0, LEN);
	EXPECT_HAS(d.reason, "not by the module: the double was told so");
	EXPECT_EQ(ring_seen.commands, 0);
	EXPECT_EQ(ring_seen.pages, 1);
}

TEST_F(ring, a_device_that_is_gone_meanwhile_is_said)
{
	struct slc_done d;

	open_queue(self, "uring", 0);
	self->r = region(self, LEN);
	fake.there = false;
	d = read_to(self, 0, LEN);
	EXPECT_HAS(d.reason, "the module is not loaded");
	EXPECT_EQ(ring_seen.pages, 1);
}

/* Not the double but the kernel says no: what it has is no such device. */
TEST_F(ring, a_command_that_the_kernel_refuses_is_said)
{
	struct slc_done d;

	open_queue(self, "uring", 0);
	ring_seen.real = true;
	self->r = region(self, LEN);
	d = read_to(self, 0, LEN);
	EXPECT_HAS(d.reason, "SLUICE_RING_REGISTER: ");
	EXPECT_EQ(ring_seen.commands, 1);
	EXPECT_EQ(ring_seen.pages, 1);
}

TEST_F(ring, a_refusal_at_any_slot_takes_back_those_before_it)
{
	for (uint32_t n = 1; n <= 3; n++) {
		struct slc_done d;

		open_queue(self, "uring", 0);
		ring_seen.refuse_at = n;
		ring_seen.no_pages = true;
		self->r = region(self, 2 * GIB + 2 * MIB);
		d = read_to(self, GIB, MIB);
		EXPECT_EQ(ring_seen.commands, n);
		EXPECT_EQ(ring_seen.cleared, n - 1);
		EXPECT_EQ(ring_seen.fixed, 0);
		EXPECT_HAS(d.reason, "registering 2050 MiB failed");
		slc_queue_close(self->q);
		self->q = NULL;
		slc_region_put(self->r);
		self->r = NULL;
	}
}

TEST_F(ring, a_ring_that_polls_is_registered_page_by_page)
{
	struct slc_done d;

	open_queue(self, "uring", SLC_QUEUE_IOPOLL);
	self->r = region(self, LEN);
	d = read_to(self, 0, MIB);
	EXPECT_HAS(d.reason, "a ring that polls takes no commands");
	EXPECT_EQ(ring_seen.commands, 0);
}

TEST_F(ring, a_ring_with_a_kernel_thread_is_registered_by_the_module)
{
	open_queue(self, "uring", SLC_QUEUE_SQPOLL);
	self->r = region(self, LEN);
	read_to(self, MIB, MIB);
	EXPECT_EQ(ring_seen.commands, 1);
	EXPECT_GE(ring_seen.fixed, 1);
}

TEST_F(ring, pread_needs_no_table)
{
	struct slc_done d;

	open_queue(self, "sync", 0);
	self->r = region(self, LEN);
	d = read_to(self, 0, LEN);
	expect_no_word(&d);
	EXPECT_EQ(ring_seen.commands, 0);
}

TEST_F(ring, the_queues_own_buffers_come_from_the_module_by_wish)
{
	struct slc_queue_info info = { .size = sizeof(info) };
	struct slc_done d;

	setenv("SLC_REGIONS", "module", 1);
	open_queue(self, "uring", 0);
	ASSERT_EQ(slc_queue_query(self->q, &info), 0);
	EXPECT_GT(info.own_bytes, 0);
	self->r = region(self, LEN);
	/* Unaligned: what O_DIRECT refuses goes by the queue's own. */
	d = read_to(self, 100, 10000);
	EXPECT_EQ(ring_seen.commands, 1);
	EXPECT_GE(ring_seen.fixed, 1);
	expect_no_word(&d);
}

TEST_HARNESS_MAIN

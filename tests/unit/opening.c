/* SPDX-License-Identifier: MIT */
/* WRAP: pthread_create open pread */
/* Opening many shards: by many threads it is as it is by none, but sooner. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/resource.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "nthfail.h"
#include "stream/dataset.h"

#define TARS 24

/* ---- the system's calls, counted and refused ---- */

static pthread_t caller;
static unsigned int allowed = UINT_MAX; /* threads that may start */
static atomic_uint started;
static bool refuse_others; /* no file opens but in the calling thread */
static atomic_ullong nreads, bytes;

int __real_pthread_create(pthread_t *id, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg);
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
ssize_t __real_pread(int fd, void *buf, size_t n, off_t off);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off);

int __wrap_pthread_create(pthread_t *id, const pthread_attr_t *attr,
			  void *(*run)(void *), void *arg)
{
	if (started >= allowed)
		return EAGAIN;
	started++;
	return __real_pthread_create(id, attr, run, arg);
}

int __wrap_open(const char *path, int flags, ...)
{
	if (refuse_others && !pthread_equal(pthread_self(), caller)) {
		errno = EMFILE;
		return -1;
	}
	return __real_open(path, flags, 0666);
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t off)
{
	ssize_t got = __real_pread(fd, buf, n, off);

	atomic_fetch_add(&nreads, 1);
	if (got > 0)
		atomic_fetch_add(&bytes, (uint64_t)got);
	return got;
}

/* ---- a folder of every format ---- */

FIXTURE(opening)
{
	struct slc_ctx *ctx;
	char *dir;
	struct slc_dataset *alone; /* as the calling thread opens it */
	char log[1 << 16];
	size_t log_len;
	unsigned int strangers; /* messages from another thread */
};
FIXTURE_NO_VARIANT(opening);

static void keep_log(void *user, enum slc_log_level level, const char *msg)
{
	struct ktap_fixture_opening *self = user;
	size_t room = sizeof(self->log) - self->log_len;
	int n;

	if (!pthread_equal(pthread_self(), caller))
		self->strangers++;
	n = snprintf(self->log + self->log_len, room, "%d %s\n", level, msg);
	self->log_len += (size_t)n < room ? (size_t)n : room - 1;
}

static int open_dir(struct ktap_fixture_opening *self, unsigned int threads,
		    struct slc_dataset **out)
{
	const char *path = self->dir;

	self->log_len = 0;
	started = 0;
	allowed = threads;
	return slc_dataset_open(self->ctx, &path, 1, NULL, out);
}

FIXTURE_SETUP(opening)
{
	struct slc_ctx_attr attr = { .size = sizeof(attr),
				     .log = keep_log,
				     .log_user = self };

	caller = pthread_self();
	self->dir = md_folder();
	for (unsigned int i = 0; i < TARS; i++)
		md_tar(md_path("%s/t%02u.tar", self->dir, i), 1 + i * 3 % 17,
		       i % 5 * 9000, NULL);
	for (unsigned int i = 0; i < 8; i++) {
		md_safetensors(md_path("%s/s%u.safetensors", self->dir, i),
			       i + 1, 100, "w", NULL);
		md_npy(md_path("%s/n%u.npy", self->dir, i), i, 10, NULL);
		md_megatron(md_path("%s/m%u", self->dir, i), 70 + i, 5, i % 2,
			    NULL);
	}
	md_mds(md_path("%s/mds", self->dir), 5, 7, 30, 0, NULL);
	ASSERT_EQ(slc_ctx_open(&attr, &self->ctx), 0);
	ASSERT_EQ(open_dir(self, 0, &self->alone), 0);
	EXPECT_EQ(self->alone->nshards, TARS + 3 * 8 + 5);
}

FIXTURE_TEARDOWN(opening)
{
	slc_dataset_put(self->alone);
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

static void expect_same(const struct slc_dataset *a,
			const struct slc_dataset *b)
{
	ASSERT_EQ(a->nshards, b->nshards);
	EXPECT_EQ(a->nsamples, b->nsamples);
	EXPECT_EQ(a->bytes, b->bytes);
	EXPECT_EQ(a->index_bytes, b->index_bytes);
	EXPECT_EQ(a->fingerprint, b->fingerprint);
	EXPECT_EQ(a->verified, b->verified);
	for (uint64_t i = 0; i < a->nshards; i++) {
		const struct slc_shard *x = &a->shards[i], *y = &b->shards[i];

		EXPECT_STREQ(x->path, y->path);
		EXPECT_EQ(x->first, y->first);
		ASSERT_EQ(x->table.n, y->table.n);
		ASSERT_EQ(x->table.kind, y->table.kind);
		EXPECT_EQ(x->table.mem_bytes, y->table.mem_bytes);
		for (uint64_t k = 0; k < x->table.n; k++) {
			uint64_t off[2], len[2];

			slc_table_span(&x->table, k, &off[0], &len[0]);
			slc_table_span(&y->table, k, &off[1], &len[1]);
			ASSERT_EQ(off[0], off[1]);
			ASSERT_EQ(len[0], len[1]);
		}
	}
}

TEST_F(opening, the_tables_are_the_same_whatever_the_threads)
{
	static const unsigned int threads[] = { 1, 2, 3, 7, UINT_MAX };
	struct slc_dataset *ds;

	for (size_t i = 0; i < sizeof(threads) / sizeof(*threads); i++) {
		ASSERT_EQ(open_dir(self, threads[i], &ds), 0);
		EXPECT_GE(started, i + 1 < 5 ? threads[i] : 32);
		expect_same(self->alone, ds);
		slc_dataset_put(ds);
	}
}

TEST_F(opening, a_manifest_is_checked_by_many_threads_too)
{
	const char *path = md_path("%s.json", self->dir);
	struct slc_dataset *a, *b;
	uint8_t byte = 'X';
	int fd;

	ASSERT_EQ(slc_dataset_pack(self->alone, path, NULL), 0);
	allowed = 0;
	started = 0;
	ASSERT_EQ(slc_dataset_open(self->ctx, &path, 1, NULL, &a), 0);
	allowed = UINT_MAX;
	ASSERT_EQ(slc_dataset_open(self->ctx, &path, 1, NULL, &b), 0);
	EXPECT_GE(started, 32);
	EXPECT_EQ(a->verified, 1);
	expect_same(a, b);
	slc_dataset_put(b);
	/* A header that is damaged, and two shards whose samples do not fit. */
	fd = __real_open(md_path("%s/s3.safetensors", self->dir), O_WRONLY);
	ASSERT_EQ(pwrite(fd, &byte, 1, 12), 1);
	for (uint64_t i = 0; i < a->nshards; i++) {
		const struct slc_shard *sh = &a->shards[i];
		const struct timespec t[2] = {
			{ .tv_nsec = UTIME_OMIT },
			{ .tv_sec = sh->mtime_ns / 1000000000,
			  .tv_nsec = sh->mtime_ns % 1000000000 },
		};

		if (strstr(sh->path, "s3.safetensors"))
			ASSERT_EQ(futimens(fd, t), 0);
	}
	close(fd);
	EXPECT_EQ(slc_dataset_open(self->ctx, &path, 1, NULL, &b), -EBADMSG);
	EXPECT_HAS(slc_last_error(self->ctx), "s3.safetensors");
	EXPECT_HAS(slc_last_error(self->ctx), "checksum mismatch");
	slc_dataset_put(a);
	unlink(path);
}

TEST_F(opening, the_first_shard_that_is_wrong_is_the_one_that_is_told)
{
	struct md_buf b = md_load(md_path("%s/t19.tar", self->dir));
	struct slc_dataset *ds;

	/* The first is found out at its end, those after it at once. */
	md_tar(md_path("%s/t05.tar", self->dir), 3000, 700, NULL);
	ASSERT_EQ(truncate(md_path("%s/t05.tar", self->dir), 3000 * 1024 + 100),
		  0);
	for (unsigned int i = 6; i < TARS; i++) {
		b.p[3] ^= 1;
		md_write(md_path("%s/t%02u.tar", self->dir, i), b.p, b.n);
	}
	free(b.p);
	for (int i = 0; i < 30; i++) {
		ASSERT_EQ(open_dir(self, UINT_MAX, &ds), -EBADMSG);
		EXPECT_HAS(slc_last_error(self->ctx), "/t05.tar: tar: offset ");
		EXPECT_HAS(slc_last_error(self->ctx), "ends inside");
	}
}

TEST_F(opening, only_the_calling_thread_is_heard)
{
	struct slc_dataset *ds;
	char *alone;

	md_gzip(md_path("%s/t03.tar", self->dir),
		md_path("%s/t04.tar", self->dir));
	md_gzip(md_path("%s/t05.tar", self->dir),
		md_path("%s/t07.tar", self->dir));
	md_write(md_path("%s/t17.tar", self->dir), "damaged", 7);
	md_write(md_path("%s/t20.tar", self->dir), "damaged", 7);
	ASSERT_EQ(open_dir(self, 0, &ds), -EBADMSG);
	alone = strdup(self->log);
	EXPECT_HAS(alone, "inflated all of");
	EXPECT_HAS(alone, "t17.tar");
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(open_dir(self, UINT_MAX, &ds), -EBADMSG);
		EXPECT_STREQ(self->log, alone);
	}
	EXPECT_EQ(self->strangers, 0);
	free(alone);
}

TEST_F(opening, what_fails_in_company_only_is_done_alone)
{
	struct slc_dataset *ds;

	refuse_others = true;
	ASSERT_EQ(open_dir(self, UINT_MAX, &ds), 0);
	refuse_others = false;
	EXPECT_GT(started, 1);
	expect_same(self->alone, ds);
	slc_dataset_put(ds);
}

TEST_F(opening, few_descriptors_are_not_all_taken)
{
	struct rlimit few = { 24, 24 };
	struct slc_dataset *ds;

	ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &few), 0);
	ASSERT_EQ(open_dir(self, UINT_MAX, &ds), 0);
	/* Six look at the files, and six index them. */
	EXPECT_EQ(started, 12);
	expect_same(self->alone, ds);
	slc_dataset_put(ds);
}

TEST_F_TIMEOUT(opening, every_failing_allocation_is_survived, 120)
{
	struct slc_dataset *ds;
	uint64_t errors = 0;
	int err;

	for (uint64_t n = 1;; n += 1 + n / 50) {
		nthfail_arm_from(n);
		err = open_dir(self, UINT_MAX, &ds);
		if (!nthfail_disarm())
			break;
		ASSERT_EQ(err, -ENOMEM);
		errors++;
		nthfail_arm(n);
		err = open_dir(self, UINT_MAX, &ds);
		nthfail_disarm();
		if (err) {
			ASSERT_EQ(err, -ENOMEM);
			continue;
		}
		expect_same(self->alone, ds);
		slc_dataset_put(ds);
	}
	ASSERT_EQ(err, 0);
	slc_dataset_put(ds);
	EXPECT_GT(errors, 50);
}

/* ---- how much is read ---- */

static void count_reads(struct ktap_fixture_opening *self, unsigned int tars,
			unsigned int samples, size_t size)
{
	const char *dir = md_path("%s/c%u-%zu", self->dir, tars, size);
	struct slc_dataset *ds;

	mkdir(dir, 0777);
	for (unsigned int i = 0; i < tars; i++)
		md_tar(md_path("%s/%u.tar", dir, i), samples, size, NULL);
	allowed = UINT_MAX;
	nreads = bytes = 0;
	ASSERT_EQ(slc_dataset_open(self->ctx, &dir, 1, NULL, &ds), 0);
	EXPECT_EQ(ds->nsamples, tars * samples);
	slc_dataset_put(ds);
}

TEST_F(opening, of_many_large_samples_two_pages_are_read)
{
	count_reads(self, 8, 20, 100000);
	EXPECT_LT(bytes, 8 * 21 * 3 * 8192);
	EXPECT_LT(nreads, 8 * 21 * 3);
	count_reads(self, 1, 5, 2 << 20);
	EXPECT_LT(bytes, 6 * 3 * 8192);
}

TEST_F(opening, small_samples_are_read_in_long_runs)
{
	count_reads(self, 8, 1000, 700);
	EXPECT_LT(nreads, 8 * 20);
	/* Alone, a jump costs more than what lies between. */
	count_reads(self, 1, 100, 60000);
	EXPECT_LT(nreads, 40);
}

TEST_HARNESS_MAIN

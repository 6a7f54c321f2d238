/* SPDX-License-Identifier: MIT */
/* Where few descriptors are left: slower, or an error in words. */
#include <errno.h>
#include <sys/resource.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "open_one.h"
#include "stream/dataset.h"

/* Of the queue, and two of one shard: with and without O_DIRECT. */
#define LEAST 3

FIXTURE(descriptors)
{
	struct slc_ctx *ctx;
	struct slc_dataset *ds;
	char *dir;
	const char *data, *manifest;
};
FIXTURE_NO_VARIANT(descriptors);

FIXTURE_SETUP(descriptors)
{
	self->dir = md_folder();
	self->data = md_path("%s/data", self->dir);
	self->manifest = md_path("%s/d.slc.json", self->dir);
	MD_MUST(!mkdir(self->data, 0777));
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
}

FIXTURE_TEARDOWN(descriptors)
{
	slc_dataset_put(self->ds);
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

/*
 * Packs in a child that can open `n` files more, in a queue that cannot lift
 * the limit. 0, or the -errno when its sentence says what to do.
 */
static int pack_with(struct ktap_fixture_descriptors *self, unsigned int n)
{
	struct rlimit few = { 0, 0 };
	int next, err, status;
	pid_t pid = fork();

	MD_MUST(pid >= 0);
	if (!pid) {
		next = dup(0);
		MD_MUST(next > 0 && !close(next));
		few.rlim_cur = few.rlim_max = (rlim_t)next + n;
		MD_MUST(!setrlimit(RLIMIT_NOFILE, &few));
		err = slc_dataset_pack(self->ds, self->manifest, NULL);
		if (err)
			printf("# %u: %s\n", n, slc_last_error(self->ctx));
		fflush(stdout);
		if (err && !strstr(slc_last_error(self->ctx),
				   "raise ulimit -n"))
			_exit(255);
		_exit(-err);
	}
	MD_MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return -WEXITSTATUS(status);
}

/* Streams in such a child: how many samples came, or -errno. */
static int stream_with(struct ktap_fixture_descriptors *self, unsigned int n,
		       uint32_t shuffle)
{
	struct slc_stream_attr a = { .size = sizeof(a), .node = -1,
				     .memory = 8u << 20, .page_size = 4096,
				     .shuffle = shuffle, .seed = 3 };
	int res, status, next, got = 0;
	struct slc_stream *s;
	struct rlimit few;
	struct slc_view v;
	pid_t pid = fork();

	MD_MUST(pid >= 0);
	if (!pid) {
		next = dup(0);
		MD_MUST(next > 0 && !close(next));
		few.rlim_cur = few.rlim_max = (rlim_t)next + n;
		MD_MUST(!setrlimit(RLIMIT_NOFILE, &few));
		res = slc_stream_open(self->ds, &a, &s);
		while (!res && (res = slc_stream_next(s, &v, 1)) == 1) {
			slc_stream_release(s, &v, 1);
			got++;
			res = 0;
		}
		if (res < 0)
			printf("# %u: %s\n", n, slc_last_error(self->ctx));
		fflush(stdout);
		_exit(res < 0 ? 255 : got);
	}
	MD_MUST(waitpid(pid, &status, 0) == pid && WIFEXITED(status));
	return WEXITSTATUS(status);
}

TEST_F(descriptors, three_are_enough_to_pack_any_number_of_shards)
{
	for (unsigned int i = 0; i < 300; i++) {
		md_npy(md_path("%s/%04u.npy", self->data, i), 3, 10, NULL);
		/* Two files each, the .idx read at another time. */
		if (i % 5 == 0)
			md_megatron(md_path("%s/m%04u", self->data, i), 9, 10,
				    0, NULL);
	}
	ASSERT_EQ(open_one(self->ctx, self->data, &self->ds), 0);
	for (unsigned int n = LEAST; n < 24; n++) {
		struct slc_dataset *packed;

		ASSERT_EQ(pack_with(self, n), 0);
		ASSERT_EQ(open_one(self->ctx, self->manifest, &packed), 0);
		EXPECT_EQ(packed->nsamples, 300 * 3 + 60 * 9);
		EXPECT_TRUE(packed->verified);
		slc_dataset_put(packed);
	}
}

TEST_F(descriptors, fewer_are_refused_in_words_and_nothing_is_left)
{
	for (unsigned int i = 0; i < 30; i++)
		md_npy(md_path("%s/%04u.npy", self->data, i), 3, 10, NULL);
	ASSERT_EQ(open_one(self->ctx, self->data, &self->ds), 0);
	for (unsigned int n = 0; n < LEAST; n++)
		EXPECT_EQ(pack_with(self, n), -EMFILE);
	EXPECT_NE(access(self->manifest, F_OK), 0);
}

/* Those that fly have every file that may be open when one is to be inflated. */
TEST_F(descriptors, three_are_enough_to_stream_compressed_shards_among_others)
{
	const unsigned int shards = 40, samples = 6;

	for (unsigned int i = 0; i < shards; i++) {
		const char *tar = md_path("%s/%02u.tar", self->data, i);

		md_tar(tar, samples, 3000, NULL);
		if (i % 3)
			continue;
		md_gzip(tar, md_path("%s.gz", tar));
		MD_MUST(!unlink(tar));
	}
	ASSERT_EQ(open_one(self->ctx, self->data, &self->ds), 0);
	for (unsigned int n = LEAST; n < 24; n++)
		for (uint32_t shuffle = 0; shuffle < 2; shuffle++)
			EXPECT_EQ(stream_with(self, n, shuffle),
				  shards * samples);
}

/* The shards before it are still on their way. */
TEST_F(descriptors, the_sentence_of_a_failure_is_not_lost_in_what_it_stops)
{
	struct slc_dataset *ds;

	for (unsigned int i = 0; i < 30; i++)
		md_npy(md_path("%s/%04u.npy", self->data, i), 3000, 1000, NULL);
	ASSERT_EQ(open_one(self->ctx, self->data, &ds), 0);
	self->ds = ds;
	md_npy(md_path("%s/new", self->dir), 3000, 1000, NULL);
	MD_MUST(!rename(md_path("%s/new", self->dir),
			md_path("%s/0003.npy", self->data)));
	EXPECT_EQ(slc_dataset_pack(ds, self->manifest, NULL), -ESTALE);
	EXPECT_HAS(slc_last_error(self->ctx), "changed since");
}

TEST_HARNESS_MAIN

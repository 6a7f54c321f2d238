/* SPDX-License-Identifier: MIT */
/* What a killed pack leaves, and what the next one clears away. */
/* WRAP: rename */
#include <errno.h>
#include <glob.h>

#include <sluice/stream.h>

#include "ktap.h"
#include "makedata.h"
#include "stream/dataset.h"

static int renames_left = -1;

int __real_rename(const char *from, const char *to);
int __wrap_rename(const char *from, const char *to);

int __wrap_rename(const char *from, const char *to)
{
	if (renames_left >= 0 && !renames_left--)
		raise(SIGKILL);
	return __real_rename(from, to);
}

FIXTURE(litter)
{
	struct slc_ctx *ctx;
	char *dir;
	const char *data, *manifest;
};
FIXTURE_NO_VARIANT(litter);

FIXTURE_SETUP(litter)
{
	self->dir = md_folder();
	self->data = md_path("%s/x.npy", self->dir);
	self->manifest = md_path("%s/d.slc.json", self->dir);
	md_npy(self->data, 30, 1000, NULL);
	ASSERT_EQ(slc_ctx_open(NULL, &self->ctx), 0);
}

FIXTURE_TEARDOWN(litter)
{
	slc_ctx_close(self->ctx);
	md_remove(self->dir);
}

static unsigned int count(const char *pattern)
{
	unsigned int n;
	glob_t g;

	n = glob(pattern, GLOB_PERIOD, NULL, &g) ? 0 : (unsigned int)g.gl_pathc;
	globfree(&g);
	return n;
}

static int pack(struct ktap_fixture_litter *self, const char *manifest)
{
	struct slc_dataset *ds;
	int err = slc_dataset_open(self->ctx, &self->data, 1, NULL, &ds);

	if (err)
		return err;
	err = slc_dataset_pack(ds, manifest, NULL);
	slc_dataset_put(ds);
	return err;
}

/* Killed at its n-th rename. */
static void pack_and_die(struct ktap_fixture_litter *self, int n)
{
	int status;
	pid_t pid = fork();

	MD_MUST(pid >= 0);
	if (!pid) {
		renames_left = n;
		pack(self, self->manifest);
		_exit(1);
	}
	MD_MUST(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status) &&
		WTERMSIG(status) == SIGKILL);
}

TEST_F(litter, the_next_pack_of_that_name_clears_it_away)
{
	const char *tmp = md_path("%s/.d.slc.json.*.tmp", self->dir);

	ASSERT_EQ(pack(self, self->manifest), 0);
	for (int n = 0; n < 2; n++) {
		pack_and_die(self, n);
		EXPECT_EQ(count(tmp), 1);
		ASSERT_EQ(pack(self, self->manifest), 0);
		EXPECT_EQ(count(tmp), 0);
	}
	/* Killed between its two renames, over other data: the checksums that
	 * no manifest names are those that the next pack of it would write. */
	md_npy(self->data, 31, 1000, NULL);
	pack_and_die(self, 1);
	ASSERT_EQ(pack(self, self->manifest), 0);
	EXPECT_EQ(count(tmp), 0);
	EXPECT_EQ(count(md_path("%s/d.slc.*.idx", self->dir)), 1);
}

TEST_F(litter, what_others_made_stays)
{
	char host[65] = "";
	const char *stays[] = {
		".d.slc.json.another-host.17.0.tmp", /* at work there? */
		".e.slc.json.%s.17.0.tmp",
		".d.slc.json.%s.17.tmp",
		".d.slc.json.%s.17.0.tmp.txt",
		".d.slc.json.%s.x.0.tmp",
		".d.slc.json.%s..0.tmp",
		"d.slc.json.%s.17.0.tmp",
	};
	const unsigned int n = sizeof(stays) / sizeof(stays[0]);

	gethostname(host, sizeof(host) - 1);
	for (unsigned int i = 0; i < n; i++) {
		char *name;

		MD_MUST(asprintf(&name, "%.*s%s%s",
				 (int)strcspn(stays[i], "%"), stays[i],
				 strchr(stays[i], '%') ? host : "",
				 strchr(stays[i], '%') ?
					 strchr(stays[i], '%') + 2 : "") > 0);
		md_write(md_path("%s/%s", self->dir, name), "x", 1);
		free(name);
	}
	md_write(md_path("%s/.d.slc.json.%s.17.0.tmp", self->dir, host), "x", 1);
	ASSERT_EQ(pack(self, self->manifest), 0);
	EXPECT_EQ(count(md_path("%s/*tmp*", self->dir)), n);
}

TEST_F(litter, a_pack_at_work_is_not_swept)
{
	pid_t pid[2];
	int status;

	for (int k = 0; k < 2; k++) {
		pid[k] = fork();
		MD_MUST(pid[k] >= 0);
		for (int i = 0; !pid[k] && i < 100; i++) {
			int err = pack(self, self->manifest);

			if (err) {
				printf("# %s\n", slc_last_error(self->ctx));
				fflush(stdout);
				_exit(1);
			}
		}
		if (!pid[k])
			_exit(0);
	}
	for (int k = 0; k < 2; k++) {
		MD_MUST(waitpid(pid[k], &status, 0) == pid[k]);
		EXPECT_EQ(status, 0);
	}
}

TEST_HARNESS_MAIN

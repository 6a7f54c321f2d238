/* SPDX-License-Identifier: MIT */
#include "stream/walk.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ctx.h"
#include "base/open.h"

#define DEPTH_MAX 64

struct walk {
	struct slc_ctx *ctx;
	int (*whole)(struct slc_ctx *ctx, const char *folder, char **path);
	struct slc_paths *out;
};

/* Takes ownership of `path`, also on failure. */
static int paths_add(struct slc_ctx *ctx, struct slc_paths *paths, char *path)
{
	if (path && paths->n == paths->cap) {
		uint64_t cap = paths->cap ? paths->cap * 2 : 64;
		char **v = realloc(paths->v, cap * sizeof(*v));

		if (v) {
			paths->v = v;
			paths->cap = cap;
		}
	}
	if (!path || paths->n == paths->cap) {
		free(path);
		return slc_fail(ctx, -ENOMEM, "no memory for a list of files");
	}
	paths->v[paths->n++] = path;
	return 0;
}

void slc_paths_fini(struct slc_paths *paths)
{
	for (uint64_t i = 0; i < paths->n; i++)
		free(paths->v[i]);
	free(paths->v);
	memset(paths, 0, sizeof(*paths));
}

static char *join(const char *folder, const char *name)
{
	size_t n = strlen(folder);
	char *path;

	if (asprintf(&path, "%s%s%s", folder,
		     n && folder[n - 1] == '/' ? "" : "/", name) < 0)
		return NULL;
	return path;
}

/* Closes the folder before it returns, so depth costs no descriptors. */
static int list_names(struct slc_ctx *ctx, const char *folder,
		      struct slc_paths *names)
{
	DIR *dir = opendir(folder);
	struct dirent *e;
	int err = 0;

	if (!dir)
		return slc_fail_open(ctx, errno, folder);
	while (!err) {
		errno = 0;
		e = readdir(dir);
		if (!e)
			break;
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (e->d_name[0] == '.') {
			slc_log(ctx, SLC_LOG_INFO, "left out %s/%s: hidden",
				folder, e->d_name);
			continue;
		}
		err = paths_add(ctx, names, join(folder, e->d_name));
	}
	if (!err && errno)
		err = slc_fail(ctx, -errno, "cannot list the folder %s: %s",
			       folder, strerror(errno));
	closedir(dir);
	return err;
}

static int walk_folder(struct walk *w, const char *folder, unsigned int depth);

/* Takes ownership of `path`. */
static int walk_entry(struct walk *w, char *path, unsigned int depth)
{
	struct stat link, st;
	int err = 0;

	if (lstat(path, &link) < 0 || stat(path, &st) < 0) {
		/* A broken link may be a shard that is gone: not ours to drop. */
		err = slc_fail(w->ctx, -errno, "cannot look at %s: %s", path,
			       strerror(errno));
		goto out;
	}
	if (S_ISREG(st.st_mode))
		return paths_add(w->ctx, w->out, path);
	if (S_ISDIR(st.st_mode) && !S_ISLNK(link.st_mode))
		err = walk_folder(w, path, depth + 1);
	else
		slc_log(w->ctx, SLC_LOG_INFO, "left out %s: %s", path,
			S_ISDIR(st.st_mode) ? "a link to a folder" :
					      "not a regular file");
out:
	free(path);
	return err;
}

static int walk_folder(struct walk *w, const char *folder, unsigned int depth)
{
	struct slc_paths names = { 0 };
	char *path = NULL;
	int err;

	if (depth > DEPTH_MAX)
		return slc_fail(w->ctx, -ELOOP,
				"%s is more than %d folders deep", folder,
				DEPTH_MAX);
	err = w->whole(w->ctx, folder, &path);
	if (err > 0)
		return paths_add(w->ctx, w->out, path);
	if (!err)
		err = list_names(w->ctx, folder, &names);
	for (uint64_t i = 0; i < names.n && !err; i++) {
		path = names.v[i];
		names.v[i] = NULL;
		err = walk_entry(w, path, depth);
	}
	slc_paths_fini(&names);
	return err;
}

static int by_bytes(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int slc_walk(struct slc_ctx *ctx, const char *folder,
	     int (*whole)(struct slc_ctx *ctx, const char *folder,
			  char **path),
	     struct slc_paths *out)
{
	struct walk w = { .ctx = ctx, .whole = whole, .out = out };
	uint64_t before = out->n;
	int err = walk_folder(&w, folder, 0);

	if (!err && out->n > before)
		qsort(out->v + before, out->n - before, sizeof(*out->v),
		      by_bytes);
	return err;
}

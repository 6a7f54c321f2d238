/* SPDX-License-Identifier: MIT */
#include "stream/atomic_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/ctx.h"
#include "stream/packed_file.h"

#define BUFFER_BYTES (256u << 10)

static int fail_write(struct slc_atomic_file *f, int err)
{
	f->err = slc_fail(f->ctx, -err, "cannot write in the folder %s: %s%s",
			  f->folder, strerror(err),
			  err == ENOSPC || err == EDQUOT ?
				  ": make room and pack again" :
			  err == EFBIG ? ": raise ulimit -f" : "");
	return f->err;
}

/* malloc'd, NULL without memory. */
static char *folder_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	if (!slash)
		return strdup(".");
	return strndup(path, slash == path ? 1 : (size_t)(slash - path));
}

void slc_atomic_sweep(struct slc_ctx *ctx, const char *path)
{
	char *folder = folder_of(path), *prefix = slc_packed_temp_prefix(path);
	DIR *dir = folder && prefix ? opendir(folder) : NULL;
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		if (!slc_packed_is_temp(e->d_name, prefix))
			continue;
		if (unlinkat(dirfd(dir), e->d_name, 0) < 0)
			slc_log(ctx, SLC_LOG_WARN,
				"%s/%s, left by a killed pack, could not be removed: %s",
				folder, e->d_name, strerror(errno));
	}
	if (dir)
		closedir(dir);
	free(prefix);
	free(folder);
}

static int open_tmp(struct slc_atomic_file *f, const char *prefix)
{
	for (unsigned int i = 0; i < 1000; i++) {
		free(f->tmp);
		if (asprintf(&f->tmp, "%s/%s%d.%u.tmp", f->folder, prefix,
			     (int)getpid(), i) < 0) {
			f->tmp = NULL;
			return fail_write(f, ENOMEM);
		}
		f->fd = open(f->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
			     0666);
		if (f->fd >= 0)
			return 0;
		if (errno != EEXIST)
			return fail_write(f, errno);
	}
	return fail_write(f, EEXIST);
}

int slc_atomic_open(struct slc_ctx *ctx, const char *path,
		    struct slc_atomic_file *f)
{
	char *prefix = slc_packed_temp_prefix(path);
	int err;

	memset(f, 0, sizeof(*f));
	f->ctx = ctx;
	f->fd = -1;
	f->folder = folder_of(path);
	f->buf = malloc(BUFFER_BYTES);
	if (!prefix || !f->folder || !f->buf)
		err = slc_fail(ctx, -ENOMEM, "no memory to write %s", path);
	else
		err = open_tmp(f, prefix);
	free(prefix);
	if (err) {
		free(f->tmp);
		f->tmp = NULL;
		slc_atomic_abort(f);
	}
	return err;
}

static int flush(struct slc_atomic_file *f)
{
	size_t done = 0;

	while (!f->err && done < f->used) {
		ssize_t n = write(f->fd, f->buf + done, f->used - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return fail_write(f, errno);
		done += (size_t)n;
	}
	f->used = 0;
	return f->err;
}

int slc_atomic_write(struct slc_atomic_file *f, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;

	f->crc = slc_crc32c(f->crc, bytes, n);
	f->bytes += n;
	while (n && !f->err) {
		size_t room = BUFFER_BYTES - f->used;

		if (room > n)
			room = n;
		memcpy(f->buf + f->used, from, room);
		f->used += room;
		from += room;
		n -= room;
		if (f->used == BUFFER_BYTES)
			flush(f);
	}
	return f->err;
}

/* The rename itself must be on disk before anyone relies on it. */
static int sync_folder(struct slc_atomic_file *f)
{
	int fd = open(f->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int err = 0;

	if (fd < 0)
		return fail_write(f, errno);
	/* Some filesystems cannot sync a folder and say so. */
	if (fsync(fd) < 0 && errno != EINVAL)
		err = fail_write(f, errno);
	close(fd);
	return err;
}

int slc_atomic_commit(struct slc_atomic_file *f, const char *path)
{
	int err = flush(f), fd = f->fd;
	bool renamed = false;

	if (!err && fsync(fd) < 0)
		err = fail_write(f, errno);
	f->fd = -1;
	if (close(fd) < 0 && !err)
		err = fail_write(f, errno);
	if (!err && rename(f->tmp, path) < 0)
		err = fail_write(f, errno);
	if (!err) {
		free(f->tmp);
		f->tmp = NULL;
		renamed = true;
		err = sync_folder(f);
	}
	slc_atomic_abort(f);
	f->renamed = renamed;
	return err;
}

void slc_atomic_abort(struct slc_atomic_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	if (f->tmp)
		unlink(f->tmp);
	free(f->tmp);
	free(f->folder);
	free(f->buf);
	memset(f, 0, sizeof(*f));
	f->fd = -1;
}

/* SPDX-License-Identifier: MIT */
#include "base/open.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

const char *slc_open_fix(int err)
{
	return err == EMFILE ? ": raise ulimit -n" :
	       err == ENFILE ? ": raise sysctl fs.file-max" :
			       "";
}

int slc_fail_open(struct slc_ctx *ctx, int err, const char *path)
{
	if (err == EACCES)
		return slc_fail(ctx, -err,
				"cannot open %s: %s: give user %u access to it and the folders above it",
				path, strerror(err), (unsigned int)geteuid());
	return slc_fail(ctx, -err, "cannot open %s: %s%s", path, strerror(err),
			slc_open_fix(err));
}

int64_t slc_stat_mtime_ns(const struct stat *st)
{
	return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

int64_t slc_stat_ctime_ns(const struct stat *st)
{
	return (int64_t)st->st_ctim.tv_sec * 1000000000 + st->st_ctim.tv_nsec;
}

static int check_kind(struct slc_ctx *ctx, const char *path, bool device,
		      const struct stat *st)
{
	const char *kind = "not a regular file";

	if (S_ISREG(st->st_mode) || (device && S_ISBLK(st->st_mode)))
		return 0;
	if (S_ISDIR(st->st_mode))
		kind = "a folder";
	else if (S_ISFIFO(st->st_mode))
		kind = "a FIFO";
	else if (S_ISSOCK(st->st_mode))
		kind = "a socket";
	else if (S_ISCHR(st->st_mode))
		kind = "a character device";
	else if (S_ISBLK(st->st_mode))
		kind = "a block device";
	return slc_fail(ctx, -EINVAL, "%s is %s: it must be a regular file%s",
			path, kind, device ? " or a block device" : "");
}

int slc_stat_regular(struct slc_ctx *ctx, const char *path, struct stat *st)
{
	if (stat(path, st) < 0)
		return slc_fail_open(ctx, errno, path);
	return check_kind(ctx, path, false, st);
}

int slc_open_data(struct slc_ctx *ctx, const char *path, int flags,
		  bool device, struct stat *st)
{
	int fd, err;

	/* Before open(2), which on a device may have effects of its own. */
	err = stat(path, st) ? 0 : check_kind(ctx, path, device, st);
	if (err)
		return err;
	fd = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
	if (fd < 0)
		return slc_fail_open(ctx, errno, path);
	if (fstat(fd, st) < 0)
		err = slc_fail_open(ctx, errno, path);
	else
		err = check_kind(ctx, path, device, st);
	if (!err)
		return fd;
	close(fd);
	return err;
}

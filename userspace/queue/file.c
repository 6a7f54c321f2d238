/* SPDX-License-Identifier: MIT */
/* Files that moves may name: what they are, and whether O_DIRECT works. */
#include "queue/file.h"

#include "base/ctx.h"
#include "base/open.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#define FILE_FLAGS                                                        \
	(SLC_FILE_READ | SLC_FILE_WRITE | SLC_FILE_CREATE | SLC_FILE_BUFFERED)
#define PROBE_MAX 4096u

static const struct {
	unsigned long magic;
	const char *name;
	bool memory; /* has no device below: O_DIRECT would be the page cache */
} filesystems[] = {
	{ TMPFS_MAGIC, "tmpfs", true },
	{ RAMFS_MAGIC, "ramfs", true },
	{ HUGETLBFS_MAGIC, "hugetlbfs", true },
	{ OVERLAYFS_SUPER_MAGIC, "overlayfs", false },
	{ NFS_SUPER_MAGIC, "nfs", false },
	{ BTRFS_SUPER_MAGIC, "btrfs", false },
	{ EXT4_SUPER_MAGIC, "ext4", false },
	{ XFS_SUPER_MAGIC, "xfs", false },
	{ SQUASHFS_MAGIC, "squashfs", false },
	{ FUSE_SUPER_MAGIC, "fuse", false },
	{ V9FS_MAGIC, "9p", false },
};

static const char *fs_name(int fd, bool *memory)
{
	struct statfs fs;
	size_t i;

	*memory = false;
	if (fstatfs(fd, &fs))
		return "this filesystem";
	for (i = 0; i < sizeof(filesystems) / sizeof(filesystems[0]); i++)
		if (filesystems[i].magic == (unsigned long)fs.f_type) {
			*memory = filesystems[i].memory;
			return filesystems[i].name;
		}
	return "this filesystem";
}

static int open_flags(uint32_t flags)
{
	int o = O_CLOEXEC | O_NOCTTY;

	if ((flags & SLC_FILE_READ) && (flags & SLC_FILE_WRITE))
		o |= O_RDWR;
	else if (flags & SLC_FILE_WRITE)
		o |= O_WRONLY;
	return o;
}

/* Opens what file->fd is, once more. 0, or -errno. */
static int open_direct(struct slc_file *file)
{
	int o = open_flags(file->flags) | O_DIRECT;
	struct stat st;
	char self[40];
	int fd, err;

	/* By the descriptor, so that it is the same inode whatever happened
	 * to the path; by the path where /proc is not mounted. */
	snprintf(self, sizeof(self), "/proc/self/fd/%d", file->fd);
	fd = open(self, o);
	if (fd < 0 && errno == ENOENT)
		fd = open(file->path, o | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	if (fstat(fd, &st) || st.st_dev != file->dev || st.st_ino != file->ino) {
		err = -ESTALE;
		goto close_fd;
	}
	if (fcntl(fd, F_SETFL, o & ~O_CLOEXEC) < 0) {
		err = -errno;
		goto close_fd;
	}
	file->dio_fd = fd;
	return 0;

close_fd:
	close(fd);
	return err;
}

/* The smallest alignment that an O_DIRECT read takes, by trying; 0: none. */
static uint32_t probe_align(const struct slc_file *file)
{
	uint32_t align, got = 0;
	char *buf;

	/* Nothing to read: the alignment that any disk takes. */
	if (!(file->flags & SLC_FILE_READ) || file->len < PROBE_MAX)
		return PROBE_MAX;
	if (posix_memalign((void **)&buf, PROBE_MAX, 2 * PROBE_MAX))
		return PROBE_MAX;
	/* At buf + align the memory is aligned to no more than `align`. */
	for (align = 512; align <= PROBE_MAX && !got; align *= 8)
		if (pread(file->dio_fd, buf + align, align, 0) ==
		    (ssize_t)align)
			got = align;
	free(buf);
	return got;
}

static void drop_direct(struct slc_file *file)
{
	close(file->dio_fd);
	file->dio_fd = -1;
	file->mem_align = file->off_align = 0;
}

static bool is_pow2(uint32_t v)
{
	return v && !(v & (v - 1));
}

/* Opens the second descriptor or says in file->reason why there is none. */
static int find_direct(struct slc_file *file)
{
	struct statx stx = { 0 };
	const char *fs;
	bool memory;
	int err;

	if (file->flags & SLC_FILE_BUFFERED) {
		snprintf(file->reason, sizeof(file->reason),
			 "page cache by wish (SLC_FILE_BUFFERED)");
		return 0;
	}
	fs = fs_name(file->fd, &memory);
	if (file->block_device)
		fs = "this block device";
	snprintf(file->reason, sizeof(file->reason), "no O_DIRECT on %s", fs);
	if (memory && !file->block_device)
		return 0;
	err = open_direct(file);
	if (err == -EINVAL || err == -EOPNOTSUPP)
		return 0;
	if (err)
		return slc_fail_open(file->ctx, -err, file->path);
	if (!statx(file->dio_fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    (stx.stx_mask & STATX_DIOALIGN)) {
		file->mem_align = stx.stx_dio_mem_align;
		file->off_align = stx.stx_dio_offset_align;
	} else {
		file->mem_align = file->off_align = probe_align(file);
	}
	if (!is_pow2(file->mem_align) || !is_pow2(file->off_align)) {
		drop_direct(file);
		return 0;
	}
	if (file->mem_align > PROBE_MAX || file->off_align > PROBE_MAX) {
		snprintf(file->reason, sizeof(file->reason),
			 "O_DIRECT on %s wants an alignment of %u bytes: more than 4096",
			 fs, file->off_align > file->mem_align ?
				     file->off_align : file->mem_align);
		drop_direct(file);
		return 0;
	}
	file->reason[0] = '\0';
	return 0;
}

static int identify(struct slc_file *file, const struct stat *st)
{
	off_t end;

	file->block_device = S_ISBLK(st->st_mode);
	file->len = (uint64_t)st->st_size;
	if (file->block_device) {
		end = lseek(file->fd, 0, SEEK_END);
		if (end < 0)
			return slc_fail(file->ctx, -errno, "%s: lseek: %s",
					file->path, strerror(errno));
		file->len = (uint64_t)end;
	}
	file->dev = st->st_dev;
	file->ino = st->st_ino;
	file->mtime_ns = slc_stat_mtime_ns(st);
	/* A reader that may not wait gets -EAGAIN from a cold page cache. */
	if (fcntl(file->fd, F_SETFL, open_flags(file->flags) & ~O_CLOEXEC) < 0)
		return slc_fail(file->ctx, -errno, "%s: fcntl: %s", file->path,
				strerror(errno));
	return 0;
}

static int open_file(struct slc_ctx *ctx, const char *path, uint32_t flags,
		     struct slc_file **out)
{
	struct slc_file *file;
	struct stat st;
	int err = slc_need(ctx, "slc_file_open", "ctx", ctx);

	if (!err)
		err = slc_need(ctx, "slc_file_open", "path", path);
	if (!err)
		err = slc_need(ctx, "slc_file_open", "out", out);
	if (err)
		return err;
	if ((flags & ~FILE_FLAGS) ||
	    !(flags & (SLC_FILE_READ | SLC_FILE_WRITE)) ||
	    ((flags & SLC_FILE_CREATE) && !(flags & SLC_FILE_WRITE)))
		return slc_fail(ctx, -EINVAL,
				"slc_file_open: flags %#x: READ or WRITE is needed, CREATE goes with WRITE",
				flags);
	file = calloc(1, sizeof(*file));
	if (!file)
		return slc_fail(ctx, -ENOMEM, "%s: no memory for a file", path);
	atomic_init(&file->refs, 1);
	atomic_init(&file->wrote_buffered, false);
	file->flags = flags;
	file->dio_fd = -1;
	file->ctx = ctx;
	file->path = strdup(path);
	if (!file->path) {
		err = slc_fail(ctx, -ENOMEM, "%s: no memory for a file", path);
		goto free_file;
	}
	file->fd = slc_open_data(ctx, path,
				 open_flags(flags) |
					 (flags & SLC_FILE_CREATE ? O_CREAT : 0),
				 true, &st);
	if (file->fd < 0) {
		err = file->fd;
		goto free_path;
	}
	err = identify(file, &st);
	if (err)
		goto close_fd;
	err = find_direct(file);
	if (err)
		goto close_fd;
	slc_ctx_get(ctx);
	*out = file;
	return 0;

close_fd:
	close(file->fd);
free_path:
	free(file->path);
free_file:
	free(file);
	return err;
}

int slc_file_open(struct slc_ctx *ctx, const char *path, uint32_t flags,
		  struct slc_file **out)
{
	int saved = errno;
	int err = open_file(ctx, path, flags, out);

	errno = saved;
	return err;
}

struct slc_file *slc_file_get(struct slc_file *file)
{
	atomic_fetch_add_explicit(&file->refs, 1, memory_order_relaxed);
	return file;
}

void slc_file_put(struct slc_file *file)
{
	int saved = errno;

	/* Release pairs with the acquire of whoever drops the last one. */
	if (!file || atomic_fetch_sub_explicit(&file->refs, 1,
					       memory_order_acq_rel) != 1)
		return;
	if (file->dio_fd >= 0)
		close(file->dio_fd);
	close(file->fd);
	slc_ctx_close(file->ctx);
	free(file->path);
	free(file);
	errno = saved;
}

int slc_file_query(const struct slc_file *file, struct slc_file_info *info)
{
	struct slc_file_info full = {
		.len = file->len,
		.mtime_ns = file->mtime_ns,
		.dev = file->dev,
		.ino = file->ino,
		.dio_mem_align = file->mem_align,
		.dio_off_align = file->off_align,
		.reason = file->reason,
	};

	full.size = info->size;
	if (info->size < sizeof(info->size))
		return slc_fail(file->ctx, -EINVAL,
				"slc_file_info.size is %zu: set it to sizeof(struct slc_file_info)",
				info->size);
	memcpy(info, &full,
	       info->size < sizeof(full) ? info->size : sizeof(full));
	return 0;
}

int64_t slc_file_end(const struct slc_file *file)
{
	int saved = errno;
	struct stat st;
	int64_t end;

	if (file->block_device)
		end = (int64_t)file->len;
	else if (fstat(file->fd, &st))
		end = -errno;
	else
		end = st.st_size;
	errno = saved;
	return end;
}

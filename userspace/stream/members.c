/* SPDX-License-Identifier: MIT */
#include "stream/members.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/ctx.h"
#include "base/open.h"
#include "format/tar_walk.h"

struct slc_members {
	struct slc_ctx *ctx;
	const struct slc_shard *sh;
	struct slc_source_file file;
	struct slc_source_inflate inflate; /* with a codec */
	struct slc_source *src;
	/* Kept between samples: its window is ahead of the last one, where an
	 * inflating source cannot go back to. */
	struct slc_tar tar;
};

static int verify(struct slc_ctx *ctx, const struct slc_shard *sh,
		  struct slc_source_file *file)
{
	if (file->base.size != sh->size ||
	    slc_stat_mtime_ns(&file->st) != sh->mtime_ns)
		return slc_fail(ctx, -ESTALE,
				"%s changed since the dataset was opened: open it again",
				sh->path);
	slc_source_file_verify(file, sh->extent_crc);
	return 0;
}

int slc_members_open(struct slc_ctx *ctx, const struct slc_shard *sh,
		     struct slc_members **out)
{
	struct slc_members *m = calloc(1, sizeof(*m));
	int err;

	if (!m)
		return slc_fail(ctx, -ENOMEM, "no memory to read %s", sh->path);
	m->ctx = ctx;
	m->sh = sh;
	err = slc_source_file_open(ctx, sh->path, &m->file);
	if (err)
		goto free_m;
	/* Names are held against the manifest as contents are. */
	if (sh->extent_crc) {
		err = verify(ctx, sh, &m->file);
		if (err)
			goto close_file;
	}
	m->src = &m->file.base;
	if (sh->codec) {
		err = slc_source_inflate_init(&m->inflate, sh->codec, m->src);
		if (err) {
			slc_fail(ctx, err, "no memory to inflate %s", sh->path);
			goto close_file;
		}
		m->src = &m->inflate.base;
	}
	slc_tar_open(&m->tar, m->src);
	*out = m;
	return 0;

close_file:
	slc_source_file_close(&m->file);
free_m:
	free(m);
	return err;
}

void slc_members_close(struct slc_members *m)
{
	if (!m)
		return;
	slc_tar_fini(&m->tar);
	if (m->sh->codec)
		slc_source_inflate_fini(&m->inflate);
	slc_source_file_close(&m->file);
	free(m);
}

int slc_members_each(struct slc_members *m, uint64_t local,
		     int (*each)(void *user, const struct slc_piece *piece),
		     void *user)
{
	struct slc_diag diag = { .off = 0 };
	struct slc_tar_member member;
	struct slc_tar *tar = &m->tar;
	struct slc_piece piece;
	uint64_t off, len;
	int res = 0, err = 0;

	slc_table_span(&m->sh->table, local, &off, &len);
	if (off < tar->at && !m->sh->codec) {
		slc_tar_fini(tar);
		slc_tar_open(tar, m->src);
	}
	tar->at = off;
	tar->ended = false;
	while (!res && tar->at < off + len) {
		err = slc_tar_next(tar, &member, &diag);
		if (!err)
			err = slc_bad(&diag, tar->at,
				      "the archive ends inside a sample");
		if (err < 0)
			break;
		if (slc_tar_piece(&member, &piece))
			res = each(user, &piece);
	}
	if (err < 0 && m->file.mismatch)
		return slc_fail_mismatch(m->ctx, m->sh->path, "names",
					 &m->file);
	if (err < 0)
		return slc_fail_parse(m->ctx, err, m->sh->path,
				      m->sh->table.format->name, &diag);
	return res;
}

struct key {
	char *buf;
	size_t n, len;
};

static int take_key(void *user, const struct slc_piece *piece)
{
	struct key *key = user;

	key->len = slc_piece_key(piece, key->buf, key->n);
	return 1;
}

int slc_members_key(struct slc_ctx *ctx, const struct slc_shard *sh,
		    uint64_t local, char *buf, size_t n)
{
	struct key key = { .buf = buf, .n = n };
	struct slc_members *m;
	int res = slc_members_open(ctx, sh, &m);

	if (res)
		return res;
	res = slc_members_each(m, local, take_key, &key);
	slc_members_close(m);
	if (res < 0)
		return res;
	if (!res)
		return slc_fail(ctx, -EBADMSG,
				"%s: tar: a sample without a member: the file changed",
				sh->path);
	return (int)key.len;
}

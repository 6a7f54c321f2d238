/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/ctx.h"
#include "base/open.h"
#include "format/json.h"
#include "stream/crcfile.h"
#include "stream/listing.h"
#include "stream/manifest.h"
#include "stream/manifest_json.h"
#include "stream/packed_file.h"

/* Puts `v` (the reference is taken also on failure) at `key`. */
static int put(json_t *obj, const char *key, json_t *v)
{
	return json_object_set_new(obj, key, v) ? -ENOMEM : 0;
}

static int put_u64(json_t *obj, const char *key, uint64_t v)
{
	return put(obj, key, json_integer((json_int_t)v));
}

static int put_hex(json_t *obj, const char *key, int digits, uint64_t v)
{
	char text[20];

	snprintf(text, sizeof(text), "%0*" PRIx64, digits, v);
	return put(obj, key, json_string(text));
}

/* ---- paths ---- */

/*
 * The real folder of a file, the last name as it is: a link to a file keeps
 * its own name, whose ending tells the format. malloc'd or NULL with errno.
 */
static char *real_beside(const char *path)
{
	const char *slash = strrchr(path, '/');
	const char *name = slash ? slash + 1 : path;
	char *folder, *real, *out;

	if (asprintf(&folder, "%.*s", slash == path ? 1 :
		     slash ? (int)(slash - path) : 1, slash ? path : ".") < 0)
		return NULL;
	real = realpath(folder, NULL);
	free(folder);
	if (!real)
		return NULL;
	if (asprintf(&out, "%s%s%s", real, strcmp(real, "/") ? "/" : "",
		     name) < 0)
		out = NULL;
	free(real);
	return out;
}

/* Relative to `folder` (which ends in '/') when below it, else absolute. */
static int put_path(struct slc_ctx *ctx, json_t *obj, const char *folder,
		    const char *path)
{
	char *real = real_beside(path);
	const char *text = real;
	json_t *v;
	bool utf8;

	if (!real)
		return slc_fail(ctx, -errno, "cannot find the folder of %s: %s",
				path, strerror(errno));
	if (!strncmp(real, folder, strlen(folder)))
		text += strlen(folder);
	v = json_string(text);
	utf8 = slc_utf8_check(text, strlen(text)) == strlen(text);
	free(real);
	if (!v && utf8)
		return -ENOMEM;
	if (!v)
		return slc_fail(ctx, -EILSEQ,
				"%s: its name is not UTF-8, which JSON needs: rename it",
				path);
	return put(obj, "path", v);
}

/* ---- the object ---- */

static int put_extents(json_t *obj, const struct slc_packed *p)
{
	char *hex = malloc((size_t)p->nextents * 8 + 1);
	int err;

	if (!hex)
		return -ENOMEM;
	hex[0] = 0;
	for (uint32_t i = 0; i < p->nextents; i++)
		snprintf(hex + (size_t)i * 8, 9, "%08x", p->extent_crc[i]);
	err = put(obj, "extents",
		  json_stringn_nocheck(hex, (size_t)p->nextents * 8));
	free(hex);
	return err;
}

static int put_idx(struct slc_ctx *ctx, json_t *obj, const char *folder,
		   const struct slc_shard *sh, const struct slc_packed *p)
{
	json_t *idx;
	int err;

	if (!sh->idx)
		return 0;
	idx = json_object();
	if (!idx)
		return -ENOMEM;
	err = put_path(ctx, idx, folder, sh->idx);
	if (!err)
		err = put_u64(idx, "bytes", p->idx_bytes);
	if (!err)
		err = put_hex(idx, "crc32c", 8, p->idx_crc);
	if (err) {
		json_decref(idx);
		return err;
	}
	return put(obj, "idx", idx);
}

static int put_shard(struct slc_ctx *ctx, json_t *list, const char *folder,
		     const struct slc_shard *sh, const struct slc_packed *p)
{
	json_t *obj = json_object();
	int err;

	if (!obj)
		return -ENOMEM;
	err = put_path(ctx, obj, folder, sh->path);
	if (!err)
		err = put(obj, "format", json_string(sh->table.format->name));
	if (!err)
		err = put(obj, "codec", json_string(slc_codec_name(sh->codec)));
	if (!err)
		err = put_u64(obj, "record", sh->record);
	if (!err)
		err = put_u64(obj, "bytes", sh->size);
	if (!err)
		err = put_u64(obj, "inflated", sh->inflated);
	if (!err)
		err = put(obj, "mtime_ns", json_integer(sh->mtime_ns));
	if (!err)
		err = put_u64(obj, "samples", sh->table.n);
	if (!err)
		err = put_extents(obj, p);
	if (!err)
		err = put_idx(ctx, obj, folder, sh, p);
	if (err) {
		json_decref(obj);
		return err;
	}
	return json_array_append_new(list, obj) ? -ENOMEM : 0;
}

static int put_index(json_t *root, const char *file, uint64_t bytes,
		     uint32_t crc)
{
	json_t *index = json_object();
	int err;

	if (!index)
		return -ENOMEM;
	err = put(index, "file", json_string(file));
	if (!err)
		err = put_u64(index, "bytes", bytes);
	if (!err)
		err = put_hex(index, "crc32c", 8, crc);
	if (err) {
		json_decref(index);
		return err;
	}
	return put(root, "index", index);
}

static int put_head(json_t *root, const struct slc_dataset *ds)
{
	int err = put_u64(root, "sluice_manifest", SLC_MANIFEST_VERSION);

	if (!err)
		err = put_u64(root, "samples", ds->nsamples);
	if (!err)
		err = put_u64(root, "bytes", ds->bytes);
	if (!err)
		err = put_hex(root, "fingerprint", 16, ds->fingerprint);
	if (!err)
		err = put_u64(root, "extent_bytes", SLC_EXTENT_BYTES);
	return err;
}

static int build(struct slc_dataset *ds, const struct slc_packed *packed,
		 const char *folder, const char *file, uint64_t bytes,
		 uint32_t crc, json_t *root)
{
	json_t *list;
	uint32_t own;
	int err;

	err = put_head(root, ds);
	if (!err)
		err = put_index(root, file, bytes, crc);
	list = err ? NULL : json_array();
	if (!list || put(root, "shards", list))
		return slc_fail(ds->ctx, -ENOMEM, "no memory for a manifest");
	for (uint64_t i = 0; i < ds->nshards && !err; i++)
		err = put_shard(ds->ctx, list, folder, &ds->shards[i],
				&packed[i]);
	if (!err)
		err = slc_manifest_crc(root, &own);
	if (!err)
		err = put_hex(root, "crc32c", 8, own);
	if (err == -ENOMEM)
		return slc_fail(ds->ctx, err, "no memory for a manifest");
	return err;
}

/* ---- files ---- */

/*
 * The checksum file that the manifest at `path` names, if it is one that pack
 * would have named so: a manifest that was edited does not get to say what is
 * removed. *out is malloc'd or NULL. 0 or -errno.
 */
static int old_crcfile(struct slc_ctx *ctx, const char *path, char **out)
{
	const char *text, *file, *slash;
	uint8_t *bytes;
	uint64_t len;
	json_t *index, *root;
	unsigned int crc;
	int err;

	*out = NULL;
	if (access(path, F_OK))
		return 0;
	err = slc_read_whole(ctx, path, SLC_JSON_MAX, &bytes, &len);
	if (err)
		return err;
	root = json_loadb((char *)bytes, len, JSON_REJECT_DUPLICATES, NULL);
	free(bytes);
	index = json_object_get(root, "index");
	text = json_string_value(json_object_get(index, "crc32c"));
	file = json_string_value(json_object_get(index, "file"));
	if (text && file && strlen(text) == 8 && sscanf(text, "%8x", &crc) == 1)
		*out = slc_packed_index(path, crc);
	slash = *out ? strrchr(*out, '/') : NULL;
	if (*out && strcmp(slash ? slash + 1 : *out, file)) {
		free(*out);
		*out = NULL;
	}
	json_decref(root);
	return 0;
}

/* The folder must be there and take new files. */
static int check_folder(struct slc_ctx *ctx, const char *path)
{
	char *real = real_beside(path);
	int err = real ? 0 : errno;

	if (real) {
		*strrchr(real, '/') = 0;
		if (faccessat(AT_FDCWD, *real ? real : "/", W_OK | X_OK,
			      AT_EACCESS))
			err = errno;
		free(real);
	}
	if (err)
		return slc_fail(ctx, -err, "cannot write %s: its folder: %s",
				path, strerror(err));
	return 0;
}

int slc_manifest_may_write(struct slc_ctx *ctx, const char *path)
{
	int kind, err = check_folder(ctx, path);
	struct stat st;

	if (err)
		return err;
	if (lstat(path, &st) < 0)
		return errno == ENOENT ? 0 : slc_fail_open(ctx, errno, path);
	kind = S_ISREG(st.st_mode) ? slc_listing_kind(ctx, path) : 0;
	if (kind < 0)
		return kind;
	if (kind == SLC_LISTING_MANIFEST)
		return 0;
	return slc_fail(ctx, -EEXIST,
			"%s exists and is not a manifest: name another file or remove it",
			path);
}

static int dump(const char *bytes, size_t n, void *user)
{
	return slc_atomic_write(user, bytes, n) ? -1 : 0;
}

static int write_json(struct slc_ctx *ctx, const json_t *root,
		      const char *path, bool *renamed)
{
	struct slc_atomic_file f;
	int err = slc_atomic_open(ctx, path, &f);

	if (err)
		return err;
	if (json_dump_callback(root, dump, &f, JSON_INDENT(1)) && !f.err) {
		slc_atomic_abort(&f);
		return slc_fail(ctx, -ENOMEM, "no memory to write %s", path);
	}
	slc_atomic_write(&f, "\n", 1);
	err = slc_atomic_commit(&f, path);
	*renamed = f.renamed;
	return err;
}

/* Leaves *file (malloc'd), the path of the checksum file; *existed: one of
 * the same content was there already. */
static int write_crcs(struct slc_dataset *ds, const struct slc_packed *packed,
		      const char *path, char **file, bool *existed,
		      uint64_t *bytes, uint32_t *crc)
{
	struct slc_crcfile_shard *v;
	struct slc_atomic_file f;
	int err;

	v = calloc(ds->nshards ? ds->nshards : 1, sizeof(*v));
	if (!v)
		return slc_fail(ds->ctx, -ENOMEM, "no memory for a manifest");
	for (uint64_t i = 0; i < ds->nshards; i++) {
		const struct slc_table *t = &ds->shards[i].table;

		v[i].samples = t->n;
		v[i].crc = packed[i].sample_crc;
		v[i].words = t->words;
		v[i].nwords = slc_crcfile_words(t->format, ds->shards[i].codec,
						t->n);
	}
	err = slc_atomic_open(ds->ctx, path, &f);
	if (err)
		goto free_v;
	/* A failed write comes back from commit. */
	slc_crcfile_write(&f, v, ds->nshards);
	*bytes = f.bytes;
	*crc = f.crc;
	*file = slc_packed_index(path, f.crc);
	if (!*file) {
		slc_atomic_abort(&f);
		err = slc_fail(ds->ctx, -ENOMEM, "no memory for a manifest");
		goto free_v;
	}
	*existed = !access(*file, F_OK);
	err = slc_atomic_commit(&f, *file);
	if (err) {
		if (f.renamed && !*existed)
			unlink(*file);
		free(*file);
		*file = NULL;
	}
free_v:
	free(v);
	return err;
}

static int write_manifest(struct slc_dataset *ds,
			  const struct slc_packed *packed, const char *path,
			  const char *file, uint64_t bytes, uint32_t crc,
			  bool *renamed)
{
	const char *slash = strrchr(file, '/');
	char *folder = real_beside(path);
	json_t *root = json_object();
	int err;

	if (!folder || !root) {
		err = slc_fail(ds->ctx, -ENOMEM, "no memory for a manifest");
	} else {
		strrchr(folder, '/')[1] = 0;
		err = build(ds, packed, folder, slash ? slash + 1 : file, bytes,
			    crc, root);
	}
	if (!err)
		err = write_json(ds->ctx, root, path, renamed);
	json_decref(root);
	free(folder);
	return err;
}

static int write_locked(struct slc_dataset *ds, const struct slc_packed *packed,
			const char *path)
{
	char *old, *file = NULL;
	bool renamed = false, existed = false;
	uint64_t bytes = 0;
	uint32_t crc = 0;
	int err;

	err = old_crcfile(ds->ctx, path, &old);
	if (err)
		return err;
	err = write_crcs(ds, packed, path, &file, &existed, &bytes,
			 &crc);
	if (err)
		goto free_old;
	err = write_manifest(ds, packed, path, file, bytes, crc, &renamed);
	if (!renamed && !existed)
		unlink(file);
	if (renamed && old && strcmp(old, file) && unlink(old) < 0 &&
	    errno != ENOENT)
		slc_log(ds->ctx, SLC_LOG_WARN,
			"the old index %s could not be removed: %s", old,
			strerror(errno));
	free(file);
free_old:
	free(old);
	return err;
}

/*
 * The folder of `path`, locked: two packs to one output would each remove the
 * checksums of the other. A killed one lets go by itself. -errno where the
 * filesystem has no locks.
 */
static int lock_folder(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *folder;
	int fd, err;

	folder = slash ? strndup(path, (size_t)(slash - path) + 1) :
			 strdup(".");
	if (!folder)
		return -ENOMEM;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	err = -errno;
	free(folder);
	if (fd < 0)
		return err;
	while (flock(fd, LOCK_EX) < 0) {
		if (errno == EINTR)
			continue;
		err = -errno;
		close(fd);
		return err;
	}
	return fd;
}

int slc_manifest_write(struct slc_dataset *ds, const struct slc_packed *packed,
		       const char *path)
{
	int fd = lock_folder(path), err;

	if (fd == -ENOMEM)
		return slc_fail(ds->ctx, fd, "no memory to write %s", path);
	if (fd == -EMFILE || fd == -ENFILE)
		return slc_fail_open(ds->ctx, -fd, path);
	if (fd < 0)
		slc_log(ds->ctx, SLC_LOG_WARN,
			"the folder of %s cannot be locked (%s): let no other pack write there",
			path, strerror(-fd));
	else
		slc_atomic_sweep(ds->ctx, path);
	err = write_locked(ds, packed, path);
	if (fd >= 0)
		close(fd);
	return err;
}

/* SPDX-License-Identifier: MIT */
/* manifest.c - reading a manifest; manifest_write.c writes it. */
#include "stream/manifest.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/ctx.h"
#include "stream/crcfile.h"
#include "stream/manifest_json.h"

uint64_t slc_extents(uint64_t bytes)
{
	return bytes / SLC_EXTENT_BYTES + !!(bytes % SLC_EXTENT_BYTES);
}

static int feed_crc(const char *bytes, size_t n, void *user)
{
	uint32_t *crc = user;

	*crc = slc_crc32c(*crc, bytes, n);
	return 0;
}

int slc_manifest_crc(const json_t *root, uint32_t *crc)
{
	*crc = 0;
	return json_dump_callback(root, feed_crc, crc,
				  JSON_COMPACT | JSON_SORT_KEYS) ? -ENOMEM : 0;
}

/* ---- one value ---- */

struct reading {
	struct slc_ctx *ctx;
	const char *path;
	uint64_t shard; /* for sentences */
	bool lists_only;
};

static int bad(struct reading *r, const char *key, const char *what)
{
	if (r->shard == UINT64_MAX)
		return slc_fail(r->ctx, -EBADMSG,
				"%s: manifest: \"%s\" %s: run sluice pack again",
				r->path, key, what);
	return slc_fail(r->ctx, -EBADMSG,
			"%s: manifest: \"%s\" of shard %" PRIu64
			" %s: run sluice pack again",
			r->path, key, r->shard, what);
}

static int get_u64(struct reading *r, const json_t *obj, const char *key,
		   uint64_t *out)
{
	const json_t *v = json_object_get(obj, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return bad(r, key, "is missing or not a count");
	*out = (uint64_t)json_integer_value(v);
	return 0;
}

static int get_text(struct reading *r, const json_t *obj, const char *key,
		    const char **out)
{
	*out = json_string_value(json_object_get(obj, key));
	if (!*out)
		return bad(r, key, "is missing or not a text");
	return 0;
}

/* Exactly `digits` lower-case hex digits at `s`. */
static bool hex(const char *s, unsigned int digits, uint64_t *out)
{
	uint64_t v = 0;

	for (unsigned int i = 0; i < digits; i++) {
		char c = s[i];

		if (c >= '0' && c <= '9')
			v = v << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			v = v << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*out = v;
	return true;
}

static int get_hex(struct reading *r, const json_t *obj, const char *key,
		   unsigned int digits, uint64_t *out)
{
	const char *s;
	int err = get_text(r, obj, key, &s);

	if (err)
		return err;
	if (strlen(s) != digits || !hex(s, digits, out))
		return bad(r, key, "is not a checksum in hex");
	return 0;
}

static int get_crc(struct reading *r, const json_t *obj, const char *key,
		   uint32_t *out)
{
	uint64_t v;
	int err = get_hex(r, obj, key, 8, &v);

	if (!err)
		*out = (uint32_t)v;
	return err;
}

/*
 * A manifest is the user's own, so any absolute path may stand in it; a
 * relative one stays below the manifest's folder.
 */
static int get_path(struct reading *r, const json_t *obj, char **out)
{
	const char *s, *part;
	int err = get_text(r, obj, "path", &s);

	if (err)
		return err;
	if (!*s)
		return bad(r, "path", "is empty");
	for (part = s; part; part = strchr(part, '/')) {
		part += *part == '/';
		if (!strncmp(part, "..", 2) && (!part[2] || part[2] == '/'))
			return bad(r, "path", "leads out by \"..\"");
	}
	*out = slc_path_beside(r->path, s);
	if (!*out)
		return slc_fail(r->ctx, -ENOMEM, "no memory to read %s",
				r->path);
	return 0;
}

/* ---- one shard ---- */

static int get_kind(struct reading *r, const json_t *obj, struct slc_found *f)
{
	const char *format, *codec;
	int err = get_text(r, obj, "format", &format);

	if (!err)
		err = get_text(r, obj, "codec", &codec);
	if (!err)
		err = get_u64(r, obj, "record", &f->record);
	if (err)
		return err;
	f->format = slc_format_by_name(format);
	if (!f->format)
		return bad(r, "format", "is not known");
	for (f->codec = SLC_CODEC_NONE; f->codec <= SLC_CODEC_ZSTD; f->codec++)
		if (!strcmp(slc_codec_name(f->codec), codec))
			break;
	if (f->codec > SLC_CODEC_ZSTD ||
	    (f->codec && f->format != &slc_format_tar &&
	     f->format != &slc_format_mds))
		return bad(r, "codec", "is not known for this format");
	if ((f->format == &slc_format_raw) != (f->record > 0))
		return bad(r, "record", "does not go with the format");
	return 0;
}

static int get_idx(struct reading *r, const json_t *obj, struct slc_found *f)
{
	const json_t *idx = json_object_get(obj, "idx");
	int err;

	if ((f->format == &slc_format_megatron) != json_is_object(idx))
		return bad(r, "idx", "does not go with the format");
	if (!idx)
		return 0;
	err = get_path(r, idx, &f->idx);
	if (!err && !r->lists_only)
		err = get_u64(r, idx, "bytes", &f->idx_bytes);
	if (!err && !r->lists_only)
		err = get_crc(r, idx, "crc32c", &f->idx_crc);
	return err;
}

static int get_extents(struct reading *r, const json_t *obj,
		       struct slc_found *f)
{
	uint64_t n = slc_extents(f->bytes), crc;
	const char *s;
	int err = get_text(r, obj, "extents", &s);

	if (err)
		return err;
	/* The text, which is in memory, bounds the array. */
	if (n > UINT32_MAX || strlen(s) != 8 * n)
		return bad(r, "extents", "has not 8 digits for each MiB");
	f->extent_crc = malloc(n ? n * sizeof(*f->extent_crc) : 1);
	if (!f->extent_crc)
		return slc_fail(r->ctx, -ENOMEM, "no memory to read %s",
				r->path);
	f->nextents = (uint32_t)n;
	for (uint64_t i = 0; i < n; i++) {
		if (!hex(s + 8 * i, 8, &crc))
			return bad(r, "extents", "is not hex");
		f->extent_crc[i] = (uint32_t)crc;
	}
	return 0;
}

static int get_shard(struct reading *r, const json_t *obj, struct slc_found *f)
{
	const json_t *mtime = json_object_get(obj, "mtime_ns");
	int err = get_kind(r, obj, f);

	if (!err)
		err = get_path(r, obj, &f->path);
	if (!err)
		err = get_idx(r, obj, f);
	if (err || r->lists_only)
		return err;
	f->told = SLC_TOLD_MANIFEST;
	/* Times before 1970 are legal. */
	if (!json_is_integer(mtime))
		return bad(r, "mtime_ns", "is missing or not a number");
	f->mtime_ns = json_integer_value(mtime);
	err = get_u64(r, obj, "bytes", &f->bytes);
	if (!err)
		err = get_u64(r, obj, "inflated", &f->inflated);
	if (!err)
		err = get_u64(r, obj, "samples", &f->samples);
	if (err)
		return err;
	if (!f->codec && f->inflated != f->bytes)
		return bad(r, "inflated", "differs from bytes without a codec");
	return get_extents(r, obj, f);
}

/* ---- the whole ---- */

static int get_index(struct reading *r, const json_t *root,
		     struct slc_found *found, uint64_t n)
{
	const json_t *index = json_object_get(root, "index");
	const char *file;
	uint64_t bytes;
	uint32_t crc;
	char *path;
	int err;

	if (!json_is_object(index))
		return bad(r, "index", "is missing");
	err = get_text(r, index, "file", &file);
	if (!err)
		err = get_u64(r, index, "bytes", &bytes);
	if (!err)
		err = get_crc(r, index, "crc32c", &crc);
	if (err)
		return err;
	if (!*file || strchr(file, '/'))
		return bad(r, "file", "is not the name of a file beside it");
	path = slc_path_beside(r->path, file);
	if (!path)
		return slc_fail(r->ctx, -ENOMEM, "no memory to read %s",
				r->path);
	err = slc_crcfile_read(r->ctx, path, bytes, crc, found, n);
	if (err == -ENOENT)
		err = slc_fail(r->ctx, err,
			       "%s: manifest: its index %s is missing: copy it too, or run sluice pack again",
			       r->path, path);
	free(path);
	return err;
}

/* The sums that the manifest states, against its own shards. */
static int check_sums(struct reading *r, const json_t *root,
		      const struct slc_found *found, uint64_t n)
{
	uint64_t samples = 0, bytes = 0, said, h = SLC_FINGERPRINT_INIT;
	int err;

	for (uint64_t i = 0; i < n; i++) {
		const struct slc_found *f = &found[i];

		if (!slc_add(samples, f->samples, &samples) ||
		    !slc_add(bytes, f->bytes, &bytes))
			return bad(r, "samples", "do not fit in 64 bits");
		h = slc_fingerprint(h, f->path, f->format, f->bytes, f->record,
				    f->codec, f->samples);
	}
	err = get_u64(r, root, "samples", &said);
	if (!err && said != samples)
		err = bad(r, "samples", "is not the sum over the shards");
	if (!err)
		err = get_u64(r, root, "bytes", &said);
	if (!err && said != bytes)
		err = bad(r, "bytes", "is not the sum over the shards");
	if (!err)
		err = get_u64(r, root, "extent_bytes", &said);
	if (!err && said != SLC_EXTENT_BYTES)
		err = bad(r, "extent_bytes", "is not 1048576");
	if (!err)
		err = get_hex(r, root, "fingerprint", 16, &said);
	if (!err && said != h)
		err = bad(r, "fingerprint", "is not that of the shards");
	return err;
}

static int check_own_crc(struct reading *r, json_t *root)
{
	uint32_t said, crc;
	int err = get_crc(r, root, "crc32c", &said);

	if (err)
		return err;
	json_object_del(root, "crc32c");
	if (slc_manifest_crc(root, &crc))
		return slc_fail(r->ctx, -ENOMEM, "no memory to read %s",
				r->path);
	if (crc != said)
		return bad(r, "crc32c",
			   "does not match: the file was damaged or edited");
	return 0;
}

static int take_root(struct reading *r, json_t *root,
		     struct slc_finds *finds)
{
	const json_t *shards = json_object_get(root, "shards"), *shard;
	uint64_t version, before = finds->n;
	size_t i;
	int err;

	if (!json_is_object(root))
		return bad(r, "sluice_manifest", "is not in an object");
	err = get_u64(r, root, "sluice_manifest", &version);
	if (err)
		return err;
	if (version != SLC_MANIFEST_VERSION)
		return slc_fail(r->ctx, -EBADMSG,
				"%s: manifest: version %" PRIu64
				": this sluice knows version 1: update it",
				r->path, version);
	if (!r->lists_only)
		err = check_own_crc(r, root);
	if (err)
		return err;
	if (!json_array_size(shards))
		return bad(r, "shards", "is missing or empty");
	json_array_foreach(shards, i, shard) {
		struct slc_found *f = slc_finds_add(finds);

		if (!f)
			return slc_fail(r->ctx, -ENOMEM,
					"no memory to read %s", r->path);
		r->shard = i;
		err = get_shard(r, shard, f);
		if (err)
			return err;
	}
	r->shard = UINT64_MAX;
	if (r->lists_only)
		return 0;
	err = check_sums(r, root, finds->v + before, finds->n - before);
	if (!err)
		err = get_index(r, root, finds->v + before, finds->n - before);
	return err;
}

int slc_manifest_take(struct slc_ctx *ctx, const char *path,
		      const struct slc_taking *how, struct slc_finds *finds)
{
	struct reading r = { .ctx = ctx, .path = path, .shard = UINT64_MAX,
			     .lists_only = how->lists_only };
	json_error_t error;
	uint8_t *bytes;
	uint64_t len;
	json_t *root;
	int err;

	err = slc_read_whole(ctx, path, SLC_JSON_MAX, &bytes, &len);
	if (err)
		return err;
	root = json_loadb((char *)bytes, len, JSON_REJECT_DUPLICATES, &error);
	free(bytes);
	/* Where it has no memory it often has no words either. */
	if (!root && (!error.text[0] ||
		      json_error_code(&error) == json_error_out_of_memory))
		return slc_fail(ctx, -ENOMEM, "no memory to read %s", path);
	if (!root) {
		struct slc_diag diag;

		slc_bad(&diag, (uint64_t)error.position, "%s", error.text);
		return slc_fail_parse(ctx, -EBADMSG, path, "manifest", &diag);
	}
	err = take_root(&r, root, finds);
	json_decref(root);
	return err;
}

/* SPDX-License-Identifier: MIT */
/* inspect.c - sluice inspect: the tensors or samples in files. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sluice/stream.h>

#include "commands.h"
#include "format/json.h"
#include "stream/members.h"
#include "units.h"

#define LOOK_AHEAD 1000 /* rows that the width of the first column is from */

struct options {
	const char *format;
	uint64_t record, limit;
	bool json;
	char **paths;
	uint32_t npaths;
};

/* One growing text. */
struct text {
	char *p;
	size_t len, cap;
};

struct listing {
	const struct options *opt;
	struct slc_ctx *ctx;
	const struct slc_shard *sh;
	struct slc_members *members; /* tar */
	struct text key, parts;
	int width; /* of the first column on a terminal, else 0 */
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'j':
		o->json = true;
		return 0;
	case 'n':
		if (slc_parse_u64(arg, 0, UINT64_MAX, &o->limit))
			argp_error(state, "--limit %s: not a number of rows", arg);
		return 0;
	case 'f':
		o->format = arg;
		return 0;
	case 'r':
		if (slc_parse_size(arg, &o->record) || !o->record)
			argp_error(state, "--record %s: not a size (4096, 64K)",
				   arg);
		return 0;
	case ARGP_KEY_ARGS:
		o->paths = state->argv + state->next;
		o->npaths = (uint32_t)(state->argc - state->next);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which files? a file, a folder or a manifest");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option long_options[] = {
	{ "json", 'j', NULL, 0, "One object a file, one line each", 0 },
	{ "limit", 'n', "N", 0, "At most N rows a file (default: all)", 0 },
	{ "format", 'f', "NAME", 0,
	  "Take every file as safetensors, gguf, npy, megatron, mds, tar or raw "
	  "(default: by name and first bytes)",
	  0 },
	{ "record", 'r', "SIZE", 0, "Bytes of a record, with --format raw", 0 },
	{ 0 },
};

static const struct argp argp = {
	.options = long_options,
	.parser = parse,
	.args_doc = "FILE...",
	.doc = "Lists the tensors or samples of files, folders or manifests: "
	       "key, dtype, shape, offset, bytes, and of a tar the members. "
	       "Columns are apart by tabs; in a key or name a backslash is \\\\ "
	       "and a control byte \\xNN. Every header and index is checked "
	       "first: malformed input prints nothing but what is wrong.\v"
	       "Example: sluice inspect model.safetensors --limit 10\n\n"
	       "JSON: {file, format, codec, samples, bytes, entries: [{key, "
	       "dtype, shape, offset, bytes}]}, of a tar also members: [{name, "
	       "offset, bytes}].\n\n"
	       "Exit codes: 0 listed, 1 failed (I/O), 2 usage or malformed "
	       "input.",
};

/* ---- text ---- */

static int add(struct text *t, const char *bytes, size_t n)
{
	if (t->len + n + 1 > t->cap) {
		size_t cap = (t->len + n + 1) * 2;
		char *p = realloc(t->p, cap);

		if (!p)
			return -ENOMEM;
		t->p = p;
		t->cap = cap;
	}
	memcpy(t->p + t->len, bytes, n);
	t->len += n;
	t->p[t->len] = 0;
	return 0;
}

/* JSON has no bytes, only text: what is not UTF-8 becomes U+FFFD. */
static int add_json(struct text *t, const char *bytes, size_t n)
{
	char esc[8];
	int err = add(t, "\"", 1);

	while (n && !err) {
		size_t good = slc_utf8_check(bytes, n);

		for (size_t i = 0; i < good && !err; i++) {
			unsigned char c = (unsigned char)bytes[i];

			if (c == '"' || c == '\\')
				snprintf(esc, sizeof(esc), "\\%c", c);
			else if (c < 0x20 || c == 0x7f)
				snprintf(esc, sizeof(esc), "\\u%04x", c);
			else
				snprintf(esc, sizeof(esc), "%c", c);
			err = add(t, esc, strlen(esc));
		}
		bytes += good;
		n -= good;
		if (n && !err) {
			err = add(t, "\\ufffd", 6);
			bytes++;
			n--;
		}
	}
	return err ? err : add(t, "\"", 1);
}

/* For a line of columns: no tab, no end of line, nothing that a terminal
 * would obey. Bytes from 0x80 on are left: they are letters in UTF-8. */
static int add_plain(struct text *t, const char *bytes, size_t n)
{
	int err = 0;

	for (size_t i = 0; i < n && !err; i++) {
		char esc[4];

		err = add(t, esc,
			  slc_escape_byte(esc, (unsigned char)bytes[i]));
	}
	return err;
}

static int add_text(struct listing *l, struct text *t, const char *bytes,
		    size_t n)
{
	return l->opt->json ? add_json(t, bytes, n) : add_plain(t, bytes, n);
}

/* ---- one row ---- */

static int take_member(void *user, const struct slc_piece *piece)
{
	struct listing *l = user;
	char nums[80];
	size_t need;
	int err = 0;

	if (!l->key.len) {
		char *raw;

		need = slc_piece_key(piece, NULL, 0);
		raw = malloc(need + 1);
		if (!raw)
			return -ENOMEM;
		slc_piece_key(piece, raw, need + 1);
		err = add_text(l, &l->key, raw, need);
		free(raw);
	}
	if (!err && l->parts.len)
		err = add(&l->parts, l->opt->json ? ", " : " ",
			  l->opt->json ? 2 : 1);
	if (!err && l->opt->json)
		err = add(&l->parts, "{\"name\": ", 9);
	if (!err)
		err = add_text(l, &l->parts, piece->name, piece->name_len);
	snprintf(nums, sizeof(nums),
		 l->opt->json ? ", \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64 "}" :
				"@%" PRIu64 "+%" PRIu64,
		 piece->off, piece->len);
	return err ? err : add(&l->parts, nums, strlen(nums));
}

/* Fills l->key and l->parts for sample `i`. */
static int take_key(struct listing *l, uint64_t i)
{
	char small[512], *raw = small;
	int n, err;

	l->key.len = l->parts.len = 0;
	if (l->members)
		return slc_members_each(l->members, i, take_member, l);
	n = slc_shard_key(l->sh, i, small, sizeof(small));
	if (n >= (int)sizeof(small)) {
		raw = malloc((size_t)n + 1);
		if (!raw)
			return -ENOMEM;
		slc_shard_key(l->sh, i, raw, (size_t)n + 1);
	}
	err = add_text(l, &l->key, raw, (size_t)n);
	/* An empty name is a name. */
	if (!err && !n)
		err = add(&l->key, "", 0);
	if (raw != small)
		free(raw);
	return err;
}

static void print_shape(const struct slc_sample_info *info, bool json)
{
	if (!json && !*info->dtype) {
		putchar('-');
		return;
	}
	putchar('[');
	for (uint32_t k = 0; k < info->ndim; k++)
		printf("%s%" PRIu64, k ? (json ? ", " : ",") : "",
		       info->shape[k]);
	putchar(']');
}

static void print_row(struct listing *l, const struct slc_sample_info *info)
{
	printf("%s", l->key.p);
	if (l->width)
		printf("%*s", l->width > (int)l->key.len ?
				      l->width - (int)l->key.len : 0, "");
	printf("\t%s\t", *info->dtype ? info->dtype : "-");
	print_shape(info, false);
	printf("\t%" PRIu64 "\t%" PRIu64, info->off, info->len);
	if (l->members)
		printf("\t%s", l->parts.p);
	putchar('\n');
}

static void print_entry(struct listing *l, const struct slc_sample_info *info)
{
	printf("{\"key\": %s, \"dtype\": ", l->key.p);
	if (*info->dtype)
		printf("\"%s\"", info->dtype);
	else
		printf("null");
	printf(", \"shape\": ");
	if (*info->dtype)
		print_shape(info, true);
	else
		printf("null");
	printf(", \"offset\": %" PRIu64 ", \"bytes\": %" PRIu64, info->off,
	       info->len);
	if (l->members)
		printf(", \"members\": [%s]", l->parts.p);
	putchar('}');
}

/* ---- one file ---- */

static int measure(struct listing *l, uint64_t rows)
{
	int err = 0;

	/* Keys in a compressed tar are only read once. */
	if (l->opt->json || !isatty(STDOUT_FILENO) || l->sh->codec)
		return 0;
	for (uint64_t i = 0; i < rows && i < LOOK_AHEAD && !err; i++) {
		err = take_key(l, i);
		if (!err && (int)l->key.len > l->width)
			l->width = (int)l->key.len;
	}
	if (l->width > 60)
		l->width = 60;
	return err;
}

static int print_head(struct listing *l)
{
	const struct slc_shard *sh = l->sh;
	char bytes[32], samples[32];
	int err;

	l->key.len = 0;
	err = add_text(l, &l->key, sh->path, strlen(sh->path));
	if (err)
		return err;
	if (l->opt->json) {
		printf("{\"file\": %s, \"format\": \"%s\", \"codec\": \"%s\", \"samples\": %" PRIu64
		       ", \"bytes\": %" PRIu64 ", \"entries\": [",
		       l->key.p, sh->table.format->name,
		       slc_codec_name(sh->codec), sh->table.n, sh->size);
		return 0;
	}
	printf("# %s: %s%s%s, %s %s%s, %s%s\n", l->key.p,
	       sh->table.format->name, sh->codec ? " in " : "",
	       slc_codec_name(sh->codec),
	       slc_human_count(samples, sizeof(samples), sh->table.n),
	       sh->table.kind == SLC_TABLE_TENSORS ? "tensor" : "sample",
	       sh->table.n == 1 ? "" : "s",
	       slc_human_bytes(bytes, sizeof(bytes), sh->size),
	       sh->table.fortran ?
		       ", Fortran order: one array, rows are not contiguous" :
		       "");
	return 0;
}

static int list_rows(struct listing *l)
{
	uint64_t all = l->sh->table.fortran ? 1 : l->sh->table.n;
	uint64_t rows = all < l->opt->limit ? all : l->opt->limit;
	struct slc_sample_info info;
	int err = measure(l, rows);

	if (err)
		return err;
	if (!l->opt->json && rows)
		printf("key%*s\tdtype\tshape\toffset\tbytes%s\n",
		       l->width > 3 ? l->width - 3 : 0, "",
		       l->members ? "\tmembers" : "");
	for (uint64_t i = 0; i < rows && !err && !ferror(stdout); i++) {
		err = take_key(l, i);
		if (err)
			break;
		slc_shard_describe(l->sh, i, &info);
		if (!l->opt->json) {
			print_row(l, &info);
			continue;
		}
		if (i)
			printf(", ");
		print_entry(l, &info);
	}
	return err;
}

static int list_shard(const struct options *o, struct slc_ctx *ctx,
		      const struct slc_shard *sh)
{
	struct listing l = { .opt = o, .ctx = ctx, .sh = sh };
	int err = 0;

	if (sh->table.format->member)
		err = slc_members_open(ctx, sh, &l.members);
	if (!err)
		err = print_head(&l);
	if (!err)
		err = list_rows(&l);
	if (!err && o->json)
		printf("]}\n");
	slc_members_close(l.members);
	free(l.key.p);
	free(l.parts.p);
	return err;
}

static int list_all(const struct options *o, struct slc_ctx *ctx,
		    struct slc_dataset *ds)
{
	int err = 0;

	for (uint64_t i = 0; i < ds->nshards && !err && !ferror(stdout); i++)
		err = list_shard(o, ctx, &ds->shards[i]);
	if (err == -ENOMEM)
		return slc_cmd_error(err, "no memory for a row");
	if (err) {
		/* Rows may be out: it was good when it was opened. */
		slc_cmd_fail(ctx, err);
		return SLC_EXIT_FAILED;
	}
	return slc_cmd_flush();
}

int slc_cmd_inspect(int argc, char **argv)
{
	struct options o = { .limit = UINT64_MAX };
	struct slc_dataset_attr attr = { .size = sizeof(attr) };
	struct slc_dataset *ds;
	struct slc_ctx *ctx;
	int err;

	err = argp_parse(&argp, argc, argv, 0, NULL, &o);
	if (err)
		return slc_cmd_error(-err, "%s", strerror(err));
	attr.format = o.format;
	attr.record = o.record;
	err = slc_cmd_open(o.paths, o.npaths, &attr, &ctx, &ds);
	if (err)
		return err;
	err = list_all(&o, ctx, ds);
	slc_dataset_put(ds);
	slc_ctx_close(ctx);
	return err;
}

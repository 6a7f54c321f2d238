/* SPDX-License-Identifier: MIT */
/*
 * MosaicML streaming, one .mds shard (FORMATS.md 1.4), little endian:
 *
 *	u32 n | u32 off[n + 1] | config JSON | samples
 *
 * off are places in the file: off[0] is where the config ends, off[n] the size
 * of the file, and sample i is [off[i], off[i + 1]).
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"
#include "format/mds_columns.h"

#define CHUNK_BYTES (1u << 20)
#define CONFIG_MAX (1u << 20) /* 60 bytes a column are usual */
/* Samples of a shard whose size only its inflated end will tell. */
#define INFLATED_SAMPLES_MAX (1u << 26)

struct shard {
	struct slc_source *src;
	struct slc_table *t;
	struct slc_diag *diag;
	uint64_t n;
	uint64_t room;	 /* of t->words */
	uint64_t config; /* where the JSON begins */
	uint64_t least;	 /* bytes of a sample at least */
	bool inflated;	 /* the size is not known yet */
};

static int read_count(struct shard *s)
{
	uint32_t n;
	int err;

	err = slc_source_exact(s->src, 0, &n, sizeof(n), "the sample count",
			       s->diag);
	if (err)
		return err;
	s->n = le32toh(n);
	s->config = 4 + 4 * (s->n + 1);
	if (!s->inflated && s->config > s->src->size)
		return slc_bad(s->diag, 0,
			       "%llu samples need %llu bytes of offsets, but the file has %llu",
			       (unsigned long long)s->n,
			       (unsigned long long)s->config,
			       (unsigned long long)s->src->size);
	if (s->inflated && s->n > INFLATED_SAMPLES_MAX)
		return slc_bad(s->diag, 0,
			       "%llu samples in a compressed shard: at most %u are taken",
			       (unsigned long long)s->n, INFLATED_SAMPLES_MAX);
	return 0;
}

/* Room grows with what was read, whatever n claims. */
static int reserve(struct shard *s, uint64_t need)
{
	uint64_t room = s->room ? s->room : CHUNK_BYTES / 4;
	uint32_t *words;

	if (need <= s->room)
		return 0;
	while (room < need)
		room *= 2;
	if (!s->inflated || room > s->n + 1)
		room = s->n + 1;
	words = realloc(s->t->words, room * 4);
	if (!words)
		return -ENOMEM;
	s->t->words = words;
	s->room = room;
	return 0;
}

static int bad_offset(struct shard *s, uint64_t i)
{
	const uint32_t *w = s->t->words;
	uint64_t at = 4 + 4 * i;

	if (!i && w[0] > s->config)
		return slc_bad(s->diag, at,
			       "the config ends at %u, past the end of the file (%llu bytes)",
			       w[0], (unsigned long long)s->src->size);
	if (!i)
		return slc_bad(s->diag, at,
			       "the first sample is at %u, inside the offsets that end at %llu",
			       w[0], (unsigned long long)s->config);
	if (w[i] <= w[i - 1])
		return slc_bad(s->diag, at,
			       "sample %llu is empty or ends before it begins: [%u, %u)",
			       (unsigned long long)(i - 1), w[i - 1], w[i]);
	return slc_bad(s->diag, at,
		       "sample %llu ends at %u, past the end of the file (%llu bytes)",
		       (unsigned long long)(i - 1), w[i],
		       (unsigned long long)s->src->size);
}

static int read_offsets(struct shard *s)
{
	uint64_t total = s->n + 1, done = 0;
	int err;

	while (done < total) {
		uint64_t n = total - done;
		uint32_t *w;

		if (n > CHUNK_BYTES / 4)
			n = CHUNK_BYTES / 4;
		err = reserve(s, done + n);
		if (err)
			return err;
		w = s->t->words;
		err = slc_source_exact(s->src, 4 + 4 * done, w + done, 4 * n,
				       "the sample offsets", s->diag);
		if (err)
			return err;
		for (uint64_t i = done; i < done + n; i++) {
			w[i] = le32toh(w[i]);
			if (i ? w[i] <= w[i - 1] : w[i] <= s->config)
				return bad_offset(s, i);
			if (!s->inflated && w[i] > s->src->size)
				return bad_offset(s, i);
		}
		done += n;
	}
	return 0;
}

static int read_config(struct shard *s)
{
	uint64_t len = s->t->words[0] - s->config;
	json_t *config;
	char *text;
	int err;

	if (len > CONFIG_MAX)
		return slc_bad(s->diag, s->config,
			       "a config of %llu bytes: at most %u are taken",
			       (unsigned long long)len, CONFIG_MAX);
	text = malloc(len);
	if (!text)
		return -ENOMEM;
	err = slc_source_exact(s->src, s->config, text, len, "the config",
			       s->diag);
	if (!err)
		err = slc_json_tree(text, len, s->config, "the config",
				    &config, s->diag);
	free(text);
	if (err)
		return err;
	err = slc_mds_columns(config, s->config, &s->least, s->diag);
	json_decref(config);
	return err;
}

static int check_samples(struct shard *s)
{
	const uint32_t *w = s->t->words;

	for (uint64_t i = 0; i < s->n; i++)
		if (w[i + 1] - w[i] < s->least)
			return slc_bad(s->diag, 4 + 4 * i,
				       "sample %llu has %u bytes: its columns need %llu",
				       (unsigned long long)i, w[i + 1] - w[i],
				       (unsigned long long)s->least);
	return 0;
}

static int check_end(struct shard *s)
{
	uint64_t end = s->t->words[s->n];
	uint8_t byte;

	if (s->inflated) {
		int64_t got = s->src->read(s->src, end, &byte, 1);

		if (got < 0)
			return slc_source_exact(s->src, end, &byte, 1,
						"the samples", s->diag);
		if (got)
			return slc_bad(s->diag, end,
				       "bytes after the last sample");
	}
	if (s->src->size != end && s->src->size != SLC_SIZE_UNKNOWN)
		return slc_bad(s->diag, 4 + 4 * s->n,
			       "the samples end at %llu, but the file has %llu bytes",
			       (unsigned long long)end,
			       (unsigned long long)s->src->size);
	return 0;
}

static int parse(const struct slc_parse *in, struct slc_table *t,
		 struct slc_diag *diag)
{
	struct shard s = { .src = in->src, .t = t, .diag = diag };
	int err;

	s.inflated = in->src->size == SLC_SIZE_UNKNOWN;
	t->format = &slc_format_mds;
	t->kind = SLC_TABLE_OFFSETS;
	err = read_count(&s);
	if (!err)
		err = read_offsets(&s);
	if (!err)
		err = read_config(&s);
	if (!err)
		err = check_samples(&s);
	if (!err)
		err = check_end(&s);
	if (err) {
		slc_table_fini(t);
		return err;
	}
	t->n = s.n;
	t->mem_bytes = 4 * s.room;
	return 0;
}

const struct slc_format slc_format_mds = {
	.name = "mds",
	.endings = (const char *const[]){ ".mds", NULL },
	.parse = parse,
};

/* SPDX-License-Identifier: MIT */
/*
 * WebDataset: a tar archive whose neighbouring files with one key are a
 * sample. The rules are those of its tariterators.py: FORMATS.md 1.3.
 *
 * A sample is the span of the archive from the first header of its first
 * member to the padded end of its last one, so one read brings it in, and its
 * members are found again by walking the span in memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "format/format.h"
#include "format/tar_walk.h"

/* Samples of an archive whose size only its inflated end will tell. */
#define INFLATED_SAMPLES_MAX (1u << 27)

/* The two parts of a member name as one text. */
struct text {
	const struct slc_tar_member *m;
	uint64_t shift; /* where m->name begins */
	uint64_t len;
};

static struct text text_of(const struct slc_tar_member *m)
{
	struct text x = { m, m->dir_len ? (uint64_t)m->dir_len + 1 : 0, 0 };

	x.len = x.shift + m->name_len;
	return x;
}

static char at(const struct text *x, uint64_t i)
{
	if (i >= x->shift)
		return x->m->name[i - x->shift];
	return i == x->m->dir_len ? '/' : x->m->dir[i];
}

static uint64_t find(const struct text *x, uint64_t from, uint64_t to, char c)
{
	while (from < to && at(x, from) != c)
		from++;
	return from;
}

/* begin itself, or the place after the last '/' in [begin, end). */
static uint64_t after_slash(const struct text *x, uint64_t begin, uint64_t end)
{
	while (end > begin && at(x, end - 1) != '/')
		end--;
	return end;
}

static bool ends_with_bars(const struct text *x, uint64_t end)
{
	return end >= 2 && at(x, end - 1) == '_' && at(x, end - 2) == '_';
}

/* Names of its own: __x__ and what lies below a folder of such a name. */
static bool is_meta(const struct text *x)
{
	uint64_t end = find(x, 0, x->len, '/');

	if (x->len < 2 || at(x, 0) != '_' || at(x, 1) != '_')
		return false;
	if (end == x->len) {
		/* The $ of the pattern also matches before a last newline. */
		if (end >= 5 && at(x, end - 1) == '\n')
			return ends_with_bars(x, end - 1);
		return ends_with_bars(x, end);
	}
	return end >= 4 && ends_with_bars(x, end);
}

/*
 * The dot of ^((?:.*\/|)[^.]+)[.]([^/]*)$ that parts key and extension, or
 * x->len when there is no match. It is the first of the base name, and between
 * it and the '/' that ends (?:.*\/|) has to be something without a dot. The .*
 * does not run over a newline. A base name that begins with its dot can match
 * below a folder without one: dir/.txt has the key "dir/".
 */
static uint64_t key_dot(const struct text *x)
{
	uint64_t newline = find(x, 0, x->len, '\n');
	uint64_t base = after_slash(x, 0, x->len);
	uint64_t dot = find(x, base, x->len, '.');
	uint64_t begin;

	if (dot == x->len || !dot)
		return x->len;
	begin = after_slash(x, 0, dot - 1 < newline ? dot - 1 : newline);
	return find(x, begin, dot, '.') == dot ? dot : x->len;
}

bool slc_tar_piece(const struct slc_tar_member *m, struct slc_piece *p)
{
	struct text x = text_of(m);
	uint64_t dot;

	if (!m->regular || is_meta(&x))
		return false;
	dot = key_dot(&x);
	if (dot == x.len)
		return false;
	p->dir = m->dir;
	p->dir_len = m->dir_len;
	p->key = m->name;
	p->key_len = (uint32_t)(dot - x.shift);
	p->name = m->name + p->key_len + 1;
	p->name_len = (uint32_t)(x.len - dot - 1);
	p->reserved = 0;
	p->off = m->data;
	p->len = m->size;
	return true;
}

static char lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

struct ext {
	uint64_t text; /* in group.texts, NUL terminated, lower case */
	uint64_t off;  /* of the member's header */
};

/* The sample that is being gathered. */
struct group {
	struct slc_table *t;
	struct slc_diag *diag;
	bool open, inflated;
	uint64_t first, end; /* its span */
	char *key;
	size_t key_len, key_cap;
	char *texts;
	size_t texts_len, texts_cap;
	struct ext *exts;
	size_t nexts, exts_cap;
	uint64_t cap; /* samples that t->words has room for */
};

/* Doubles *cap until it holds `need` items. */
static int reserve(void *array, size_t *cap, size_t need, size_t item)
{
	void **p = array;
	size_t n = *cap ? *cap : 16;
	void *grown;

	if (need <= *cap)
		return 0;
	while (n < need)
		n *= 2;
	grown = realloc(*p, n * item);
	if (!grown)
		return -ENOMEM;
	*p = grown;
	*cap = n;
	return 0;
}

static int by_text(const void *a, const void *b, void *texts)
{
	const struct ext *x = a, *y = b;
	int order = strcmp((char *)texts + x->text, (char *)texts + y->text);

	return order ? order : (x->off > y->off) - (x->off < y->off);
}

static int check_exts(struct group *g)
{
	qsort_r(g->exts, g->nexts, sizeof(*g->exts), by_text, g->texts);
	for (size_t i = 1; i < g->nexts; i++)
		if (!strcmp(g->texts + g->exts[i - 1].text,
			    g->texts + g->exts[i].text))
			return slc_bad(g->diag, g->exts[i].off,
				       "a second .%.60s in the sample %.100s",
				       g->texts + g->exts[i].text, g->key);
	return 0;
}

/* The sample is whole: two words more. */
static int flush(struct group *g)
{
	uint64_t first = g->first / SLC_TAR_BLOCK;
	uint64_t count = (g->end - g->first) / SLC_TAR_BLOCK;
	struct slc_table *t = g->t;
	int err;

	if (!g->open)
		return 0;
	g->open = false;
	err = g->nexts > 1 ? check_exts(g) : 0;
	if (err)
		return err;
	if (first > UINT32_MAX || count > UINT32_MAX)
		return slc_bad(g->diag, g->first,
			       "a sample past 2 TiB: use smaller shards");
	if (g->inflated && t->n >= INFLATED_SAMPLES_MAX)
		return slc_bad(g->diag, g->first,
			       "more than %u samples in a compressed archive: use smaller shards",
			       INFLATED_SAMPLES_MAX);
	if (t->n == g->cap) {
		uint64_t cap = g->cap ? 2 * g->cap : 64;
		uint32_t *words = realloc(t->words, cap * 8);

		if (!words)
			return -ENOMEM;
		t->words = words;
		g->cap = cap;
	}
	t->words[2 * t->n] = (uint32_t)first;
	t->words[2 * t->n + 1] = (uint32_t)count;
	t->n++;
	return 0;
}

static bool same_key(const struct group *g, const struct slc_piece *p)
{
	size_t dir = p->dir_len ? (size_t)p->dir_len + 1 : 0;

	return g->open && g->key_len == dir + p->key_len &&
	       (!dir || (!memcmp(g->key, p->dir, dir - 1) &&
			 g->key[dir - 1] == '/')) &&
	       !memcmp(g->key + dir, p->key, p->key_len);
}

static int begin(struct group *g, const struct slc_piece *p, uint64_t first)
{
	size_t len = slc_piece_key(p, NULL, 0);
	int err = reserve(&g->key, &g->key_cap, len + 1, 1);

	if (err)
		return err;
	g->key_len = slc_piece_key(p, g->key, len + 1);
	g->texts_len = g->nexts = 0;
	g->first = first;
	g->open = true;
	return 0;
}

/* WebDataset keeps these in the same dict as the extensions. */
static bool is_reserved(const char *ext)
{
	return !strcmp(ext, "__key__") || !strcmp(ext, "__url__") ||
	       !strcmp(ext, "__bad__");
}

static int add_ext(struct group *g, const struct slc_piece *p, uint64_t off)
{
	char *text;
	int err;

	err = reserve(&g->texts, &g->texts_cap,
		      g->texts_len + p->name_len + 1, 1);
	if (!err)
		err = reserve(&g->exts, &g->exts_cap, g->nexts + 1,
			      sizeof(*g->exts));
	if (err)
		return err;
	text = g->texts + g->texts_len;
	for (uint32_t i = 0; i < p->name_len; i++)
		text[i] = lower(p->name[i]);
	text[p->name_len] = 0;
	if (is_reserved(text))
		return slc_bad(g->diag, off,
			       "the extension .%s is a word of WebDataset's own",
			       text);
	g->exts[g->nexts].text = g->texts_len;
	g->exts[g->nexts++].off = off;
	g->texts_len += (size_t)p->name_len + 1;
	/* Now and then, so that endless repetition is found early. */
	if (g->nexts >= 16 && !(g->nexts & (g->nexts - 1)))
		return check_exts(g);
	return 0;
}

static int take_piece(struct group *g, const struct slc_piece *p,
		      const struct slc_tar_member *m)
{
	int err = 0;

	if (!same_key(g, p)) {
		err = flush(g);
		if (!err)
			err = begin(g, p, m->first);
	}
	if (err)
		return err;
	g->end = m->end;
	return add_ext(g, p, m->first);
}

static int gather(struct slc_tar *tar, struct group *g)
{
	struct slc_tar_member m;
	struct slc_piece piece;
	int res;

	while ((res = slc_tar_next(tar, &m, g->diag)) > 0) {
		if (!slc_tar_piece(&m, &piece))
			continue;
		res = take_piece(g, &piece, &m);
		if (res)
			return res;
	}
	return res ? res : flush(g);
}

static int parse(const struct slc_parse *in, struct slc_table *t,
		 struct slc_diag *diag)
{
	struct group g = { .t = t,
			   .diag = diag,
			   .inflated = in->src->size == SLC_SIZE_UNKNOWN };
	struct slc_tar tar;
	int err;

	t->format = &slc_format_tar;
	t->kind = SLC_TABLE_BLOCKS;
	slc_tar_open(&tar, in->src);
	err = gather(&tar, &g);
	slc_tar_fini(&tar);
	free(g.key);
	free(g.texts);
	free(g.exts);
	if (err) {
		slc_table_fini(t);
		return err;
	}
	if (t->n < g.cap) {
		uint32_t *words = realloc(t->words, t->n * 8);

		t->words = words ? words : t->words;
	}
	t->mem_bytes = 8 * t->n;
	return 0;
}

static int member(const uint8_t *span, uint64_t len, uint64_t *pos,
		  struct slc_piece *out, struct slc_diag *diag)
{
	struct slc_tar_member m;
	struct slc_tar tar;
	int res;

	slc_tar_open_mem(&tar, span, len, *pos);
	if (*pos > len)
		return slc_bad(diag, *pos, "a position outside the sample");
	while (tar.at < len) {
		res = slc_tar_next(&tar, &m, diag);
		if (res < 0)
			return res;
		if (!res)
			return slc_bad(diag, tar.at,
				       "the archive ends inside a sample");
		*pos = tar.at;
		if (slc_tar_piece(&m, out))
			return 1;
	}
	return 0;
}

const struct slc_format slc_format_tar = {
	.name = "tar",
	.endings = (const char *const[]){ ".tar", ".tgz", NULL },
	.magic = slc_tar_magic,
	.parse = parse,
	.member = member,
};

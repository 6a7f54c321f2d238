/* SPDX-License-Identifier: MIT */
/*
 * Tar headers: v7, ustar and pax of POSIX.1-2001, and the long names, base-256
 * numbers and sparse files of GNU. Names and ends are found as Python's
 * tarfile finds them, but damage in the middle is an error, not the end.
 */
#include "format/tar_walk.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"

#define BLOCK SLC_TAR_BLOCK
#define WINDOW 4096u /* a file reads ahead by itself */
#define WINDOW_INFLATE (64u << 10) /* all bytes are made anyway */

/* What extended headers say about the member that follows; first one wins. */
struct extended {
	const char *path;
	uint64_t path_len;
	uint64_t size;
	bool any, has_path, has_size;
};

struct header {
	const uint8_t *block;
	uint64_t size;
	uint8_t type;
};

void slc_tar_open(struct slc_tar *t, struct slc_source *src)
{
	memset(t, 0, sizeof(*t));
	t->src = src;
}

void slc_tar_open_mem(struct slc_tar *t, const uint8_t *bytes, uint64_t len,
		      uint64_t at)
{
	memset(t, 0, sizeof(*t));
	t->mem = bytes;
	t->size = len;
	t->at = at;
}

void slc_tar_fini(struct slc_tar *t)
{
	free(t->win);
	free(t->path);
	t->win = NULL;
	t->path = NULL;
}

static uint64_t tar_size(const struct slc_tar *t)
{
	return t->src ? t->src->size : t->size;
}

static int grow_window(struct slc_tar *t, uint64_t cap)
{
	uint8_t *win;

	if (cap <= t->win_cap)
		return 0;
	win = realloc(t->win, cap);
	if (!win)
		return -ENOMEM;
	t->win = win;
	t->win_cap = cap;
	return 0;
}

/* Moves the window to `off`, keeping what of it is already there. */
static int fill_window(struct slc_tar *t, uint64_t off, uint64_t len)
{
	uint64_t end = t->win_off + t->win_len, want = WINDOW, kept = 0;
	int64_t got;
	int err;

	if (t->src->size == SLC_SIZE_UNKNOWN)
		want = WINDOW_INFLATE;
	if (want < len)
		want = len;
	err = grow_window(t, want);
	if (err)
		return err;
	if (off < end) {
		kept = end - off;
		memmove(t->win, t->win + (off - t->win_off), kept);
	}
	t->win_off = off;
	t->win_len = kept;
	got = t->src->read(t->src, off + kept, t->win + kept, want - kept);
	if (got < 0)
		return (int)got;
	t->win_len += (uint64_t)got;
	return 0;
}

/* `off` never goes back. *got is less than len only where the source ends. */
static int fetch(struct slc_tar *t, uint64_t off, uint64_t len,
		 const uint8_t **p, uint64_t *got, struct slc_diag *diag)
{
	uint64_t have;
	int err;

	if (!t->src) {
		have = off < t->size ? t->size - off : 0;
		*p = t->mem + (have ? off : 0);
		*got = have < len ? have : len;
		return 0;
	}
	if (off < t->win_off || !slc_within(off - t->win_off, len, t->win_len)) {
		err = fill_window(t, off, len);
		if (err == -ENOMEM)
			return err;
		if (err) {
			slc_bad(diag, off, "cannot read the archive: %s",
				err == -EBADMSG ?
					"the compressed data is damaged" :
					strerror(-err));
			return err;
		}
	}
	have = t->win_len - (off - t->win_off);
	*p = t->win + (off - t->win_off);
	*got = have < len ? have : len;
	return 0;
}

/* Octal with blanks around it up to a NUL, or base-256 after a byte 0x80. */
static bool number(const uint8_t *p, size_t n, uint64_t *out)
{
	uint64_t v = 0;
	size_t i = 0;

	if (p[0] == 0x80) {
		for (i = 1; i < n; i++) {
			if (v >> 55)
				return false; /* past 2^63 */
			v = v << 8 | p[i];
		}
		*out = v;
		return true;
	}
	while (i < n && (p[i] == ' ' || (p[i] >= '\t' && p[i] <= '\r')))
		i++;
	for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
		v = v << 3 | (uint64_t)(p[i] - '0');
	while (i < n && (p[i] == ' ' || (p[i] >= '\t' && p[i] <= '\r')))
		i++;
	*out = v;
	return i == n || !p[i];
}

/*
 * The stored sum is of unsigned bytes, or of signed ones by old tars; its own
 * field counts as blanks. Eight bytes at a time: every member that is streamed
 * comes through here. Lanes of 16 bits hold 64 times 510, bytes 64 times 1.
 */
static bool sum_is_right(const uint8_t *block)
{
	const uint64_t low = 0x00ff00ff00ff00ffull;
	const uint64_t ones = 0x0101010101010101ull;
	uint64_t lanes = 0, highs = 0, stored;
	uint32_t sum = 0, high = 0;

	for (int i = 0; i < BLOCK; i += 8) {
		uint64_t v;

		memcpy(&v, block + i, sizeof(v));
		lanes += (v & low) + ((v >> 8) & low);
		highs += (v >> 7) & ones;
	}
	for (; lanes; lanes >>= 16)
		sum += lanes & 0xffff;
	for (; highs; highs >>= 8)
		high += highs & 0xff;
	for (int i = 148; i < 156; i++) {
		sum += ' ' - (uint32_t)block[i];
		high -= block[i] >> 7;
	}
	return number(block + 148, 8, &stored) &&
	       (stored == sum || stored + 256 * (uint64_t)high == sum);
}

bool slc_tar_magic(const uint8_t *head, size_t n)
{
	return n >= BLOCK && !memcmp(head + 257, "ustar", 5) &&
	       sum_is_right(head);
}

static bool is_zero(const uint8_t *block)
{
	return !block[0] && !memcmp(block, block + 1, BLOCK - 1);
}

static uint32_t text_len(const uint8_t *p, uint32_t max)
{
	const uint8_t *nul = memchr(p, 0, max);

	return nul ? (uint32_t)(nul - p) : max;
}

/* Reads one header block: 1, 0 at the end of the archive, or an error. */
static int read_header(struct slc_tar *t, bool pending, struct header *h,
		       struct slc_diag *diag)
{
	const uint8_t *p;
	uint64_t got;
	bool whole;
	int err;

	err = fetch(t, t->at, BLOCK, &p, &got, diag);
	if (err)
		return err;
	/* By now an inflating source that has ended knows its size. */
	whole = tar_size(t) == t->at || tar_size(t) == SLC_SIZE_UNKNOWN;
	if (got < BLOCK && (got || !t->at || pending || !whole))
		return slc_bad(diag, t->at + got,
			       !t->at && !got ? "the file is empty" :
			       got ? "the file ends inside a header" :
			       pending ? "the file ends between a long name or pax header and its member" :
					 "the file ends inside a member");
	if (!got)
		return 0;
	if (is_zero(p)) {
		if (pending)
			return slc_bad(diag, t->at,
				       "the archive ends between a long name or pax header and its member");
		t->ended = true;
		return 0;
	}
	if (!sum_is_right(p))
		return slc_bad(diag, t->at, t->at ?
			       "the checksum of this header is wrong" :
			       "no tar header: its checksum is wrong");
	if (p[124] == 0xff || !number(p + 124, 12, &h->size))
		return slc_bad(diag, t->at + 124,
			       "the size of this member is not a number that a file can have");
	h->block = p;
	h->type = p[156];
	return 1;
}

/* Keeps a long name until its member comes: the window moves on. */
static int keep_path(struct slc_tar *t, struct extended *x, const char *path,
		     uint64_t len)
{
	x->has_path = true;
	x->path = path;
	x->path_len = len;
	if (!t->src)
		return 0;
	if (len > t->path_cap || !t->path) {
		char *p = realloc(t->path, len + 1);

		if (!p)
			return -ENOMEM;
		t->path = p;
		t->path_cap = len;
	}
	memcpy(t->path, path, len);
	x->path = t->path;
	return 0;
}

struct record {
	const char *key, *value;
	uint64_t key_len, value_len, next;
};

/* "LENGTH KEY=VALUE\n", LENGTH counting all of it, itself too. */
static bool pax_record(const char *p, uint64_t len, uint64_t at,
		       struct record *r)
{
	uint64_t n = 0, i = at, end;
	const char *eq;

	for (; i < len && i - at < 8 && p[i] >= '0' && p[i] <= '9'; i++)
		n = n * 10 + (uint64_t)(p[i] - '0');
	if (i == at || i >= len || p[i] != ' ' || n > len - at ||
	    n < i - at + 4)
		return false;
	i++;
	end = at + n - 1;
	eq = memchr(p + i, '=', end - i);
	if (p[end] != '\n' || !eq || eq == p + i)
		return false;
	r->key = p + i;
	r->key_len = (uint64_t)(eq - r->key);
	r->value = eq + 1;
	r->value_len = (uint64_t)(p + end - r->value);
	r->next = at + n;
	return true;
}

static bool key_is(const struct record *r, const char *key)
{
	return r->key_len == strlen(key) && !memcmp(r->key, key, r->key_len);
}

static bool decimal(const char *p, uint64_t n, uint64_t *out)
{
	uint64_t v = 0;

	for (uint64_t i = 0; i < n; i++)
		if (p[i] < '0' || p[i] > '9' || !slc_mul(v, 10, &v) ||
		    !slc_add(v, (uint64_t)(p[i] - '0'), &v))
			return false;
	*out = v;
	return n != 0 && v < (1ull << 63);
}

/* Takes one record into *x; the last of a key counts within a header. */
static int take_record(const struct record *r, uint64_t off, bool global,
		       struct extended *x, struct slc_diag *diag)
{
	if (r->key_len >= 11 && !memcmp(r->key, "GNU.sparse.", 11))
		return slc_bad(diag, off,
			       "a sparse member: pack the archive without --sparse");
	if (!key_is(r, "path") && !key_is(r, "size"))
		return 0;
	if (global)
		return slc_bad(diag, off,
			       "a global pax header gives every member the same %.4s",
			       r->key);
	if (key_is(r, "size")) {
		x->has_size = true;
		if (!decimal(r->value, r->value_len, &x->size))
			return slc_bad(diag, off,
				       "the size in a pax header is not a number");
		return 0;
	}
	if (!r->value_len || memchr(r->value, 0, r->value_len))
		return slc_bad(diag, off,
			       "the path in a pax header is empty or holds a NUL");
	x->has_path = true;
	x->path = r->value;
	x->path_len = r->value_len;
	while (x->path_len && x->path[x->path_len - 1] == '/')
		x->path_len--;
	return 0;
}

static int scan_pax(struct slc_tar *t, const char *p, uint64_t len,
		    uint64_t off, bool global, struct extended *x,
		    struct slc_diag *diag)
{
	struct extended mine = { 0 };
	struct record r;
	int err;

	for (uint64_t at = 0; at < len && p[at]; at = r.next) {
		if (!pax_record(p, len, at, &r))
			return slc_bad(diag, off + at,
				       "this pax record is not LENGTH KEY=VALUE");
		err = take_record(&r, off + at, global, &mine, diag);
		if (err)
			return err;
	}
	if (mine.has_size && !x->has_size) {
		x->has_size = true;
		x->size = mine.size;
	}
	if (mine.has_path && !x->has_path)
		return keep_path(t, x, mine.path, mine.path_len);
	return 0;
}

/* A header that describes the next one: long name, long link, pax. */
static int take_extended(struct slc_tar *t, const struct header *h,
			 struct extended *x, struct slc_diag *diag)
{
	uint64_t data = t->at + BLOCK, size = h->size, end, got;
	uint8_t type = h->type; /* *h->block goes with the window */
	const uint8_t *p;
	int err;

	if (!slc_align_up(size, BLOCK, &end) || !slc_add(data, end, &end) ||
	    end > tar_size(t))
		return slc_bad(diag, t->at,
			       "an extended header of %llu bytes ends past the end of the file",
			       (unsigned long long)size);
	if (size > SLC_TAR_EXTENDED_MAX)
		return slc_bad(diag, t->at,
			       "an extended header of %llu bytes: at most %u are taken",
			       (unsigned long long)size, SLC_TAR_EXTENDED_MAX);
	x->any = true;
	t->at = end;
	if (type == 'K')
		return 0;
	err = fetch(t, data, end - data, &p, &got, diag);
	if (err)
		return err;
	if (got < end - data)
		return slc_bad(diag, data + got,
			       "the file ends inside an extended header");
	if (type != 'L')
		return scan_pax(t, (const char *)p, size, data, type == 'g', x,
				diag);
	if (x->has_path)
		return 0;
	return keep_path(t, x, (const char *)p, text_len(p, (uint32_t)size));
}

static void take_name(const struct header *h, const struct extended *x,
		      struct slc_tar_member *m)
{
	if (x->has_path) {
		m->name = x->path;
		m->name_len = (uint32_t)x->path_len;
		m->dir = "";
		m->dir_len = 0;
		return;
	}
	m->name = (const char *)h->block;
	m->name_len = text_len(h->block, 100);
	m->dir = (const char *)h->block + 345;
	m->dir_len = text_len(h->block + 345, 155);
}

/* Links, devices, folders and pipes say a size but have no content. */
static bool has_content(uint8_t type)
{
	return type < '1' || type > '6';
}

static int take_member(struct slc_tar *t, const struct header *h,
		       const struct extended *x, struct slc_tar_member *m,
		       struct slc_diag *diag)
{
	uint8_t type = h->type;
	uint64_t span;

	if (type == 'S')
		return slc_bad(diag, t->at,
			       "a sparse member: pack the archive without --sparse");
	take_name(h, x, m);
	/* v7 has no type for a folder, only the slash. */
	if (!type && !x->has_path && m->name_len &&
	    m->name[m->name_len - 1] == '/')
		type = '5';
	m->regular = !type || type == '0' || type == '7';
	m->data = t->at + BLOCK;
	m->size = 0;
	if (has_content(type))
		m->size = x->has_size ? x->size : h->size;
	if (!slc_align_up(m->size, BLOCK, &span) ||
	    !slc_add(m->data, span, &m->end) || m->end > tar_size(t))
		return slc_bad(diag, t->at,
			       "the file ends inside the member %.*s, which has %llu bytes",
			       (int)(m->name_len < 100 ? m->name_len : 100),
			       m->name, (unsigned long long)m->size);
	t->at = m->end;
	return 1;
}

int slc_tar_next(struct slc_tar *t, struct slc_tar_member *m,
		 struct slc_diag *diag)
{
	struct extended x = { 0 };
	struct header h;
	int res;

	m->first = t->at;
	if (t->ended)
		return 0;
	for (;;) {
		res = read_header(t, x.any, &h, diag);
		if (res <= 0)
			return res;
		switch (h.type) {
		case 'L':
		case 'K':
		case 'x':
		case 'X': /* Solaris */
		case 'g':
			res = take_extended(t, &h, &x, diag);
			if (res)
				return res;
			continue;
		}
		return take_member(t, &h, &x, m, diag);
	}
}

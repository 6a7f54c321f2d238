/* SPDX-License-Identifier: MIT */
#include "stream/files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/open.h"
#include "queue/file.h"

static void unlink_entry(struct slc_files *fs, uint32_t i)
{
	struct slc_open_file *e = &fs->entry[i];

	if (e->prev == SLC_FILE_NONE)
		fs->newest = e->next;
	else
		fs->entry[e->prev].next = e->next;
	if (e->next == SLC_FILE_NONE)
		fs->lru_oldest = e->prev;
	else
		fs->entry[e->next].prev = e->prev;
}

static void link_newest(struct slc_files *fs, uint32_t i)
{
	struct slc_open_file *e = &fs->entry[i];

	e->prev = SLC_FILE_NONE;
	e->next = fs->newest;
	if (fs->newest == SLC_FILE_NONE)
		fs->lru_oldest = i;
	else
		fs->entry[fs->newest].prev = i;
	fs->newest = i;
}

/* By the descriptor: what another file at its path does is nothing to us. */
static void look(struct slc_files *fs, const struct slc_open_file *e)
{
	const struct slc_shard *sh = &fs->ds->shards[e->shard];
	struct stat st;

	if (fstat(e->file->fd, &st))
		return;
	if ((uint64_t)st.st_size != sh->size ||
	    slc_stat_mtime_ns(&st) != sh->mtime_ns ||
	    slc_stat_ctime_ns(&st) != sh->ctime_ns)
		fs->changed = e->shard;
}

void slc_files_look(struct slc_files *fs)
{
	for (uint32_t i = fs->newest; i != SLC_FILE_NONE; i = fs->entry[i].next)
		look(fs, &fs->entry[i]);
}

static void shut(struct slc_files *fs, uint32_t i)
{
	struct slc_open_file *e = &fs->entry[i];

	look(fs, e);
	unlink_entry(fs, i);
	/* No move is in flight, so the queue cannot say -EBUSY. */
	if (fs->queue)
		slc_queue_detach_file(fs->queue, e->file);
	slc_file_put(e->file);
	fs->of_shard[e->shard] = SLC_FILE_NONE;
	e->file = NULL;
	fs->n--;
}

/* Closes the least used file without moves; false when all have some. */
static bool evict(struct slc_files *fs, uint32_t *entry)
{
	uint32_t i = fs->lru_oldest;

	while (i != SLC_FILE_NONE && fs->entry[i].refs)
		i = fs->entry[i].prev;
	if (i == SLC_FILE_NONE)
		return false;
	shut(fs, i);
	*entry = i;
	return true;
}

int slc_files_init(struct slc_files *fs, struct slc_dataset *ds,
		   struct slc_queue *queue, uint32_t flags, uint32_t cap)
{
	memset(fs, 0, sizeof(*fs));
	if (cap > ds->nshards)
		cap = (uint32_t)ds->nshards;
	if (!cap)
		cap = 1;
	fs->of_shard = malloc((ds->nshards + 1) * sizeof(*fs->of_shard));
	fs->entry = calloc(cap, sizeof(*fs->entry));
	if (!fs->of_shard || !fs->entry) {
		free(fs->of_shard);
		free(fs->entry);
		memset(fs, 0, sizeof(*fs));
		return -ENOMEM;
	}
	memset(fs->of_shard, 0xff, (ds->nshards + 1) * sizeof(*fs->of_shard));
	fs->ds = ds;
	fs->queue = queue;
	fs->flags = flags;
	fs->changed = UINT64_MAX;
	fs->cap = cap;
	fs->newest = fs->lru_oldest = SLC_FILE_NONE;
	return 0;
}

void slc_files_fini(struct slc_files *fs)
{
	while (fs->entry && fs->newest != SLC_FILE_NONE)
		shut(fs, fs->newest);
	free(fs->of_shard);
	free(fs->entry);
	memset(fs, 0, sizeof(*fs));
}

static uint32_t free_entry(const struct slc_files *fs)
{
	uint32_t i = fs->n;

	/* Full below n unless an eviction left a hole. */
	if (i < fs->cap && !fs->entry[i].file)
		return i;
	for (i = 0; i < fs->cap && fs->entry[i].file; i++)
		;
	return i;
}

static int open_shard(struct slc_files *fs, uint64_t shard, uint32_t *entry)
{
	struct slc_file_info info = { .size = sizeof(info) };
	struct slc_open_file *e;
	struct slc_file *file;
	uint32_t i;
	int err;

	if (fs->n == fs->cap && !evict(fs, &i))
		return -EAGAIN;
	while ((err = slc_shard_open(fs->ds, shard, fs->flags, &file))) {
		if (err != -EMFILE && err != -ENFILE)
			return err;
		if (!evict(fs, &i))
			return fs->n ? -EAGAIN : err;
	}
	err = slc_file_query(file, &info);
	if (!err)
		err = slc_queue_attach_file(fs->queue, file);
	if (err) {
		slc_file_put(file);
		return err;
	}
	i = free_entry(fs);
	e = &fs->entry[i];
	e->file = file;
	e->shard = shard;
	e->refs = 0;
	e->direct = info.dio_mem_align && info.dio_off_align;
	fs->of_shard[shard] = i;
	fs->n++;
	link_newest(fs, i);
	*entry = i;
	return 0;
}

int slc_files_get(struct slc_files *fs, uint64_t shard, uint32_t *entry)
{
	uint32_t i = fs->of_shard[shard];
	int err;

	if (i == SLC_FILE_NONE) {
		err = open_shard(fs, shard, &i);
		if (err)
			return err;
	} else if (i != fs->newest) {
		unlink_entry(fs, i);
		link_newest(fs, i);
	}
	fs->entry[i].refs++;
	*entry = i;
	return 0;
}

void slc_files_put(struct slc_files *fs, uint32_t entry)
{
	fs->entry[entry].refs--;
}

/* SPDX-License-Identifier: MIT */
#include "format/table.h"

#include <stdlib.h>
#include <string.h>

void slc_table_fini(struct slc_table *t)
{
	free(t->words);
	free(t->anchors);
	free(t->starts);
	free(t->tensors);
	free(t->names);
	free(t->dims);
	memset(t, 0, sizeof(*t));
}

/* At most 63 additions: two cache lines of lengths. */
static uint64_t lengths_start(const struct slc_table *t, uint64_t i)
{
	uint64_t group = i / 64, units = 0;

	if (t->starts)
		return t->starts[3 * i] | (uint64_t)t->starts[3 * i + 1] << 16 |
		       (uint64_t)t->starts[3 * i + 2] << 32;
	for (uint64_t k = group * 64; k < i; k++)
		units += t->words[k];
	return t->anchors[group] + units * t->unit;
}

void slc_table_span(const struct slc_table *t, uint64_t i, uint64_t *off,
		    uint64_t *len)
{
	switch (t->kind) {
	case SLC_TABLE_FIXED:
		*off = t->base + i * t->stride;
		*len = t->stride;
		return;
	case SLC_TABLE_OFFSETS:
		*off = t->words[i];
		*len = t->words[i + 1] - t->words[i];
		return;
	case SLC_TABLE_LENGTHS:
		*off = lengths_start(t, i);
		*len = (uint64_t)t->words[i] * t->unit;
		return;
	case SLC_TABLE_BLOCKS:
		*off = (uint64_t)t->words[2 * i] * 512;
		*len = (uint64_t)t->words[2 * i + 1] * 512;
		return;
	case SLC_TABLE_TENSORS:
		*off = t->tensors[i].off;
		*len = t->tensors[i].len;
		return;
	}
	*off = *len = 0;
}

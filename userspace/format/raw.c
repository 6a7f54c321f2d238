/* SPDX-License-Identifier: MIT */
/* Records of one size, back to back, with nothing before or after them. */
#include "format/format.h"

static int parse(const struct slc_parse *in, struct slc_table *t,
		 struct slc_diag *diag)
{
	uint64_t size, rest;
	int err;

	if (!in->record)
		return slc_bad(diag, 0,
			       "the size of a record is not known: give one of at least 1 byte");
	err = slc_source_size(in->src, 0, &size, diag);
	if (err)
		return err;
	rest = size % in->record;
	if (rest)
		return slc_bad(diag, size - rest,
			       "%llu trailing bytes after %llu records of %llu",
			       (unsigned long long)rest,
			       (unsigned long long)(size / in->record),
			       (unsigned long long)in->record);
	t->format = &slc_format_raw;
	t->kind = SLC_TABLE_FIXED;
	t->unit = 1;
	t->n = size / in->record;
	t->stride = in->record;
	return 0;
}

/* Only by name: any bytes could be records. */
static const char *const endings[] = { NULL };

const struct slc_format slc_format_raw = {
	.name = "raw",
	.endings = endings,
	.parse = parse,
};

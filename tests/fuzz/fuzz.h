/* SPDX-License-Identifier: MIT */
/*
 * fuzz.h - what must hold for a parser whatever its input: it returns 0 or a
 * known -errno with a sentence, a table it returns lies within the input and
 * is bounded by it, and a source that only goes forward gives the same answer.
 */
#ifndef SLC_TESTS_FUZZ_H
#define SLC_TESTS_FUZZ_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "format/format.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FUZZ_MUST(cond)                                                    \
	do {                                                               \
		if (!(cond)) {                                             \
			fprintf(stderr, "%s:%d: %s does not hold\n",       \
				__FILE__, __LINE__, #cond);                \
			abort();                                           \
		}                                                          \
	} while (0)

/* Memory whose size is not told and that never goes back. */
struct fuzz_forward {
	struct slc_source base;
	const uint8_t *bytes;
	uint64_t size, read_to;
};

static inline int64_t fuzz_forward_read(struct slc_source *src, uint64_t off,
					void *buf, uint64_t len)
{
	struct fuzz_forward *f = (struct fuzz_forward *)src;

	if (off < f->read_to)
		return -ESPIPE;
	if (off >= f->size || len > f->size - off) {
		len = off >= f->size ? 0 : f->size - off;
		f->base.size = f->size; /* its end was seen */
	}
	if (len)
		memcpy(buf, f->bytes + off, len);
	f->read_to = len ? off + len : f->read_to;
	return (int64_t)len;
}

static inline void fuzz_check_diag(int err, const struct slc_diag *diag)
{
	FUZZ_MUST(err == -EBADMSG || err == -ESPIPE);
	FUZZ_MUST(memchr(diag->what, 0, sizeof(diag->what)));
	FUZZ_MUST(diag->what[0]);
	for (const char *p = diag->what; *p; p++)
		FUZZ_MUST(*p >= 0x20 && *p < 0x7f);
}

/* `size` bounds the spans: that of the payload where it is another file. */
static inline void fuzz_check_table(const struct slc_format *f,
				    const struct slc_table *t, uint64_t size,
				    uint64_t input)
{
	uint64_t off, len, last = 0;

	FUZZ_MUST(t->format == f);
	FUZZ_MUST(t->n <= size + input + 1);
	FUZZ_MUST(t->mem_bytes <= input * 64 + 4096);
	FUZZ_MUST(t->ndim <= SLC_DIMS_MAX);
	FUZZ_MUST(memchr(t->dtype, 0, sizeof(t->dtype)));
	for (uint64_t i = 0; i < t->n; i++) {
		const struct slc_tensor *x;

		slc_table_span(t, i, &off, &len);
		FUZZ_MUST(off <= size && len <= size - off);
		if (t->kind != SLC_TABLE_TENSORS)
			continue;
		x = &t->tensors[i];
		FUZZ_MUST(off >= last);
		FUZZ_MUST(strlen(t->names + x->name) <= input);
		FUZZ_MUST(f->dtype_name(x->dtype)[0] != '?');
		for (uint32_t d = 0; d < x->ndim; d++)
			last += t->dims[x->shape + d] * 0; /* is readable */
		last = off + len;
	}
}

/*
 * Parses `data` as in->src (which it sets). `payload` is the size of the file
 * that the spans are in; UINT64_MAX: that of the data itself.
 */
static inline void fuzz_parse(const struct slc_format *f, struct slc_parse *in,
			      const uint8_t *data, size_t size,
			      uint64_t payload)
{
	struct fuzz_forward forward = {
		.base = { fuzz_forward_read, SLC_SIZE_UNKNOWN },
		.bytes = data,
		.size = size,
	};
	struct slc_table t = { 0 }, again = { 0 };
	struct slc_diag diag = { 0 };
	struct slc_source_mem mem;
	int err, err_again;

	slc_source_mem_init(&mem, data, size);
	in->src = &mem.base;
	err = f->parse(in, &t, &diag);
	if (err)
		fuzz_check_diag(err, &diag);
	else
		fuzz_check_table(f, &t, payload == UINT64_MAX ? size : payload,
				 size);
	memset(&diag, 0, sizeof(diag));
	in->src = &forward.base;
	err_again = f->parse(in, &again, &diag);
	if (err_again)
		fuzz_check_diag(err_again, &diag);
	if (err_again != -ESPIPE) {
		FUZZ_MUST(err == err_again);
		FUZZ_MUST(err || t.n == again.n);
	}
	if (!err)
		slc_table_fini(&t);
	if (!err_again)
		slc_table_fini(&again);
}

#endif

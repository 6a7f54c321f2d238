/* SPDX-License-Identifier: MIT */
#include "fuzz/fuzz.h"

#include "format/inflate.h"

#define OUT_MAX (256u << 10)

/* Inflates in steps: 0 or the error; *made bytes in out, OUT_MAX at most. */
static int run(uint32_t codec, const uint8_t *data, size_t size, size_t in_max,
	       size_t out_max, uint8_t *out, size_t *made)
{
	struct slc_inflate *inf;
	size_t at = 0;
	int err;

	*made = 0;
	if (slc_inflate_open(codec, &inf))
		return -ENOMEM;
	for (;;) {
		size_t n = size - at < in_max ? size - at : in_max, took = n;
		size_t room = OUT_MAX - *made < out_max ? OUT_MAX - *made :
							  out_max;
		size_t got = room;

		err = slc_inflate_step(inf, data + at, &took, out + *made,
				       &got);
		FUZZ_MUST(took <= n && got <= room);
		at += took;
		*made += got;
		if (err || *made == OUT_MAX)
			break;
		FUZZ_MUST(took || got || !n); /* it moves on */
		if (!n && !got) {
			err = slc_inflate_finish(inf);
			break;
		}
	}
	FUZZ_MUST(!err || err == -EBADMSG);
	FUZZ_MUST(!err == !slc_inflate_what(inf)[0]);
	slc_inflate_close(inf);
	return err;
}

/* The first bytes: the codec, and the sizes of the steps. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t whole[OUT_MAX], steps[OUT_MAX];
	uint8_t head[32];
	size_t n, m;
	int err;

	if (size < 3)
		return 0;
	err = run(1 + (data[0] & 1), data + 3, size - 3, SIZE_MAX, SIZE_MAX,
		  whole, &n);
	/* However it is cut: the same bytes, and the same verdict. */
	FUZZ_MUST(run(1 + (data[0] & 1), data + 3, size - 3,
		      data[1] ? data[1] : 1, data[2] ? data[2] : 1, steps,
		      &m) == err || n == OUT_MAX || m == OUT_MAX);
	FUZZ_MUST(err || (n == m && !memcmp(whole, steps, n)));
	memcpy(head, data + 3, size - 3 < 32 ? size - 3 : 32);
	slc_codec_detect(head, size - 3 < 32 ? size - 3 : 32);
	return 0;
}

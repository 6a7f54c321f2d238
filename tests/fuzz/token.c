// SPDX-License-Identifier: MIT
/* Whatever is read as a token is written back as the very same text. */
#include <stdlib.h>
#include <string.h>

#include "stream/order.h"
#include "stream/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The fields of any accepted token must be safe to deal and to order by. */
static void use(const struct slc_token *t)
{
	struct slc_deal d = { .n = t->n, .base = t->base, .end = t->end,
			      .world = t->world, .batch = t->batch };
	uint64_t count = slc_deal_count(&d);

	if (count && slc_deal_at(&d, count - 1) >= d.end)
		abort();
	if (slc_deal_after(&d, count) < d.base)
		abort();
	if (slc_deal_init(&d, t->tail))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[2 * SLC_TOKEN_MAX], again[SLC_TOKEN_MAX], why[200];
	struct slc_token t;
	uint32_t crc;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	/* Half of the inputs get a good sum, so that the fields are reached. */
	if (size > 40 && (data[0] & 1) && memchr(text, '\0', size) == NULL) {
		static const char hex[] = "0123456789abcdef";

		memcpy(text, "slc1.", 5);
		for (int i = 5; i < 121; i++)
			text[i] = hex[data[i % size] & 15];
		text[121] = '.';
		crc = slc_crc32c(0, text, 121);
		for (int i = 0; i < 8; i++)
			text[122 + i] = hex[crc >> (28 - 4 * i) & 15];
		text[130] = '\0';
	}
	if (slc_token_read(text, &t, why, sizeof(why))) {
		if (!why[0])
			abort();
		return 0;
	}
	if (slc_token_write(&t, again, sizeof(again)) || strcmp(text, again))
		abort();
	use(&t);
	return 0;
}

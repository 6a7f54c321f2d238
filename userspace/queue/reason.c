/* SPDX-License-Identifier: MIT */
/* The sentences of a queue: they live as long as it does. */
#include "queue/attach.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *slc_reason(struct slc_reasons *r, const char *fmt, ...)
{
	char msg[SLC_REASON_MAX];
	va_list ap;
	uint32_t i;

	va_start(ap, fmt);
	vsnprintf(msg, sizeof(msg), fmt, ap);
	va_end(ap);
	if (!msg[0])
		return "";
	for (i = 0; i < r->n; i++)
		if (!strcmp(r->text[i], msg))
			return r->text[i];
	if (r->n == SLC_REASONS)
		return "one of more reasons than this queue can keep: see the log";
	memcpy(r->text[r->n], msg, sizeof(msg));
	return r->text[r->n++];
}

const char *slc_reason_join(struct slc_reasons *r, const char *a,
			    const char *b, const char *c, const char *d)
{
	const char *parts[4] = { a, b, c, d };
	const char *only = "";
	char msg[SLC_REASON_MAX] = "";
	size_t len = 0;
	int i, n = 0;

	for (i = 0; i < 4; i++)
		if (parts[i][0]) {
			only = parts[i];
			n++;
		}
	if (n < 2)
		return only;
	if (r->memo[4] && !memcmp(r->memo, parts, sizeof(parts)))
		return r->memo[4];
	for (i = 0; i < 4; i++)
		if (parts[i][0] && len < sizeof(msg))
			len += (size_t)snprintf(msg + len, sizeof(msg) - len,
						"%s%s", len ? "; " : "",
						parts[i]);
	memcpy(r->memo, parts, sizeof(parts));
	r->memo[4] = slc_reason(r, "%s", msg);
	return r->memo[4];
}

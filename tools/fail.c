/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "progress.h"

/* One line whatever a file name or a message holds. */
static void put_line(const char *prefix, const char *text)
{
	slc_progress_erase();
	flockfile(stderr);
	fputs(prefix, stderr);
	for (const char *p = text; *p; p++)
		putc_unlocked((unsigned char)*p < 0x20 || *p == 0x7f ? '?' : *p,
			      stderr);
	putc_unlocked('\n', stderr);
	funlockfile(stderr);
}

static int exit_code(int err)
{
	switch (err) {
	case -EINTR:
		return SLC_EXIT_FAILED;
	case -EBADMSG:
	case -EINVAL:
	case -ENOENT:
	case -EEXIST:
	case -ENOTDIR:
	case -EISDIR:
	case -EACCES:
	case -ELOOP:
	case -ENAMETOOLONG:
	case -ERANGE:
	case -EOVERFLOW:
	case -E2BIG:
	case -ESTALE:
	case -EMSGSIZE:
		return SLC_EXIT_INVALID;
	default:
		return SLC_EXIT_FAILED;
	}
}

int slc_cmd_fail(const struct slc_ctx *ctx, int err)
{
	const char *text = slc_last_error(ctx);

	put_line("sluice: ", *text ? text : strerror(-err));
	return exit_code(err);
}

int slc_cmd_error(int err, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	/* The reader has seen enough: "sluice ... | head". */
	if (err == -EPIPE)
		return SLC_EXIT_FAILED;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_line("sluice: ", text);
	return exit_code(err);
}

void slc_cmd_warn(const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_line("sluice: ", text);
}

void slc_cmd_log(void *user, enum slc_log_level level, const char *msg)
{
	(void)user;
	if (level <= SLC_LOG_WARN)
		put_line("sluice: ", msg);
}

int slc_cmd_flush(void)
{
	int err;

	errno = EIO; /* when an earlier write failed, what it said is gone */
	if (!fflush(stdout) && !ferror(stdout))
		return SLC_EXIT_OK;
	err = -errno;
	slc_cmd_error(err, "cannot write to standard output: %s",
		      strerror(-err));
	return SLC_EXIT_FAILED;
}

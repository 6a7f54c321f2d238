/* SPDX-License-Identifier: MIT */
#include "commands.h"

#include <errno.h>
#include <signal.h>
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

/*
 * 2 says to a script: nothing was printed or written, and trying again is in
 * vain until the command line or the input is another. 1 says: it was begun
 * and did not end well, or the machine had no room, memory or leave for it.
 *
 * So an errno decides only while a command opens what it was given; from the
 * first sample on, whatever happens is 1 and the caller says so.
 */
static int exit_code(int err)
{
	switch (err) {
	/* A name: not there, not such a thing, not for this user. */
	case -ENOENT:
	case -EEXIST:
	case -ENOTDIR:
	case -EISDIR:
	case -ELOOP:
	case -ENAMETOOLONG:
	case -EACCES:
	case -EROFS:
	/* Bytes: malformed, too many, not those that the manifest is of. */
	case -EBADMSG:
	case -EFBIG:
	case -EOVERFLOW:
	case -ESTALE:
	/* A value, or values that do not go together. */
	case -EINVAL:
	case -EOPNOTSUPP:
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

void slc_cmd_on_stop(const struct sigaction *act)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP };

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		struct sigaction was;

		if (!sigaction(signals[i], NULL, &was) &&
		    was.sa_handler != SIG_IGN)
			sigaction(signals[i], act, NULL);
	}
}

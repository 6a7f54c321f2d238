/* SPDX-License-Identifier: MIT */
/*
 * commands.h - what every subcommand shares: its entry, its input, its way to fail.
 *
 * Exit codes of every subcommand: 0 done; 1 something failed while running
 * (I/O, a checksum, a check of doctor); 2 the command line or the input is not
 * valid, and nothing was printed or written. Ctrl-C is 1.
 */
#ifndef SLC_TOOLS_COMMANDS_H
#define SLC_TOOLS_COMMANDS_H

#include <sluice/sluice.h>

struct slc_dataset;
struct slc_dataset_attr;

enum {
	SLC_EXIT_OK = 0,
	SLC_EXIT_FAILED = 1,
	SLC_EXIT_INVALID = 2,
};

/*
 * One subcommand. argv[0] is the full name ("sluice bench pin"), so argp and
 * getopt_long name the right command; argp exits 2 on a usage error. Returns
 * an exit code. Each is listed once, in the table of main.c.
 */
int slc_cmd_inspect(int argc, char **argv);
int slc_cmd_pack(int argc, char **argv);
int slc_cmd_stream(int argc, char **argv);
int slc_cmd_bench_storage(int argc, char **argv);
int slc_cmd_bench_pin(int argc, char **argv);
int slc_cmd_region_list(int argc, char **argv);
int slc_cmd_region_create(int argc, char **argv);
int slc_cmd_region_show(int argc, char **argv);
int slc_cmd_region_remove(int argc, char **argv);
int slc_cmd_region_grant(int argc, char **argv);
int slc_cmd_doctor(int argc, char **argv);

/*
 * Opens a context whose log goes to stderr, and the dataset in `paths`. 0, and
 * the caller gives both back; else an exit code, with the reason on stderr.
 */
int slc_cmd_open(char **paths, uint32_t npaths,
		 const struct slc_dataset_attr *attr, struct slc_ctx **ctx,
		 struct slc_dataset **ds);

/*
 * Prints "sluice: " and slc_last_error() as one line on stderr, and returns
 * the exit code for the -errno `err` of opening: 2 when the input or the
 * command line is at fault, else 1. What fails later is SLC_EXIT_FAILED.
 */
int slc_cmd_fail(const struct slc_ctx *ctx, int err);

/* The same with a sentence of the command's own. Silent for -EPIPE: who reads
 * our output has left, as in "sluice ... | head". */
int slc_cmd_error(int err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Prints "sluice: WARNING" for what does not stop the command. */
void slc_cmd_warn(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A log hook that prints warnings and errors on stderr, one line each. */
void slc_cmd_log(void *user, enum slc_log_level level, const char *msg);

/*
 * Flushes stdout: 0, or 1 with a line on stderr when what was printed did not
 * arrive (disk full, closed pipe). Each command that prints ends with it.
 */
int slc_cmd_flush(void);

struct sigaction;

/*
 * Installs `act` for the signals that ask to stop: Ctrl-C, SIGTERM, and a
 * terminal that is gone. One that is ignored (nohup) stays ignored.
 */
void slc_cmd_on_stop(const struct sigaction *act);

#endif

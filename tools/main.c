/* SPDX-License-Identifier: MIT */
/* main.c - the command `sluice`: finds the subcommand and calls it. */
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "commands.h"

struct command {
	const char *name;    /* "bench pin": two words are two levels */
	const char *summary; /* under 50 characters */
	const char *example; /* what follows "sluice " */
	int (*run)(int argc, char **argv);
};

/* In the order of --help. A command is here when its file is in tools/. */
static const struct command commands[] = {
	{ "inspect", "lists the tensors or samples in files",
	  "inspect model.safetensors", slc_cmd_inspect },
	{ "pack", "writes a manifest with checksums of files",
	  "pack /data/train -o /data/train.slc.json", slc_cmd_pack },
	{ "stream", "samples in order into pinned memory, and the rate",
	  "stream data.slc.json --shuffle full --seed 1", slc_cmd_stream },
	{ "bench storage", "times streams beside fio at its best",
	  "bench storage --size 4G", slc_cmd_bench_storage },
	{ "bench pin", "times pinned memory beside other ways to it",
	  "bench pin --size 6G", slc_cmd_bench_pin },
	{ "region list", "the kernel module's regions, and who uses them",
	  "region list", slc_cmd_region_list },
	{ "region create", "makes one that outlives its users",
	  "region create weights 8G --node 0 --mode 660",
	  slc_cmd_region_create },
	{ "region show", "one of them: owner, users, how it lies in memory",
	  "region show weights", slc_cmd_region_show },
	{ "region remove", "takes its name; it goes with its last user",
	  "region remove weights", slc_cmd_region_remove },
	{ "region grant", "says who may open it",
	  "region grant weights --group trainers --mode 660",
	  slc_cmd_region_grant },
	{ "doctor", "says what this machine lacks to be fast", "doctor /data",
	  slc_cmd_doctor },
	{ 0 },
};

#define FOR_EACH_COMMAND(c) \
	for (const struct command *c = commands; c->name; c++)

static void help(FILE *out)
{
	fprintf(out,
		"sluice %s - streams training shards from storage into pinned memory\n"
		"\n"
		"usage: sluice COMMAND [ARGUMENT...]\n"
		"       sluice COMMAND --help | --help | --version\n"
		"\n"
		"Commands:\n",
		slc_version());
	FOR_EACH_COMMAND(c)
		fprintf(out, "  %-14s %s\n", c->name, c->summary);
	fputs("\nExamples:\n", out);
	FOR_EACH_COMMAND(c)
		fprintf(out, "  sluice %s\n", c->example);
	fputs("\n"
	      "Sizes: 4096, 64K, 256M, 6G (powers of 1024; KB, MB, GB are powers of 1000).\n"
	      "\n"
	      "Exit codes:\n"
	      "  0    done\n"
	      "  1    it failed while running: I/O, a checksum, a check of doctor\n"
	      "  2    the command line or the input is not valid; nothing was written\n"
	      "\n"
	      "Environment:\n"
	      "  SLC_ENGINE   uring or sync: how bytes are read (default: the best there is)\n"
	      "  SLC_REGIONS  module: pinned memory of the kernel module (default: host)\n"
	      "  NO_COLOR     when set, no colour on the terminal\n",
	      out);
}

/* The edit distance of two short words, case aside; 99 when one is long. */
static int distance(const char *a, const char *b)
{
	size_t na = strlen(a), nb = strlen(b);
	int row[33];

	if (na > 32 || nb > 32)
		return 99;
	for (size_t j = 0; j <= nb; j++)
		row[j] = (int)j;
	for (size_t i = 1; i <= na; i++) {
		int diagonal = row[0]; /* [i - 1][j - 1] */

		row[0] = (int)i;
		for (size_t j = 1; j <= nb; j++) {
			int swap = diagonal + !!strncasecmp(a + i - 1,
							    b + j - 1, 1);
			int step = (row[j] < row[j - 1] ? row[j] : row[j - 1]);

			diagonal = row[j];
			row[j] = step + 1 < swap ? step + 1 : swap;
		}
	}
	return row[nb];
}

/* "bench" of "bench pin": is `word` the first of two levels? */
static int is_group(const char *word)
{
	size_t n = strlen(word);

	FOR_EACH_COMMAND(c)
		if (!strncmp(c->name, word, n) && c->name[n] == ' ')
			return 1;
	return 0;
}

static int unknown(const char *typed)
{
	const char *nearest = NULL;
	int best = 4; /* further away is no suggestion */

	FOR_EACH_COMMAND(c) {
		char first[32];
		int d = distance(typed, c->name), e;

		snprintf(first, sizeof(first), "%.*s",
			 (int)strcspn(c->name, " "), c->name);
		e = distance(typed, first);
		if (e < d)
			d = e;
		if (d < best) {
			best = d;
			nearest = c->name;
		}
	}
	if (nearest)
		return slc_cmd_error(-EINVAL,
				     "no command \"%s\": did you mean \"sluice %s\"?",
				     typed, nearest);
	return slc_cmd_error(-EINVAL,
			     "no command \"%s\": \"sluice --help\" lists them",
			     typed);
}

/* What is behind the first of two words, each with its example. */
static void group_help(const char *word, const char *list)
{
	size_t n = strlen(word);

	printf("usage: sluice %s %s [ARGUMENT...]\n\n", word, list);
	FOR_EACH_COMMAND(c)
		if (!strncmp(c->name, word, n) && c->name[n] == ' ')
			printf("  %-14s %s\n", c->name + n + 1, c->summary);
	printf("\nExamples:\n");
	FOR_EACH_COMMAND(c)
		if (!strncmp(c->name, word, n) && c->name[n] == ' ')
			printf("  sluice %s\n", c->example);
	printf("\nsluice %s COMMAND --help says more.\n", word);
}

static int group(const char *word, const char *second)
{
	char list[256] = "", typed[64];

	if (second && *second != '-') {
		snprintf(typed, sizeof(typed), "%s %s", word, second);
		return unknown(typed);
	}
	FOR_EACH_COMMAND(c) {
		size_t at = strlen(list);

		if (!strncmp(c->name, word, strlen(word)) &&
		    c->name[strlen(word)] == ' ')
			snprintf(list + at, sizeof(list) - at, "%s%s",
				 at ? " | " : "", c->name + strlen(word) + 1);
	}
	if (second && (!strcmp(second, "--help") || !strcmp(second, "-h"))) {
		group_help(word, list);
		return slc_cmd_flush();
	}
	return slc_cmd_error(-EINVAL, "which one? sluice %s %s", word, list);
}

static const struct command *find(int argc, char **argv, int *used)
{
	char two[64];

	FOR_EACH_COMMAND(c)
		if (!strcmp(c->name, argv[1])) {
			*used = 1;
			return c;
		}
	if (argc < 3)
		return NULL;
	snprintf(two, sizeof(two), "%s %s", argv[1], argv[2]);
	FOR_EACH_COMMAND(c)
		if (!strcmp(c->name, two)) {
			*used = 2;
			return c;
		}
	return NULL;
}

int main(int argc, char **argv)
{
	const struct command *c;
	char title[64];
	int used;

	/* Usage errors found by argp. */
	argp_err_exit_status = SLC_EXIT_INVALID;
	/* A closed pipe is an error of the write, told by slc_cmd_flush(). */
	signal(SIGPIPE, SIG_IGN);
	/* A file past ulimit -f is an error of its own, not the end of us. */
	signal(SIGXFSZ, SIG_IGN);
	if (argc < 2)
		return slc_cmd_error(-EINVAL,
				     "no command: \"sluice --help\" lists them");
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") ||
	    !strcmp(argv[1], "help")) {
		help(stdout);
		return slc_cmd_flush();
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("sluice %s\n", slc_version());
		return slc_cmd_flush();
	}
	c = find(argc, argv, &used);
	if (!c && is_group(argv[1]))
		return group(argv[1], argc > 2 ? argv[2] : NULL);
	if (!c)
		return unknown(argv[1]);
	snprintf(title, sizeof(title), "sluice %s", c->name);
	argv += used;
	argv[0] = title;
	return c->run(argc - used, argv);
}

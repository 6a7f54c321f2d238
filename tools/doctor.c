/* SPDX-License-Identifier: MIT */
/* doctor.c - sluice doctor: is this machine set up to be fast? */
#include <argp.h>
#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <sluice/doctor.h>

#include "commands.h"

struct options {
	const char *path;
	bool json, verbose, module;
};

struct report {
	const struct options *opt;
	json_t *checks;
	bool color;
	int columns;
	int count[SLC_CHECK_FAIL + 1];
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'j':
		o->json = true;
		return 0;
	case 'v':
		o->verbose = true;
		return 0;
	case 'm':
		o->module = true;
		return 0;
	case ARGP_KEY_ARG:
		if (o->path)
			argp_error(state, "one PATH at most");
		o->path = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option long_options[] = {
	{ "json", 'j', NULL, 0, "One object with every check", 0 },
	{ "module", 'm', NULL, 0,
	  "Look at the kernel module only: what it can do here and why not, and "
	  "whether it can be built and loaded",
	  0 },
	{ "verbose", 'v', NULL, 0, "Say of what is well, too, why it matters",
	  0 },
	{ 0 },
};

static const struct argp argp = {
	.options = long_options,
	.parser = parse,
	.args_doc = "[PATH]",
	.doc = "Says what this machine is like for streaming from PATH (a file or "
	       "folder; default: here), why it matters, and the command that "
	       "makes it better. Changes nothing.\v"
	       "Exit codes: 0 no check failed, 1 a check failed, 2 usage.",
};

/* Words up to the width; the lines after the first are indented. */
static void wrap(const char *text, int indent, int columns)
{
	int at = indent, room = columns > indent + 20 ? columns : indent + 20;

	while (*text) {
		int n = (int)strcspn(text, " ");

		if (at > indent && at + 1 + n > room) {
			printf("\n%*s", indent, "");
			at = indent;
		} else if (at > indent) {
			putchar(' ');
			at++;
		}
		for (int i = 0; i < n; i++)
			putchar((unsigned char)text[i] < 0x20 ? '?' : text[i]);
		at += n;
		text += n;
		text += strspn(text, " ");
	}
	putchar('\n');
}

/* Text from a path may be no UTF-8, which JSON must be. */
static json_t *text(const char *s)
{
	json_t *j = json_string(s);
	char *copy;

	if (j)
		return j;
	copy = strdup(s);
	if (!copy)
		return NULL;
	for (char *p = copy; *p; p++)
		if ((unsigned char)*p >= 0x80)
			*p = '?';
	j = json_string(copy);
	free(copy);
	return j;
}

static int collect(struct report *r, const struct slc_check *c)
{
	json_t *j = json_pack("{s:s, s:s, s:o, s:o, s:o, s:o}", "id", c->id,
			      "status", slc_check_status_name(c->status),
			      "saw", text(c->saw), "why", text(c->why), "fix",
			      *c->fix ? text(c->fix) : json_null(), "value",
			      c->value == SLC_CHECK_NO_VALUE ?
				      json_null() :
				      json_integer(c->value));

	return json_array_append_new(r->checks, j) ? -ENOMEM : 0;
}

static void print(const struct report *r, const struct slc_check *c)
{
	static const char *const colors[] = { "", "\033[32m", "\033[36m",
					      "\033[33m", "\033[31m" };
	const int indent = 26;

	printf("%s%-4s%s  %-18s  ", r->color ? colors[c->status] : "",
	       slc_check_status_name(c->status), r->color ? "\033[0m" : "",
	       c->id);
	wrap(c->saw, indent, r->columns);
	if (c->status == SLC_CHECK_OK && !r->opt->verbose)
		return;
	printf("%*swhy: ", indent - 5, "");
	wrap(c->why, indent, r->columns);
	if (!*c->fix)
		return;
	/* Never wrapped: it is there to be copied. */
	printf("%*sfix: %s\n", indent - 5, "", c->fix);
}

static int on_check(void *user, const struct slc_check *c)
{
	struct report *r = user;

	r->count[c->status]++;
	if (r->opt->json)
		return collect(r, c);
	print(r, c);
	return 0;
}

static int finish_json(struct report *r, const struct options *o)
{
	json_t *all = json_pack(
		"{s:o, s:O, s:i, s:i, s:i, s:i}", "path",
		text(o->path ? o->path : "."), "checks", r->checks, "ok",
		r->count[SLC_CHECK_OK], "notes", r->count[SLC_CHECK_NOTE],
		"warnings", r->count[SLC_CHECK_WARN], "failed",
		r->count[SLC_CHECK_FAIL]);
	int err;

	if (!all)
		return slc_cmd_error(-ENOMEM, "no memory for the JSON");
	err = json_dumpf(all, stdout, JSON_INDENT(2));
	json_decref(all);
	putchar('\n');
	if (err)
		return slc_cmd_error(-EIO, "cannot write to standard output");
	return slc_cmd_flush();
}

static void set_up(struct report *r)
{
	const char *no_color = getenv("NO_COLOR");
	struct winsize w;

	r->columns = 80;
	r->color = isatty(STDOUT_FILENO) && (!no_color || !*no_color);
	if (isatty(STDOUT_FILENO) && !ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) &&
	    w.ws_col)
		r->columns = w.ws_col < 100 ? w.ws_col : 100;
}

int slc_cmd_doctor(int argc, char **argv)
{
	struct slc_ctx_attr ca = { .size = sizeof(ca), .log = slc_cmd_log };
	struct slc_doctor_attr attr = { .size = sizeof(attr) };
	struct options o = { 0 };
	struct report r = { .opt = &o };
	struct slc_ctx *ctx;
	int failed, ret;

	argp_parse(&argp, argc, argv, 0, NULL, &o);
	set_up(&r);
	attr.path = o.path;
	attr.flags = o.module ? SLC_DOCTOR_MODULE : 0;
	ret = slc_ctx_open(&ca, &ctx);
	if (ret)
		return slc_cmd_fail(NULL, ret);
	r.checks = json_array();
	failed = slc_doctor_run(ctx, &attr, on_check, &r);
	if (failed < 0) {
		ret = slc_cmd_fail(ctx, failed);
	} else if (o.json) {
		ret = finish_json(&r, &o);
	} else {
		printf("\n%d ok, %d to note, %d to mend, %d failed\n",
		       r.count[SLC_CHECK_OK], r.count[SLC_CHECK_NOTE],
		       r.count[SLC_CHECK_WARN], r.count[SLC_CHECK_FAIL]);
		ret = slc_cmd_flush();
	}
	json_decref(r.checks);
	slc_ctx_close(ctx);
	return ret ? ret : failed > 0 ? SLC_EXIT_FAILED : SLC_EXIT_OK;
}

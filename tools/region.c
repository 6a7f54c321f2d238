/* SPDX-License-Identifier: MIT */
/* region.c - sluice region: the kernel module's regions that have a name. */
#include <argp.h>
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <jansson.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/checked.h"
#include "commands.h"
#include "mem/module.h"
#include "units.h"

#define SIZE_2M (2ull << 20)
#define SIZE_1G (1ull << 30)

struct options {
	const char *name;
	uint64_t len, run;
	int32_t node;
	uint32_t mode, uid, gid, grant; /* grant: SLUICE_GRANT_* */
	bool json, strict, revoke;
};

/* ---- the command line ---- */

static uint32_t parse_mode(const char *arg, struct argp_state *state)
{
	char *end;
	unsigned long v = strtoul(arg, &end, 8);

	if (*arg < '0' || *arg > '7' || *end || v > 0777)
		argp_error(state, "--mode %s: not octal permission bits (660)",
			   arg);
	return (uint32_t)v;
}

static uint32_t parse_user(const char *arg, struct argp_state *state)
{
	const struct passwd *pw = getpwnam(arg);
	uint64_t id;

	if (pw)
		return pw->pw_uid;
	if (slc_parse_u64(arg, 0, UINT32_MAX - 1, &id))
		argp_error(state, "--user %s: no such user", arg);
	return (uint32_t)id;
}

static uint32_t parse_group(const char *arg, struct argp_state *state)
{
	const struct group *gr = getgrnam(arg);
	uint64_t id;

	if (gr)
		return gr->gr_gid;
	if (slc_parse_u64(arg, 0, UINT32_MAX - 1, &id))
		argp_error(state, "--group %s: no such group", arg);
	return (uint32_t)id;
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;
	uint64_t v = 0;

	switch (key) {
	case 'j':
		o->json = true;
		return 0;
	case 'n':
		if (slc_parse_u64(arg, 0, INT32_MAX, &v))
			argp_error(state, "--node %s: not a node's number", arg);
		o->node = (int32_t)v;
		return 0;
	case 'm':
		o->mode = parse_mode(arg, state);
		o->grant |= SLUICE_GRANT_MODE;
		return 0;
	case 'r':
		if (slc_parse_size(arg, &o->run) || !o->run)
			argp_error(state, "--run %s: not a size (4096, 2M)",
				   arg);
		return 0;
	case 's':
		o->strict = true;
		return 0;
	case 'u':
		o->uid = parse_user(arg, state);
		o->grant |= SLUICE_GRANT_UID;
		return 0;
	case 'g':
		o->gid = parse_group(arg, state);
		o->grant |= SLUICE_GRANT_GID;
		return 0;
	case 'R':
		o->revoke = true;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static void take_name(struct options *o, const char *arg,
		      struct argp_state *state)
{
	if (!slc_module_name_ok(arg))
		argp_error(state,
			   "\"%s\": a name has 1 to %d of A-Z a-z 0-9 . _ -",
			   arg, SLUICE_NAME_MAX - 1);
	o->name = arg;
}

static error_t parse_name(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (o->name)
			argp_error(state, "one NAME");
		take_name(o, arg, state);
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which one? \"sluice region list\" has the names");
		return 0;
	}
	return parse_option(key, arg, state);
}

static error_t parse_create(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case ARGP_KEY_ARG:
		if (o->len)
			argp_error(state, "one NAME and one SIZE");
		if (!o->name)
			take_name(o, arg, state);
		else if (slc_parse_size(arg, &o->len) || !o->len)
			argp_error(state, "%s: not a size (512M, 8G)", arg);
		return 0;
	case ARGP_KEY_END:
		if (!o->len)
			argp_error(state, "a NAME and a SIZE: weights 8G");
		return 0;
	}
	return parse_option(key, arg, state);
}

/* ---- shared ---- */

/* A descriptor, or -1 and what is wrong on stderr. */
static int open_module(void)
{
	char why[SLC_MODULE_WHY];
	int dev = slc_module_open(NULL, NULL, why);

	if (dev < 0)
		slc_cmd_error(dev, "%s", why);
	return dev < 0 ? -1 : dev;
}

static int refused(int dev, int err, const struct options *o)
{
	char why[SLC_MODULE_WHY];

	slc_module_explain(dev, err, o->name ? o->name : "", o->len, o->node,
			   why);
	return slc_cmd_error(err, "%s", why);
}

static const char *kind_name(uint32_t kind)
{
	return kind == SLUICE_KIND_ALLOC ? "alloc" :
	       kind == SLUICE_KIND_PIN	 ? "pin" :
	       kind == SLUICE_KIND_PEER	 ? "peer" :
					   "?";
}

/* A process may call itself anything: what is no plain text is '?'. */
static const char *plain(char *comm, size_t n)
{
	comm[n - 1] = '\0';
	for (char *p = comm; *p; p++)
		if (*p < 0x20 || *p >= 0x7f)
			*p = '?';
	return comm;
}

/* The name of a user or group, or its number. */
static void put_id(char *buf, size_t n, const char *name, uint32_t id)
{
	if (name)
		snprintf(buf, n, "%s", name);
	else
		snprintf(buf, n, "%" PRIu32, id);
}

static const char *owner(char *buf, size_t n, uint32_t uid, uint32_t gid)
{
	const struct passwd *pw = getpwuid(uid);
	const struct group *gr = getgrgid(gid);
	char user[33], group[33];

	put_id(user, sizeof(user), pw ? pw->pw_name : NULL, uid);
	put_id(group, sizeof(group), gr ? gr->gr_name : NULL, gid);
	snprintf(buf, n, "%s:%s", user, group);
	return buf;
}

static void add_users(char *buf, size_t n, uint32_t count, const char *what)
{
	size_t at = strlen(buf);

	if (count)
		snprintf(buf + at, n - at, "%s%" PRIu32 " %s%s",
			 at ? ", " : "", count, what, count == 1 ? "" : "s");
}

static const char *users(char *buf, size_t n, const struct sluice_stat *st)
{
	*buf = '\0';
	add_users(buf, n, st->fds, "dma-buf");
	add_users(buf, n, st->maps, "mapping");
	add_users(buf, n, st->attached, "device");
	add_users(buf, n, st->rings, "ring slot");
	if (!*buf)
		snprintf(buf, n, "nobody");
	return buf;
}

static json_t *to_json(struct sluice_stat *st)
{
	char mode[8];

	snprintf(mode, sizeof(mode), "%03o", st->mode);
	return json_pack(
		"{s:o, s:I, s:s, s:I, s:I, s:I, s:i, s:I, s:I, s:o, s:i, s:s, s:b, s:i, s:i, s:i, s:i}",
		"name", *st->name ? json_string(st->name) : json_null(), "id",
		(json_int_t)st->id, "kind", kind_name(st->kind), "bytes",
		(json_int_t)st->len, "bytes_2m", (json_int_t)st->bytes_2m,
		"runs", (json_int_t)st->nruns, "node", st->node, "uid",
		(json_int_t)st->uid, "gid", (json_int_t)st->gid, "mode",
		*st->name ? json_string(mode) : json_null(), "pid", st->pid,
		"comm", plain(st->comm, sizeof(st->comm)), "revoked",
		(int)st->dead, "dmabufs", (int)st->fds, "mappings",
		(int)st->maps, "devices", (int)st->attached, "ring_slots",
		(int)st->rings);
}

/* Prints and frees it; NULL is no memory. An exit code. */
static int print_json(json_t *j)
{
	int err;

	if (!j)
		return slc_cmd_error(-ENOMEM, "no memory for the JSON");
	err = json_dumpf(j, stdout, JSON_INDENT(2));
	json_decref(j);
	putchar('\n');
	return err ? slc_cmd_error(-EIO, "cannot write to standard output") :
		     slc_cmd_flush();
}

/* ---- list ---- */

static void print_row(struct sluice_stat *st)
{
	char size[32], who[80], used[120], mode[8] = "-";

	if (*st->name)
		snprintf(mode, sizeof(mode), "%03o", st->mode);
	printf("%-20s  %4" PRIu64 "  %-5s  %9s  %4d  %4s  %-15s  %s",
	       *st->name ? st->name : "-", (uint64_t)st->id,
	       kind_name(st->kind), slc_human_bytes(size, sizeof(size), st->len),
	       st->node, mode, owner(who, sizeof(who), st->uid, st->gid),
	       users(used, sizeof(used), st));
	if (st->dead)
		printf(", revoked");
	if (st->pid)
		printf(", made by %d (%s)", st->pid,
		       plain(st->comm, sizeof(st->comm)));
	putchar('\n');
}

static int list(int dev, const struct options *o)
{
	struct sluice_stat st = { .flags = SLUICE_STAT_NEXT, .fd = -1 };
	json_t *all = o->json ? json_array() : NULL;
	uint64_t n = 0, bytes = 0;
	char size[32];
	int err;

	while (!(err = slc_module_stat(dev, &st))) {
		if (o->json) {
			json_array_append_new(all, to_json(&st));
			continue;
		}
		if (!n++)
			printf("%-20s  %4s  %-5s  %9s  %4s  %4s  %-15s  %s\n",
			       "name", "id", "kind", "size", "node", "mode",
			       "owner", "used by");
		bytes += st.len;
		print_row(&st);
	}
	if (err != -ENOENT) {
		json_decref(all);
		return refused(dev, err, o);
	}
	if (o->json)
		return print_json(json_pack("{s:o}", "regions", all));
	printf("%s%" PRIu64 " region%s, %s\n", n ? "\n" : "", n,
	       n == 1 ? "" : "s", slc_human_bytes(size, sizeof(size), bytes));
	return slc_cmd_flush();
}

static const struct argp_option list_options[] = {
	{ "json", 'j', NULL, 0, "One object with every region", 0 },
	{ 0 },
};

static const struct argp list_argp = {
	.options = list_options,
	.parser = parse_option,
	.doc = "Lists the regions of the kernel module: those with a name, which "
	       "stay until they are removed, and those without one (\"-\"), "
	       "which end with their last user.\v"
	       "Columns: node -1 is several nodes; mode and owner are as a "
	       "file's; \"used by\" counts dma-bufs, mappings, devices and slots "
	       "of io_uring tables.\n\n"
	       "Exit codes: 0 done, 1 no module or no leave to ask it, 2 usage.",
};

/* ---- create ---- */

static int create(int dev, const struct options *o)
{
	uint64_t run = o->run ? o->run : SIZE_2M;
	uint64_t unit = run < SIZE_2M ? (uint64_t)sysconf(_SC_PAGESIZE) : SIZE_2M;
	struct sluice_alloc a = { .flags = o->strict ? SLUICE_ALLOC_STRICT : 0,
				  .run = run,
				  .node = o->node,
				  .mode = o->mode };
	struct sluice_stat st = { 0 };
	char size[32], in_2m[32];
	int err;

	if (!slc_align_up(o->len, unit, (uint64_t *)&a.len))
		return slc_cmd_error(-EINVAL, "%s: more bytes than there can be",
				     o->name);
	snprintf(a.name, sizeof(a.name), "%s", o->name);
	err = slc_module_alloc(dev, &a);
	if (err)
		return refused(dev, err, o);
	st.fd = a.fd;
	err = slc_module_stat(dev, &st);
	close(a.fd);
	if (err)
		return refused(dev, err, o);
	if (o->json)
		return print_json(to_json(&st));
	printf("%s: %s on node %d, %s of it in runs of 2 MiB or longer\n",
	       o->name, slc_human_bytes(size, sizeof(size), st.len), st.node,
	       slc_human_bytes(in_2m, sizeof(in_2m), st.bytes_2m));
	return slc_cmd_flush();
}

static const struct argp_option create_options[] = {
	{ "node", 'n', "N", 0, "On this NUMA node (default: the one it runs on)",
	  0 },
	{ "mode", 'm', "OCTAL", 0,
	  "Who may open it, as a file's (default: 600, this user alone)", 0 },
	{ "run", 'r', "SIZE", 0,
	  "Contiguous in runs of so many bytes: 4096, or 2M (the default), less "
	  "where memory is fragmented",
	  0 },
	{ "strict", 's', NULL, 0, "Fail rather than take a shorter run", 0 },
	{ "json", 'j', NULL, 0, "One object with the region", 0 },
	{ 0 },
};

static const struct argp create_argp = {
	.options = create_options,
	.parser = parse_create,
	.args_doc = "NAME SIZE",
	.doc = "Makes a region of zeroed, pinned memory in the kernel module, and "
	       "gives it a name. It stays, with its bytes, when its users end, "
	       "until \"sluice region remove\" or a reboot. SIZE is rounded up to "
	       "whole runs; it counts as locked memory of this user (ulimit "
	       "-l).\v"
	       "Example: sluice region create weights 8G --node 0 --mode 660\n\n"
	       "A program gets it by SLC_REGION_MODULE | SLC_REGION_NAMED.\n\n"
	       "Exit codes: 0 made, 1 no module, no memory, over a limit, 2 usage, "
	       "or the name is taken.",
};

/* ---- show ---- */

enum { RUN_1G, RUN_2M, RUN_SHORT, NRUNS };

/* One node's runs, by their length. */
struct node_runs {
	int32_t node;
	uint64_t count[NRUNS], bytes[NRUNS];
};

#define SHOWN_NODES 64

static void add_run(struct node_runs *nodes, uint32_t *n,
		    const struct sluice_run *run)
{
	int kind = run->len >= SIZE_1G ? RUN_1G :
		   run->len >= SIZE_2M ? RUN_2M :
					 RUN_SHORT;
	uint32_t i;

	for (i = 0; i < *n && nodes[i].node != run->node; i++)
		;
	if (i == SHOWN_NODES)
		return;
	if (i == *n)
		nodes[(*n)++] = (struct node_runs){ .node = run->node };
	nodes[i].count[kind]++;
	nodes[i].bytes[kind] += run->len;
}

/* How many nodes it lies on, or -errno. */
static int read_runs(int dev, const struct options *o, uint64_t len,
		     struct node_runs *nodes)
{
	static struct sluice_run runs[SLUICE_RUNS_MAX];
	struct sluice_open open = { .flags = SLUICE_OPEN_READ };
	uint64_t off = 0;
	uint32_t n = 0;
	int err;

	snprintf(open.name, sizeof(open.name), "%s", o->name);
	err = slc_module_find(dev, &open);
	if (err)
		return err;
	while (!err && off < len) {
		struct sluice_runs arg = { .fd = open.fd,
					   .count = SLUICE_RUNS_MAX,
					   .off = off,
					   .runs = (uintptr_t)runs };

		err = slc_module_runs(dev, &arg);
		for (uint32_t i = 0; !err && i < arg.count; i++) {
			add_run(nodes, &n, &runs[i]);
			off = runs[i].off + runs[i].len;
		}
		if (!err && !arg.count)
			err = -EIO;
	}
	close(open.fd);
	return err ? err : (int)n;
}

static const char *const run_words[] = { "1 GiB or longer",
					 "2 MiB or longer", "shorter" };

static void print_runs(const struct node_runs *nodes, int n)
{
	char bytes[32], count[32];

	printf("\nnode  runs of           number       bytes\n");
	for (int i = 0; i < n; i++)
		for (int k = 0; k < NRUNS; k++)
			if (nodes[i].count[k])
				printf("%4d  %-15s  %8s  %10s\n",
				       nodes[i].node, run_words[k],
				       slc_human_count(count, sizeof(count),
						       nodes[i].count[k]),
				       slc_human_bytes(bytes, sizeof(bytes),
						       nodes[i].bytes[k]));
}

static json_t *runs_json(const struct node_runs *nodes, int n)
{
	static const char *const keys[] = { "1g", "2m", "short" };
	json_t *all = json_array();

	for (int i = 0; i < n; i++)
		for (int k = 0; k < NRUNS; k++)
			if (nodes[i].count[k])
				json_array_append_new(
					all,
					json_pack("{s:i, s:s, s:I, s:I}",
						  "node", nodes[i].node, "runs",
						  keys[k], "count",
						  (json_int_t)nodes[i].count[k],
						  "bytes",
						  (json_int_t)nodes[i].bytes[k]));
	return all;
}

static void print_facts(struct sluice_stat *st)
{
	char size[32], who[80], used[120];

	printf("%s: %s, %s, id %" PRIu64 "%s\n", st->name,
	       slc_human_bytes(size, sizeof(size), st->len),
	       kind_name(st->kind), (uint64_t)st->id,
	       st->dead ? ", revoked" : "");
	printf("owner    %s, mode %03o\n",
	       owner(who, sizeof(who), st->uid, st->gid), st->mode);
	if (st->pid)
		printf("made by  process %d (%s)\n", st->pid,
		       plain(st->comm, sizeof(st->comm)));
	else
		printf("made by  a process that is not there any more\n");
	printf("used by  %s\n", users(used, sizeof(used), st));
}

static int show(int dev, const struct options *o)
{
	struct sluice_stat st = { .flags = SLUICE_STAT_NEXT, .fd = -1 };
	struct node_runs nodes[SHOWN_NODES];
	char why[SLC_MODULE_WHY];
	json_t *j;
	int err, n;

	while (!(err = slc_module_stat(dev, &st)))
		if (!strcmp(st.name, o->name))
			break;
	if (err)
		return refused(dev, err, o);
	n = read_runs(dev, o, st.len, nodes);
	if (n < 0)
		slc_module_explain(dev, n, "", 0, -1, why);
	if (o->json) {
		j = to_json(&st);
		json_object_set_new(j, "lies", n < 0 ? json_null() :
						      runs_json(nodes, n));
		if (n < 0)
			json_object_set_new(j, "lies_unknown",
					    json_string(why));
		return print_json(j);
	}
	print_facts(&st);
	if (n < 0)
		printf("runs     not told: %s\n", why);
	else
		print_runs(nodes, n);
	return slc_cmd_flush();
}

static const struct argp show_argp = {
	.options = list_options,
	.parser = parse_name,
	.args_doc = "NAME",
	.doc = "Shows one region: its owner, who made it and who uses it, and how "
	       "it lies in memory (physically contiguous runs, by node). The runs "
	       "are told to those whom its mode lets read it.\v"
	       "Exit codes: 0 done, 1 no module or no leave to ask it, 2 usage, or "
	       "no such region.",
};

/* ---- remove and grant ---- */

static int remove_it(int dev, const struct options *o)
{
	struct sluice_remove r = {
		.flags = o->revoke ? SLUICE_REMOVE_REVOKE : 0
	};
	int err;

	snprintf(r.name, sizeof(r.name), "%s", o->name);
	err = slc_module_remove(dev, &r);
	return err ? refused(dev, err, o) : SLC_EXIT_OK;
}

static const struct argp_option remove_options[] = {
	{ "revoke", 'R', NULL, 0,
	  "Also take it from all who use it: their I/O then fails, and touching "
	  "it kills them (SIGBUS)",
	  0 },
	{ 0 },
};

static const struct argp remove_argp = {
	.options = remove_options,
	.parser = parse_name,
	.args_doc = "NAME",
	.doc = "Takes the name from a region, as rm does from a file: its memory "
	       "goes when nobody uses it any more.\v"
	       "Exit codes: 0 done, 1 no module, not the owner, 2 usage, or no "
	       "such region.",
};

static int grant(int dev, const struct options *o)
{
	struct sluice_grant g = { .flags = o->grant,
				  .uid = o->uid,
				  .gid = o->gid };
	int err;

	if (o->grant & SLUICE_GRANT_MODE)
		g.mode = o->mode;
	snprintf(g.name, sizeof(g.name), "%s", o->name);
	err = slc_module_grant(dev, &g);
	return err ? refused(dev, err, o) : SLC_EXIT_OK;
}

static error_t parse_grant(int key, char *arg, struct argp_state *state)
{
	const struct options *o = state->input;

	if (key == ARGP_KEY_END && !o->grant)
		argp_error(state, "to whom? --user, --group or --mode");
	return parse_name(key, arg, state);
}

static const struct argp_option grant_options[] = {
	{ "user", 'u', "USER", 0, "Its new owner, by name or number (root only)",
	  0 },
	{ "group", 'g', "GROUP", 0, "Its new group, by name or number", 0 },
	{ "mode", 'm', "OCTAL", 0, "Its new permission bits (660)", 0 },
	{ 0 },
};

static const struct argp grant_argp = {
	.options = grant_options,
	.parser = parse_grant,
	.args_doc = "NAME",
	.doc = "Changes who may open a region, as chown and chmod do for a file. "
	       "Its memory stays charged to the user who made it.\v"
	       "Example: sluice region grant weights --group trainers --mode "
	       "660\n\n"
	       "Exit codes: 0 done, 1 no module, not the owner, 2 usage, or no "
	       "such region.",
};

/* ---- entries ---- */

static int run(int argc, char **argv, const struct argp *argp,
	       int (*what)(int dev, const struct options *o))
{
	struct options o = { .node = -1, .mode = 0600 };
	int dev, ret;

	argp_parse(argp, argc, argv, 0, NULL, &o);
	dev = open_module();
	if (dev < 0)
		return SLC_EXIT_FAILED;
	ret = what(dev, &o);
	close(dev);
	return ret;
}

int slc_cmd_region_list(int argc, char **argv)
{
	return run(argc, argv, &list_argp, list);
}

int slc_cmd_region_create(int argc, char **argv)
{
	return run(argc, argv, &create_argp, create);
}

int slc_cmd_region_show(int argc, char **argv)
{
	return run(argc, argv, &show_argp, show);
}

int slc_cmd_region_remove(int argc, char **argv)
{
	return run(argc, argv, &remove_argp, remove_it);
}

int slc_cmd_region_grant(int argc, char **argv)
{
	return run(argc, argv, &grant_argp, grant);
}

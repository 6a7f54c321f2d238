/* SPDX-License-Identifier: MIT */
/* NUMA nodes as sysfs tells them. */
#include "mem/node.h"
#include "base/open.h"
#include "mem/room.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NODE_DIR "/sys/devices/system/node"

unsigned int slc_bits_count(const struct slc_bits *b)
{
	unsigned int n = 0;

	for (size_t i = 0; i < SLC_MAX_CPUS / SLC_WORD_BITS; i++)
		n += (unsigned int)__builtin_popcountl(b->w[i]);
	return n;
}

static bool number(const char **p, unsigned long *out)
{
	char *end;

	if (**p < '0' || **p > '9')
		return false;
	*out = strtoul(*p, &end, 10);
	*p = end;
	return *out < SLC_MAX_CPUS;
}

bool slc_bits_parse(const char *list, struct slc_bits *out)
{
	unsigned long from, to;

	memset(out, 0, sizeof(*out));
	while (*list) {
		if (!number(&list, &from))
			return false;
		to = from;
		if (*list == '-') {
			list++;
			if (!number(&list, &to) || to < from)
				return false;
		}
		for (; from <= to; from++)
			out->w[from / SLC_WORD_BITS] |=
				1ul << (from % SLC_WORD_BITS);
		if (*list == ',' && list[1])
			list++;
		else if (*list)
			return false;
	}
	return true;
}

int slc_text_read(const char *path, char *buf, size_t size)
{
	size_t used = 0;
	ssize_t n = 0;
	int fd;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	while (used < size - 1) {
		n = read(fd, buf + used, size - 1 - used);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		used += (size_t)n;
	}
	n = n < 0 ? -errno : 0;
	close(fd);
	if (n)
		return (int)n;
	while (used && buf[used - 1] == '\n')
		used--;
	buf[used] = 0;
	return 0;
}

void slc_text_unread(const char *path, int err, char *why, size_t size)
{
	snprintf(why, size, "%s cannot be read: %s%s", path, strerror(-err),
		 slc_open_fix(-err));
}

int slc_nodes_with_memory(struct slc_bits *out)
{
	char list[4096];
	int err = slc_text_read(SLC_NODES_FILE, list, sizeof(list));

	if (err)
		return err;
	return slc_bits_parse(list, out) ? 0 : -EINVAL;
}

int slc_node_of_caller(void)
{
	unsigned int cpu, node;

	if (syscall(SYS_getcpu, &cpu, &node, NULL))
		return 0;
	return (int)node;
}

unsigned int slc_node_cpus(int node, struct slc_bits *out)
{
	char path[64], list[4096];
	struct slc_bits of_node, both;
	unsigned int n;

	memset(out, 0, sizeof(*out));
	/* The call itself: glibc's cpu_set_t ends at CPU 1023. */
	if (syscall(SYS_sched_getaffinity, 0, sizeof(out->w), out->w) < 0)
		return 0;
	if (node < 0)
		return slc_bits_count(out);
	snprintf(path, sizeof(path), NODE_DIR "/node%d/cpulist", node);
	if (slc_text_read(path, list, sizeof(list)) ||
	    !slc_bits_parse(list, &of_node))
		return slc_bits_count(out);
	for (size_t i = 0; i < SLC_MAX_CPUS / SLC_WORD_BITS; i++)
		both.w[i] = out->w[i] & of_node.w[i];
	n = slc_bits_count(&both);
	if (!n)
		return slc_bits_count(out);
	*out = both;
	return n;
}

static uint64_t field_kib(const char *text, const char *name)
{
	const char *p = strstr(text, name);

	return p ? strtoull(p + strlen(name), NULL, 10) : 0;
}

uint64_t slc_node_available(int node)
{
	char path[64], text[4096];
	struct slc_bits nodes;

	/* A lone node has it all, and the whole is counted better. */
	if (slc_nodes_with_memory(&nodes) || slc_bits_count(&nodes) < 2)
		return slc_memory_available();
	snprintf(path, sizeof(path), NODE_DIR "/node%d/meminfo", node);
	if (slc_text_read(path, text, sizeof(text)))
		return 0;
	/* Half of the active file pages: the others are in use. */
	return 1024 * (field_kib(text, "MemFree:") +
		       field_kib(text, "Inactive(file):") +
		       field_kib(text, "Active(file):") / 2);
}

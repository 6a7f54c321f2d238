/* SPDX-License-Identifier: MIT */
/* node.h - NUMA nodes as sysfs tells them, and the CPUs we may use of one. */
#ifndef SLC_MEM_NODE_H
#define SLC_MEM_NODE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLC_MAX_NODES 1024
#define SLC_MAX_CPUS 8192
#define SLC_WORD_BITS (CHAR_BIT * sizeof(unsigned long))

struct slc_bits {
	unsigned long w[SLC_MAX_CPUS / SLC_WORD_BITS];
};

static inline bool slc_bit(const struct slc_bits *b, unsigned int i)
{
	return i < SLC_MAX_CPUS &&
	       (b->w[i / SLC_WORD_BITS] >> (i % SLC_WORD_BITS)) & 1;
}

unsigned int slc_bits_count(const struct slc_bits *b);

/* "0-3,8" into bits, as in sysfs. False if it is anything else. */
bool slc_bits_parse(const char *list, struct slc_bits *out);

/* The whole of a small text file, without its newline; or -errno. */
int slc_text_read(const char *path, char *buf, size_t size);

/* "PATH cannot be read: ..." for what slc_text_read() returned. */
void slc_text_unread(const char *path, int err, char *why, size_t size);

#define SLC_NODES_FILE "/sys/devices/system/node/has_memory"

/*
 * The nodes that have memory, as SLC_NODES_FILE tells: 0; -ENOENT on a kernel
 * without NUMA; another -errno if it cannot be read.
 */
int slc_nodes_with_memory(struct slc_bits *out);

/* The node of the CPU the caller runs on; 0 where there is no NUMA. */
int slc_node_of_caller(void);

/*
 * CPUs of the node that this thread may run on. A node of -1, or without CPUs
 * that are allowed: all that are allowed. Returns how many (0 if unknown).
 */
unsigned int slc_node_cpus(int node, struct slc_bits *out);

/* Bytes to be had on the node without swapping; 0 if unknown. */
uint64_t slc_node_available(int node);

#endif

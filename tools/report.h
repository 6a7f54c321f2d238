/* SPDX-License-Identifier: MIT */
/* report.h - what `sluice stream` says: the list, the JSON, the table. */
#ifndef SLC_TOOLS_REPORT_H
#define SLC_TOOLS_REPORT_H

#include <stdbool.h>
#include <stdio.h>

#include <sluice/stream.h>

/* Lines for stdout, gathered into large writes. */
struct slc_list {
	char *buf;
	size_t len;
	int err; /* sticky -errno of a write */
};

/* 0 or -ENOMEM. */
int slc_list_init(struct slc_list *list);
void slc_list_fini(struct slc_list *list);
/* "key<TAB>bytes<TAB>crc", the key by slc_escape_byte(). 0 or -errno. */
int slc_list_add(struct slc_list *list, const char *key, size_t key_len,
		 uint64_t bytes, uint32_t crc);
int slc_list_flush(struct slc_list *list);

/* A stream that has ended, in numbers. */
struct slc_report {
	struct slc_stream_stats stats;
	char memory_reason[512]; /* of stats, likewise */
	char reasons[16][200]; /* of stats.routes, which point here */
	struct slc_dataset_info dataset;
	double seconds;	     /* of streaming alone */
	double open_seconds; /* dataset, region, queue */
	double cpu_seconds;  /* of the process while streaming */
	double limit;	     /* bytes a second; 0: not measured */
	bool crc;	     /* was computed */
	bool inflated;	     /* some of it: the drive gave fewer bytes */
	bool stopped;	     /* by a signal */
	uint64_t memory;     /* as asked for */
	char resume[SLC_TOKEN_MAX];
	char error[1024];    /* "" when it went well */
};

/* One JSON object on one line. 0 or -ENOMEM. */
int slc_report_json(const struct slc_report *r, FILE *out);
/* For people. */
void slc_report_table(const struct slc_report *r, FILE *out);

#endif

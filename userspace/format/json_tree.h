/* SPDX-License-Identifier: MIT */
/* json_tree.h - small JSON documents as a jansson tree, loaded with limits. */
#ifndef SLC_FORMAT_JSON_TREE_H
#define SLC_FORMAT_JSON_TREE_H

#include <jansson.h>
#include <stdbool.h>

#include "format/source.h"

/*
 * Loads one object: UTF-8, at most 64 levels and 4 Mi values, no key twice in
 * an object.
 * `base` is where the bytes stand in the file, for diag. 0 and a tree to
 * json_decref(), -EBADMSG, -ENOMEM.
 */
int slc_json_tree(const void *bytes, uint64_t len, uint64_t base,
		  const char *what, json_t **out, struct slc_diag *diag);

/* A member that is an integer in [0, 2^63). */
bool slc_json_count(const json_t *object, const char *key, uint64_t *out);

/*
 * Is `name` a path that stays below its folder: not empty or absolute, no part
 * of it empty, "." or "..", all of it printable? With `folders` false it may
 * not have a '/' either.
 */
bool slc_json_path_is_safe(const char *name, bool folders);

#endif

/* SPDX-License-Identifier: MIT */
#include "format/json_tree.h"

#include <errno.h>
#include <string.h>

#define DEPTH_MAX 64
#define VALUES_MAX (4u << 20)

/*
 * The offset at which the limits are passed, or len; *deep says which. A tree
 * takes some 80 bytes for each value, however few bytes of text that has.
 */
static uint64_t past_limits(const char *p, uint64_t len, bool *deep)
{
	uint32_t depth = 0, values = 0;
	bool text = false;

	for (uint64_t i = 0; i < len; i++) {
		if (text) {
			if (p[i] == '\\')
				i++;
			else if (p[i] == '"')
				text = false;
			continue;
		}
		if (p[i] == '"') {
			text = true;
		} else if (p[i] == '{' || p[i] == '[') {
			*deep = ++depth > DEPTH_MAX;
			if (*deep || ++values > VALUES_MAX)
				return i;
		} else if (p[i] == ',') {
			if (++values > VALUES_MAX)
				return i;
		} else if ((p[i] == '}' || p[i] == ']') && depth) {
			depth--;
		}
	}
	return len;
}

int slc_json_tree(const void *bytes, uint64_t len, uint64_t base,
		  const char *what, json_t **out, struct slc_diag *diag)
{
	bool deep = false;
	uint64_t past = past_limits(bytes, len, &deep);
	json_error_t error = { 0 };
	json_t *tree;

	if (past < len && !deep)
		return slc_bad(diag, base + past,
			       "%s has more than %u values", what, VALUES_MAX);
	if (past < len)
		return slc_bad(diag, base + past,
			       "%s is nested deeper than %d levels", what,
			       DEPTH_MAX);
	tree = json_loadb(bytes, len, JSON_REJECT_DUPLICATES, &error);
	if (!tree && json_error_code(&error) == json_error_out_of_memory)
		return -ENOMEM;
	if (!tree)
		return slc_bad(diag,
			       base + (error.position > 0 ?
					       (uint64_t)error.position :
					       0),
			       "%s is not JSON: %s", what, error.text);
	if (!json_is_object(tree)) {
		json_decref(tree);
		return slc_bad(diag, base, "%s is not a JSON object", what);
	}
	*out = tree;
	return 0;
}

bool slc_json_count(const json_t *object, const char *key, uint64_t *out)
{
	const json_t *v = json_object_get(object, key);

	if (!json_is_integer(v) || json_integer_value(v) < 0)
		return false;
	*out = (uint64_t)json_integer_value(v);
	return true;
}

bool slc_json_path_is_safe(const char *name, bool folders)
{
	const char *part = name;

	for (;;) {
		size_t n = strcspn(part, "/");

		if (!n || (n <= 2 && !strncmp(part, "..", n)))
			return false;
		for (size_t i = 0; i < n; i++)
			if ((unsigned char)part[i] < 0x20 || part[i] == 0x7f)
				return false;
		if (!part[n])
			return true;
		if (!folders)
			return false;
		part += n + 1;
	}
}

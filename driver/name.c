// SPDX-License-Identifier: GPL-2.0
/* name.c - regions that have a name and an owner, and outlive their maker. */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/hashtable.h>
#include <linux/stringhash.h>
#include <linux/user_namespace.h>

#include "fault.h"
#include "region.h"

/*
 * A region is in the table from when its name is reserved; it is found there
 * (and its name holds a reference) once it is open, which is when the call that
 * makes it cannot fail any more.
 */
static DEFINE_HASHTABLE(names, 10);
static DEFINE_MUTEX(names_lock);

static u32 name_hash(const char *name)
{
	return full_name_hash(names, name, strlen(name));
}

/* 0, or -EINVAL: not 1 to 63 of the characters, or without its NUL. */
int sluice_name_check(const char *name)
{
	size_t len = strnlen(name, SLUICE_NAME_MAX);

	if (!len || len == SLUICE_NAME_MAX)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		char c = name[i];

		if (!(c >= 'a' && c <= 'z') && !(c >= 'A' && c <= 'Z') &&
		    !(c >= '0' && c <= '9') && !strchr("._-", c))
			return -EINVAL;
	}
	return 0;
}

/* Any region of that name, open or not. Under names_lock. */
static struct sluice_region *name_lookup(const char *name)
{
	struct sluice_region *region;

	hash_for_each_possible(names, region, name_node, name_hash(name))
		if (!strcmp(region->name, name))
			return region;
	return NULL;
}

static struct sluice_region *name_lookup_open(const char *name)
{
	struct sluice_region *region = name_lookup(name);

	return region && region->name_open ? region : NULL;
}

int sluice_name_reserve(struct sluice_region *region, const char *name,
			umode_t mode)
{
	int ret = -EEXIST;

	mutex_lock(&names_lock);
	if (!name_lookup(name)) {
		strscpy(region->name, name, sizeof(region->name));
		region->mode = mode;
		hash_add(names, &region->name_node, name_hash(name));
		ret = 0;
	}
	mutex_unlock(&names_lock);
	return ret;
}

void sluice_name_publish(struct sluice_region *region)
{
	mutex_lock(&names_lock);
	if (!hlist_unhashed(&region->name_node)) {
		region->name_open = true;
		sluice_region_get(region);
	}
	mutex_unlock(&names_lock);
}

/* At the end of a region: gives a name back that was reserved only. */
void sluice_name_drop(struct sluice_region *region)
{
	mutex_lock(&names_lock);
	hash_del(&region->name_node);
	mutex_unlock(&names_lock);
}

/* The module goes, so nobody has them: each name is a last reference. */
void sluice_name_exit(void)
{
	struct sluice_region *region;
	struct hlist_node *next;
	int bucket;

	hash_for_each_safe(names, bucket, next, region, name_node) {
		hash_del(&region->name_node);
		sluice_region_put(region);
	}
}

/* @name has SLUICE_NAME_MAX bytes. */
void sluice_name_copy(const struct sluice_region *region, char *name)
{
	mutex_lock(&names_lock);
	memcpy(name, region->name, SLUICE_NAME_MAX);
	mutex_unlock(&names_lock);
}

/* Whose it is, in @ns, and what it is called. */
void sluice_name_stat(const struct sluice_region *region,
		      struct sluice_stat *stat, struct user_namespace *ns)
{
	mutex_lock(&names_lock);
	stat->uid = from_kuid_munged(ns, region->uid);
	stat->gid = from_kgid_munged(ns, region->gid);
	stat->mode = region->mode;
	memcpy(stat->name, region->name, sizeof(stat->name));
	mutex_unlock(&names_lock);
}

static bool name_owned(const struct sluice_region *region)
{
	return uid_eq(current_euid(), region->uid);
}

/* As a file's mode; @want has MAY_READ (4) and MAY_WRITE (2). */
static bool name_permits(const struct sluice_region *region, unsigned int want)
{
	unsigned int mode = region->mode;

	if (name_owned(region))
		mode >>= 6;
	else if (in_egroup_p(region->gid))
		mode >>= 3;
	return (mode & want) == want || capable(CAP_DAC_OVERRIDE);
}

int sluice_call_open(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_open *open = &arg->open;
	bool write = !(open->flags & SLUICE_OPEN_READ);
	struct sluice_region *region;
	int ret;

	if ((open->flags & ~SLUICE_OPEN_READ) || open->__reserved ||
	    sluice_name_check(open->name))
		return -EINVAL;
	ret = sluice_handle_open(handle);
	if (ret)
		return ret;
	mutex_lock(&names_lock);
	region = name_lookup_open(open->name);
	if (!region)
		ret = -ENOENT;
	else if (!name_permits(region, write ? 6 : 4))
		ret = -EACCES;
	else
		sluice_region_get(region);
	mutex_unlock(&names_lock);
	if (ret)
		return ret;
	handle->region = region;
	ret = sluice_handle_export(handle, write);
	if (ret)
		return ret;
	open->len = (u64)region->npages << PAGE_SHIFT;
	open->id = region->id;
	open->fd = handle->fd;
	return 0;
}

/* May the caller make these changes? Under names_lock. */
static int name_may_grant(const struct sluice_region *region, u32 flags,
			  kuid_t uid, kgid_t gid)
{
	bool owned = name_owned(region);

	if ((flags & SLUICE_GRANT_UID) && !capable(CAP_CHOWN) &&
	    !(owned && uid_eq(uid, region->uid)))
		return -EPERM;
	if ((flags & SLUICE_GRANT_GID) && !capable(CAP_CHOWN) &&
	    !(owned && (gid_eq(gid, region->gid) || in_egroup_p(gid))))
		return -EPERM;
	if ((flags & SLUICE_GRANT_MODE) && !owned && !capable(CAP_FOWNER))
		return -EPERM;
	return 0;
}

int sluice_call_grant(union sluice_arg *arg, struct sluice_handle *handle)
{
	const u32 all = SLUICE_GRANT_UID | SLUICE_GRANT_GID | SLUICE_GRANT_MODE;
	struct sluice_grant *grant = &arg->grant;
	struct sluice_region *region;
	u32 flags = grant->flags;
	kuid_t uid = make_kuid(current_user_ns(), grant->uid);
	kgid_t gid = make_kgid(current_user_ns(), grant->gid);
	int ret;

	if (!flags || (flags & ~all) || grant->__reserved ||
	    sluice_name_check(grant->name))
		return -EINVAL;
	if (flags & SLUICE_GRANT_UID ? !uid_valid(uid) : grant->uid)
		return -EINVAL;
	if (flags & SLUICE_GRANT_GID ? !gid_valid(gid) : grant->gid)
		return -EINVAL;
	if (flags & SLUICE_GRANT_MODE ? grant->mode & ~0777 : grant->mode)
		return -EINVAL;
	mutex_lock(&names_lock);
	region = name_lookup_open(grant->name);
	ret = region ? name_may_grant(region, flags, uid, gid) : -ENOENT;
	if (!ret) {
		if (flags & SLUICE_GRANT_UID)
			region->uid = uid;
		if (flags & SLUICE_GRANT_GID)
			region->gid = gid;
		if (flags & SLUICE_GRANT_MODE)
			region->mode = grant->mode;
	}
	mutex_unlock(&names_lock);
	return ret;
}

int sluice_call_remove(union sluice_arg *arg, struct sluice_handle *handle)
{
	struct sluice_remove *remove = &arg->remove;
	struct sluice_region *region;
	int ret = 0;

	if ((remove->flags & ~SLUICE_REMOVE_REVOKE) ||
	    sluice_name_check(remove->name))
		return -EINVAL;
	mutex_lock(&names_lock);
	region = name_lookup_open(remove->name);
	if (!region) {
		ret = -ENOENT;
	} else if (!name_owned(region) && !capable(CAP_SYS_ADMIN)) {
		ret = -EPERM;
	} else {
		hash_del(&region->name_node);
		region->name_open = false;
		region->mode = 0;
		memset(region->name, 0, sizeof(region->name));
	}
	mutex_unlock(&names_lock);
	if (ret)
		return ret;
	if (remove->flags & SLUICE_REMOVE_REVOKE)
		sluice_region_revoke(region);
	sluice_region_put(region);
	return 0;
}

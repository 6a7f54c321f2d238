/* SPDX-License-Identifier: MIT */
/*
 * module.h - /dev/sluice: the kernel module's calls, and their errors in words.
 *
 * Nothing else opens the device. The structs are those of the uapi header.
 */
#ifndef SLC_MEM_MODULE_H
#define SLC_MEM_MODULE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uapi/sluice.h>

#define SLC_MODULE_DEVICE "/dev/sluice"
#define SLC_MODULE_WHY 400 /* bytes that every sentence here fits in */

/*
 * Opens the device and checks that it speaks our ABI. The descriptor holds no
 * region: close it as soon as the call is made.
 *
 * @path: of the device; NULL for /dev/sluice
 * @info: filled unless NULL; its size is set here
 *
 * A descriptor, or -errno with why[SLC_MODULE_WHY] filled: -ENOENT (the module
 * is not loaded), -EACCES, -EPROTO (another ABI), -ENOTTY (no such device), ...
 */
int slc_module_open(const char *path, struct sluice_info *info, char *why);

/*
 * The calls, each 0 or -errno as the uapi header says. `size` is set here.
 * slc_module_alloc() and slc_module_find() give a dma-buf in `fd`.
 */
int slc_module_feature(int dev, struct sluice_feature *arg);
int slc_module_alloc(int dev, struct sluice_alloc *arg);
int slc_module_find(int dev, struct sluice_open *arg);
int slc_module_stat(int dev, struct sluice_stat *arg);
int slc_module_runs(int dev, struct sluice_runs *arg);
int slc_module_grant(int dev, struct sluice_grant *arg);
int slc_module_remove(int dev, struct sluice_remove *arg);

/* 1 to 63 of [A-Za-z0-9._-]. */
bool slc_module_name_ok(const char *name);

/*
 * Why `err` of a call on a region, with the remedy, into why[SLC_MODULE_WHY].
 *
 * @name: of the region, "" for one without
 * @len, @node: what was asked of slc_module_alloc(); 0 and -1 otherwise
 */
void slc_module_explain(int dev, int err, const char *name, uint64_t len,
			int node, char *why);

/* Why feature `index` does not work here, or "" when it does. */
void slc_module_why_not(int dev, uint32_t index, char *why);

#endif

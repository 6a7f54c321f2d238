/* SPDX-License-Identifier: MIT */
/* bar.h - a PCI function whose BAR is bound to the module as peer memory. */
#ifndef SLC_TESTS_LAB_BAR_H
#define SLC_TESTS_LAB_BAR_H

#include <dirent.h>

#include "tests/lab/driver.h"

struct bar {
	char name[32]; /* 0000:03:00.0 */
	unsigned int domain, bdf;
};

/* The first function of this vendor and device, "0x1af4" "0x1110". */
static inline int pci_find(const char *vendor, const char *device, char *name,
			   size_t size)
{
	DIR *dir = opendir("/sys/bus/pci/devices");
	struct dirent *e;
	int ret = -ENODEV;

	while (dir && ret && (e = readdir(dir))) {
		char path[320], text[2][16] = { "", "" };
		const char *files[2] = { "vendor", "device" };

		for (int i = 0; i < 2; i++) {
			int fd;

			snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s",
				 e->d_name, files[i]);
			fd = open(path, O_RDONLY);
			if (fd < 0 || read(fd, text[i], 6) != 6)
				text[i][0] = 0;
			if (fd >= 0)
				close(fd);
		}
		if (!strcmp(text[0], vendor) && !strcmp(text[1], device)) {
			snprintf(name, size, "%.*s", (int)size - 1, e->d_name);
			ret = 0;
		}
	}
	if (dir)
		closedir(dir);
	return ret;
}

/* Finds it and gives it to the module: 0 or -errno. */
static inline int bar_bind(struct bar *bar)
{
	unsigned int bus, slot, function;
	char path[128];
	int ret = pci_find("0x1af4", "0x1110", bar->name, sizeof(bar->name));

	if (ret)
		return ret;
	if (sscanf(bar->name, "%x:%x:%x.%x", &bar->domain, &bus, &slot,
		   &function) != 4)
		return -EINVAL;
	bar->bdf = bus << 8 | slot << 3 | function;
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override",
		 bar->name);
	ret = put_text(path, "sluice");
	if (!ret)
		ret = put_text("/sys/bus/pci/drivers_probe", bar->name);
	snprintf(path, sizeof(path), "/sys/bus/pci/drivers/sluice/%s", bar->name);
	return ret ? ret : access(path, F_OK) ? -errno : 0;
}

static inline int bar_unbind(const struct bar *bar)
{
	return put_text("/sys/bus/pci/drivers/sluice/unbind", bar->name);
}

static inline int peer_fd(int dev, const struct bar *bar, uint64_t len)
{
	struct sluice_peer p = { .size = sizeof(p), .len = len,
				 .domain = bar->domain, .bdf = bar->bdf };
	int ret = call(dev, SLUICE_PEER, &p);

	return ret ? ret : p.fd;
}

#endif

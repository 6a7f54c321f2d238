/* SPDX-License-Identifier: MIT */
#include <sluice/doctor.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/ctx.h"
#include "doctor/check.h"

struct check {
	const char *id;
	slc_check_run run;
};

static const struct check checks[] = {
	{ "kernel", slc_check_kernel },
	{ "io_uring", slc_check_uring },
	{ "io_uring.modes", slc_check_uring_modes },
	{ "io_uring.buffers", slc_check_uring_buffers },
	{ "memlock", slc_check_memlock },
	{ "filesystem", slc_check_filesystem },
	{ "odirect", slc_check_odirect },
	{ "drive.queue", slc_check_drive_queue },
	{ "drive.node", slc_check_drive_node },
	{ "memory", slc_check_memory },
	{ "hugepages", slc_check_hugepages },
	{ "thp", slc_check_thp },
	{ "numa", slc_check_numa },
	{ "swap", slc_check_swap },
	{ "cpus", slc_check_cpus },
	{ "crc32c", slc_check_crc32c },
	{ "nofile", slc_check_nofile },
	{ "container", slc_check_container },
	{ "module", slc_check_module },
	{ 0 },
};

/* With SLC_DOCTOR_MODULE. */
static const struct check module_checks[] = {
	{ "module", slc_check_module },
	{ "module.group", slc_check_module_group },
	{ "module.alloc", slc_check_module_alloc },
	{ "module.pin", slc_check_module_pin },
	{ "module.peer", slc_check_module_peer },
	{ "module.ring", slc_check_module_ring },
	{ "module.limits", slc_check_module_limits },
	{ "module.build", slc_check_module_build },
	{ "module.signing", slc_check_module_signing },
	{ "module.p2pdma", slc_check_module_p2pdma },
	{ 0 },
};

const char *slc_check_status_name(uint32_t status)
{
	switch (status) {
	case SLC_CHECK_OK:
		return "ok";
	case SLC_CHECK_NOTE:
		return "note";
	case SLC_CHECK_WARN:
		return "warn";
	case SLC_CHECK_FAIL:
		return "fail";
	}
	return "unknown";
}

static int look(struct slc_patient *p)
{
	struct stat st;

	if (stat(p->path, &st)) {
		int err = -errno;

		return slc_fail(p->ctx, err, "%s: %s", p->path,
				strerror(-err));
	}
	p->is_dir = S_ISDIR(st.st_mode);
	p->is_drive = S_ISBLK(st.st_mode);
	p->dev = p->is_drive ? st.st_rdev : st.st_dev;
	if (!p->is_dir && !p->is_drive && !S_ISREG(st.st_mode))
		return slc_fail(p->ctx, -EINVAL,
				"%s: neither a file nor a folder nor a drive",
				p->path);
	return 0;
}

static int tell(const char *id, const struct slc_finding *f, slc_check_fn fn,
		void *user)
{
	struct slc_check c = {
		.size = sizeof(c),
		.id = id,
		.status = f->status,
		.saw = f->saw,
		.why = f->why,
		.fix = f->fix,
		.value = f->value,
	};

	return fn(user, &c);
}

int slc_doctor_run_at(struct slc_ctx *ctx, const struct slc_doctor_attr *attr,
		      const char *root, slc_check_fn fn, void *user)
{
	struct slc_patient p = { .ctx = ctx, .root = root };
	const struct check *check = checks;
	struct slc_doctor_attr a;
	int failed = 0, err;

	err = slc_need(ctx, "slc_doctor_run", "ctx", ctx);
	if (!err && !fn)
		err = slc_fail(ctx, -EINVAL, "slc_doctor_run: fn is NULL");
	if (!err)
		err = slc_attr_copy(ctx, &a, sizeof(a), attr,
				    "slc_doctor_attr");
	if (err)
		return err;
	if (a.flags & ~(uint64_t)SLC_DOCTOR_MODULE)
		return slc_fail(ctx, -EINVAL,
				"slc_doctor_attr.flags is %#llx: only SLC_DOCTOR_MODULE is known",
				(unsigned long long)a.flags);
	if (a.flags & SLC_DOCTOR_MODULE)
		check = module_checks;
	p.path = a.path ? a.path : ".";
	err = look(&p);
	if (err)
		return err;
	for (; check->id; check++) {
		struct slc_finding f = { .status = SLC_CHECK_OK,
					 .value = SLC_CHECK_NO_VALUE };

		check->run(&p, &f);
		failed += f.status == SLC_CHECK_FAIL;
		err = tell(check->id, &f, fn, user);
		if (err)
			return err;
	}
	return failed;
}

int slc_doctor_run(struct slc_ctx *ctx, const struct slc_doctor_attr *attr,
		   slc_check_fn fn, void *user)
{
	int saved = errno, ret;

	ret = slc_doctor_run_at(ctx, attr, "", fn, user);
	errno = saved;
	return ret;
}

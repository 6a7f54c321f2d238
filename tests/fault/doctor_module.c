// SPDX-License-Identifier: MIT
/* What the doctor says of the module, over a double of it. */
#include <sluice/doctor.h>

#include "fake_module.h"

/* WRAP: open ioctl mmap */

static char saw[16][600];
static const char *ids[16];
static uint32_t status[16];
static int n;

static int note(void *user, const struct slc_check *c)
{
	(void)user;
	ids[n] = strdup(c->id);
	status[n] = c->status;
	snprintf(saw[n++], sizeof(saw[0]), "%s", c->saw);
	return 0;
}

static int at(const char *id)
{
	for (int i = 0; i < n; i++)
		if (!strcmp(ids[i], id))
			return i;
	ktap_fail(__FILE__, __LINE__, "no check %s", id);
	longjmp(ktap_leave, 1);
}

static void look(void)
{
	struct slc_doctor_attr attr = { .size = sizeof(attr),
					.flags = SLC_DOCTOR_MODULE };
	struct slc_ctx *ctx;

	for (int i = 0; i < n; i++)
		free((void *)(uintptr_t)ids[i]);
	n = 0;
	ASSERT_EQ(slc_ctx_open(NULL, &ctx), 0);
	EXPECT_EQ(slc_doctor_run(ctx, &attr, note, NULL), 0);
	slc_ctx_close(ctx);
}

TEST(each_feature_works_or_says_why_not)
{
	fake_reset();
	look();
	EXPECT_STREQ(saw[at("module")],
		     "/dev/sluice is there, ABI 1; works here: alloc pin ring");
	EXPECT_EQ(status[at("module")], SLC_CHECK_OK);
	EXPECT_STREQ(saw[at("module.ring")], "works");
	EXPECT_EQ(status[at("module.ring")], SLC_CHECK_OK);
	EXPECT_STREQ(saw[at("module.peer")], "the double was told so");
	EXPECT_EQ(status[at("module.peer")], SLC_CHECK_NOTE);
}

TEST(a_device_that_may_not_be_opened_says_how)
{
	fake_reset();
	fake.open_err = EACCES;
	look();
	EXPECT_HAS(saw[at("module")], "usermod -aG sluice");
	EXPECT_HAS(saw[at("module.alloc")], "not asked");
}

TEST(an_older_module_that_knows_no_reasons_is_said)
{
	fake_reset();
	fake.fail_cmd = SLUICE_CMD_FEATURE;
	fake.fail_err = ENOTTY;
	look();
	EXPECT_HAS(saw[at("module.pin")], "cannot say");
	EXPECT_EQ(status[at("module.pin")], SLC_CHECK_NOTE);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/* The command: sluice region and sluice doctor --module, over the module. */
/* LAB: basic switch */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/ioctl.h>

#include "include/uapi/sluice.h"
#include "ktap.h"
#include "tests/lab/crc32c.h"
#include "tools/commands.h"

#define NAME "command"

FIXTURE(command)
{
	int dev, rc;
	char out[16384], err[4096];
};

FIXTURE_NO_VARIANT(command);

static void forget(int dev)
{
	struct sluice_remove rm = { .size = sizeof(rm), .name = NAME };

	ioctl(dev, SLUICE_REMOVE, &rm);
}

FIXTURE_SETUP(command)
{
	self->dev = open("/dev/sluice", O_RDWR | O_CLOEXEC);
	if (self->dev < 0)
		SKIP("/dev/sluice: %s", strerror(errno));
}

FIXTURE_TEARDOWN(command)
{
	if (self->dev < 0)
		return;
	forget(self->dev);
	close(self->dev);
}

static void take(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	ASSERT_GE(n, 0);
	buf[n] = '\0';
	close(fd);
	unlink(path);
}

/* Runs it with the words of a line, in a process of its own. */
static void run(struct ktap_fixture_command *self,
		int (*command)(int argc, char **argv), const char *line)
{
	char words[256], name[] = "sluice", *argv[16] = { name, NULL };
	int argc = 1, status;
	pid_t pid;

	snprintf(words, sizeof(words), "%s", line);
	for (char *w = strtok(words, " "); w && argc < 15;
	     w = strtok(NULL, " "))
		argv[argc++] = w;
	fflush(stdout);
	pid = fork();
	ASSERT_GE(pid, 0);
	if (!pid) {
		if (!freopen("/tmp/command.out", "w", stdout) ||
		    !freopen("/tmp/command.err", "w", stderr))
			_exit(99);
		status = command(argc, argv);
		fflush(NULL);
		_exit(status);
	}
	ASSERT_EQ(waitpid(pid, &status, 0), pid);
	self->rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
	take("/tmp/command.out", self->out, sizeof(self->out));
	take("/tmp/command.err", self->err, sizeof(self->err));
}

TEST_F(command, a_region_is_made_listed_shown_granted_and_removed)
{
	run(self, slc_cmd_region_create, NAME " 3M --mode 640");
	EXPECT_EQ(self->rc, 0);
	EXPECT_STREQ(self->err, "");
	EXPECT_STREQ(self->out,
		     NAME ": 4 MiB on node 0, 4 MiB of it in runs of 2 MiB or longer\n");
	run(self, slc_cmd_region_list, "");
	EXPECT_EQ(self->rc, 0);
	EXPECT_HAS(self->out, "\n" NAME);
	EXPECT_HAS(self->out, "alloc      4 MiB     0   640  0:0");
	EXPECT_HAS(self->out, "nobody");
	EXPECT_HAS(self->out, "\n1 region, 4 MiB\n");
	run(self, slc_cmd_region_show, NAME);
	EXPECT_EQ(self->rc, 0);
	EXPECT_HAS(self->out, NAME ": 4 MiB, alloc, id ");
	EXPECT_HAS(self->out, "owner    0:0, mode 640\n");
	EXPECT_HAS(self->out, "made by  a process that is not there any more\n");
	EXPECT_HAS(self->out, "used by  nobody\n");
	EXPECT_HAS(self->out, "   0  2 MiB or longer");
	EXPECT_HAS(self->out, "4 MiB\n");
	run(self, slc_cmd_region_grant, NAME " --mode 600 --user 1000 --group 7");
	EXPECT_EQ(self->rc, 0);
	EXPECT_STREQ(self->out, "");
	run(self, slc_cmd_region_show, NAME);
	EXPECT_HAS(self->out, "owner    1000:7, mode 600\n");
	run(self, slc_cmd_region_create, NAME " 2M");
	EXPECT_EQ(self->rc, 2);
	EXPECT_STREQ(self->err, "sluice: region " NAME
				": the name is taken (sluice region list)\n");
	run(self, slc_cmd_region_remove, NAME);
	EXPECT_EQ(self->rc, 0);
	run(self, slc_cmd_region_remove, NAME);
	EXPECT_EQ(self->rc, 2);
	EXPECT_HAS(self->err, "region " NAME ": no region of that name");
	run(self, slc_cmd_region_show, NAME);
	EXPECT_EQ(self->rc, 2);
	EXPECT_STREQ(self->out, "");
	run(self, slc_cmd_region_list, "");
	EXPECT_STREQ(self->out, "0 regions, 0 B\n");
}

TEST_F(command, json_has_the_facts_of_each_region)
{
	json_t *all, *one, *lies;

	run(self, slc_cmd_region_create, NAME " 2M --json");
	EXPECT_EQ(self->rc, 0);
	run(self, slc_cmd_region_list, "--json");
	all = json_loads(self->out, JSON_REJECT_DUPLICATES, NULL);
	one = json_array_get(json_object_get(all, "regions"), 0);
	ASSERT_NOT_NULL(one);
	EXPECT_EQ(json_object_size(one), 17);
	EXPECT_STREQ(json_string_value(json_object_get(one, "name")), NAME);
	EXPECT_STREQ(json_string_value(json_object_get(one, "mode")), "600");
	EXPECT_EQ(json_integer_value(json_object_get(one, "bytes")), 2 << 20);
	EXPECT_TRUE(json_is_false(json_object_get(one, "revoked")));
	json_decref(all);
	run(self, slc_cmd_region_show, NAME " --json");
	one = json_loads(self->out, JSON_REJECT_DUPLICATES, NULL);
	lies = json_array_get(json_object_get(one, "lies"), 0);
	ASSERT_NOT_NULL(lies);
	EXPECT_STREQ(json_string_value(json_object_get(lies, "runs")), "2m");
	EXPECT_EQ(json_integer_value(json_object_get(lies, "bytes")), 2 << 20);
	json_decref(one);
}

TEST_F(command, what_cannot_be_had_is_one_sentence_with_its_exit_code)
{
	run(self, slc_cmd_region_create, NAME " 100T");
	EXPECT_EQ(self->rc, 1);
	EXPECT_HAS(self->err, "sluice: region " NAME ": ");
	EXPECT_HAS(self->err, "no memory for 104857600.0 MiB");
	run(self, slc_cmd_region_create, NAME " 2M --node 77");
	EXPECT_EQ(self->rc, 2);
	EXPECT_HAS(self->err, "node 77 has no memory or is not there");
	run(self, slc_cmd_region_create, NAME " 1G --run 1G");
	EXPECT_EQ(self->rc, 2);
	EXPECT_HAS(self->err, "region " NAME ": ");
	EXPECT_STREQ(self->out, "");
}

TEST_F(command, a_revoked_region_is_gone_for_its_users)
{
	struct sluice_open o = { .size = sizeof(o), .name = NAME };

	run(self, slc_cmd_region_create, NAME " 2M");
	ASSERT_EQ(ioctl(self->dev, SLUICE_OPEN, &o), 0);
	run(self, slc_cmd_region_show, NAME);
	EXPECT_HAS(self->out, "used by  1 dma-buf\n");
	run(self, slc_cmd_region_remove, NAME " --revoke");
	EXPECT_EQ(self->rc, 0);
	run(self, slc_cmd_region_list, "");
	EXPECT_HAS(self->out, "1 dma-buf, revoked");
	close(o.fd);
}

TEST_F(command, the_doctor_tells_each_feature_of_this_kernel)
{
	run(self, slc_cmd_doctor, "--module");
	printf("# %s\n", strtok(self->out, "\n"));
	run(self, slc_cmd_doctor, "--module");
	EXPECT_EQ(self->rc, 0);
	EXPECT_HAS(self->out, "ok    module              /dev/sluice is there, ABI 1");
	EXPECT_HAS(self->out, "ok    module.alloc        works");
	EXPECT_HAS(self->out, "ok    module.pin          works");
	EXPECT_HAS(self->out, "module.ring");
	EXPECT_HAS(self->out, "ok    module.build        loaded into ");
	EXPECT_HAS(self->out, "all regions: no limit");
}

TEST_HARNESS_MAIN

// SPDX-License-Identifier: MIT
/* Lists of nodes and CPUs as sysfs writes them. */
#include "mem/node.h"

#include <errno.h>
#include <sched.h>

#include "ktap.h"

TEST(lists_are_read_as_sysfs_writes_them)
{
	struct slc_bits b;

	ASSERT_TRUE(slc_bits_parse("0-3,8,10-11", &b));
	EXPECT_EQ(slc_bits_count(&b), 7u);
	for (unsigned int i = 0; i < 16; i++)
		EXPECT_EQ(slc_bit(&b, i),
			  i <= 3 || i == 8 || i == 10 || i == 11);
	/* A node without CPUs has an empty list. */
	ASSERT_TRUE(slc_bits_parse("", &b));
	EXPECT_EQ(slc_bits_count(&b), 0u);
	ASSERT_TRUE(slc_bits_parse("0-8191", &b));
	EXPECT_EQ(slc_bits_count(&b), 8192u);
	EXPECT_FALSE(slc_bit(&b, 8192));
}

TEST(other_text_is_refused)
{
	static const char *const bad[] = { "x",	  "-1",	 "1-",	  "3-1",
					   "1,",  ",1",	 "1 2",	  "8192",
					   "0-99999999999999999999", "1--2" };
	struct slc_bits b;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		bool ok = slc_bits_parse(bad[i], &b);

		if (ok)
			printf("# accepted \"%s\"\n", bad[i]);
		EXPECT_FALSE(ok);
	}
}

TEST(cpus_of_a_node_are_among_those_allowed)
{
	struct slc_bits nodes, cpus;
	cpu_set_t allowed, one;
	int cpu;

	ASSERT_EQ(0, sched_getaffinity(0, sizeof(allowed), &allowed));
	for (cpu = 0; !CPU_ISSET(cpu, &allowed); cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	ASSERT_EQ(0, sched_setaffinity(0, sizeof(one), &one));
	EXPECT_EQ(slc_node_cpus(-1, &cpus), 1u);
	EXPECT_TRUE(slc_bit(&cpus, (unsigned int)cpu));
	EXPECT_EQ(slc_node_cpus(slc_node_of_caller(), &cpus), 1u);
	/* A node with none of them: what is allowed, never nothing. */
	EXPECT_EQ(slc_node_cpus(1000, &cpus), 1u);
	if (!slc_nodes_with_memory(&nodes))
		EXPECT_GE(slc_bits_count(&nodes), 1u);
}

TEST(a_text_file_comes_whole_and_without_its_newline)
{
	char dir[] = "/tmp/slc-node-XXXXXX", path[64], buf[8];
	FILE *f;

	ASSERT_NOT_NULL(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/t", dir);
	f = fopen(path, "w");
	ASSERT_NOT_NULL(f);
	fputs("12345\n", f);
	fclose(f);
	EXPECT_EQ(0, slc_text_read(path, buf, sizeof(buf)));
	EXPECT_STREQ(buf, "12345");
	unlink(path);
	EXPECT_EQ(slc_text_read(path, buf, sizeof(buf)), -ENOENT);
	rmdir(dir);
}

TEST_HARNESS_MAIN

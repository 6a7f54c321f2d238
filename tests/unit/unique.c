// SPDX-License-Identifier: MIT
/* Names that come twice, also when their hashes say nothing. */
#include "format/unique.h"
#include "parse.h"

static void add(struct slc_names *names, struct blob *text, const char *name)
{
	uint32_t off = (uint32_t)text->len;

	blob_put(text, name, strlen(name));
	ASSERT_EQ(slc_names_add(names, (const char *)text->at, off,
				(uint32_t)strlen(name)), 0);
}

TEST(a_name_twice_is_found_and_the_later_one_given)
{
	struct slc_names names = { 0 };
	struct blob text = { 0 };
	const struct slc_name *twice;

	EXPECT_NULL(slc_names_twice(&names, NULL));
	add(&names, &text, "b");
	EXPECT_NULL(slc_names_twice(&names, (const char *)text.at));
	add(&names, &text, "a");
	add(&names, &text, "ab");
	add(&names, &text, "");
	EXPECT_NULL(slc_names_twice(&names, (const char *)text.at));
	add(&names, &text, "a");
	twice = slc_names_twice(&names, (const char *)text.at);
	ASSERT_NOT_NULL(twice);
	EXPECT_EQ(twice->off, 4);
	slc_names_fini(&names);
	blob_free(&text);
}

/* What someone who knows the hash could do: names that all collide. */
TEST(colliding_hashes_neither_hide_nor_invent_a_duplicate)
{
	struct slc_names names = { 0 };
	struct blob text = { 0 };
	const struct slc_name *twice;
	char name[16];

	for (int i = 0; i < 1000; i++) {
		snprintf(name, sizeof(name), "%03d", i * 7 % 1000);
		add(&names, &text, name);
	}
	for (uint64_t i = 0; i < names.n; i++)
		names.at[i].hash = 42;
	EXPECT_NULL(slc_names_twice(&names, (const char *)text.at));
	add(&names, &text, "500");
	for (uint64_t i = 0; i < names.n; i++)
		names.at[i].hash = 42;
	twice = slc_names_twice(&names, (const char *)text.at);
	ASSERT_NOT_NULL(twice);
	EXPECT_EQ(twice->off, 3000);
	slc_names_fini(&names);
	blob_free(&text);
}

TEST_TIMEOUT(colliding_hashes_do_not_make_it_quadratic, 60)
{
	struct slc_names names = { 0 };
	struct blob text = { 0 };
	char name[16];
	double start;

	for (int i = 0; i < 300000; i++) {
		snprintf(name, sizeof(name), "%06d", i);
		add(&names, &text, name);
		names.at[i].hash = 0;
	}
	start = cpu_now();
	EXPECT_NULL(slc_names_twice(&names, (const char *)text.at));
	EXPECT_LT(cpu_now() - start, 5.0);
	slc_names_fini(&names);
	blob_free(&text);
}

TEST_HARNESS_MAIN

/* SPDX-License-Identifier: MIT */
/*
 * ktap.h - tests in the words of kselftest: TEST, FIXTURE, VARIANT, EXPECT,
 * ASSERT, SKIP; KTAP 1 on stdout; exit 0 passed, 1 failed, 4 all skipped.
 *
 * Each test runs in a child of its own with a time limit, so a crash or a hang
 * is one failed test. EXPECT goes on after a failure, ASSERT leaves the test.
 *
 *	TEST(short_read_is_an_error_with_its_offset) { ASSERT_EQ(0, f()); }
 *
 *	FIXTURE(queue) { struct slc_queue *q; };
 *	FIXTURE_VARIANT(queue) { const char *engine; };
 *	FIXTURE_VARIANT_ADD(queue, uring) { .engine = "uring" };
 *	FIXTURE_SETUP(queue) { self->q = ...variant->engine...; }
 *	FIXTURE_TEARDOWN(queue) { ... }
 *	TEST_F(queue, reads_land_in_place) { ... self->q ... }
 *
 *	TEST_HARNESS_MAIN
 *
 * A fixture without variants says FIXTURE_NO_VARIANT(queue). Run one test by
 * naming a piece of it on the command line; KTAP_NO_FORK=1 runs in-process.
 */
#ifndef SLC_TESTS_KTAP_H
#define SLC_TESTS_KTAP_H

#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define KTAP_SKIP 4

struct ktap_state {
	int failed, skipped;
	char reason[200];
};

struct ktap_test {
	const char *name;
	void (*run)(const void *variant);
	const char *fixture; /* NULL: a plain test */
	unsigned int timeout_s;
	struct ktap_test *next;
};

struct ktap_variant {
	const char *fixture, *name;
	const void *data;
	struct ktap_variant *next;
};

static struct ktap_state *ktap_now;
static jmp_buf ktap_leave;
static struct ktap_test *ktap_tests, **ktap_tests_end = &ktap_tests;
static struct ktap_variant *ktap_variants,
	**ktap_variants_end = &ktap_variants;

static inline void ktap_add_test(struct ktap_test *t)
{
	*ktap_tests_end = t;
	ktap_tests_end = &t->next;
}

static inline void ktap_add_variant(struct ktap_variant *v)
{
	*ktap_variants_end = v;
	ktap_variants_end = &v->next;
}

__attribute__((format(printf, 3, 4))) static inline void
ktap_fail(const char *file, int line, const char *fmt, ...)
{
	va_list ap;

	ktap_now->failed++;
	printf("# %s:%d: ", file, line);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

#define KTAP_REGISTER(id, title, fn, fix, limit)                          \
	static struct ktap_test ktap_test_##id = {                        \
		.name = title, .run = fn, .fixture = fix, .timeout_s = limit \
	};                                                                \
	__attribute__((constructor)) static void ktap_reg_##id(void)      \
	{                                                                 \
		ktap_add_test(&ktap_test_##id);                           \
	}

#define TEST_TIMEOUT(id, seconds)                                         \
	static void ktap_body_##id(void);                                 \
	static void ktap_run_##id(const void *variant)                    \
	{                                                                 \
		(void)variant;                                            \
		if (!setjmp(ktap_leave))                                  \
			ktap_body_##id();                                 \
	}                                                                 \
	KTAP_REGISTER(id, #id, ktap_run_##id, NULL, seconds)              \
	static void ktap_body_##id(void)
#define TEST(id) TEST_TIMEOUT(id, 60)

#define FIXTURE(f) struct ktap_fixture_##f
#define FIXTURE_VARIANT(f) struct ktap_variant_##f
#define FIXTURE_NO_VARIANT(f)                                             \
	struct ktap_variant_##f {                                         \
		int unused;                                               \
	}
#define FIXTURE_VARIANT_ADD(f, v)                                         \
	static const struct ktap_variant_##f ktap_data_##f##_##v;         \
	static struct ktap_variant ktap_variant_##f##_##v = {             \
		.fixture = #f, .name = #v, .data = &ktap_data_##f##_##v   \
	};                                                                \
	__attribute__((constructor)) static void ktap_vreg_##f##_##v(void) \
	{                                                                 \
		ktap_add_variant(&ktap_variant_##f##_##v);                \
	}                                                                 \
	static const struct ktap_variant_##f ktap_data_##f##_##v =
#define FIXTURE_SETUP(f)                                                  \
	static void ktap_setup_##f(                                       \
		struct ktap_fixture_##f *self __attribute__((unused)),    \
		const struct ktap_variant_##f *variant                    \
		__attribute__((unused)))
#define FIXTURE_TEARDOWN(f)                                               \
	static void ktap_teardown_##f(                                    \
		struct ktap_fixture_##f *self __attribute__((unused)),    \
		const struct ktap_variant_##f *variant                    \
		__attribute__((unused)))
#define TEST_F_TIMEOUT(f, id, seconds)                                    \
	static void ktap_body_##f##_##id(                                 \
		struct ktap_fixture_##f *self,                            \
		const struct ktap_variant_##f *variant);                  \
	static void ktap_run_##f##_##id(const void *variant)              \
	{                                                                 \
		static struct ktap_fixture_##f self;                      \
		memset(&self, 0, sizeof(self));                           \
		if (!setjmp(ktap_leave)) {                                \
			ktap_setup_##f(&self, variant);                   \
			if (!setjmp(ktap_leave))                          \
				ktap_body_##f##_##id(&self, variant);     \
			if (!setjmp(ktap_leave))                          \
				ktap_teardown_##f(&self, variant);        \
		}                                                         \
	}                                                                 \
	KTAP_REGISTER(f##_##id, #id, ktap_run_##f##_##id, #f, seconds)    \
	static void ktap_body_##f##_##id(                                 \
		struct ktap_fixture_##f *self __attribute__((unused)),    \
		const struct ktap_variant_##f *variant                    \
		__attribute__((unused)))
#define TEST_F(f, id) TEST_F_TIMEOUT(f, id, 60)

#define SKIP(...)                                                         \
	do {                                                              \
		ktap_now->skipped = 1;                                    \
		snprintf(ktap_now->reason, sizeof(ktap_now->reason),      \
			 __VA_ARGS__);                                    \
		longjmp(ktap_leave, 1);                                   \
	} while (0)

/* Compared as numbers, so that -1 is never above an unsigned 0. */
#define KTAP_WIDE(v)                                                      \
	((__typeof__(_Generic((v), float: 0.0, double: 0.0,               \
			      default: (__int128)0)))(v))
#define KTAP_CMP(a, op, b, fatal)                                         \
	do {                                                              \
		__typeof__((a) + 0) ktap_a = (a);                         \
		__typeof__((b) + 0) ktap_b = (b);                         \
		if (!(KTAP_WIDE(ktap_a) op KTAP_WIDE(ktap_b))) {          \
			ktap_fail(__FILE__, __LINE__,                     \
				  "%s %s %s: %lld (%#llx) against %lld (%#llx)", \
				  #a, #op, #b, (long long)ktap_a,         \
				  (unsigned long long)ktap_a,             \
				  (long long)ktap_b,                      \
				  (unsigned long long)ktap_b);            \
			if (fatal)                                        \
				longjmp(ktap_leave, 1);                   \
		}                                                         \
	} while (0)
#define KTAP_STR(a, b, fatal)                                             \
	do {                                                              \
		const char *ktap_a = (a), *ktap_b = (b);                  \
		if (!ktap_a || !ktap_b || strcmp(ktap_a, ktap_b)) {       \
			ktap_fail(__FILE__, __LINE__, "%s: \"%s\" against \"%s\"", \
				  #b, ktap_a ? ktap_a : "(null)",         \
				  ktap_b ? ktap_b : "(null)");            \
			if (fatal)                                        \
				longjmp(ktap_leave, 1);                   \
		}                                                         \
	} while (0)
#define KTAP_HAS(text, part, fatal)                                       \
	do {                                                              \
		const char *ktap_a = (text), *ktap_b = (part);            \
		if (!ktap_a || !strstr(ktap_a, ktap_b)) {                 \
			ktap_fail(__FILE__, __LINE__, "no \"%s\" in \"%s\"", \
				  ktap_b, ktap_a ? ktap_a : "(null)");    \
			if (fatal)                                        \
				longjmp(ktap_leave, 1);                   \
		}                                                         \
	} while (0)

#define EXPECT_EQ(a, b) KTAP_CMP(a, ==, b, 0)
#define EXPECT_NE(a, b) KTAP_CMP(a, !=, b, 0)
#define EXPECT_LT(a, b) KTAP_CMP(a, <, b, 0)
#define EXPECT_LE(a, b) KTAP_CMP(a, <=, b, 0)
#define EXPECT_GT(a, b) KTAP_CMP(a, >, b, 0)
#define EXPECT_GE(a, b) KTAP_CMP(a, >=, b, 0)
#define EXPECT_TRUE(a) KTAP_CMP(!!(a), ==, 1, 0)
#define EXPECT_FALSE(a) KTAP_CMP(!!(a), ==, 0, 0)
#define EXPECT_STREQ(a, b) KTAP_STR(a, b, 0)
#define EXPECT_HAS(text, part) KTAP_HAS(text, part, 0)
#define ASSERT_EQ(a, b) KTAP_CMP(a, ==, b, 1)
#define ASSERT_NE(a, b) KTAP_CMP(a, !=, b, 1)
#define ASSERT_LT(a, b) KTAP_CMP(a, <, b, 1)
#define ASSERT_LE(a, b) KTAP_CMP(a, <=, b, 1)
#define ASSERT_GT(a, b) KTAP_CMP(a, >, b, 1)
#define ASSERT_GE(a, b) KTAP_CMP(a, >=, b, 1)
#define ASSERT_TRUE(a) KTAP_CMP(!!(a), ==, 1, 1)
#define ASSERT_FALSE(a) KTAP_CMP(!!(a), ==, 0, 1)
#define ASSERT_STREQ(a, b) KTAP_STR(a, b, 1)
#define ASSERT_HAS(text, part) KTAP_HAS(text, part, 1)
/* Pointers. */
#define ASSERT_NOT_NULL(p) KTAP_CMP((p) != NULL, ==, 1, 1)
#define EXPECT_NULL(p) KTAP_CMP((p) == NULL, ==, 1, 0)

/* 0 passed, 1 failed, KTAP_SKIP skipped. */
static inline int ktap_run_one(const struct ktap_test *t, const void *variant)
{
	int status = 0;
	pid_t pid;

	memset(ktap_now, 0, sizeof(*ktap_now));
	fflush(stdout);
	if (getenv("KTAP_NO_FORK")) {
		t->run(variant);
		return ktap_now->failed ? 1 : ktap_now->skipped ? KTAP_SKIP : 0;
	}
	pid = fork();
	if (pid < 0) {
		printf("# fork failed\n");
		return 1;
	}
	if (!pid) {
		setpgid(0, 0);
		alarm(t->timeout_s);
		t->run(variant);
		fflush(stdout);
		/* exit, not _exit: the leak checker runs at exit. */
		exit(ktap_now->failed ? 1 : ktap_now->skipped ? KTAP_SKIP : 0);
	}
	while (waitpid(pid, &status, 0) < 0)
		;
	kill(-pid, SIGKILL); /* what the test left running */
	if (WIFSIGNALED(status)) {
		printf("# killed by signal %d%s\n", WTERMSIG(status),
		       WTERMSIG(status) == SIGALRM ? " (time limit)" : "");
		return 1;
	}
	return WEXITSTATUS(status);
}

static inline void ktap_report(int n, int res, const struct ktap_test *t,
			       const char *variant, int *counts)
{
	printf("%s %d %s%s%s%s%s", res == 1 || (res && res != KTAP_SKIP) ?
	       "not ok" : "ok", n, t->fixture ? t->fixture : "",
	       variant ? "." : "", variant ? variant : "",
	       t->fixture ? "." : "", t->name);
	if (res == KTAP_SKIP)
		printf(" # SKIP %s", ktap_now->reason);
	putchar('\n');
	counts[!res ? 0 : res == KTAP_SKIP ? 2 : 1]++;
}

static inline bool ktap_wanted(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (strstr(name, argv[i]))
			return true;
	return argc < 2;
}

/* Calls do_one for every test and variant that is wanted; returns how many. */
static inline int ktap_each(int argc, char **argv, bool run, int *counts)
{
	int n = 0;

	for (struct ktap_test *t = ktap_tests; t; t = t->next) {
		bool had = false;

		if (!ktap_wanted(argc, argv, t->name))
			continue;
		for (struct ktap_variant *v = ktap_variants; v; v = v->next) {
			if (!t->fixture || strcmp(v->fixture, t->fixture))
				continue;
			had = true;
			n++;
			if (run)
				ktap_report(n, ktap_run_one(t, v->data), t,
					    v->name, counts);
		}
		if (had)
			continue;
		n++;
		if (run)
			ktap_report(n, ktap_run_one(t, NULL), t, NULL, counts);
	}
	return n;
}

static inline int ktap_main(int argc, char **argv)
{
	int counts[3] = { 0, 0, 0 };

	setvbuf(stdout, NULL, _IOLBF, 0);
	ktap_now = mmap(NULL, sizeof(*ktap_now), PROT_READ | PROT_WRITE,
			MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (ktap_now == MAP_FAILED)
		return 1;
	printf("KTAP version 1\n1..%d\n", ktap_each(argc, argv, false, counts));
	ktap_each(argc, argv, true, counts);
	printf("# Totals: pass:%d fail:%d xfail:0 xpass:0 skip:%d error:0\n",
	       counts[0], counts[1], counts[2]);
	if (counts[1])
		return 1;
	return counts[0] || !counts[2] ? 0 : KTAP_SKIP;
}

#define TEST_HARNESS_MAIN                                                 \
	int main(int argc, char **argv)                                   \
	{                                                                 \
		return ktap_main(argc, argv);                             \
	}

#endif

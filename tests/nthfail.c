/* SPDX-License-Identifier: MIT */
#include "nthfail.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static atomic_bool armed, onward, fired;
static atomic_uint_fast64_t seen, target;

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
int __real_posix_memalign(void **out, size_t align, size_t n);
void *__real_aligned_alloc(size_t align, size_t n);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);
int __wrap_posix_memalign(void **out, size_t align, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);

static void arm(uint64_t n, bool from)
{
	atomic_store(&seen, 0);
	atomic_store(&fired, false);
	atomic_store(&target, n);
	atomic_store(&onward, from);
	atomic_store(&armed, true);
}

void nthfail_arm(uint64_t n)
{
	arm(n, false);
}

void nthfail_arm_from(uint64_t n)
{
	arm(n, true);
}

bool nthfail_disarm(void)
{
	atomic_store(&armed, false);
	return atomic_load(&fired);
}

uint64_t nthfail_count(void)
{
	return atomic_load(&seen);
}

static bool fails(void)
{
	uint64_t n, at;

	if (!atomic_load(&armed))
		return false;
	n = atomic_fetch_add(&seen, 1) + 1;
	at = atomic_load(&target);
	if (!at || n < at || (n > at && !atomic_load(&onward)))
		return false;
	atomic_store(&fired, true);
	errno = ENOMEM;
	return true;
}

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

int __wrap_posix_memalign(void **out, size_t align, size_t n)
{
	return fails() ? ENOMEM : __real_posix_memalign(out, align, n);
}

void *__wrap_aligned_alloc(size_t align, size_t n)
{
	return fails() ? NULL : __real_aligned_alloc(align, n);
}

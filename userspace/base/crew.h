/* SPDX-License-Identifier: MIT */
/* crew.h - the same for each of n things, by several threads at once. */
#ifndef SLC_BASE_CREW_H
#define SLC_BASE_CREW_H

#include <sched.h>
#include <stdint.h>

/*
 * Calls job(user, i) for i = 0, 1, ... n - 1 from up to `threads` threads of
 * its own, which take the numbers in order and, once a job has not answered 0,
 * take no more: those below it have been taken, and all that were taken are
 * done. A job has little stack (256 KiB) and gets no signal.
 *
 * `cpus` (cpus_len bytes, not 0) keeps the threads on these; NULL: they run
 * where the caller may. Returns how many threads there were: 0, and no job was
 * called, when none could be started.
 */
unsigned int slc_crew(unsigned int threads, const cpu_set_t *cpus,
		      size_t cpus_len, uint64_t n,
		      int (*job)(void *user, uint64_t i), void *user);

#endif

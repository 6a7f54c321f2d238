/* SPDX-License-Identifier: MIT */
/* bus.h - whether a mapping was revoked. */
#ifndef TESTS_LAB_BUS_H
#define TESTS_LAB_BUS_H

#include <setjmp.h>
#include <signal.h>

static sigjmp_buf bus_out;

static inline void on_bus(int sig)
{
	(void)sig;
	siglongjmp(bus_out, 1);
}

/* 1 when touching it is SIGBUS. Of one thread. */
static inline int is_gone(volatile char *p)
{
	signal(SIGBUS, on_bus);
	if (sigsetjmp(bus_out, 1))
		return 1;
	p[0]++;
	return 0;
}

#endif

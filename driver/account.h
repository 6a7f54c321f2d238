/* SPDX-License-Identifier: GPL-2.0 */
/* account.h - who is charged for how many locked pages. */
#ifndef SLUICE_ACCOUNT_H
#define SLUICE_ACCOUNT_H

#include <linux/sched/user.h>
#include <linux/types.h>

struct sluice_charge {
	struct user_struct *user; /* referenced; NULL: nothing is charged */
	unsigned long npages;
};

int sluice_charge(struct sluice_charge *charge, unsigned long npages);
void sluice_uncharge(struct sluice_charge *charge);

#endif

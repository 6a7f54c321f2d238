/* SPDX-License-Identifier: GPL-2.0 */
/* account.h - who is charged for how many locked pages. */
#ifndef SLUICE_ACCOUNT_H
#define SLUICE_ACCOUNT_H

struct cred;

struct sluice_charge {
	const struct cred *cred; /* of who was charged; NULL: nobody */
	unsigned long npages;
};

int sluice_charge(struct sluice_charge *charge, unsigned long npages);
void sluice_uncharge(struct sluice_charge *charge);

#endif

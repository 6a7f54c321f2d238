/* SPDX-License-Identifier: MIT */
/* RDMA in the guest: rxe over a NIC, one queue pair to itself. */
/* LAB: rdma */
#include <infiniband/verbs.h>
#include <sys/mman.h>
#include <time.h>

#include "ktap.h"

#define LEN (4u << 20)

FIXTURE(rdma)
{
	struct ibv_device **list;
	struct ibv_context *context;
	struct ibv_pd *pd;
	struct ibv_cq *cq;
	struct ibv_qp *qp;
};

FIXTURE_NO_VARIANT(rdma);

/* To the ready-to-send state, the peer being the queue pair itself. */
static int connect_to_itself(struct ibv_context *context, struct ibv_qp *qp)
{
	struct ibv_qp_attr init = { .qp_state = IBV_QPS_INIT, .port_num = 1,
		.qp_access_flags = IBV_ACCESS_REMOTE_WRITE | IBV_ACCESS_REMOTE_READ };
	struct ibv_qp_attr rtr = { .qp_state = IBV_QPS_RTR,
		.path_mtu = IBV_MTU_1024, .dest_qp_num = qp->qp_num,
		.max_dest_rd_atomic = 1, .min_rnr_timer = 12,
		.ah_attr = { .is_global = 1, .port_num = 1,
			     .grh = { .sgid_index = 1, .hop_limit = 64 } } };
	struct ibv_qp_attr rts = { .qp_state = IBV_QPS_RTS, .timeout = 14,
		.retry_cnt = 7, .rnr_retry = 7, .max_rd_atomic = 1 };
	int ret;

	/* 1: the IPv4 address's. */
	ret = ibv_query_gid(context, 1, 1, &rtr.ah_attr.grh.dgid);
	if (!ret)
		ret = ibv_modify_qp(qp, &init, IBV_QP_STATE | IBV_QP_PKEY_INDEX |
				    IBV_QP_PORT | IBV_QP_ACCESS_FLAGS);
	if (!ret)
		ret = ibv_modify_qp(qp, &rtr, IBV_QP_STATE | IBV_QP_AV |
				    IBV_QP_PATH_MTU | IBV_QP_DEST_QPN |
				    IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC |
				    IBV_QP_MIN_RNR_TIMER);
	if (!ret)
		ret = ibv_modify_qp(qp, &rts, IBV_QP_STATE | IBV_QP_TIMEOUT |
				    IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY |
				    IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC);
	return ret;
}

FIXTURE_SETUP(rdma)
{
	struct ibv_qp_init_attr attr = { .qp_type = IBV_QPT_RC,
		.cap = { .max_send_wr = 4, .max_recv_wr = 4,
			 .max_send_sge = 1, .max_recv_sge = 1 } };

	self->list = ibv_get_device_list(NULL);
	ASSERT_NOT_NULL(self->list);
	ASSERT_NOT_NULL(self->list[0]);
	self->context = ibv_open_device(self->list[0]);
	ASSERT_NOT_NULL(self->context);
	self->pd = ibv_alloc_pd(self->context);
	self->cq = ibv_create_cq(self->context, 8, NULL, NULL, 0);
	ASSERT_NOT_NULL(self->pd);
	ASSERT_NOT_NULL(self->cq);
	attr.send_cq = attr.recv_cq = self->cq;
	self->qp = ibv_create_qp(self->pd, &attr);
	ASSERT_NOT_NULL(self->qp);
	ASSERT_EQ(connect_to_itself(self->context, self->qp), 0);
}

FIXTURE_TEARDOWN(rdma)
{
	ibv_destroy_qp(self->qp);
	ibv_destroy_cq(self->cq);
	ibv_dealloc_pd(self->pd);
	ibv_close_device(self->context);
	ibv_free_device_list(self->list);
}

/* The completion's status, or -1 after 20 s without one. */
static int transfer(struct ibv_qp *qp, struct ibv_cq *cq, enum ibv_wr_opcode op,
		    struct ibv_mr *local, struct ibv_mr *remote)
{
	struct ibv_sge sge = { (uintptr_t)local->addr, LEN, local->lkey };
	struct ibv_send_wr wr = { .sg_list = &sge, .num_sge = 1, .opcode = op,
		.send_flags = IBV_SEND_SIGNALED,
		.wr.rdma = { (uintptr_t)remote->addr, remote->rkey } }, *bad;
	time_t end = time(NULL) + 20;
	struct ibv_wc wc;
	int n = 0;

	if (ibv_post_send(qp, &wr, &bad))
		return -1;
	while (!n && time(NULL) < end)
		n = ibv_poll_cq(cq, 1, &wc);
	return n == 1 ? (int)wc.status : -1;
}

TEST(each_nic_is_an_rdma_device)
{
	struct ibv_device **list;
	int n = 0;

	list = ibv_get_device_list(&n);
	ASSERT_NOT_NULL(list);
	EXPECT_EQ(n, 2);
	ibv_free_device_list(list);
}

TEST_F(rdma, writes_and_reads_arrive_whole)
{
	int access = IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE |
		     IBV_ACCESS_REMOTE_READ;
	uint32_t *from = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t *to = mmap(NULL, LEN, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct ibv_mr *source, *target;

	ASSERT_TRUE(from != MAP_FAILED);
	ASSERT_TRUE(to != MAP_FAILED);
	for (uint32_t i = 0; i < LEN / 4; i++)
		from[i] = i * 2654435761u;
	memset(to, 0xaa, LEN);
	source = ibv_reg_mr(self->pd, from, LEN, access);
	target = ibv_reg_mr(self->pd, to, LEN, access);
	ASSERT_NOT_NULL(source);
	ASSERT_NOT_NULL(target);
	EXPECT_EQ(transfer(self->qp, self->cq, IBV_WR_RDMA_WRITE, source, target), 0);
	EXPECT_EQ(memcmp(from, to, LEN), 0);
	memset(from, 0x55, LEN);
	EXPECT_EQ(transfer(self->qp, self->cq, IBV_WR_RDMA_READ, source, target), 0);
	EXPECT_EQ(memcmp(from, to, LEN), 0);
	EXPECT_EQ(ibv_dereg_mr(source), 0);
	EXPECT_EQ(ibv_dereg_mr(target), 0);
}

TEST_HARNESS_MAIN

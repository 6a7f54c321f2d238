/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * sluice.h - what /dev/sluice understands.
 *
 * The module gives out memory. Whatever it gives is a *region*, and the handle
 * of a region is a dma-buf: a file descriptor that can be mapped with mmap(2)
 * (MAP_SHARED), handed to a NIC or a GPU driver, sent over a Unix socket, and
 * closed. A region lives as long as a descriptor, a mapping, an importer, an
 * io_uring or its name holds it; /dev/sluice itself holds nothing, so that it
 * may be closed at any time.
 *
 * Every call takes one struct. It begins with its own size, set by the caller;
 * `flags` and `__reserved` must be zero where nothing else is said. A struct
 * may grow at its end: an older kernel accepts a longer one whose unknown tail
 * is zero, a newer kernel takes a shorter one as if its tail were zero.
 *
 * The errors that every call may give:
 *
 *  - ENOTTY: this call is not known.
 *  - EINVAL: the size is below the first version of the struct, a flag or
 *    reserved field that must be zero is not, or a field is malformed.
 *  - E2BIG: the struct is longer than this kernel knows and its tail is not
 *    zero, or it is longer than a page.
 *  - EOPNOTSUPP: a known field has a value that this kernel cannot do.
 *    SLUICE_FEATURE says why.
 *  - EFAULT: the struct, or memory that it names, is not the caller's.
 *
 * and those of the calls that make or find a region:
 *
 *  - ENOMEM: no memory; for a region: not on that node, or not in such runs.
 *  - EDQUOT: over RLIMIT_MEMLOCK, or over the module's limit for one user or
 *    for all (parameters max_user_bytes, max_bytes).
 *  - ESHUTDOWN: the module is being drained (parameter drain).
 *  - EMFILE, ENFILE: no file descriptor is left.
 *  - EINTR: killed while waiting for memory.
 *  - ENODEV: the device behind the region is gone.
 *  - ENOENT: no such region; the descriptor is no region of this module.
 *  - EBADF: the descriptor is not open.
 *  - EEXIST, EACCES, EPERM: of names, as a file's.
 *
 * A call that fails has no effect.
 */
#ifndef _UAPI_SLUICE_H
#define _UAPI_SLUICE_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define SLUICE_TYPE 0xE7

enum {
	SLUICE_CMD_BASE = 0x40,
	SLUICE_CMD_INFO = SLUICE_CMD_BASE,
	SLUICE_CMD_FEATURE,
	SLUICE_CMD_ALLOC,
	SLUICE_CMD_PIN,
	SLUICE_CMD_PEER,
	SLUICE_CMD_OPEN,
	SLUICE_CMD_STAT,
	SLUICE_CMD_RUNS,
	SLUICE_CMD_GRANT,
	SLUICE_CMD_REMOVE,
};

/* Grows when something that worked changes its meaning; never so far. */
#define SLUICE_ABI 1

/* Bytes of a name with its NUL. A name has 1 to 63 of [A-Za-z0-9._-]. */
#define SLUICE_NAME_MAX 64

/* Bits of sluice_info.features, and sluice_feature.index. */
enum sluice_feature_id {
	SLUICE_FEATURE_ALLOC,	/* SLUICE_ALLOC, named or not */
	SLUICE_FEATURE_PIN,	/* SLUICE_PIN */
	SLUICE_FEATURE_PEER,	/* SLUICE_PEER: memory of a PCI function */
	SLUICE_FEATURE_RING,	/* SLUICE_RING_REGISTER */
	SLUICE_FEATURE_FAULT,	/* built to fail on request: tests only */
	SLUICE_NFEATURES
};

/**
 * struct sluice_info - ioctl(SLUICE_INFO)
 * @size: sizeof(struct sluice_info)
 * @flags: must be 0
 * @abi: out: SLUICE_ABI of the module
 * @__reserved: must be 0
 * @features: out: bit i: enum sluice_feature_id i works on this kernel
 * @page_size: out: bytes of a base page
 *
 * Asks the module who it is. Anyone who could open the device may.
 */
struct sluice_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 __reserved;
	__aligned_u64 features;
	__aligned_u64 page_size;
};
#define SLUICE_INFO _IO(SLUICE_TYPE, SLUICE_CMD_INFO)

/**
 * struct sluice_feature - ioctl(SLUICE_FEATURE)
 * @size: sizeof(struct sluice_feature)
 * @flags: must be 0
 * @index: in: enum sluice_feature_id
 * @works: out: 1, or 0
 * @name: out: a word for it, NUL terminated
 * @why: out: why it does not work, in words; "" when it does
 *
 * One feature with the reason. ENOENT: the module knows none of that index.
 */
struct sluice_feature {
	__u32 size;
	__u32 flags;
	__u32 index;
	__u32 works;
	char name[32];
	char why[208];
};
#define SLUICE_FEATURE _IO(SLUICE_TYPE, SLUICE_CMD_FEATURE)

/* Take nothing less than the asked run, instead of the next smaller one. */
#define SLUICE_ALLOC_STRICT (1u << 0)

/**
 * struct sluice_alloc - ioctl(SLUICE_ALLOC)
 * @size: sizeof(struct sluice_alloc)
 * @flags: SLUICE_ALLOC_STRICT: EINVAL when @len is no multiple of @run
 * @len: bytes, a multiple of the page size, not 0
 * @run: bytes of physically contiguous runs to aim for: the page size, or 2 MiB
 *	(0 means that). Larger is EOPNOTSUPP: neighbouring runs are merged where
 *	memory happens to have them (SLUICE_RUNS tells)
 * @node: NUMA node, or -1: the one that the caller runs on. Memory of another
 *	node is never taken: ENOMEM. EINVAL: no such node, or it has no memory
 * @mode: permission bits (0777) of a named region, 0 otherwise. Read and write
 *	count, for user, group and others, as a file's
 * @name: NUL terminated; "" for a region that ends with its last user
 * @id: out: never used twice while the module is loaded
 * @fd: out: the dma-buf, O_RDWR | O_CLOEXEC
 * @__reserved: must be 0
 *
 * Zeroed memory of the kernel's own, that is never swapped or moved. It is
 * charged to the calling user as locked memory, like mlock(2). A named region
 * belongs to the caller's effective user and group, and stays, with its bytes,
 * until SLUICE_REMOVE. EEXIST: the name is taken.
 */
struct sluice_alloc {
	__u32 size;
	__u32 flags;
	__aligned_u64 len;
	__aligned_u64 run;
	__s32 node;
	__u32 mode;
	char name[SLUICE_NAME_MAX];
	__aligned_u64 id;
	__s32 fd;
	__u32 __reserved;
};
#define SLUICE_ALLOC _IO(SLUICE_TYPE, SLUICE_CMD_ALLOC)

/* Nobody will write into it through the dma-buf. */
#define SLUICE_PIN_READ (1u << 0)

/**
 * struct sluice_pin - ioctl(SLUICE_PIN)
 * @size: sizeof(struct sluice_pin)
 * @flags: SLUICE_PIN_READ
 * @addr: in the caller's memory, a multiple of the page size
 * @len: bytes, a multiple of the page size, not 0
 * @id: out: as of sluice_alloc
 * @fd: out: the dma-buf, O_RDWR (O_RDONLY with SLUICE_PIN_READ) | O_CLOEXEC
 * @__reserved: must be 0
 *
 * Pins memory that the caller has: anonymous, transparent or hugetlb pages, or
 * shared memory. It is charged like mlock(2), and stays pinned after munmap(2).
 * EFAULT: a hole, memory that may not be written, or memory that the kernel
 * does not pin for long (a mapped device, another region). EOPNOTSUPP: a file
 * on a disk. With SLUICE_PIN_READ a device may read it, and is refused (EACCES)
 * when it maps the dma-buf to write. A mapping of the dma-buf is for the CPU
 * only: O_DIRECT, ibv_reg_mr() and the like take the memory where it lies.
 */
struct sluice_pin {
	__u32 size;
	__u32 flags;
	__aligned_u64 addr;
	__aligned_u64 len;
	__aligned_u64 id;
	__s32 fd;
	__u32 __reserved;
};
#define SLUICE_PIN _IO(SLUICE_TYPE, SLUICE_CMD_PIN)

/**
 * struct sluice_peer - ioctl(SLUICE_PEER)
 * @size: sizeof(struct sluice_peer)
 * @flags: must be 0
 * @len: bytes, a multiple of the page size, not 0
 * @domain: of the PCI function
 * @bdf: of the PCI function: bus << 8 | device << 3 | function
 * @id: out: as of sluice_alloc
 * @fd: out: the dma-buf, O_RDWR | O_CLOEXEC
 * @__reserved: must be 0
 *
 * Memory of a PCI function's BAR that an administrator bound to this module:
 *
 *	echo sluice >/sys/bus/pci/devices/0000:03:00.0/driver_override
 *	echo 0000:03:00.0 >/sys/bus/pci/drivers_probe
 *
 * It has struct pages, so that O_DIRECT and io_uring reach it through its
 * mapping; a device that cannot reach it gets EOPNOTSUPP when it attaches.
 * It is zeroed, and charged to nobody. When the function is unbound or unplugged
 * the region dies: touching a mapping is SIGBUS, calls are ENODEV; the unbinding
 * waits for I/O under way, and for importers and rings until they let go.
 * ENODEV: no such function is bound. ENOSPC: the BAR has not so much room in one
 * piece.
 */
struct sluice_peer {
	__u32 size;
	__u32 flags;
	__aligned_u64 len;
	__u32 domain;
	__u32 bdf;
	__aligned_u64 id;
	__s32 fd;
	__u32 __reserved;
};
#define SLUICE_PEER _IO(SLUICE_TYPE, SLUICE_CMD_PEER)

/* The descriptor is O_RDONLY: it needs and gives no right to write. */
#define SLUICE_OPEN_READ (1u << 0)

/**
 * struct sluice_open - ioctl(SLUICE_OPEN)
 * @size: sizeof(struct sluice_open)
 * @flags: SLUICE_OPEN_READ
 * @name: of the region, NUL terminated
 * @len: out: its bytes
 * @id: out: its id
 * @fd: out: a dma-buf of the same pages, O_RDWR (O_RDONLY) | O_CLOEXEC
 * @__reserved: must be 0
 *
 * Finds a named region again. EACCES: its mode does not allow it.
 */
struct sluice_open {
	__u32 size;
	__u32 flags;
	char name[SLUICE_NAME_MAX];
	__aligned_u64 len;
	__aligned_u64 id;
	__s32 fd;
	__u32 __reserved;
};
#define SLUICE_OPEN _IO(SLUICE_TYPE, SLUICE_CMD_OPEN)

enum sluice_kind {
	SLUICE_KIND_ALLOC = 1,
	SLUICE_KIND_PIN,
	SLUICE_KIND_PEER,
};

/* The region of the smallest id above @id; @fd must be -1. */
#define SLUICE_STAT_NEXT (1u << 0)

/**
 * struct sluice_stat - ioctl(SLUICE_STAT)
 * @size: sizeof(struct sluice_stat)
 * @flags: SLUICE_STAT_NEXT
 * @fd: in: a dma-buf of this module, or -1: the region is found by @id
 * @kind: out: enum sluice_kind
 * @id: in, out
 * @len: out: bytes
 * @bytes_2m: out: those of @len in runs of 2 MiB or longer
 * @nruns: out: physically contiguous runs
 * @node: out: of all its pages; -1: of several, or unknown
 * @uid: out: owner, in the caller's user namespace
 * @gid: out
 * @mode: out: permission bits; 0 for a region without a name
 * @pid: out: process that made it, in the caller's pid namespace; 0: not there
 * @dead: out: 1 when it was revoked
 * @fds: out: dma-bufs of it that are open
 * @maps: out: mappings (VMAs)
 * @attached: out: devices attached
 * @rings: out: places in io_uring tables
 * @comm: out: the maker's name, NUL terminated
 * @name: out: NUL terminated, "" for none
 *
 * The facts of one region. Anyone who could open the device may ask. Walk over
 * all with SLUICE_STAT_NEXT from @id 0 until ENOENT.
 */
struct sluice_stat {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 kind;
	__aligned_u64 id;
	__aligned_u64 len;
	__aligned_u64 bytes_2m;
	__aligned_u64 nruns;
	__s32 node;
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__s32 pid;
	__u32 dead;
	__u32 fds;
	__u32 maps;
	__u32 attached;
	__u32 rings;
	char comm[16];
	char name[SLUICE_NAME_MAX];
};
#define SLUICE_STAT _IO(SLUICE_TYPE, SLUICE_CMD_STAT)

#define SLUICE_RUNS_MAX 4096

/* One physically contiguous run: no address is told. */
struct sluice_run {
	__aligned_u64 off;
	__aligned_u64 len;
	__s32 node;
	__u32 __reserved;
};

/**
 * struct sluice_runs - ioctl(SLUICE_RUNS)
 * @size: sizeof(struct sluice_runs)
 * @flags: must be 0
 * @fd: a dma-buf of this module
 * @count: in: room at @runs, 1 to SLUICE_RUNS_MAX; out: runs written there
 * @off: in: begin with the run that holds this byte; EINVAL: not below the length
 * @runs: in: address of an array of struct sluice_run
 *
 * How the region lies in memory. Ask on from the end of the last run.
 */
struct sluice_runs {
	__u32 size;
	__u32 flags;
	__s32 fd;
	__u32 count;
	__aligned_u64 off;
	__aligned_u64 runs;
};
#define SLUICE_RUNS _IO(SLUICE_TYPE, SLUICE_CMD_RUNS)

#define SLUICE_GRANT_UID  (1u << 0)
#define SLUICE_GRANT_GID  (1u << 1)
#define SLUICE_GRANT_MODE (1u << 2)

/**
 * struct sluice_grant - ioctl(SLUICE_GRANT)
 * @size: sizeof(struct sluice_grant)
 * @flags: what to change: SLUICE_GRANT_*, at least one
 * @name: of the region
 * @uid: the new owner: needs CAP_CHOWN; 0 where it is not to change
 * @gid: the new group: one of the owner's, or CAP_CHOWN; 0 likewise
 * @mode: the new permission bits; 0 likewise
 * @__reserved: must be 0
 *
 * As chown(2) and chmod(2). EPERM: neither the owner's nor privileged. The
 * memory stays charged to whom it was; who has it open keeps it.
 */
struct sluice_grant {
	__u32 size;
	__u32 flags;
	char name[SLUICE_NAME_MAX];
	__u32 uid;
	__u32 gid;
	__u32 mode;
	__u32 __reserved;
};
#define SLUICE_GRANT _IO(SLUICE_TYPE, SLUICE_CMD_GRANT)

/* Also take it from all who use it: it dies, as if its device were gone. */
#define SLUICE_REMOVE_REVOKE (1u << 0)

/**
 * struct sluice_remove - ioctl(SLUICE_REMOVE)
 * @size: sizeof(struct sluice_remove)
 * @flags: SLUICE_REMOVE_REVOKE
 * @name: of the region
 *
 * Takes the name away, as unlink(2): the memory goes with its last user.
 * EPERM: neither the owner's nor CAP_SYS_ADMIN.
 */
struct sluice_remove {
	__u32 size;
	__u32 flags;
	char name[SLUICE_NAME_MAX];
};
#define SLUICE_REMOVE _IO(SLUICE_TYPE, SLUICE_CMD_REMOVE)

/*
 * IORING_OP_URING_CMD on /dev/sluice: sqe->cmd_op is one of these, sqe->cmd
 * holds a struct sluice_ring, sqe->addr, len and uring_cmd_flags are 0. Errors:
 * as above, and ENOTTY: another cmd_op; EINVAL also: no such index of the table;
 * EBUSY: something is there already.
 */
enum {
	SLUICE_RING_REGISTER = 1,
	SLUICE_RING_UNREGISTER,
};

/**
 * struct sluice_ring - a range of a region in an io_uring's buffer table
 * @fd: a dma-buf of this module; 0 to unregister. One that is open for reading
 *	only is a buffer for WRITE_FIXED only; peer memory is one for READ_FIXED
 *	only, unless the caller has CAP_SYS_RAWIO
 * @index: of the table, which must be empty there
 * @page: first page of the range; 0 to unregister
 * @npages: pages, 1 to 4 GiB - 1 byte in all; 0 to unregister
 *
 * After it completes with 0, READ_FIXED and WRITE_FIXED with buf_index = @index
 * take the range; their addr counts from 0 at its first byte. No page is pinned
 * or copied for it. The region is held until the ring lets it go.
 */
struct sluice_ring {
	__s32 fd;
	__u32 index;
	__u32 page;
	__u32 npages;
};

#endif

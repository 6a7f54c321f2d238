/* SPDX-License-Identifier: GPL-2.0 */
/* trace.h - tracepoints: sluice:alloc, pin, map, revoke, free. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM sluice

#if !defined(SLUICE_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define SLUICE_TRACE_H

#include <linux/tracepoint.h>

#include "region.h"

DECLARE_EVENT_CLASS(sluice_region,
	TP_PROTO(const struct sluice_region *region),
	TP_ARGS(region),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, len)
		__field(unsigned long, nextents)
		__field(int, kind)
		__field(int, node)
	),
	TP_fast_assign(
		__entry->id = region->id;
		__entry->len = (u64)region->npages << PAGE_SHIFT;
		__entry->nextents = region->nextents;
		__entry->kind = region->kind;
		__entry->node = region->node;
	),
	TP_printk("id=%llu kind=%d len=%llu runs=%lu node=%d", __entry->id,
		  __entry->kind, __entry->len, __entry->nextents,
		  __entry->node)
);

DEFINE_EVENT(sluice_region, sluice_alloc,
	TP_PROTO(const struct sluice_region *region), TP_ARGS(region));
DEFINE_EVENT(sluice_region, sluice_pin,
	TP_PROTO(const struct sluice_region *region), TP_ARGS(region));
DEFINE_EVENT(sluice_region, sluice_revoke,
	TP_PROTO(const struct sluice_region *region), TP_ARGS(region));
DEFINE_EVENT(sluice_region, sluice_free,
	TP_PROTO(const struct sluice_region *region), TP_ARGS(region));

TRACE_EVENT(sluice_map,
	TP_PROTO(const struct sluice_region *region, struct device *dev,
		 int dir),
	TP_ARGS(region, dev, dir),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(int, dir)
		__string(dev, dev_name(dev))
	),
	TP_fast_assign(
		__entry->id = region->id;
		__entry->dir = dir;
		sluice_assign_str(dev, dev_name(dev));
	),
	TP_printk("id=%llu dev=%s dir=%d", __entry->id, __get_str(dev),
		  __entry->dir)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * CRC-32C (Castagnoli: reflected polynomial 0x82F63B78, begun with and ended by ones), the checksum of VHDX.
 * It finds torn writes; it makes no field trustworthy, since whoever made the file made it too.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "formats/span.h"

/* Goes on from the checksum of the bytes before these; 0 begins. Any thread. */
uint32_t vd_crc32c(uint32_t crc, const void *data, size_t length);

/* The same by table, on every processor; vd_crc32c() falls back to it. */
uint32_t vd_crc32c_by_table(uint32_t crc, const void *data, size_t length);

/* Of the whole span, with the four bytes at skip taken as zero. */
uint32_t vd_span_crc32c(const VdSpan *span, size_t skip);

/* Goes on with the whole of a span. */
uint32_t vd_span_crc32c_more(const VdSpan *span, uint32_t crc);

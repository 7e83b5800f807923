/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two headers of a VHDX (MS-VHDX 2.2.2): which is current, and the bytes of the next one. The CRC makes
 * no field trustworthy; offset and length of the log have been compared with the file by the choice.
 */
#pragma once

#include "formats/reader.h"

#define VD_VHDX_HEADER_LENGTH 4096
#define VD_VHDX_HEADER_1 (UINT64_C(64) << 10)
#define VD_VHDX_HEADER_2 (UINT64_C(128) << 10)
#define VD_VHDX_MIB (UINT64_C(1) << 20)
/* Ceiling of the file, bytes: 64 TiB of payload, its bitmaps, BAT and metadata fit. */
#define VD_VHDX_MAX_FILE_SIZE (UINT64_C(1) << 47)
/* Ceiling of the log, bytes (Windows makes 1 MiB). */
#define VD_VHDX_MAX_LOG (UINT64_C(256) << 20)

typedef struct {
  uint64_t sequence;
  uint8_t file_write_guid[16]; /* as on disk */
  uint8_t data_write_guid[16];
  uint8_t log_guid[16]; /* zero: the log is empty */
  uint16_t log_version;
  uint32_t log_length; /* bytes */
  uint64_t log_offset; /* bytes */
  unsigned slot;       /* 0 or 1: which of the two it is */
} VdVhdxHeader;

/* span: VD_VHDX_HEADER_LENGTH bytes. Signature, CRC, version. */
bool vd_vhdx_header_parse(const VdSpan *span, VdVhdxHeader *ret_header, VdFormatError *ret_error);
/* Reads both and takes the current one; checks the file identifier, the log's place, LogVersion. A log_length
 * of 0 passes with an empty log only; whoever writes needs a log. */
bool vd_vhdx_header_choose(const VdReader *reader, VdVhdxHeader *ret_header, VdFormatError *ret_error);
/* The 4096 bytes of a header, with its CRC. */
void vd_vhdx_header_build(const VdVhdxHeader *header, uint8_t *ret_bytes);
bool vd_vhdx_guid_is_zero(const uint8_t guid[16]);
/* As on disk (first three groups little-endian) to as printed, or back. May be the same array. */
void vd_vhdx_guid_swap(const uint8_t from[16], uint8_t ret_to[16]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The log of a VHDX (MS-VHDX 2.3): entries and their descriptors, the search for the active sequence, what a
 * replay would write, and the bytes of a new entry. It writes nothing itself.
 */
#pragma once

#include "formats/vhdx-header.h"

#define VD_VHDX_PAGE 4096
/* Ceilings of what a replay into memory keeps: bytes of pages; effects (a log of 1 MiB has half as many). */
#define VD_VHDX_MAX_OVERLAY (UINT64_C(32) << 20)
#define VD_VHDX_MAX_OVERLAY_EFFECTS 65536

/* One effect of the replay, in order. data: VD_VHDX_PAGE bytes, or NULL: length zeros. */
typedef bool (*VdVhdxLogSink)(void *user, uint64_t offset, uint64_t length, const uint8_t *data,
                              VdFormatError *ret_error);

typedef struct {
  uint64_t sequence;            /* of the head */
  uint64_t last_file_offset;    /* bytes; the file must reach it afterwards */
  uint64_t flushed_file_offset; /* bytes */
  unsigned n_entries;
} VdVhdxLogSummary;

/*
 * Finds the active sequence of a log whose LogGuid is not zero, checks every descriptor of it, and calls sink
 * for each effect in order (none if a check fails). Errors: FILE_CORRUPT (no sequence, a bad descriptor, file
 * shorter than flushed_file_offset), IO, NO_RESOURCES. A zero effect may reach far beyond the file's end;
 * only pages and last_file_offset make the file longer.
 */
bool vd_vhdx_log_replay(const VdReader *reader, const VdVhdxHeader *header, VdVhdxLogSink sink, void *user,
                        VdVhdxLogSummary *ret_summary, VdFormatError *ret_error);

/* A replay held in memory: consulted by whoever reads metadata of an image that may not be written. */
typedef struct VdVhdxOverlay VdVhdxOverlay;
VdVhdxOverlay *vd_vhdx_overlay_new(const VdReader *reader, const VdVhdxHeader *header,
                                   VdFormatError *ret_error);
void vd_vhdx_overlay_free(VdVhdxOverlay *self);
/* Puts what the log says over bytes read from the file at offset. */
void vd_vhdx_overlay_apply(const VdVhdxOverlay *self, uint64_t offset, uint8_t *data, size_t length);
/* Reads as if the log had been replayed, also behind the file's own end (zeros there). self NULL: the file
 * alone. */
bool vd_vhdx_overlay_read(const VdVhdxOverlay *self, const VdReader *reader, const char *structure,
                          uint64_t offset, uint8_t *buffer, size_t length, VdSpan *ret_span,
                          VdFormatError *ret_error);
/* The first place at or behind offset of which the log says something; UINT64_MAX: none. self may be NULL. */
uint64_t vd_vhdx_overlay_next(const VdVhdxOverlay *self, uint64_t offset);
typedef enum { VD_VHDX_LOG_SILENT, VD_VHDX_LOG_ZEROS, VD_VHDX_LOG_PAGE } VdVhdxLogged;
/* What the log says of a place, and for how many bytes from there. self may be NULL. */
VdVhdxLogged vd_vhdx_overlay_look(const VdVhdxOverlay *self, uint64_t offset, uint64_t *ret_length);
/* Bytes; at least the file's own size. */
uint64_t vd_vhdx_overlay_file_size(const VdVhdxOverlay *self, uint64_t file_size);

/* Building an entry. */
typedef struct {
  uint64_t offset;     /* bytes in the file, a multiple of 4096 */
  const uint8_t *page; /* 4096 bytes, or NULL: zeros */
  uint64_t length;     /* bytes; 4096 with a page */
} VdVhdxLogWrite;

typedef struct {
  uint64_t sequence;
  uint32_t tail; /* bytes from the start of the log */
  uint8_t log_guid[16];
  uint64_t flushed_file_offset, last_file_offset; /* bytes, multiples of 1 MiB */
} VdVhdxLogStamp;

/* Bytes of an entry with so many pages and so many zero descriptors; a multiple of 4096. */
size_t vd_vhdx_log_entry_length(unsigned n_pages, unsigned n_zeros);
/* Fills bytes (of that length, all of it) with the entry. */
void vd_vhdx_log_entry_build(const VdVhdxLogStamp *stamp, const VdVhdxLogWrite *writes, unsigned n,
                             uint8_t *ret_bytes);

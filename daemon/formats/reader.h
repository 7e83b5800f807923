/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where spans come from: pread on the image's descriptor, whole or not at all. An image is never mapped: a
 * file that shrinks must give an error, not a SIGBUS. The descriptor's own position is neither used nor
 * moved.
 */
#pragma once

#include "formats/span.h"

/* Ceiling of one structure that is read in one go, bytes. */
#define VD_READER_MAX_LENGTH 4096

typedef struct {
  int fd;        /* borrowed */
  uint64_t size; /* bytes; of the file when the reader was made */
} VdReader;

/* Errors: NOT_A_REGULAR_FILE, IO. */
bool vd_reader_init(VdReader *reader, int fd, VdFormatError *ret_error);

/*
 * Reads exactly length bytes into buffer (which ret_span then refers to). length at most
 * VD_READER_MAX_LENGTH. Errors: IO (also when the file ends early: it shrank, or the range is outside).
 */
bool vd_reader_read(const VdReader *reader, const char *structure, uint64_t offset, uint8_t *buffer,
                    size_t length, VdSpan *ret_span, VdFormatError *ret_error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where spans come from: pread on the image's descriptor, whole or not at all. An image is never mapped: a
 * file that shrinks must give an error, not a SIGBUS. The descriptor's own position is never used; only the
 * search for holes moves it.
 */
#pragma once

#include <sys/types.h>

#include "formats/span.h"

/* Ceiling of what is read in one go, bytes. */
#define VD_READER_MAX_LENGTH ((size_t)1 << 20)

typedef struct VdReader VdReader;

struct VdReader {
  int fd;        /* borrowed */
  uint64_t size; /* bytes; of the file when the reader was made */
  /* In the place of pread(2), with its results and errno; NULL: pread itself. */
  ssize_t (*read)(const VdReader *self, void *buffer, size_t length, uint64_t offset);
};

/* Errors: NOT_A_REGULAR_FILE, IO. */
bool vd_reader_init(VdReader *reader, int fd, VdFormatError *ret_error);

/*
 * Reads exactly length bytes into buffer (which ret_span then refers to). length at most
 * VD_READER_MAX_LENGTH. Errors: IO (also when the file ends early: it shrank, or the range is outside).
 */
bool vd_reader_read(const VdReader *reader, const char *structure, uint64_t offset, uint8_t *buffer,
                    size_t length, VdSpan *ret_span, VdFormatError *ret_error);

/* The first place at or behind offset, bytes, that is not in a hole; UINT64_MAX if there is none. Offset
 * itself where the file system does not tell. */
uint64_t vd_reader_next_data(const VdReader *reader, uint64_t offset);

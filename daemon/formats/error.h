/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How a parser says no: a plain struct without pointers, so that it can cross a socket. No GLib in here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "virtdisk-error.h"

typedef struct {
  int32_t code;    /* VirtdiskError */
  uint32_t unused; /* keeps the layout free of holes */
  uint64_t offset; /* bytes from the start of the file; where the offending field lies */
  char field[32];  /* its name, or empty */
  char text[256];  /* one sentence with the number and the offset; ASCII */
} VdFormatError;

/* Fills *ret_error; returns false, so that a parser can return it. */
bool vd_format_error_set(VdFormatError *ret_error, VirtdiskError code, uint64_t offset, const char *field,
                         const char *format, ...) __attribute__((format(printf, 5, 6)));

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a differencing VHD stores of where its parent lies: built from UNIX paths. */
#pragma once

#include "formats/error.h"
#include "worker/facts.h"

/* As stored. Of absolute nothing if there is none. */
typedef struct {
  char name[VD_MAX_PARENT_PATH]; /* for the sparse header, UTF-8: the whole path where there is one that fits,
                                    as Windows has it; else the bare name */
  uint8_t relative[2 * VD_MAX_PARENT_PATH], absolute[2 * VD_MAX_PARENT_PATH]; /* of W2ru and W2ku */
  size_t relative_length, absolute_length;                                    /* bytes */
} VdVhdParentTexts;

/* Paths as in VdCreateSpec. Errors: INVALID_PARAMETER ("parent_relative", "parent_absolute"). */
bool vd_vhd_parent_texts(const char *relative, const char *absolute, VdVhdParentTexts *ret_texts,
                         VdFormatError *ret_error);

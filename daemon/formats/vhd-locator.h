/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where a differencing VHD says its parent lies: eight parent locator entries in the sparse header, whose
 * texts lie elsewhere in the file, and a bare name. All of it was chosen by whoever made the image: these are
 * places to look at with the caller's rights, no more.
 */
#pragma once

#include "formats/reader.h"
#include "worker/facts.h"

#define VD_VHD_LOCATORS 8
#define VD_VHD_LOCATOR_LENGTH 24
/* Ceiling of one locator's text, bytes. */
#define VD_VHD_MAX_LOCATOR_TEXT 4096

/* Platform codes: four ASCII characters. */
typedef enum {
  VD_VHD_LOCATOR_NONE = 0,
  VD_VHD_LOCATOR_W2RU = 0x57327275, /* relative, UTF-16LE */
  VD_VHD_LOCATOR_W2KU = 0x57326b75, /* absolute, UTF-16LE */
  VD_VHD_LOCATOR_WI2R = 0x57693272, /* relative, ANSI; deprecated */
  VD_VHD_LOCATOR_WI2K = 0x5769326b, /* absolute, ANSI; deprecated */
  VD_VHD_LOCATOR_MACX = 0x4d616358, /* file:// URL, UTF-8 */
} VdVhdLocatorCode;

typedef struct {
  uint32_t code;       /* VdVhdLocatorCode, or one that is not known */
  uint32_t space;      /* as stored: bytes, or sectors if below 512 */
  uint32_t length;     /* bytes of text */
  uint64_t offset;     /* bytes; where the text lies in the file */
  uint64_t own_offset; /* bytes; where this entry lies in the file, for messages */
} VdVhdLocator;

/* at: bytes from the start of the span. Errors: FILE_CORRUPT (span too short). */
bool vd_vhd_locator_parse(const VdSpan *span, size_t at, VdVhdLocator *ret_locator, VdFormatError *ret_error);
void vd_vhd_locator_build(const VdVhdLocator *locator, uint8_t ret_bytes[VD_VHD_LOCATOR_LENGTH]);

/* The space in bytes: the specification counts sectors, all known writers bytes. */
uint64_t vd_vhd_locator_space(const VdVhdLocator *locator);

/* The text of this entry has a kind that is known here. */
bool vd_vhd_locator_is_known(const VdVhdLocator *locator);

/*
 * Fills the places of facts, in the order in which they are to be tried: relative ones, URLs, absolute ones,
 * and last name (UTF-8; may be empty), each once. Errors: VHD_SPARSE_HEADER_CORRUPT (field "parent_locator":
 * text that is not within the file, does not fit its space, is no text, or is too long), IO.
 */
bool vd_vhd_locators_read(const VdReader *reader, const VdVhdLocator locators[VD_VHD_LOCATORS],
                          const char *name, VdFacts *facts, VdFormatError *ret_error);

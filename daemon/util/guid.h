/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* 16 bytes, first byte printed first, as 36 lower-case characters and NUL. */
void vd_guid_format(const uint8_t bytes[16], char ret_text[37]);
/* 36 characters with hyphens, letters of either case. False: not a GUID. */
bool vd_guid_parse(const char *text, uint8_t ret_bytes[16]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* 16 bytes, first byte printed first, as 36 lower-case characters and NUL. */
void vd_guid_format(const uint8_t bytes[16], char ret_text[37]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is inside the disk: libblkid, on the payload's range of the file. Hostile bytes meet a large foreign
 * parser here, so this runs in the sandboxed worker only. Nothing recognised is no error.
 */
#pragma once

#include "formats/registry.h"

/*
 * facts: those of a linear image (payload_offset, virtual_size, sector_size); pt_type, smallest_safe_size and
 * contents are filled in, within the ceilings. Partitions that begin behind the disk's end are left out,
 * those that end there are cut and flagged, as the kernel does it. An image whose payload is not linear is
 * left as it is.
 */
void vd_content_scan(int fd, VdScan scan, VdFacts *facts);

/*
 * Copies text into ret (size bytes with the NUL), dropping control characters and all that is not UTF-8, cut
 * at a whole character.
 */
void vd_content_copy_text(char *ret, size_t size, const char *text);

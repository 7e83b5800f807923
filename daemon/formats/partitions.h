/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * How far the partitions of a disk reach, read through a function: for disks that no file holds as they are.
 * Knows the tables that content.h knows (GPT, MBR), and says the same of them; believes a table only whose
 * sums hold.
 */
#pragma once

#include "formats/span.h"

/* length: at most 1 MiB. False with *ret_error. */
typedef bool (*VdDiskRead)(void *user, uint64_t offset, uint8_t *buffer, size_t length,
                           VdFormatError *ret_error);

/*
 * size, sector_size: of the disk, bytes. *ret_smallest: bytes up to the end of the last partition, with what
 * the table needs behind it; 0: there is no table, or none that is known. Errors: those of read.
 */
bool vd_partitions_smallest_size(VdDiskRead read, void *user, uint64_t size, uint32_t sector_size,
                                 uint64_t *ret_smallest, VdFormatError *ret_error);

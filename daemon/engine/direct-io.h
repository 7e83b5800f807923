/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Direct I/O, where the file system takes what the disk's sectors ask for. */
#pragma once

#include <stdint.h>

/*
 * Sets O_DIRECT on fd's description and tries it with one read. sector_size: bytes per logical sector of the
 * disk. Returns the alignment in bytes that offsets, lengths and buffers must have, at most the larger of 512
 * and sector_size; 0 if the file stays as it was.
 */
uint32_t vd_direct_io_enable(int fd, uint32_t sector_size);
/* Back to buffered I/O. Returns 0 or -errno. */
int vd_direct_io_disable(int fd);

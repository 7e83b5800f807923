/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * New images: the bytes of an empty one. The file is new, empty and nobody else's yet, so plain blocking
 * writes do; the order is such that it is no image before it is whole (MS-VHDX: headers last; VHD: trailer
 * last), and it is durable when the call returns.
 */
#pragma once

#include "formats/error.h"

typedef struct {
  uint32_t device_id;            /* VirtdiskDeviceId: VHD, VHDX or RAW */
  uint32_t subtype;              /* VirtdiskSubtype: FIXED, DYNAMIC (RAW: with holes) or DIFFERENCING */
  uint64_t size;                 /* bytes */
  uint32_t block_size;           /* bytes; 0: the format's default */
  uint32_t sector_size;          /* logical, bytes; 0: 512 */
  uint32_t physical_sector_size; /* bytes; 0: the format's default */
  uint8_t identifier[16];        /* VHD: unique id; VHDX: Virtual Disk ID; as printed, first byte first */
  uint8_t guids[2][16];          /* VHDX: FileWriteGuid, DataWriteGuid of the new file; random */
  uint64_t unix_time;            /* seconds since 1970, for the VHD time stamp */
  uint32_t whole;                /* FIXED: 1: all space is taken on the host now; 0: a file with holes */
  /* DIFFERENCING: what the parent is (VdFacts of it), and where (UTF-8, UNIX path relative to the folder of
   * the new file, and absolute one of a Windows machine or empty). */
  uint8_t parent_linkage[16];
  uint32_t parent_timestamp;
  char parent_relative[1024];
  char parent_absolute[1024];
} VdCreateSpec;

/* Errors: INVALID_PARAMETER (the field is named), VHD_INVALID_SIZE, UNSUPPORTED_DISK_SECTOR_SIZE, DISK_FULL,
 * IO, NOT_SUPPORTED. fd: borrowed, writable, empty. */
bool vd_create(int fd, const VdCreateSpec *spec, VdFormatError *ret_error);
bool vd_vhd_create(int fd, const VdCreateSpec *spec, VdFormatError *ret_error);
bool vd_vhdx_create(int fd, const VdCreateSpec *spec, VdFormatError *ret_error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a worker says of an image: plain numbers, no pointers, so that it can cross a socket. The daemon
 * believes none of it before vd_facts_check(): every number is compared with the file's size and with the
 * ceilings below. This struct is all that formats/ and attach/ have in common.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* As GLib has it; named here so that the parsers, which know no GLib, can include this file. */
typedef struct _GError GError;

/* Ceilings. 64 TiB is the largest virtual disk of any format (MS-VHDX 2.6.2.4). */
#define VD_MAX_VIRTUAL_SIZE (UINT64_C(64) << 40)
/* Raw images may be as large as a block device can be named in 512-byte sectors by loop (sizelimit is 63
 * bits). */
#define VD_MAX_RAW_SIZE (UINT64_C(1) << 62)
/* GPT's usual table; the whole disk is one entry more. */
#define VD_MAX_PARTITIONS 128

/* Bits of VdContent.flags. */
/* The partition table says that it is longer than the disk; size is what there is. */
#define VD_CONTENT_CUT (1U << 0)
/* Signatures of several file systems: none is named, since mounting any could be wrong. */
#define VD_CONTENT_AMBIGUOUS (1U << 1)
#define VD_CONTENT_ALL_FLAGS (VD_CONTENT_CUT | VD_CONTENT_AMBIGUOUS)

/* Where a differencing image says that its parent lies. Ceilings: places, bytes of one (UTF-8 with its NUL).
 */
#define VD_MAX_PARENT_PLACES 12
#define VD_MAX_PARENT_PATH 1024

typedef enum {
  VD_PLACE_RELATIVE, /* to the folder of the image */
  VD_PLACE_ABSOLUTE, /* of a Windows machine: drive letter or UNC; or a bare name (VHD's parent name) */
  VD_PLACE_VOLUME,   /* begins with a volume's GUID: \\?\Volume{...}\ */
  VD_PLACE_UNIX,     /* absolute here, from a file:// URL */
} VdPlaceKind;

/* As written in the image, back slashes and all (UNIX: decoded), in the order in which they are to be tried.
 */
typedef struct {
  uint32_t kind; /* VdPlaceKind */
  char path[VD_MAX_PARENT_PATH];
} VdParentPlace;

/* One thing found inside the disk: the whole disk (partition 0) or a partition. Strings end in NUL, UTF-8. */
typedef struct {
  uint32_t partition; /* 0: the whole disk; else the partition's number, 1..256 */
  uint32_t flags;
  uint64_t offset; /* bytes from the start of the virtual disk */
  uint64_t size;   /* bytes */
  char usage[16];  /* libblkid's USAGE: filesystem, crypto, raid, other; empty if nothing was recognised */
  char type[24];   /* libblkid's TYPE: ext4, ntfs, iso9660, udf, ... */
  char label[132];
  char uuid[40];
  char part_type[40]; /* GPT type GUID, or 0x83 */
  char part_uuid[40];
  char part_name[112];
} VdContent;

typedef struct {
  uint32_t device_id;      /* VirtdiskDeviceId */
  uint32_t subtype;        /* VirtdiskSubtype; 0 where the format has none (ISO) */
  uint64_t virtual_size;   /* bytes seen on the device */
  uint64_t payload_offset; /* bytes; where virtual byte 0 lies in the file, if linear */
  uint32_t linear;         /* 1: the payload is one run of the file, from payload_offset, virtual_size long */
  uint32_t block_size;     /* bytes; 0 for fixed VHD, ISO, raw */
  uint32_t sector_size;    /* logical: 512, 2048 or 4096 */
  uint32_t physical_sector_size;
  uint32_t has_identifier;
  uint8_t identifier[16]; /* as printed, first byte first (the footer's unique id for VHD) */
  uint32_t is_4k_aligned; /* payload begins on a 4096-byte boundary of the file */
  uint32_t saved_state;   /* VHD: a saved machine depends on this disk */
  uint64_t file_size;     /* bytes; size of the file when it was probed */
  uint64_t
      smallest_safe_size; /* bytes; end of the last partition (with GPT's backup); 0: no partition table */
  char pt_type[8];        /* gpt, dos, or empty */
  /* Differencing images, all zero for others. */
  uint32_t has_parent;
  uint32_t parent_timestamp; /* VHD: seconds since 2000, 0: none */
  uint8_t parent_id[16];     /* as printed, first byte first */
  uint8_t parent_id2[16];    /* VHDX: a second one that fits too; zeros fit nothing */
  uint32_t n_parent_places;
  VdParentPlace parent_places[VD_MAX_PARENT_PLACES];
  /* What a child of this image stores of it, as printed: DataWriteGuid of a VHDX, unique id of a VHD. */
  uint32_t has_linkage;
  uint8_t linkage[16];
  uint32_t timestamp;    /* VHD: the footer's, seconds since 2000 */
  uint32_t needs_repair; /* a VHDX log to replay, a VHD trailer to write */
  uint32_t n_contents;
  VdContent contents[VD_MAX_PARTITIONS + 1];
} VdFacts;

/*
 * Compares every number with the size of the file (bytes) and the ceilings. required_device: the format asked
 * for. Fails with VIRTDISK_ERROR_WORKER_LOST ("the worker's answer: FIELD ...") since a sound worker never
 * sends such facts.
 */
bool vd_facts_check(const VdFacts *facts, uint32_t required_device, uint64_t file_size, GError **error);
/* The same of an image that is attached: what is inside of one that is translated has been learnt from its
 * device. */
bool vd_facts_check_attached(const VdFacts *facts, uint32_t required_device, uint64_t file_size,
                             GError **error);
/* The same for what a worker says is inside a block device of so many bytes; the rest of facts is not looked
 * at. */
bool vd_facts_check_contents(const VdFacts *facts, uint64_t device_size, GError **error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What virtdiskd and virtdisk-opener say to each other: one request, one reply, over a stream socket. */
#pragma once

#include <stdint.h>

#define VD_OPENER_MAGIC UINT32_C(0x4e504456) /* "VDPN" */
/* The descriptor the child finds its socket at; it inherits nothing else. */
#define VD_OPENER_SOCKET 3
/* No user, no group: what an account that the user database does not know is given. */
#define VD_OPENER_NO_GID 65534
/* Ceilings that both sides check. */
#define VD_OPENER_MAX_PATH 4095 /* bytes, PATH_MAX without its NUL */
#define VD_OPENER_MAX_GROUPS 65536

typedef enum {
  VD_OPEN_READ,       /* O_RDONLY */
  VD_OPEN_WRITE,      /* O_RDWR */
  VD_OPEN_LOCATE,     /* O_PATH: only to know which file is meant */
  VD_OPEN_CREATE,     /* O_RDWR on a new file that has no name yet; the child stays for the commands below */
  VD_OPEN_SIDE_READ,  /* O_RDONLY; a symbolic link in the last component is not a regular file */
  VD_OPEN_SIDE_WRITE, /* O_RDWR, likewise */
  VD_OPEN_DEVICE,     /* O_RDONLY, a block device */
  VD_OPEN_DEVICE_EXCLUSIVE, /* and O_EXCL: nobody mounts it, or claims it in another way */
} VdOpenMode;

#define VD_OPEN_LAST VD_OPEN_DEVICE_EXCLUSIVE

/*
 * VD_OPEN_CREATE, after the descriptor has come: each is 32 bits. The end of the line without KEEP, in
 * whatever way it comes, means that there shall be no such file.
 */
typedef enum {
  VD_OPENER_PUBLISH = 1, /* the file gets its name, answered with a VdOpenerReply without a descriptor */
  VD_OPENER_KEEP,        /* it stays; no answer */
  VD_OPENER_OWN,         /* a VdOpenerOwner follows: what it is to become when it gets its name; no answer */
} VdOpenerCommand;

/* All ones: as it is. */
typedef struct {
  uint32_t uid, gid, mode;
} VdOpenerOwner;

#define VD_OPENER_UNCHANGED UINT32_MAX

/* Followed by n_groups gids of 32 bits and path_length bytes of path without a NUL. */
typedef struct {
  uint32_t magic;
  uint32_t mode; /* VdOpenMode */
  uint32_t uid;
  uint32_t gid; /* all ones: the user database's */
  uint32_t n_groups;
  uint32_t path_length;
} VdOpenerRequest;

/* Where it ended. */
typedef enum {
  VD_OPENER_DONE,        /* the descriptor comes with the reply */
  VD_OPENER_AT_REQUEST,  /* a request that virtdiskd does not send */
  VD_OPENER_AT_USER,     /* the user database did not answer */
  VD_OPENER_AT_IDENTITY, /* could not take on the caller's rights, or not be sure of it */
  VD_OPENER_AT_PARENT,   /* the directory that should hold the file is missing */
  VD_OPENER_AT_FILE,     /* looking it up, or opening it */
  VD_OPENER_AT_TYPE,     /* not a regular file: detail is its S_IFMT */
  VD_OPENER_N_STAGES
} VdOpenerStage;

typedef struct {
  uint32_t magic;
  uint32_t stage;
  int32_t error_number; /* positive errno, or 0 */
  uint32_t detail;
} VdOpenerReply;

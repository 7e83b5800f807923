/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The options of mount -t virtdisk: which are ours, which are mount(8)'s alone, and which go to the file
 * system. Pure. */
#pragma once

#include <glib.h>

#include "virtdisk-enums.h"

typedef enum { VD_ACCESS_AS_MOUNTED, VD_ACCESS_READ_ONLY, VD_ACCESS_READ_WRITE } VdAccess;

typedef struct {
  VdAccess access;    /* to the image; AS_MOUNTED: reading only if ro is among the options */
  gboolean read_only; /* the mount */
  gboolean nofail;
  gboolean cached;
  char *partition; /* as given, or NULL */
  char *fstype;    /* or NULL: mount(8) finds out */
  char *route;     /* or NULL */
  VirtdiskDeviceId device_id;
  const char *vendor; /* static, or NULL: by the extension */
  guint sector_size;  /* 0: the image's */
  char *rest;         /* for the file system, with commas; may be empty. Begins with ro or rw */
} VdMountOptions;

/* text: what follows -o, or NULL. Errors: G_OPTION_ERROR. (transfer full) */
VdMountOptions *vd_mount_options_parse(const char *text, GError **error);
void vd_mount_options_free(VdMountOptions *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdMountOptions, vd_mount_options_free)

/*
 * The node to mount. file_systems: Disk.FileSystems. partition: NULL (the only one), a number, or LABEL=,
 * UUID=, PARTLABEL=, PARTUUID= with what it is to be. (transfer full) Errors: VD_EXIT_ERROR, G_OPTION_ERROR.
 */
char *vd_mount_choose(GVariant *file_systems, const char *device, const char *partition, GError **error);
/* Whether it can be chosen by. Errors: G_OPTION_ERROR. */
gboolean vd_mount_check_partition(const char *partition, GError **error);

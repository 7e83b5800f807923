/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `virtdisk info` has found out about an image, and how it shows it. */
#pragma once

#include "virtdisk.h"

#define VD_INFO_N_KINDS (VIRTDISK_INFO_CHANGE_TRACKING_STATE + 1)

typedef struct {
  char *path;                           /* of the image */
  VirtdiskDisk *disk;                   /* or NULL: not attached */
  VirtdiskInfo *kinds[VD_INFO_N_KINDS]; /* by VirtdiskInfoVersion; NULL: means nothing for this format */
  GPtrArray *dependencies;              /* VirtdiskDependency, or NULL */
  char *parents_missing;                /* why the parents could not be opened, or NULL */
  char *unopened;                       /* why the image could not be opened, or NULL */
} VdKnown;

void vd_known_clear(VdKnown *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VdKnown, vd_known_clear)

void vd_known_show_text(const VdKnown *self);
void vd_known_show_json(const VdKnown *self);

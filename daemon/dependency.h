/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* GetStorageDependencyInformation: which image carries a volume, and which images a volume carries. Main loop
 * only. */
#pragma once

#include <sys/stat.h>

#include "manager.h"

/* STORAGE_DEPENDENCY_INFO_TYPE_2. */
typedef struct {
  guint32 flags; /* VirtdiskDependentDiskFlags */
  guint32 device_id;
  const char *vendor;
  guint32 ancestor_level;
  char *device;           /* node that shows the image */
  char *host_volume;      /* device of the file system the image lies on, or its source */
  char *relative_path;    /* of the image, from the root of that file system */
  char *dependent_volume; /* node asked about, when it is a part of device; else empty */
} VdDependency;

void vd_dependency_free(VdDependency *self);

/*
 * st: of the object asked about (a block node, or any file of a volume). flags: VirtdiskDependencyFlags,
 * checked here. HOST_VOLUMES: the images that carry it, innermost first (ancestor level 0, its parents 1 and
 * on, then the image that those lie on, ...). Else: the attached images that it carries, directly or within
 * each other. Errors: INVALID_PARAMETER, NOT_VIRTUAL_DISK (HOST_VOLUMES asked of what no image carries).
 * (element VdDependency*)
 */
GPtrArray *vd_dependency_find(VdManager *manager, const struct stat *st, guint32 flags, GError **error);

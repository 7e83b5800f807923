/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the options of `virtdisk attach` come to. */
#pragma once

#include "cli.h"

typedef enum { VD_SCAN_DEFAULT, VD_SCAN_YES, VD_SCAN_NO } VdScan;

/* As given; NULL: not given. */
typedef struct {
  gboolean read_only;
  char *lifetime;
  gboolean detach_on_unmount;
  char *format;
  gint sector_size; /* 0: not given */
  VdScan scan;
  char *owner, *group, *mode;
  char *offset, *size;
  gboolean no_automount;
  char *route;
  gboolean zero_copy;
} VdAttachOptions;

/* Where the device begins and ends in the disk, in bytes. */
typedef struct {
  gboolean given;
  gboolean to_the_end; /* length is still to be found out */
  guint64 offset, length;
} VdAttachRange;

/* Errors: G_OPTION_ERROR. */
gboolean vd_attach_parse_range(const VdAttachOptions *options, VdAttachRange *ret, GError **error);
/* All but the range's length, if that is still to be found out. Errors: G_OPTION_ERROR. (transfer full) */
VirtdiskAttachParameters *vd_attach_make_parameters(const VdAttachOptions *options,
                                                    const VdAttachRange *range, GError **error);

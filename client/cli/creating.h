/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What create and convert share: values of options, and making the image. */
#pragma once

#include "operate.h"

/* Errors: G_OPTION_ERROR, naming the option. A text of NULL is nothing to set. */
gboolean vd_creating_set_format(VirtdiskCreateParameters *parameters, const char *text, GError **error);
gboolean vd_creating_set_source_format(VirtdiskCreateParameters *parameters, const char *text,
                                       GError **error);
gboolean vd_creating_set_block_size(VirtdiskCreateParameters *parameters, const char *text, GError **error);
/* 0, 512 or 4096. */
gboolean vd_creating_check_sector(const char *option, gint size, GError **error);

typedef enum {
  VD_CREATING_PLAIN,         /* done before one could say how far it is */
  VD_CREATING_WITH_PROGRESS, /* a job, which being interrupted undoes */
  VD_CREATING_DETACHED,      /* a job that goes on alone */
} VdCreatingHow;

typedef struct {
  const char *argument; /* the new image, as it was named */
  VirtdiskCreateFlags flags;
  guint64 size; /* bytes; 0: that of parent or source */
  VirtdiskCreateParameters *parameters;
  VdCreatingHow how;
} VdCreating;

/* Makes the image and says so as it was asked for. */
gboolean vd_creating_run(VdCli *cli, const VdCreating *creating, GError **error);

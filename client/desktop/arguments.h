/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line of virtdisk-open: read by the launcher, sent on, and carried out by the service. Pure. */
#pragma once

#include <gio/gio.h>

#include "work.h"

/* What a command line comes to. */
typedef struct {
  VdDeed deed;
  char **files; /* as given; at least one */
} VdArguments;

void vd_arguments_free(VdArguments *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdArguments, vd_arguments_free)

/* For g_application_add_main_option_entries(). */
const GOptionEntry *vd_arguments_get_entries(void);
/* options: what GOption made of them. Errors: G_OPTION_ERROR. (transfer full) */
VdArguments *vd_arguments_new(GVariantDict *options, GError **error);

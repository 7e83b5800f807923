/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A chain of images, as it is found from its leaf: one image after the other is opened for looking. */
#pragma once

#include "cli.h"

/* One image of a chain. Strings are NULL where they are not known. */
typedef struct {
  char *path;
  VirtdiskDeviceId device_id;
  VirtdiskSubtype subtype;
  guint64 virtual_size, physical_size;
  char *identifier;
  char *parent_identifier; /* that its parent must have */
  char *parent;            /* NULL: it has none, or it was not found */
  char *problem;           /* why the next one does not fit, or NULL */
} VdLink;

/* The leaf first. format: of the leaf, word of --format or NULL. An image that cannot be opened is an error
 * if it is the leaf; else the chain ends before it, and the last one's problem says why. (transfer full)
 * (element-type VdLink) */
GPtrArray *vd_links_read(VdCli *cli, const char *path, const char *format, GError **error);
/* Why a parent does not fit, or NULL: it does. Pure. (transfer full) */
char *vd_links_compare(const VdLink *child, const VdLink *parent);
/* Words for people: "vhdx", "dynamic"; "-" for none. (transfer none) */
const char *vd_links_format_name(VirtdiskDeviceId id);
const char *vd_links_subtype_name(VirtdiskSubtype subtype);

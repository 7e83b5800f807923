/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options of a call: a table says which keys there are; an unknown key, a wrong type or a key given twice is
 * an error. */
#pragma once

#include <gio/gio.h>

typedef enum { VD_OPTION_U32, VD_OPTION_U64, VD_OPTION_BOOL, VD_OPTION_STRING } VdOptionType;

typedef struct {
  const char *key;
  VdOptionType type;
  gsize value; /* offset of a guint32, guint64, gboolean or const char* in the target */
  gssize has;  /* offset of a gboolean that says the key was given, or -1 */
} VdOption;

#define VD_OPTION(struct_type, key, type, member)                                                            \
  {                                                                                                          \
    key, VD_OPTION_##type, G_STRUCT_OFFSET(struct_type, member), -1                                          \
  }
#define VD_OPTION_HAS(struct_type, key, type, member, has_member)                                            \
  {                                                                                                          \
    key, VD_OPTION_##type, G_STRUCT_OFFSET(struct_type, member), G_STRUCT_OFFSET(struct_type, has_member)    \
  }

/*
 * Fills target. Strings are copied into arena (element char*, freed with it). Errors: INVALID_PARAMETER,
 * naming the key.
 */
gboolean vd_options_parse(GVariant *options, const VdOption *table, gsize n, gpointer target,
                          GPtrArray *arena, GError **error);

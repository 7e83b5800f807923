/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Struct members as keys of a key file, by a table. Strings are bytes, percent-encoded as in a URI. */
#pragma once

#include <gio/gio.h>

typedef enum {
  VD_FIELD_BYTES,          /* char *; never NULL */
  VD_FIELD_OPTIONAL_BYTES, /* char *; NULL has no key */
  VD_FIELD_BOOLEAN,        /* gboolean */
  VD_FIELD_U32,            /* guint32, uid_t, gid_t, enums */
  VD_FIELD_S32,            /* gint32, pid_t */
  VD_FIELD_U64,            /* guint64, dev_t, ino_t */
  VD_FIELD_S64             /* gint64 */
} VdFieldType;

typedef struct {
  const char *key;
  VdFieldType type;
  gsize offset; /* of the member */
} VdField;

/* A row of a table: the member of a structure, as one of VD_FIELD_*. */
#define VD_FIELD(key, type, structure, member)                                                               \
  {                                                                                                          \
    key, VD_FIELD_##type, offsetof(structure, member)                                                        \
  }

/* Any bytes but NUL as ASCII without white space or backslashes, and back (NULL if that cannot be).
 * (transfer full) */
char *vd_bytes_to_text(const char *bytes);
char *vd_bytes_from_text(const char *text);

void vd_fields_save(GKeyFile *file, const char *group, const VdField *fields, gsize n, const void *base);
/* Every key must be there (but for OPTIONAL_BYTES) and fit its type exactly. Strings are allocated into the
 * members, also on failure. Error: VIRTDISK_ERROR IO. */
gboolean vd_fields_load(GKeyFile *file, const char *group, const VdField *fields, gsize n, void *base,
                        GError **error);

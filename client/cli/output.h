/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What goes to standard output and standard error: tables and sentences for people, JSON for programs.
 * Nothing from an image, a path or the service reaches a terminal unescaped.
 */
#pragma once

#include <json-glib/json-glib.h>

#include "virtdisk.h"

/* ---- for people ---- */

/* A table with headings. columns: names, "<" before one aligns right, the last one may be cut on a terminal.
 */
typedef struct VdTable VdTable;
VdTable *vd_table_new(const char *const *columns);
/* cells: as many as columns; NULL and "" are shown as "-". Copied. */
void vd_table_add(VdTable *self, const char *const *cells);
void vd_table_print(VdTable *self);
void vd_table_free(VdTable *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdTable, vd_table_free)

/* A line, escaped. */
void vd_output_line(const char *text);
/* "Name:   value", aligned; no line when value is NULL or empty. */
void vd_output_pair(const char *name, const char *value);

/* Sentence on standard error; for Busy and the like one line for each holder with a hint. verb: or NULL. */
void vd_output_error(const char *verb, const GError *error);
/* The lines that vd_output_error() writes. Pure. (transfer full) */
char *vd_output_describe_error(const GError *error);

/* ---- for programs ---- */

typedef enum {
  VD_JSON_PRETTY, /* several lines */
  VD_JSON_LINE,   /* one line */
} VdJsonStyle;

/* node: (transfer full). */
void vd_output_json(JsonNode *node, VdJsonStyle style);
/* A disk with all its properties. (transfer full) */
JsonObject *vd_output_disk_to_json(VirtdiskDisk *disk);
/* Sets path, and path-base64 when the name is not UTF-8. */
void vd_output_json_set_path(JsonObject *object, const char *file_name);
/* Any value off the bus; keys of dictionaries in lower case with hyphens. (transfer full) */
JsonNode *vd_output_variant_to_json(GVariant *value);
/* VirtualSize, VIRTUAL_SIZE and virtual-size are all virtual-size. (transfer full) */
char *vd_output_key(const char *name);

/* FALSE: standard output is gone (a full disk, a closed pipe). Errors: VD_EXIT_ERROR. */
gboolean vd_output_flush(GError **error);

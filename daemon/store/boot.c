/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. The file's name is the SHA-256 of the path, so that one path has one record. */
#include "store/boot.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>

#include "store/fields.h"
#include "store/record-file.h"
#include "util/cleanup.h"
#include "util/identity.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"

#define FOLDER "boot"
#define GROUP "Boot"
#define FORMAT_VERSION 1
/* A path of PATH_MAX bytes, each percent-encoded, and the rest. */
#define RECORD_CEILING (16 * 1024)

typedef struct {
  guint32 version;
  VdBootRecord record;
} Document;

static const VdField fields[] = {
    VD_FIELD("Version", U32, Document, version),
    VD_FIELD("Path", BYTES, Document, record.path),
    VD_FIELD("Uid", U32, Document, record.uid),
    VD_FIELD("ImageUid", U32, Document, record.image_uid),
    VD_FIELD("DeviceId", U32, Document, record.device_id),
    VD_FIELD("OpenFlags", U32, Document, record.open_flags),
    VD_FIELD("AttachFlags", U32, Document, record.attach_flags),
    VD_FIELD("ReadOnly", BOOLEAN, Document, record.read_only),
    VD_FIELD("DetachOnUnmount", BOOLEAN, Document, record.detach_on_unmount),
    VD_FIELD("IgnoreParentTimestamp", BOOLEAN, Document, record.ignore_parent_timestamp),
    VD_FIELD("Route", OPTIONAL_BYTES, Document, record.route),
    VD_FIELD("ZeroCopy", BOOLEAN, Document, record.zero_copy),
    VD_FIELD("SectorSize", U32, Document, record.sector_size),
    VD_FIELD("PartitionScan", S32, Document, record.partition_scan),
    VD_FIELD("RestrictedOffset", U64, Document, record.restricted_offset),
    VD_FIELD("RestrictedLength", U64, Document, record.restricted_length),
    VD_FIELD("NodeUid", U32, Document, record.node_uid),
    VD_FIELD("NodeGid", U32, Document, record.node_gid),
    VD_FIELD("NodeMode", S64, Document, record.node_mode),
};

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdBootRecord, vd_boot_record_free)

void vd_boot_record_free(VdBootRecord *self)
{
  if (!self)
    return;
  g_free(self->id);
  g_free(self->path);
  g_free(self->route);
  g_free(self);
}

static char *id_of_path(const char *path)
{
  return g_compute_checksum_for_data(G_CHECKSUM_SHA256, (const guchar *)path, strlen(path));
}

/* What no version of ours writes is not attached in some half-understood way. */
static const char *find_fault(const Document *document)
{
  const VdBootRecord *record = &document->record;

  if (document->version != FORMAT_VERSION)
    return "its version is another";
  if (*record->path != '/' || strlen(record->path) >= PATH_MAX)
    return "the path is not absolute, or too long";
  if (record->uid == VD_UID_INVALID)
    return "it belongs to nobody";
  if (record->open_flags & ~(guint32)VIRTDISK_OPEN_ALL_FLAGS)
    return "a flag of OpenFlags is unknown";
  if (record->attach_flags & ~(guint32)VIRTDISK_ATTACH_ALL_FLAGS)
    return "a flag of AttachFlags is unknown";
  if (record->partition_scan < -1 || record->partition_scan > 1)
    return "PartitionScan is out of range";
  if (record->node_mode < -1 || record->node_mode > 0777)
    return "NodeMode is out of range";
  return NULL;
}

gboolean vd_boot_save(const char *statedir, const VdBootRecord *record, GError **error)
{
  const Document document = {FORMAT_VERSION, *record};
  g_autoptr(GKeyFile) file = g_key_file_new();
  g_autofree char *id = NULL, *text = NULL;
  const char *fault;
  vd_autofd folder = -1;
  gsize length;

  g_return_val_if_fail(record->path, FALSE);
  fault = find_fault(&document);
  if (fault) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INTERNAL, "Not a record for boot: %s", fault);
    return FALSE;
  }
  folder = vd_record_folder_open(statedir, FOLDER, error);
  if (folder < 0)
    return FALSE;
  vd_fields_save(file, GROUP, fields, G_N_ELEMENTS(fields), &document);
  text = g_key_file_to_data(file, &length, NULL);
  id = id_of_path(record->path);
  return vd_record_write(folder, id, text, length, VD_RECORD_DURABLE, error);
}

gboolean vd_boot_remove(const char *statedir, const char *path, GError **error)
{
  g_autofree char *id = id_of_path(path);
  vd_autofd folder = vd_record_folder_open(statedir, FOLDER, error);

  return folder >= 0 && vd_record_unlink(folder, id, VD_RECORD_DURABLE, error);
}

static gboolean load_record(const char *name, const char *text, gsize length, gpointer user_data,
                            GError **error)
{
  g_autoptr(VdBootRecord) record = g_new0(VdBootRecord, 1);
  g_autoptr(GKeyFile) file = g_key_file_new();
  g_autofree char *id = NULL;
  Document document = {0};
  const char *fault;
  gboolean ok;

  if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, error))
    return FALSE;
  ok = vd_fields_load(file, GROUP, fields, G_N_ELEMENTS(fields), &document, error);
  *record = document.record;
  if (!ok)
    return FALSE;
  fault = find_fault(&document);
  id = id_of_path(record->path);
  if (!fault && !g_str_equal(id, name))
    fault = "the path is not the one that its name was made from";
  if (fault) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, fault);
    return FALSE;
  }
  record->id = g_steal_pointer(&id);
  g_ptr_array_add(user_data, g_steal_pointer(&record));
  return TRUE;
}

GPtrArray *vd_boot_load(const char *statedir)
{
  g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func((GDestroyNotify)vd_boot_record_free);
  g_autoptr(GError) error = NULL;
  vd_autofd folder = vd_record_folder_open(statedir, FOLDER, &error);

  if (folder < 0)
    g_warning("No attachments for boot: %s", error->message);
  else
    vd_record_foreach(folder, RECORD_CEILING, VD_RECORD_KEEP_BROKEN, load_record, records);
  return g_steal_pointer(&records);
}

gboolean vd_boot_copy(const char *statedir, const char *path, const char *new_path, uid_t image_uid,
                      GError **error)
{
  g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func((GDestroyNotify)vd_boot_record_free);
  g_autofree char *id = id_of_path(path);
  vd_autofd folder = vd_record_folder_open(statedir, FOLDER, error);
  VdBootRecord *record;

  if (folder < 0 || !vd_record_read(folder, id, RECORD_CEILING, load_record, records, error))
    return FALSE;
  if (records->len == 0)
    return TRUE;
  record = g_ptr_array_index(records, 0);
  g_free(record->path);
  record->path = g_strdup(new_path);
  record->image_uid = image_uid;
  return vd_boot_save(statedir, record, error);
}

gboolean vd_boot_rename(const char *statedir, const char *path, const char *new_path, uid_t image_uid,
                        GError **error)
{
  return vd_boot_copy(statedir, path, new_path, image_uid, error) && vd_boot_remove(statedir, path, error);
}

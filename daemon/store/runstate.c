/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See the header. The file's name is the tag. Main loop only: /run is memory, so nothing here waits. */
#include "store/runstate.h"

#include <limits.h>
#include <stddef.h>

#include "store/fields.h"
#include "store/record-file.h"
#include "util/cleanup.h"
#include "util/identity.h"
#include "virtdisk-error.h"

#define FOLDER "disks"
#define GROUP "Disk"
#define HANDLE_GROUP "Handle %u"
#define PARENT_GROUP "Parent %u"
/* Raised whenever VdFacts changes its meaning without changing its size. */
#define FORMAT_VERSION 2
/* Facts with the fullest partition table (110 KiB), VD_MAX_GROUPS groups (704 KiB), handles, names; parents
 * with the longest paths, each byte of them escaped (VD_CHAIN_MAX_DEPTH of 12 KiB). */
#define RECORD_CEILING (4 * 1024 * 1024)

G_STATIC_ASSERT(sizeof(VdRunPhase) == sizeof(guint32));

typedef struct {
  guint32 version;
  guint32 facts_size;
  guint32 n_handles;
  guint32 n_parents;
} Header;

static const VdField header_fields[] = {
    VD_FIELD("Version", U32, Header, version),
    VD_FIELD("FactsSize", U32, Header, facts_size),
    VD_FIELD("Handles", U32, Header, n_handles),
    VD_FIELD("Parents", U32, Header, n_parents),
};

static const VdField fields[] = {
    VD_FIELD("Phase", U32, VdRunRecord, phase),
    VD_FIELD("Path", BYTES, VdRunRecord, path),
    VD_FIELD("OriginUrl", OPTIONAL_BYTES, VdRunRecord, origin_url),
    VD_FIELD("ImageDev", U64, VdRunRecord, image_dev),
    VD_FIELD("ImageIno", U64, VdRunRecord, image_ino),
    VD_FIELD("ImageUid", U32, VdRunRecord, image_uid),
    VD_FIELD("Remote", BOOLEAN, VdRunRecord, remote),
    VD_FIELD("PhysicalSize", U64, VdRunRecord, physical_size),
    VD_FIELD("MirrorPath", OPTIONAL_BYTES, VdRunRecord, mirror_path),
    VD_FIELD("MirrorDev", U64, VdRunRecord, mirror_dev),
    VD_FIELD("MirrorIno", U64, VdRunRecord, mirror_ino),
    VD_FIELD("MirrorUid", U32, VdRunRecord, mirror_uid),
    VD_FIELD("Device", OPTIONAL_BYTES, VdRunRecord, device),
    VD_FIELD("Diskseq", U64, VdRunRecord, diskseq),
    VD_FIELD("Lifetime", OPTIONAL_BYTES, VdRunRecord, lifetime),
    VD_FIELD("Session", OPTIONAL_BYTES, VdRunRecord, session),
    VD_FIELD("DetachOnUnmount", BOOLEAN, VdRunRecord, detach_on_unmount),
    VD_FIELD("WasMounted", BOOLEAN, VdRunRecord, was_mounted),
    VD_FIELD("OpenFlags", U32, VdRunRecord, open_flags),
    VD_FIELD("AttachFlags", U32, VdRunRecord, attach_flags),
    VD_FIELD("OpenedReadOnly", BOOLEAN, VdRunRecord, opened_read_only),
    VD_FIELD("Settled", BOOLEAN, VdRunRecord, settled),
    VD_FIELD("AttachedAt", U64, VdRunRecord, attached_at),
    VD_FIELD("Uid", U32, VdRunRecord, uid),
    VD_FIELD("Gid", U32, VdRunRecord, gid),
    VD_FIELD("Pid", S32, VdRunRecord, pid),
    VD_FIELD("BusName", OPTIONAL_BYTES, VdRunRecord, bus_name),
    VD_FIELD("BusId", OPTIONAL_BYTES, VdRunRecord, bus_id),
};

static const VdField handle_fields[] = {
    VD_FIELD("Id", BYTES, VdRunHandle, id),
    VD_FIELD("Version", U32, VdRunHandle, version),
    VD_FIELD("Rights", U32, VdRunHandle, rights),
    VD_FIELD("Attacher", BOOLEAN, VdRunHandle, attacher),
};

static const VdField parent_fields[] = {
    VD_FIELD("Path", BYTES, VdRunParent, path),
    VD_FIELD("Dev", U64, VdRunParent, dev),
    VD_FIELD("Ino", U64, VdRunParent, ino),
    VD_FIELD("Write", BOOLEAN, VdRunParent, write),
};

static void run_handle_free(VdRunHandle *self)
{
  g_free(self->id);
  g_free(self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdRunHandle, run_handle_free)

static void run_parent_free(VdRunParent *self)
{
  g_free(self->path);
  g_free(self);
}
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdRunParent, run_parent_free)

VdRunRecord *vd_run_record_new(const char *tag)
{
  VdRunRecord *self = g_new0(VdRunRecord, 1);

  self->tag = g_strdup(tag);
  self->image_uid = self->uid = VD_UID_INVALID;
  self->gid = VD_GID_INVALID;
  self->handles = g_ptr_array_new_with_free_func((GDestroyNotify)run_handle_free);
  self->parents = g_ptr_array_new_with_free_func((GDestroyNotify)run_parent_free);
  return self;
}

void vd_run_record_free(VdRunRecord *self)
{
  if (!self)
    return;
  g_free(self->tag);
  g_free(self->path);
  g_free(self->origin_url);
  g_free(self->mirror_path);
  g_free(self->device);
  g_free(self->lifetime);
  g_free(self->session);
  g_free(self->groups);
  g_free(self->bus_name);
  g_free(self->bus_id);
  g_ptr_array_unref(self->handles);
  g_ptr_array_unref(self->parents);
  g_free(self);
}

void vd_run_record_add_parent(VdRunRecord *self, const char *path, dev_t dev, ino_t ino, gboolean write)
{
  VdRunParent *parent = g_new(VdRunParent, 1);

  *parent = (VdRunParent){g_strdup(path), dev, ino, write};
  g_ptr_array_add(self->parents, parent);
}

/* Bytes of the facts that say something: the contents that are there. */
static gsize size_of_facts(const VdFacts *facts)
{
  gsize n = MIN(facts->n_contents, G_N_ELEMENTS(facts->contents));

  return offsetof(VdFacts, contents) + n * sizeof facts->contents[0];
}

static void save_facts(GKeyFile *file, const VdFacts *facts)
{
  g_autofree char *text = g_base64_encode((const guchar *)facts, size_of_facts(facts));

  g_key_file_set_value(file, GROUP, "Facts", text);
}

static gboolean load_facts(GKeyFile *file, VdFacts *facts)
{
  g_autofree char *text = g_key_file_get_value(file, GROUP, "Facts", NULL);
  g_autofree guchar *bytes = NULL;
  gsize length;

  if (!text)
    return FALSE;
  bytes = g_base64_decode(text, &length);
  if (length < offsetof(VdFacts, contents) || length > sizeof *facts)
    return FALSE;
  memcpy(facts, bytes, length);
  return length == size_of_facts(facts);
}

static void save_groups(GKeyFile *file, const VdRunRecord *record)
{
  g_autoptr(GString) text = g_string_new(NULL);

  for (gsize i = 0; i < record->n_groups; i++)
    g_string_append_printf(text, i == 0 ? "%u" : " %u", record->groups[i]);
  g_key_file_set_value(file, GROUP, "Groups", text->str);
}

static gboolean load_groups(GKeyFile *file, VdRunRecord *record)
{
  g_autofree char *text = g_key_file_get_value(file, GROUP, "Groups", NULL);
  g_auto(GStrv) words = text ? g_strsplit(text, " ", -1) : NULL;
  gsize n = words ? g_strv_length(words) : 0;
  guint64 number;

  if (!text || n > VD_MAX_GROUPS)
    return FALSE;
  record->groups = n > 0 ? g_new(gid_t, n) : NULL;
  for (; record->n_groups < n; record->n_groups++) {
    if (!g_ascii_string_to_unsigned(words[record->n_groups], 10, 0, G_MAXUINT32, &number, NULL))
      return FALSE;
    record->groups[record->n_groups] = (gid_t)number;
  }
  return TRUE;
}

static void save_handles(GKeyFile *file, const VdRunRecord *record)
{
  for (guint i = 0; i < record->handles->len; i++) {
    g_autofree char *group = g_strdup_printf(HANDLE_GROUP, i);

    vd_fields_save(file, group, handle_fields, G_N_ELEMENTS(handle_fields), record->handles->pdata[i]);
  }
}

/* n is bounded by the file: each handle needs a group there. */
static gboolean load_handles(GKeyFile *file, guint32 n, VdRunRecord *record, GError **error)
{
  for (guint32 i = 0; i < n; i++) {
    g_autofree char *group = g_strdup_printf(HANDLE_GROUP, i);
    g_autoptr(VdRunHandle) handle = g_new0(VdRunHandle, 1);

    if (!vd_fields_load(file, group, handle_fields, G_N_ELEMENTS(handle_fields), handle, error))
      return FALSE;
    g_ptr_array_add(record->handles, g_steal_pointer(&handle));
  }
  return TRUE;
}

static void save_parents(GKeyFile *file, const VdRunRecord *record)
{
  for (guint i = 0; i < record->parents->len; i++) {
    g_autofree char *group = g_strdup_printf(PARENT_GROUP, i);

    vd_fields_save(file, group, parent_fields, G_N_ELEMENTS(parent_fields), record->parents->pdata[i]);
  }
}

static gboolean load_parents(GKeyFile *file, guint32 n, VdRunRecord *record, GError **error)
{
  for (guint32 i = 0; i < n; i++) {
    g_autofree char *group = g_strdup_printf(PARENT_GROUP, i);
    g_autoptr(VdRunParent) parent = g_new0(VdRunParent, 1);

    if (!vd_fields_load(file, group, parent_fields, G_N_ELEMENTS(parent_fields), parent, error))
      return FALSE;
    g_ptr_array_add(record->parents, g_steal_pointer(&parent));
  }
  return TRUE;
}

gboolean vd_run_save(const char *rundir, const VdRunRecord *record, GError **error)
{
  const Header header = {FORMAT_VERSION, sizeof(VdFacts), record->handles->len, record->parents->len};
  g_autoptr(GKeyFile) file = g_key_file_new();
  g_autofree char *text = NULL;
  vd_autofd folder = -1;
  gsize length;

  g_return_val_if_fail(record->path && vd_record_name_is_valid(record->tag), FALSE);
  vd_fields_save(file, GROUP, header_fields, G_N_ELEMENTS(header_fields), &header);
  vd_fields_save(file, GROUP, fields, G_N_ELEMENTS(fields), record);
  save_groups(file, record);
  save_facts(file, &record->facts);
  save_handles(file, record);
  save_parents(file, record);
  text = g_key_file_to_data(file, &length, NULL);
  if (length > RECORD_CEILING) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES,
                "The record of the attachment has %" G_GSIZE_FORMAT " bytes, more than %d", length,
                RECORD_CEILING);
    return FALSE;
  }
  folder = vd_record_folder_open(rundir, FOLDER, error);
  return folder >= 0 && vd_record_write(folder, record->tag, text, length, VD_RECORD_VOLATILE, error);
}

void vd_run_remove(const char *rundir, const char *tag)
{
  g_autoptr(GError) error = NULL;
  vd_autofd folder = vd_record_folder_open(rundir, FOLDER, &error);

  if (folder < 0 || !vd_record_unlink(folder, tag, VD_RECORD_VOLATILE, &error))
    g_warning("Record of a detached disk stays: %s", error ? error->message : "not a tag");
}

static const char *find_fault(const Header *header, const VdRunRecord *record)
{
  if (header->version != FORMAT_VERSION || header->facts_size != sizeof(VdFacts))
    return "another version wrote it";
  if (header->n_parents > VD_RUN_MAX_PARENTS)
    return "it has more parents than a chain";
  if (record->phase > VD_RUN_DETACHING)
    return "its phase is unknown";
  if (record->phase != VD_RUN_INTENT && (!record->device || !*record->device || strchr(record->device, '/')))
    return "it names no device";
  return NULL;
}

static gboolean load_document(GKeyFile *file, VdRunRecord *record, GError **error)
{
  Header header = {0};
  const char *fault;

  if (!vd_fields_load(file, GROUP, header_fields, G_N_ELEMENTS(header_fields), &header, error) ||
      !vd_fields_load(file, GROUP, fields, G_N_ELEMENTS(fields), record, error))
    return FALSE;
  fault = find_fault(&header, record);
  if (!fault && !load_groups(file, record))
    fault = "its groups are not a list of numbers";
  if (!fault && !load_facts(file, &record->facts))
    fault = "its facts have another size";
  if (fault) {
    g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, fault);
    return FALSE;
  }
  return load_handles(file, header.n_handles, record, error) &&
         load_parents(file, header.n_parents, record, error);
}

static gboolean load_record(const char *name, const char *text, gsize length, gpointer user_data,
                            GError **error)
{
  g_autoptr(VdRunRecord) record = vd_run_record_new(name);
  g_autoptr(GKeyFile) file = g_key_file_new();

  if (!g_key_file_load_from_data(file, text, length, G_KEY_FILE_NONE, error) ||
      !load_document(file, record, error))
    return FALSE;
  g_ptr_array_add(user_data, g_steal_pointer(&record));
  return TRUE;
}

GPtrArray *vd_run_load(const char *rundir)
{
  g_autoptr(GPtrArray) records = g_ptr_array_new_with_free_func((GDestroyNotify)vd_run_record_free);
  g_autoptr(GError) error = NULL;
  vd_autofd folder = vd_record_folder_open(rundir, FOLDER, &error);

  if (folder < 0)
    g_warning("No records of attachments: %s", error->message);
  else
    vd_record_foreach(folder, RECORD_CEILING, VD_RECORD_REMOVE_BROKEN, load_record, records);
  return g_steal_pointer(&records);
}

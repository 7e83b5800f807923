/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is on a disk, mounted as the user, and what there is to say of it. */
#include <sys/statvfs.h>

#include "mounts.h"
#include "udisks.h"
#include "work.h"

/* File systems that are mounted for one image at most; more of them are listed nowhere a person would look.
 */
#define MAX_FILE_SYSTEMS 32

typedef struct {
  const char *usage, *type, *uuid, *device, *part_type;
} Found;

typedef struct {
  GDBusConnection *bus;
  VirtdiskDisk *disk;
  VdOutcome *outcome;
  gboolean untrusted;
  guint n_mounted, n_failed, n_locked, n_bitlocker, n_fell_back, n_executable;
  GHashTable *seen; /* type and UUID of what was tried */
  GPtrArray *minor; /* element char*: folders of partitions that people do not look for */
  GError *first;    /* why the first that failed did */
} Mounting;

static Found found_read(GVariant *row)
{
  Found found = {"", "", "", "", ""};

  g_variant_lookup(row, "usage", "&s", &found.usage);
  g_variant_lookup(row, "type", "&s", &found.type);
  g_variant_lookup(row, "uuid", "&s", &found.uuid);
  g_variant_lookup(row, "device", "&s", &found.device);
  g_variant_lookup(row, "part-type", "&s", &found.part_type);
  return found;
}

/* EFI system partition, and Windows' recovery. */
static gboolean is_minor(const Found *found)
{
  return g_ascii_strcasecmp(found->part_type, "c12a7328-f81f-11d2-ba4b-00a0c93ec93b") == 0 ||
         g_ascii_strcasecmp(found->part_type, "de94bba4-06d1-4d40-a16a-bfd50179d6ac") == 0;
}

/* UDisks2 adds nosuid and nodev by itself; said all the same, since here they are not for it to drop. */
static const char *mount_options(const Mounting *self, gboolean read_only)
{
  if (self->untrusted)
    return read_only ? "ro,nosuid,nodev,noexec" : "nosuid,nodev,noexec";
  return read_only ? "ro,nosuid,nodev" : "nosuid,nodev";
}

static gboolean is_mounted_read_only(const char *folder)
{
  struct statvfs st;

  return statvfs(folder, &st) == 0 && (st.f_flag & ST_RDONLY) != 0;
}

static gboolean lets_programs_start(const char *folder)
{
  struct statvfs st;

  return statvfs(folder, &st) != 0 || (st.f_flag & ST_NOEXEC) == 0;
}

static char *mounted_already(const char *device)
{
  g_autoptr(GPtrArray) mounts = vd_mounts_of(device, VD_MOUNTS_ONLY);

  return mounts->len > 0 ? g_strdup(((const VdMount *)g_ptr_array_index(mounts, 0))->mountpoint) : NULL;
}

/* A file system that does not let itself be written to, such as an NTFS that Windows has not let go of, can
 * often be read. */
static char *mount_one(Mounting *self, const Found *found, GError **error)
{
  gboolean read_only = virtdisk_disk_get_read_only(self->disk);
  g_autoptr(GError) cause = NULL;
  char *folder = mounted_already(found->device);

  if (folder != NULL)
    return folder;
  folder = vd_udisks_mount(self->bus, found->device, found->uuid, mount_options(self, read_only), &cause);
  if (folder == NULL && !read_only && g_error_matches(cause, VD_UDISKS_ERROR, VD_UDISKS_FAILED))
    folder = vd_udisks_mount(self->bus, found->device, found->uuid, mount_options(self, TRUE), NULL);
  if (folder == NULL)
    g_propagate_error(error, g_steal_pointer(&cause));
  return folder;
}

static void add_file_system(Mounting *self, const Found *found)
{
  g_autoptr(GError) error = NULL;
  char *folder;

  /* Without UDisks2 the others would only wait in vain as well. */
  if (g_error_matches(self->first, VD_UDISKS_ERROR, VD_UDISKS_ABSENT) ||
      self->n_mounted + self->n_failed >= MAX_FILE_SYSTEMS) {
    self->n_failed++;
    return;
  }
  folder = mount_one(self, found, &error);
  if (folder == NULL) {
    self->n_failed++;
    if (self->first == NULL)
      self->first = g_steal_pointer(&error);
    return;
  }
  self->n_mounted++;
  if (!virtdisk_disk_get_read_only(self->disk) && is_mounted_read_only(folder))
    self->n_fell_back++;
  if (lets_programs_start(folder))
    self->n_executable++;
  g_ptr_array_add(is_minor(found) ? self->minor : self->outcome->folders, folder);
}

/* A disc image may hold one file system twice: as the disk, and as a partition that spans it. */
static gboolean is_another(Mounting *self, const Found *found)
{
  return *found->uuid == '\0' ||
         g_hash_table_add(self->seen, g_strconcat(found->type, " ", found->uuid, NULL));
}

static void add_found(Mounting *self, const Found *found)
{
  if (*found->device == '\0' || !is_another(self, found))
    return;
  if (g_str_equal(found->usage, "filesystem"))
    add_file_system(self, found);
  else if (g_ascii_strcasecmp(found->type, "BitLocker") == 0)
    self->n_bitlocker++;
  else if (g_str_equal(found->usage, "crypto"))
    self->n_locked++;
}

static VdSaying saying_of_failure(const GError *error)
{
  if (g_error_matches(error, VD_UDISKS_ERROR, VD_UDISKS_ABSENT))
    return VD_SAYING_NO_UDISKS;
  if (g_error_matches(error, VD_UDISKS_ERROR, VD_UDISKS_REFUSED))
    return VD_SAYING_MOUNT_REFUSED;
  return VD_SAYING_NOT_MOUNTED;
}

static VdSaying saying_of_mounted(const Mounting *self)
{
  if (self->n_fell_back > 0)
    return VD_SAYING_FELL_BACK;
  if (self->n_failed > 0)
    return VD_SAYING_SOME_NOT_MOUNTED;
  /* Somebody may have mounted it before, and otherwise. */
  if (self->untrusted && self->n_executable == 0)
    return VD_SAYING_OPENED_DOWNLOADED;
  return virtdisk_disk_get_read_only(self->disk) ? VD_SAYING_OPENED : VD_SAYING_OPENED_WRITABLE;
}

static VdSaying saying_of(const Mounting *self)
{
  if (self->n_mounted > 0)
    return saying_of_mounted(self);
  if (self->n_bitlocker > 0)
    return VD_SAYING_BITLOCKER;
  if (self->n_locked > 0)
    return VD_SAYING_ENCRYPTED;
  if (self->first != NULL)
    return saying_of_failure(self->first);
  return virtdisk_disk_get_read_only(self->disk) ? VD_SAYING_NO_FILE_SYSTEM : VD_SAYING_BLANK_WRITABLE;
}

/* The site's name alone: an address is long, and only its beginning says whom to trust. */
static char *site_of(const char *url)
{
  g_autoptr(GUri) uri = g_uri_parse(url, G_URI_FLAGS_ENCODED | G_URI_FLAGS_PARSE_RELAXED, NULL);
  const char *host = uri != NULL ? g_uri_get_host(uri) : NULL;

  return g_strdup(host != NULL && *host != '\0' ? host : url);
}

static char *place_of(const Mounting *self)
{
  GPtrArray *folders = self->outcome->folders;

  if (self->outcome->saying == VD_SAYING_OPENED_DOWNLOADED)
    return site_of(virtdisk_disk_get_origin_url(self->disk));
  return folders->len > 0 ? g_filename_display_name(g_ptr_array_index(folders, 0))
                          : g_strdup(virtdisk_disk_get_device(self->disk));
}

static void finish(Mounting *self)
{
  VdOutcome *outcome = self->outcome;

  if (outcome->folders->len == 0)
    g_ptr_array_extend_and_steal(outcome->folders, g_steal_pointer(&self->minor));
  outcome->saying = saying_of(self);
  outcome->place = place_of(self);
  if (self->first != NULL)
    vd_outcome_set_reason(outcome, self->first);
}

void vd_work_mount(VirtdiskClient *client, VirtdiskDisk *disk, VdOutcome *outcome)
{
  g_autoptr(GVariant) file_systems = virtdisk_disk_get_file_systems(disk);
  Mounting self = {.bus = virtdisk_client_get_connection(client),
                   .disk = disk,
                   .outcome = outcome,
                   .untrusted = *virtdisk_disk_get_origin_url(disk) != '\0',
                   .seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL),
                   .minor = g_ptr_array_new_with_free_func(g_free)};

  outcome->device = g_strdup(virtdisk_disk_get_device(disk));
  for (gsize i = 0; i < g_variant_n_children(file_systems); i++) {
    g_autoptr(GVariant) row = g_variant_get_child_value(file_systems, i);
    Found found = found_read(row);

    add_found(&self, &found);
  }
  finish(&self);
  g_hash_table_unref(self.seen);
  g_clear_pointer(&self.minor, g_ptr_array_unref);
  g_clear_error(&self.first);
}

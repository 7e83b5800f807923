/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* rundir/workers/TAG.conf: what a restarted service needs to find a worker, or to make another if both ended.
 * Only root writes there; what does not parse is removed. */
#include "attach/serving-record.h"

#include <errno.h>
#include <glib/gstdio.h>
#include <string.h>

#include "util/ublk-abi.h"
#include "virtdisk-error.h"

#define GROUP "Worker"
#define SUFFIX ".conf"
#define MAX_RECORD_BYTES (1 << 20)

char *vd_serving_record_path(const char *rundir, const char *tag, const char *suffix)
{
  g_autofree char *file = g_strconcat(tag, suffix, NULL);

  return g_build_filename(rundir, "workers", file, NULL);
}

static void put_u64(GKeyFile *file, const char *key, guint64 value)
{
  g_key_file_set_uint64(file, GROUP, key, value);
}

static void put_images(GKeyFile *file, const VdServing *self)
{
  for (gsize i = 0; i < self->n_images; i++) {
    const VdServingImage *image = &self->images[i];
    g_autofree char *group = g_strdup_printf("Image %" G_GSIZE_FORMAT, i);
    g_autofree char *path = g_uri_escape_string(image->path, "/", FALSE);

    g_key_file_set_string(file, group, "Path", path);
    g_key_file_set_uint64(file, group, "Dev", image->dev);
    g_key_file_set_uint64(file, group, "Ino", image->ino);
  }
}

#define CHANGES "Changes"

static void put_changes(GKeyFile *file, const VdServing *self)
{
  g_autofree char *path = NULL;

  if (self->changes.path == NULL)
    return;
  path = g_uri_escape_string(self->changes.path, "/", FALSE);
  g_key_file_set_string(file, CHANGES, "Path", path);
  g_key_file_set_uint64(file, CHANGES, "Dev", self->changes.dev);
  g_key_file_set_uint64(file, CHANGES, "Ino", self->changes.ino);
  g_key_file_set_uint64(file, CHANGES, "ImageDev", self->changes_dev);
  g_key_file_set_uint64(file, CHANGES, "ImageIno", self->changes_ino);
}

static GKeyFile *compose(const VdServing *self)
{
  GKeyFile *file = g_key_file_new();
  const VdServeSetup *setup = &self->setup;

  put_u64(file, "Transport", setup->transport);
  put_u64(file, "Flags", setup->flags);
  put_u64(file, "DeviceId", setup->device_id);
  put_u64(file, "Depth", setup->depth);
  put_u64(file, "MaxIo", setup->max_io);
  put_u64(file, "SectorSize", setup->sector_size);
  put_u64(file, "Size", setup->size);
  put_u64(file, "Offset", setup->offset);
  put_u64(file, "UblkId", self->ublk_id);
  put_u64(file, "DiskSeq", self->diskseq);
  put_u64(file, "Pid", (guint64)self->pid);
  put_u64(file, "Images", self->n_images);
  g_key_file_set_string(file, GROUP, "Program", self->program);
  if (self->user_argument != NULL)
    g_key_file_set_string(file, GROUP, "User", self->user_argument);
  if (self->name != NULL)
    g_key_file_set_string(file, GROUP, "Device", self->name);
  put_images(file, self);
  put_changes(file, self);
  return file;
}

/* Whole or not at all for whoever reads it after us. Nothing of it outlives the kernel, so nothing waits for
 * a disk. */
static gboolean replace_file(const char *path, const char *text, gsize length, GError **error)
{
  g_autofree char *fresh = g_strconcat(path, ".new", NULL);

  if (!g_file_set_contents_full(fresh, text, (gssize)length, G_FILE_SET_CONTENTS_NONE, 0600, error))
    return FALSE;
  if (g_rename(fresh, path) == 0)
    return TRUE;
  g_set_error(error, G_FILE_ERROR, g_file_error_from_errno(errno), "%s: %s", path, g_strerror(errno));
  g_unlink(fresh);
  return FALSE;
}

gboolean vd_serving_save(VdServing *self, GError **error)
{
  g_autoptr(GMutexLocker) locked = g_mutex_locker_new(&self->lock);
  g_autoptr(GKeyFile) file = compose(self);
  g_autofree char *path = vd_serving_record_path(self->rundir, self->tag, SUFFIX);
  g_autofree char *text = NULL;
  g_autoptr(GError) cause = NULL;
  gsize length;

  text = g_key_file_to_data(file, &length, NULL);
  if (replace_file(path, text, length, &cause))
    return TRUE;
  g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_IO, "%s", cause->message);
  return FALSE;
}

void vd_serving_forget(VdServing *self)
{
  g_autofree char *path = vd_serving_record_path(self->rundir, self->tag, SUFFIX);

  g_unlink(self->socket_path);
  g_unlink(path);
}

/* Reading: a key that is missing or out of its range makes the record unsound. */

typedef struct {
  GKeyFile *file;
  gboolean sound;
} Reader;

static guint64 get_u64(Reader *reader, const char *group, const char *key, guint64 max)
{
  g_autoptr(GError) error = NULL;
  guint64 value = g_key_file_get_uint64(reader->file, group, key, &error);

  if (error != NULL || value > max)
    reader->sound = FALSE;
  return value;
}

static void get_setup(Reader *reader, VdServeSetup *setup)
{
  setup->transport = (guint32)get_u64(reader, GROUP, "Transport", VD_TRANSPORT_LAST);
  setup->flags = (guint32)get_u64(reader, GROUP, "Flags", G_MAXUINT32);
  setup->device_id = (guint32)get_u64(reader, GROUP, "DeviceId", G_MAXUINT32);
  setup->depth = (guint32)get_u64(reader, GROUP, "Depth", VD_SERVE_MAX_DEPTH);
  setup->max_io = (guint32)get_u64(reader, GROUP, "MaxIo", VD_SERVE_MAX_IO);
  setup->sector_size = (guint32)get_u64(reader, GROUP, "SectorSize", 4096);
  setup->size = get_u64(reader, GROUP, "Size", G_MAXINT64);
  setup->offset = get_u64(reader, GROUP, "Offset", G_MAXINT64);
}

static void get_images(Reader *reader, VdServing *self)
{
  gsize n = (gsize)get_u64(reader, GROUP, "Images", VD_MAX_CHAIN);

  if (!reader->sound)
    return;
  self->images = g_new0(VdServingImage, n);
  for (gsize i = 0; i < n; i++)
    self->images[i].fd = -1;
  self->n_images = n;
  for (gsize i = 0; i < n; i++) {
    g_autofree char *group = g_strdup_printf("Image %" G_GSIZE_FORMAT, i);
    g_autofree char *path = g_key_file_get_string(reader->file, group, "Path", NULL);

    self->images[i].path = path != NULL ? g_uri_unescape_string(path, NULL) : NULL;
    self->images[i].dev = (dev_t)get_u64(reader, group, "Dev", G_MAXUINT64);
    self->images[i].ino = (ino_t)get_u64(reader, group, "Ino", G_MAXUINT64);
    if (self->images[i].path == NULL)
      reader->sound = FALSE;
  }
}

static void get_changes(Reader *reader, VdServing *self)
{
  g_autofree char *path = g_key_file_get_string(reader->file, CHANGES, "Path", NULL);

  if (path == NULL)
    return;
  self->changes.path = g_uri_unescape_string(path, NULL);
  self->changes.dev = (dev_t)get_u64(reader, CHANGES, "Dev", G_MAXUINT64);
  self->changes.ino = (ino_t)get_u64(reader, CHANGES, "Ino", G_MAXUINT64);
  self->changes_dev = (dev_t)get_u64(reader, CHANGES, "ImageDev", G_MAXUINT64);
  self->changes_ino = (ino_t)get_u64(reader, CHANGES, "ImageIno", G_MAXUINT64);
}

static VdServing *load_one(const char *rundir, const char *tag, const char *path)
{
  g_autoptr(GKeyFile) file = g_key_file_new();
  Reader reader = {file, TRUE};
  g_autoptr(VdServing) self = vd_serving_alloc(rundir, tag);

  if (!g_key_file_load_from_file(file, path, G_KEY_FILE_NONE, NULL))
    return NULL;
  get_setup(&reader, &self->setup);
  get_images(&reader, self);
  get_changes(&reader, self);
  self->ublk_id = (guint32)get_u64(&reader, GROUP, "UblkId", G_MAXUINT32);
  self->diskseq = get_u64(&reader, GROUP, "DiskSeq", G_MAXUINT64);
  self->pid = (pid_t)get_u64(&reader, GROUP, "Pid", G_MAXINT);
  self->program = g_key_file_get_string(file, GROUP, "Program", NULL);
  self->user_argument = g_key_file_get_string(file, GROUP, "User", NULL);
  self->name = g_key_file_get_string(file, GROUP, "Device", NULL);
  return reader.sound && self->program != NULL ? g_steal_pointer(&self) : NULL;
}

static gboolean is_tag(const char *text)
{
  return *text != '\0' && strlen(text) <= VD_MAX_TAG_LENGTH && text[strspn(text, "0123456789abcdef")] == '\0';
}

GPtrArray *vd_serving_load(const char *rundir, VdTransport transport)
{
  GPtrArray *found = g_ptr_array_new_with_free_func((GDestroyNotify)vd_serving_unref);
  g_autofree char *folder = g_build_filename(rundir, "workers", NULL);
  g_autoptr(GDir) dir = g_dir_open(folder, 0, NULL);
  const char *entry;

  while (dir != NULL && (entry = g_dir_read_name(dir)) != NULL) {
    g_autofree char *path = g_build_filename(folder, entry, NULL);
    g_autofree char *tag = NULL;
    VdServing *serving;

    if (!g_str_has_suffix(entry, SUFFIX))
      continue;
    tag = g_strndup(entry, strlen(entry) - strlen(SUFFIX));
    serving = is_tag(tag) ? load_one(rundir, tag, path) : NULL;
    if (serving != NULL && serving->setup.transport == (guint32)transport) {
      g_ptr_array_add(found, serving);
    } else if (serving != NULL) {
      vd_serving_unref(serving);
    } else {
      g_warning("%s is no record of a worker: removed", path);
      g_unlink(path);
    }
  }
  return found;
}

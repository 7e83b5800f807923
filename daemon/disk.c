/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "disk.h"

#include "names.h"

void vd_disk_attachment_free(VdDiskAttachment *self)
{
  if (self == NULL)
    return;
  g_clear_handle_id(&self->grace_source, g_source_remove);
  if (self->charge != NULL)
    self->free_charge(self->charge);
  g_clear_pointer(&self->device, vd_device_unref);
  g_clear_pointer(&self->parents, g_ptr_array_unref);
  g_clear_pointer(&self->chain, vd_chain_free);
  g_clear_pointer(&self->image, vd_image_unref);
  g_clear_pointer(&self->owner, vd_identity_unref);
  g_free(self->session);
  g_free(self->tag);
  g_free(self);
}

void vd_disk_learn(VdDisk *self, const VdImage *image)
{
  self->image_uid = image->st.st_uid;
  self->image_gid = image->st.st_gid;
  self->image_mode = image->st.st_mode;
  self->remote = image->remote;
}

void vd_disk_set_image(VdDisk *self, const VdImage *image)
{
  g_free(self->path);
  g_free(self->display);
  g_free(self->origin_url);
  self->image_dev = image->st.st_dev;
  self->image_ino = image->st.st_ino;
  self->path = g_strdup(image->path);
  self->display = g_strdup(image->display);
  self->device_id = image->device_id;
  self->origin_url = g_strdup(image->origin_url);
  vd_disk_learn(self, image);
}

VdDisk *vd_disk_new(const VdImage *image)
{
  VdDisk *self = g_new0(VdDisk, 1);

  g_atomic_ref_count_init(&self->refs);
  self->handles = g_ptr_array_new();
  self->readers = g_ptr_array_new();
  if (image == NULL)
    return self;
  vd_disk_set_image(self, image);
  return self;
}

VdDisk *vd_disk_ref(VdDisk *self)
{
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

void vd_disk_unref(VdDisk *self)
{
  if (!g_atomic_ref_count_dec(&self->refs))
    return;
  vd_disk_attachment_free(self->attachment);
  g_ptr_array_unref(self->handles);
  g_ptr_array_unref(self->readers);
  g_free(self->path);
  g_free(self->display);
  g_free(self->origin_url);
  g_free(self);
}

gboolean vd_disk_step(VdDisk *self, VdDiskEvent event)
{
  VdDiskState next;
  g_autofree char *uid = NULL;

  if (!vd_disk_states_next(self->state, event, &next))
    return FALSE;
  uid = g_strdup_printf("%u", self->attachment != NULL && self->attachment->owner != NULL
                                  ? (guint)self->attachment->owner->uid
                                  : (guint)VD_UID_INVALID);
  g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_INFO, VD_LOG_IMAGE, self->display, VD_LOG_UID, uid, "MESSAGE",
                   "image=%s %s -> %s (%s, uid %s)", self->display, vd_disk_state_name(self->state),
                   vd_disk_state_name(next), vd_disk_event_name(event), uid);
  self->state = next;
  return TRUE;
}

guint vd_disk_count_handles(VdDisk *self, const VdHandle *except)
{
  guint n = 0;

  for (guint i = 0; i < self->handles->len; i++) {
    const VdHandle *handle = g_ptr_array_index(self->handles, i);

    n += handle != except && !handle->opening;
  }
  return n;
}

const char *vd_disk_state_word(VdDisk *self)
{
  switch (self->state) {
  case VD_DISK_ATTACHED:
    return vd_disk_count_handles(self, NULL) > 0 ? "attached" : "attached-not-open";
  case VD_DISK_DETACHING:
  case VD_DISK_DETACH_PENDING:
    return "detach-pending";
  default:
    return vd_disk_state_name(self->state);
  }
}

guint64 vd_disk_physical_size(VdDisk *self)
{
  guint64 size, allocated;

  for (guint i = 0; i < self->handles->len; i++) {
    const VdHandle *handle = g_ptr_array_index(self->handles, i);

    if (handle->image != NULL && vd_image_sizes(handle->image, &size, &allocated))
      self->physical_size = allocated;
  }
  return self->physical_size;
}

const char *vd_disk_format(VdDisk *self)
{
  return vd_device_id_to_format(self->device_id);
}

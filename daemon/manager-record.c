/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* An attached disk as a record in /run, and back. */
#include "manager-mirror.h"
#include "manager-private.h"

static void record_owner(VdRunRecord *record, const VdIdentity *owner)
{
  record->uid = owner->uid;
  record->gid = owner->gid;
  record->groups = g_memdup2(owner->groups, owner->n_groups * sizeof *owner->groups);
  record->n_groups = owner->n_groups;
  record->pid = owner->pid;
  record->bus_name = g_strdup(owner->bus_name);
}

static void record_handles(VdRunRecord *record, VdDisk *disk)
{
  for (guint i = 0; i < disk->handles->len; i++) {
    const VdHandle *handle = g_ptr_array_index(disk->handles, i);
    VdRunHandle *copy;

    /* Only the attachment's owner is found again after a restart; handles of others end with the service. */
    if (handle->opening || handle->withheld ||
        g_strcmp0(handle->owner->bus_name, disk->attachment->owner->bus_name) != 0)
      continue;
    copy = g_new0(VdRunHandle, 1);
    copy->id = g_strdup(handle->id);
    copy->version = handle->rights.version;
    copy->rights = handle->rights.mask;
    copy->attacher = handle->attacher;
    g_ptr_array_add(record->handles, copy);
  }
}

static void record_mirror(VdRunRecord *record, const VdDiskAttachment *a)
{
  const VdImage *mirror = vd_mirror_is_breaking(a) ? vd_mirror_get_image(a) : NULL;

  if (mirror == NULL)
    return;
  record->mirror_path = g_strdup(mirror->path);
  record->mirror_dev = mirror->st.st_dev;
  record->mirror_ino = mirror->st.st_ino;
  record->mirror_uid = mirror->st.st_uid;
}

static void record_parents(VdRunRecord *record, const GPtrArray *parents)
{
  for (guint i = 0; parents != NULL && i < parents->len; i++) {
    const VdParent *parent = g_ptr_array_index(parents, i);

    vd_run_record_add_parent(record, parent->path, parent->dev, parent->ino, parent->write);
  }
}

gboolean vd_manager_save_record(VdManager *self, VdDisk *disk, VdRunPhase phase, GError **error)
{
  const VdDiskAttachment *a = disk->attachment;
  g_autoptr(VdRunRecord) record = vd_run_record_new(a->tag);

  record->phase = phase;
  record->path = g_strdup(disk->path);
  record->origin_url = g_strdup(disk->origin_url);
  record->image_dev = disk->image_dev;
  record->image_ino = disk->image_ino;
  record->image_uid = disk->image_uid;
  record->remote = disk->remote;
  record->physical_size = vd_disk_physical_size(disk);
  record->lifetime = g_strdup(vd_lifetime_to_string(a->plan.lifetime));
  record->session = g_strdup(a->session);
  record->detach_on_unmount = a->plan.detach_on_unmount;
  record->was_mounted = a->was_mounted;
  record->attach_flags = a->plan.flags;
  record->opened_read_only = a->opened_read_only;
  record->attached_at = a->attached_at;
  record->bus_id = g_strdup(self->bus_id);
  record->facts = disk->facts;
  if (a->device != NULL) {
    record->device = g_strdup(vd_device_get_info(a->device)->name);
    record->diskseq = vd_device_get_info(a->device)->diskseq;
    record->settled = vd_device_get_info(a->device)->settled;
  }
  record_owner(record, a->owner);
  record_handles(record, disk);
  record_parents(record, a->parents);
  record_mirror(record, a);
  return vd_run_save(self->rundir, record, error);
}

void vd_manager_update_record(VdManager *self, VdDisk *disk)
{
  g_autoptr(GError) error = NULL;
  VdRunPhase phase = disk->state == VD_DISK_ATTACH_PENDING ? VD_RUN_INTENT
                     : disk->state == VD_DISK_ATTACHED     ? VD_RUN_ATTACHED
                                                           : VD_RUN_DETACHING;

  if (disk->attachment != NULL && !vd_manager_save_record(self, disk, phase, &error))
    g_log_structured(G_LOG_DOMAIN, G_LOG_LEVEL_WARNING, "MESSAGE", "%s: the record in %s was not renewed: %s",
                     disk->display, self->rundir, error->message);
}

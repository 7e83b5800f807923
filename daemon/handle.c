/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handle.h"

#include "disk.h"

VdHandle *vd_handle_ref(VdHandle *self)
{
  g_atomic_ref_count_inc(&self->refs);
  return self;
}

void vd_handle_unref(VdHandle *self)
{
  if (!g_atomic_ref_count_dec(&self->refs))
    return;
  if (self->charge != NULL)
    self->free_charge(self->charge);
  g_clear_object(&self->job);
  g_clear_pointer(&self->chain, vd_chain_free);
  g_clear_pointer(&self->image, vd_image_unref);
  g_clear_pointer(&self->owner, vd_identity_unref);
  g_clear_pointer(&self->disk, vd_disk_unref);
  g_free(self->id);
  g_free(self);
}

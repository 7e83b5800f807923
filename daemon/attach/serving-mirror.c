/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The mirror of a serving: what changes of its images and its set-up while no worker serves them. */
#include <string.h>

#include "attach/serving.h"
#include "util/cleanup.h"
#include "util/offload.h"
#include "virtdisk-error.h"

#define FLAGS (VD_SERVE_MIRROR | VD_SERVE_MIRROR_OLD)

static gboolean has_mirror(const VdServing *self)
{
  return (self->setup.flags & VD_SERVE_MIRROR) != 0 && self->n_images > 1;
}

gboolean vd_serving_add_mirror(VdServing *self, int fd, VdMirrorTo over, GError **error)
{
  VdServingImage image = {.fd = -1};

  if (has_mirror(self)) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_BUSY, "%s has a mirror already", self->images[0].path);
    return FALSE;
  }
  if (!vd_serving_image_init(&image, fd, error)) {
    vd_clear_fd(&image.fd);
    return FALSE;
  }
  self->images = g_renew(VdServingImage, self->images, self->n_images + 1);
  memmove(self->images + 2, self->images + 1, (self->n_images - 1) * sizeof *self->images);
  self->images[1] = image;
  self->n_images++;
  self->setup.flags |= over == VD_MIRROR_TO_OLD ? FLAGS : VD_SERVE_MIRROR;
  return TRUE;
}

/* Its server may take its time over a close. */
static void image_clear(VdServingImage *image)
{
  if (image->fd >= 0)
    vd_offload_close(vd_steal_fd(&image->fd));
  g_free(image->path);
}

static VdServingImage take_out(VdServing *self, gsize index)
{
  VdServingImage image = self->images[index];

  self->n_images--;
  memmove(self->images + index, self->images + index + 1, (self->n_images - index) * sizeof *self->images);
  self->setup.flags &= ~(guint32)FLAGS;
  return image;
}

void vd_serving_drop_mirror(VdServing *self)
{
  VdServingImage mirror;

  if (!has_mirror(self)) {
    self->setup.flags &= ~(guint32)FLAGS;
    return;
  }
  mirror = take_out(self, 1);
  image_clear(&mirror);
}

gboolean vd_serving_take_mirror(VdServing *self, GError **error)
{
  guint32 flags = self->setup.flags;
  VdServingImage old;

  g_return_val_if_fail(has_mirror(self), FALSE);
  old = take_out(self, 0);
  if (vd_serving_save(self, error)) {
    image_clear(&old);
    return TRUE;
  }
  self->n_images++;
  memmove(self->images + 1, self->images, (self->n_images - 1) * sizeof *self->images);
  self->images[0] = old;
  self->setup.flags = flags;
  return FALSE;
}

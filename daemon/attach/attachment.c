/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "attach/attachment.h"

#include "util/cleanup.h"

VdAttachment *vd_attachment_new(const char *rundir)
{
  VdAttachment *self = g_new0(VdAttachment, 1);

  self->rundir = g_strdup(rundir);
  self->hold_fd = self->client_fd = -1;
  return self;
}

VdAttachment *vd_attachment_copy(const VdAttachment *self)
{
  VdAttachment *copy = g_memdup2(self, sizeof *self);

  copy->tag = g_strdup(self->tag);
  copy->name = g_strdup(self->name);
  copy->path = g_strdup(self->path);
  copy->rundir = g_strdup(self->rundir);
  copy->serving = self->serving != NULL ? vd_serving_ref(self->serving) : NULL;
  copy->hold_fd = copy->client_fd = -1;
  return copy;
}

void vd_attachment_free(VdAttachment *self)
{
  if (self == NULL)
    return;
  vd_clear_fd(&self->hold_fd);
  vd_clear_fd(&self->client_fd);
  vd_serving_unref(self->serving);
  g_free(self->tag);
  g_free(self->name);
  g_free(self->path);
  g_free(self->rundir);
  g_free(self);
}

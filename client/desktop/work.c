/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "work.h"

#include <string.h>

VdOutcome *vd_outcome_new(const char *path)
{
  VdOutcome *self = g_new0(VdOutcome, 1);

  self->saying = VD_SAYING_FAILED;
  self->path = g_strdup(path);
  self->folders = g_ptr_array_new_with_free_func(g_free);
  return self;
}

void vd_outcome_free(VdOutcome *self)
{
  g_clear_object(&self->handle);
  g_ptr_array_unref(self->folders);
  g_free(self->path);
  g_free(self->place);
  g_free(self->reason);
  g_free(self->device);
  g_free(self);
}

/* As a part of a sentence: without its full stop, and without the code that programs go by. (transfer full)
 */
static char *reason_of(const char *message)
{
  g_autofree char *text = g_utf8_make_valid(message, -1);
  char *code = g_strrstr(text, " (ERROR_");

  if (code != NULL && g_str_has_suffix(code, ")"))
    *code = '\0';
  if (g_str_has_suffix(text, "."))
    text[strlen(text) - 1] = '\0';
  return g_steal_pointer(&text);
}

void vd_outcome_set_reason(VdOutcome *self, const GError *error)
{
  g_free(self->reason);
  self->reason = reason_of(error->message);
}

void vd_outcome_fail(VdOutcome *self, GError *error)
{
  self->saying = vd_saying_of_error(error);
  vd_outcome_set_reason(self, error);
  g_error_free(error);
}

static char *fill(const VdOutcome *self, const char *pattern)
{
  g_autofree char *base = g_path_get_basename(self->path);
  g_autofree char *name = g_filename_display_name(base);
  const VdBlanks blanks = {name, self->place, self->reason};

  return vd_message_fill(pattern, &blanks);
}

char *vd_outcome_summary(const VdOutcome *self)
{
  return fill(self, vd_message_get(self->saying)->summary);
}

char *vd_outcome_body(const VdOutcome *self)
{
  return fill(self, vd_message_get(self->saying)->body);
}

VdOutcome *vd_work_do(VirtdiskClient *client, VdDeed deed, const char *path, VirtdiskHandle *handle)
{
  VdOutcome *outcome = vd_outcome_new(path);

  switch (deed) {
  case VD_DEED_OPEN:
  case VD_DEED_OPEN_WRITABLE:
    vd_work_open(client, deed, outcome);
    break;
  case VD_DEED_EJECT:
    vd_work_eject(client, handle, outcome);
    break;
  case VD_DEED_CHECK:
    vd_work_check(client, outcome);
    break;
  case VD_DEED_COMPACT:
    vd_work_compact(client, outcome);
    break;
  case VD_DEED_CREATE:
    vd_work_create(client, outcome);
    break;
  }
  return outcome;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "arguments.h"

static const struct {
  const char *option;
  VdDeed deed;
} deeds[] = {
    {"writable", VD_DEED_OPEN_WRITABLE}, {"eject", VD_DEED_EJECT},   {"check", VD_DEED_CHECK},
    {"compact", VD_DEED_COMPACT},        {"create", VD_DEED_CREATE},
};

static const GOptionEntry entries[] = {
    {"writable", 'w', 0, G_OPTION_ARG_NONE, NULL, "Open with write access", NULL},
    {"eject", 'e', 0, G_OPTION_ARG_NONE, NULL, "Unmount and detach what was opened", NULL},
    {"check", 0, 0, G_OPTION_ARG_NONE, NULL, "Look for faults of the image, change nothing", NULL},
    {"compact", 0, 0, G_OPTION_ARG_NONE, NULL, "Make the file as small as its contents allow", NULL},
    {"create", 0, 0, G_OPTION_ARG_NONE, NULL, "Create a disk image in the folder FILE", NULL},
    {"version", 0, 0, G_OPTION_ARG_NONE, NULL, "Print the version", NULL},
    {G_OPTION_REMAINING, 0, 0, G_OPTION_ARG_FILENAME_ARRAY, NULL, NULL, "FILE..."},
    {NULL},
};

const GOptionEntry *vd_arguments_get_entries(void)
{
  return entries;
}

void vd_arguments_free(VdArguments *self)
{
  g_strfreev(self->files);
  g_free(self);
}

static gboolean read_deed(GVariantDict *options, VdDeed *ret_deed, GError **error)
{
  const char *first = NULL;

  *ret_deed = VD_DEED_OPEN;
  for (gsize i = 0; i < G_N_ELEMENTS(deeds); i++) {
    if (!g_variant_dict_contains(options, deeds[i].option))
      continue;
    if (first != NULL) {
      g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "--%s and --%s exclude each other", first,
                  deeds[i].option);
      return FALSE;
    }
    first = deeds[i].option;
    *ret_deed = deeds[i].deed;
  }
  return TRUE;
}

VdArguments *vd_arguments_new(GVariantDict *options, GError **error)
{
  g_autoptr(VdArguments) self = g_new0(VdArguments, 1);

  if (!read_deed(options, &self->deed, error))
    return NULL;
  g_variant_dict_lookup(options, G_OPTION_REMAINING, "^aay", &self->files);
  if (self->files != NULL && self->files[0] != NULL)
    return g_steal_pointer(&self);
  g_set_error_literal(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, "Which file? None was given");
  return NULL;
}

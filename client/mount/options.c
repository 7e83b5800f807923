/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "mount/options.h"

#include <string.h>

#include "choose.h"
#include "exit.h"
#include "values.h"

void vd_mount_options_free(VdMountOptions *self)
{
  g_free(self->partition);
  g_free(self->fstype);
  g_free(self->route);
  g_free(self->rest);
  g_free(self);
}

/* At commas, but not at those in double quotes (SELinux contexts). */
static GPtrArray *split(const char *text)
{
  GPtrArray *words = g_ptr_array_new_with_free_func(g_free);
  gboolean quoted = FALSE;
  const char *start = text;

  for (const char *c = text;; c++) {
    if (*c == '"')
      quoted = !quoted;
    if (*c != '\0' && (*c != ',' || quoted))
      continue;
    if (c > start)
      g_ptr_array_add(words, g_strndup(start, (gsize)(c - start)));
    if (*c == '\0')
      return words;
    start = c + 1;
  }
}

/* What mount(8), systemd or somebody else reads in fstab; no file system knows it. */
static gboolean is_of_fstab(const char *word)
{
  static const char *const words[] = {"auto",   "defaults", "group",   "loop",    "noauto",
                                      "nofail", "nouser",   "nogroup", "noowner", "owner",
                                      "user",   "users",    "_netdev", "comment", NULL};
  static const char *const prefixes[] = {
      "comment=", "helper=", "loop=", "uhelper=", "user=", "x-", "X-", NULL};

  if (g_strv_contains(words, word))
    return TRUE;
  for (gsize i = 0; prefixes[i] != NULL; i++)
    if (g_str_has_prefix(word, prefixes[i]))
      return TRUE;
  return FALSE;
}

/* What mount(8) says that they imply; later options may take it back. */
static const char *implied_by(const char *word)
{
  if (g_str_equal(word, "user") || g_str_equal(word, "users") || g_str_has_prefix(word, "user="))
    return "nosuid,nodev,noexec";
  if (g_str_equal(word, "owner") || g_str_equal(word, "group"))
    return "nosuid,nodev";
  return NULL;
}

static gboolean set_access(VdMountOptions *self, const char *value, GError **error)
{
  if (g_str_equal(value, "ro"))
    self->access = VD_ACCESS_READ_ONLY;
  else if (g_str_equal(value, "rw"))
    self->access = VD_ACCESS_READ_WRITE;
  else
    g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
                "\"%s\" is no value for access=; expected ro or rw", value);
  return self->access != VD_ACCESS_AS_MOUNTED;
}

static gboolean set_sector_size(VdMountOptions *self, const char *value, GError **error)
{
  guint64 size = 0;

  if (g_ascii_string_to_unsigned(value, 10, 512, 4096, &size, NULL) && (size & (size - 1)) == 0) {
    self->sector_size = (guint)size;
    return TRUE;
  }
  g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
              "\"%s\" is no value for sector-size=; expected 512, 1024, 2048 or 4096", value);
  return FALSE;
}

static void replace(char **place, const char *value)
{
  g_free(*place);
  *place = g_strdup(value);
}

/* ret_ours: the word was one of ours. */
static gboolean take(VdMountOptions *self, const char *word, gboolean *ret_ours, GError **error)
{
  const char *equals = strchr(word, '='), *value = equals != NULL ? equals + 1 : "";
  g_autofree char *key = equals != NULL ? g_strndup(word, (gsize)(equals - word)) : g_strdup(word);

  *ret_ours = TRUE;
  if (g_str_equal(word, "cached-io")) {
    self->cached = TRUE;
  } else if (equals != NULL && g_str_equal(key, "access")) {
    return set_access(self, value, error);
  } else if (equals != NULL && g_str_equal(key, "partition")) {
    replace(&self->partition, value);
    return vd_mount_check_partition(value, error);
  } else if (equals != NULL && (g_str_equal(key, "fstype") || g_str_equal(key, "type"))) {
    replace(&self->fstype, value);
  } else if (equals != NULL && g_str_equal(key, "route")) {
    replace(&self->route, value);
    return vd_value_check_route("route=", value, error);
  } else if (equals != NULL && g_str_equal(key, "format")) {
    return vd_value_parse_format("format=", value, &self->device_id, &self->vendor, error);
  } else if (equals != NULL && g_str_equal(key, "sector-size")) {
    return set_sector_size(self, value, error);
  } else {
    *ret_ours = FALSE;
  }
  return TRUE;
}

static void append(GString *rest, const char *word)
{
  if (rest->len > 0)
    g_string_append_c(rest, ',');
  g_string_append(rest, word);
}

static gboolean add(VdMountOptions *self, const char *word, GString *rest, GError **error)
{
  const char *implied = implied_by(word);
  gboolean ours;

  if (!take(self, word, &ours, error))
    return FALSE;
  if (g_str_equal(word, "nofail"))
    self->nofail = TRUE;
  if (g_str_equal(word, "ro") || g_str_equal(word, "rw"))
    self->read_only = g_str_equal(word, "ro");
  else if (implied != NULL)
    append(rest, implied);
  else if (!ours && !is_of_fstab(word))
    append(rest, word);
  return TRUE;
}

VdMountOptions *vd_mount_options_parse(const char *text, GError **error)
{
  g_autoptr(VdMountOptions) self = g_new0(VdMountOptions, 1);
  g_autoptr(GPtrArray) words = split(text != NULL ? text : "");
  g_autoptr(GString) rest = g_string_new(NULL);

  for (guint i = 0; i < words->len; i++)
    if (!add(self, g_ptr_array_index(words, i), rest, error))
      return NULL;
  /* mount(8) says rw where nobody said anything, so that does not contradict. */
  self->read_only |= self->access == VD_ACCESS_READ_ONLY;
  self->rest = g_strconcat(self->read_only ? "ro" : "rw", rest->len > 0 ? "," : "", rest->str, NULL);
  return g_steal_pointer(&self);
}

/* LABEL=x: the key of FileSystems, and x. NULL: a number. */
static const char *tag_of(const char *partition, const char **ret_value)
{
  static const struct {
    const char *tag, *key;
  } tags[] = {
      {"LABEL=", "label"}, {"UUID=", "uuid"}, {"PARTLABEL=", "part-name"}, {"PARTUUID=", "part-uuid"}};

  for (gsize i = 0; i < G_N_ELEMENTS(tags); i++)
    if (g_str_has_prefix(partition, tags[i].tag)) {
      *ret_value = partition + strlen(tags[i].tag);
      return tags[i].key;
    }
  return NULL;
}

gboolean vd_mount_check_partition(const char *partition, GError **error)
{
  const char *value = "";

  if (tag_of(partition, &value) != NULL ? *value != '\0'
                                        : g_ascii_string_to_unsigned(partition, 10, 0, 1024, NULL, NULL))
    return TRUE;
  g_set_error(error, G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE,
              "\"%s\" is no value for partition=; expected a number (0 is the whole disk), or LABEL=, UUID=, "
              "PARTLABEL= or PARTUUID= and what it is to be",
              partition);
  return FALSE;
}

/* Identifiers are written in either case. */
static gboolean has(GVariant *entry, const char *key, const char *value)
{
  const char *found = "";

  g_variant_lookup(entry, key, "&s", &found);
  return g_str_has_suffix(key, "uuid") ? g_ascii_strcasecmp(found, value) == 0 : g_str_equal(found, value);
}

static char *choose_tagged(GVariant *file_systems, const char *device, const char *key, const char *value,
                           const char *partition, GError **error)
{
  gint number = VD_PARTITION_ANY;
  guint n = 0;

  for (gsize i = 0; i < g_variant_n_children(file_systems); i++) {
    g_autoptr(GVariant) entry = g_variant_get_child_value(file_systems, i);
    guint32 found = 0;

    if (!has(entry, key, value))
      continue;
    g_variant_lookup(entry, "partition", "u", &found);
    number = (gint)found;
    n++;
  }
  if (n == 1)
    return vd_choose_file_system(file_systems, device, number, error);
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_FOUND, "%s has %s partition with %s", device,
              n == 0 ? "no" : "more than one", partition);
  return NULL;
}

char *vd_mount_choose(GVariant *file_systems, const char *device, const char *partition, GError **error)
{
  const char *value, *key;

  if (partition == NULL)
    return vd_choose_file_system(file_systems, device, VD_PARTITION_ANY, error);
  key = tag_of(partition, &value);
  if (key != NULL)
    return choose_tagged(file_systems, device, key, value, partition, error);
  return vd_choose_file_system(file_systems, device, (gint)g_ascii_strtoll(partition, NULL, 10), error);
}

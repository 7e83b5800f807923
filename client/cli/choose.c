/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "choose.h"

#include <string.h>

#include "exit.h"

char *vd_choose_partition_node(const char *device, guint partition)
{
  gsize length = strlen(device);

  if (partition == 0)
    return g_strdup(device);
  return g_strdup_printf("%s%s%u", device, length > 0 && g_ascii_isdigit(device[length - 1]) ? "p" : "",
                         partition);
}

static guint partition_of(GVariant *entry)
{
  guint32 partition = 0;

  g_variant_lookup(entry, "partition", "u", &partition);
  return partition;
}

static gboolean can_be_mounted(GVariant *entry)
{
  const char *usage = "";

  g_variant_lookup(entry, "usage", "&s", &usage);
  return g_str_equal(usage, "filesystem");
}

/* Nothing was there when the disk was attached; a file system may have been made since. */
static gboolean was_blank(GVariant *entry)
{
  const char *usage = "";

  g_variant_lookup(entry, "usage", "&s", &usage);
  return *usage == '\0';
}

static char *node_of(GVariant *entry, const char *device)
{
  const char *node = "";

  g_variant_lookup(entry, "device", "&s", &node);
  return *node != '\0' ? g_strdup(node) : vd_choose_partition_node(device, partition_of(entry));
}

static void append_candidate(GString *out, GVariant *entry)
{
  const char *type = "", *label = "";

  g_variant_lookup(entry, "type", "&s", &type);
  g_variant_lookup(entry, "label", "&s", &label);
  g_string_append_printf(out, "%s%u (%s%s%s)", out->len > 0 ? ", " : "", partition_of(entry), type,
                         *label != '\0' ? " " : "", label);
}

static char *choose_number(GVariant *file_systems, const char *device, guint partition, GError **error)
{
  for (gsize i = 0; i < g_variant_n_children(file_systems); i++) {
    g_autoptr(GVariant) entry = g_variant_get_child_value(file_systems, i);

    if (partition_of(entry) != partition)
      continue;
    if (can_be_mounted(entry) || was_blank(entry))
      return node_of(entry, device);
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_UNUSABLE_IMAGE,
                "Partition %u of %s has no file system that can be mounted", partition, device);
    return NULL;
  }
  if (partition == 0)
    return g_strdup(device);
  g_set_error(error, VD_EXIT_ERROR, VD_EXIT_NOT_FOUND, "%s has no partition %u with a file system", device,
              partition);
  return NULL;
}

static char *choose_any(GVariant *file_systems, const char *device, GError **error)
{
  g_autoptr(GString) candidates = g_string_new(NULL);
  g_autoptr(GVariant) first = NULL;
  guint n = 0;

  for (gsize i = 0; i < g_variant_n_children(file_systems); i++) {
    g_autoptr(GVariant) entry = g_variant_get_child_value(file_systems, i);

    if (!can_be_mounted(entry))
      continue;
    if (partition_of(entry) == 0)
      return node_of(entry, device);
    append_candidate(candidates, entry);
    if (n++ == 0)
      first = g_variant_ref(entry);
  }
  if (n == 1)
    return node_of(first, device);
  if (n == 0)
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_UNUSABLE_IMAGE,
                "No file system that can be mounted was found when %s was attached; one made since needs "
                "--partition (0 is the whole disk)",
                device);
  else
    g_set_error(error, VD_EXIT_ERROR, VD_EXIT_USAGE,
                "%s has several file systems, choose one with --partition: %s", device, candidates->str);
  return NULL;
}

char *vd_choose_file_system(GVariant *file_systems, const char *device, gint partition, GError **error)
{
  if (partition == VD_PARTITION_ANY)
    return choose_any(file_systems, device, error);
  return choose_number(file_systems, device, (guint)partition, error);
}

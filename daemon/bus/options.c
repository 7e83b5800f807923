/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/options.h"

#include "virtdisk-error.h"

static const GVariantType *type_of(VdOptionType type)
{
  switch (type) {
  case VD_OPTION_U32:
    return G_VARIANT_TYPE_UINT32;
  case VD_OPTION_U64:
    return G_VARIANT_TYPE_UINT64;
  case VD_OPTION_BOOL:
    return G_VARIANT_TYPE_BOOLEAN;
  default:
    return G_VARIANT_TYPE_STRING;
  }
}

static const VdOption *find(const VdOption *table, gsize n, const char *key)
{
  for (gsize i = 0; i < n; i++)
    if (g_strcmp0(table[i].key, key) == 0)
      return &table[i];
  return NULL;
}

static void store(const VdOption *option, GVariant *value, gpointer target, GPtrArray *arena)
{
  gpointer place = G_STRUCT_MEMBER_P(target, option->value);

  switch (option->type) {
  case VD_OPTION_U32:
    *(guint32 *)place = g_variant_get_uint32(value);
    break;
  case VD_OPTION_U64:
    *(guint64 *)place = g_variant_get_uint64(value);
    break;
  case VD_OPTION_BOOL:
    *(gboolean *)place = g_variant_get_boolean(value);
    break;
  case VD_OPTION_STRING: {
    char *copy = g_variant_dup_string(value, NULL);

    g_ptr_array_add(arena, copy);
    *(const char **)place = copy;
    break;
  }
  }
  if (option->has >= 0)
    G_STRUCT_MEMBER(gboolean, target, option->has) = TRUE;
}

gboolean vd_options_parse(GVariant *options, const VdOption *table, gsize n, gpointer target,
                          GPtrArray *arena, GError **error)
{
  g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
  GVariantIter iter;
  const char *key;
  GVariant *value;

  g_variant_iter_init(&iter, options);
  while (g_variant_iter_loop(&iter, "{&sv}", &key, &value)) {
    const VdOption *option = find(table, n, key);

    if (option != NULL && g_variant_is_of_type(value, type_of(option->type)) &&
        g_hash_table_add(seen, g_strdup(key))) {
      store(option, value, target, arena);
      continue;
    }
    if (option == NULL)
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "unknown option \"%s\"", key);
    else if (!g_variant_is_of_type(value, type_of(option->type)))
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER,
                  "option \"%s\" is of type %s, not %.1s", key, g_variant_get_type_string(value),
                  (const char *)type_of(option->type));
    else
      g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_PARAMETER, "option \"%s\" is given twice",
                  key);
    g_variant_unref(value);
    return FALSE;
  }
  return TRUE;
}

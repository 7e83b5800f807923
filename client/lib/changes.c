/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* QueryChangesVirtualDisk. */
#include "private.h"

void virtdisk_handle_query_changes_virtual_disk_async(VirtdiskHandle *handle, const char *change_tracking_id,
                                                      guint64 byte_offset, guint64 byte_length,
                                                      guint range_count, GCancellable *cancellable,
                                                      GAsyncReadyCallback callback, gpointer user_data)
{
  GVariant *options = g_variant_new_parsed("{'range-count': <%u>}", range_count);

  vd_handle_call(vd_handle_task_new(handle, virtdisk_handle_query_changes_virtual_disk_async, cancellable,
                                    callback, user_data),
                 "QueryChangesVirtualDisk",
                 g_variant_new("(sttu@a{sv})", change_tracking_id, byte_offset, byte_length, 0, options),
                 "(a(tt)t)", VD_CALL_MAY_ASK);
}

VirtdiskRange *virtdisk_handle_query_changes_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                                 guint *out_n_ranges,
                                                                 guint64 *out_processed_length,
                                                                 GError **error)
{
  g_autoptr(GVariant) reply = g_task_propagate_pointer(G_TASK(result), error);
  g_autoptr(GVariant) list = NULL;
  VirtdiskRange *ranges;
  guint64 processed;
  gsize n;

  *out_n_ranges = 0;
  if (reply == NULL)
    return NULL;
  g_variant_get(reply, "(@a(tt)t)", &list, &processed);
  n = g_variant_n_children(list);
  ranges = g_new(VirtdiskRange, n + 1);
  for (gsize i = 0; i < n; i++)
    g_variant_get_child(list, i, "(tt)", &ranges[i].offset, &ranges[i].length);
  *out_n_ranges = (guint)n;
  if (out_processed_length != NULL)
    *out_processed_length = processed;
  return ranges;
}

VirtdiskRange *virtdisk_handle_query_changes_virtual_disk(VirtdiskHandle *handle,
                                                          const char *change_tracking_id, guint64 byte_offset,
                                                          guint64 byte_length, guint range_count,
                                                          guint *out_n_ranges, guint64 *out_processed_length,
                                                          GCancellable *cancellable, GError **error)
{
  VdWait *wait = vd_wait_begin();
  g_autoptr(GAsyncResult) result = NULL;

  virtdisk_handle_query_changes_virtual_disk_async(handle, change_tracking_id, byte_offset, byte_length,
                                                   range_count, cancellable, vd_wait_done, wait);
  result = vd_wait_end(wait);
  return virtdisk_handle_query_changes_virtual_disk_finish(handle, result, out_n_ranges, out_processed_length,
                                                           error);
}

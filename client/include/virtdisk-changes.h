/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Change tracking: which parts of a disk were changed since a point. */
#pragma once

#include "virtdisk-handle.h"

G_BEGIN_DECLS

/**
 * VirtdiskRange:
 * @offset: bytes from the start of the disk
 * @length: bytes
 *
 * A part of a disk.
 */
typedef struct {
  guint64 offset;
  guint64 length;
} VirtdiskRange;

/**
 * virtdisk_handle_query_changes_virtual_disk:
 * @handle: a handle with the right to GET_INFO
 * @change_tracking_id: of a point, as virtdisk_info_get_most_recent_id() tells it
 * @byte_offset: where to begin, bytes
 * @byte_length: how much of the disk to tell of, bytes
 * @range_count: most ranges, 1 to 65536
 * @out_n_ranges: (out): how many there are
 * @out_processed_length: (out) (optional): bytes from @byte_offset on that the ranges tell of; ask again from
 *   there, also when there are none
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * QueryChangesVirtualDisk: what was changed since a point, and perhaps more than that.
 *
 * Returns: (transfer full) (array length=out_n_ranges): the ranges in order, to be freed with g_free(), or
 *   %NULL with @error set. Any thread.
 */
VirtdiskRange *virtdisk_handle_query_changes_virtual_disk(VirtdiskHandle *handle,
                                                          const char *change_tracking_id, guint64 byte_offset,
                                                          guint64 byte_length, guint range_count,
                                                          guint *out_n_ranges, guint64 *out_processed_length,
                                                          GCancellable *cancellable, GError **error);
/**
 * virtdisk_handle_query_changes_virtual_disk_async:
 * @handle: a handle with the right to GET_INFO
 * @change_tracking_id: of a point
 * @byte_offset: where to begin, bytes
 * @byte_length: how much of the disk to tell of, bytes
 * @range_count: most ranges, 1 to 65536
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_handle_query_changes_virtual_disk_async(VirtdiskHandle *handle, const char *change_tracking_id,
                                                      guint64 byte_offset, guint64 byte_length,
                                                      guint range_count, GCancellable *cancellable,
                                                      GAsyncReadyCallback callback, gpointer user_data);
/**
 * virtdisk_handle_query_changes_virtual_disk_finish:
 * @handle: a handle
 * @result: what the callback got
 * @out_n_ranges: (out): how many there are
 * @out_processed_length: (out) (optional): bytes that the ranges tell of
 * @error: place for the error
 *
 * Returns: (transfer full) (array length=out_n_ranges): the ranges in order, or %NULL with @error set.
 */
VirtdiskRange *virtdisk_handle_query_changes_virtual_disk_finish(VirtdiskHandle *handle, GAsyncResult *result,
                                                                 guint *out_n_ranges,
                                                                 guint64 *out_processed_length,
                                                                 GError **error);

G_END_DECLS

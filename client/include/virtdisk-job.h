/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* VirtdiskJob: as org.virtdisk1.Job has it. Strings are never NULL ("" if not known) and are valid until the
 * job changes; other threads than that of the client's main context use g_object_get(), which copies. */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/**
 * virtdisk_job_get_client:
 * @job: a job
 * Returns: (transfer none): the client it was learned of through. Any thread.
 */
VirtdiskClient *virtdisk_job_get_client(VirtdiskJob *job);
/**
 * virtdisk_job_get_object_path:
 * @job: a job
 * Returns: (transfer none): its path on the bus. Any thread.
 */
const char *virtdisk_job_get_object_path(VirtdiskJob *job);
/**
 * virtdisk_job_get_operation:
 * @job: a job
 * Returns: (transfer none): "create", "convert", "compact", "expand", "resize" or "merge".
 */
const char *virtdisk_job_get_operation(VirtdiskJob *job);
/**
 * virtdisk_job_get_path:
 * @job: a job
 * Returns: (transfer none): the image, for display.
 */
const char *virtdisk_job_get_path(VirtdiskJob *job);
/**
 * virtdisk_job_get_owner_uid:
 * @job: a job
 * Returns: the user who began it.
 */
guint virtdisk_job_get_owner_uid(VirtdiskJob *job);
/**
 * virtdisk_job_get_progress:
 * @job: a job
 * Returns: 0 to 1, or -1 as long as nobody knows.
 */
gdouble virtdisk_job_get_progress(VirtdiskJob *job);
/**
 * virtdisk_job_get_bytes:
 * @job: a job
 * Returns: how much there is to do, in bytes; 0 if it is not known.
 */
guint64 virtdisk_job_get_bytes(VirtdiskJob *job);
/**
 * virtdisk_job_get_rate:
 * @job: a job
 * Returns: bytes per second; 0 if it is not known.
 */
guint64 virtdisk_job_get_rate(VirtdiskJob *job);
/**
 * virtdisk_job_get_start_time:
 * @job: a job
 * Returns: microseconds since 1970-01-01 00:00 UTC.
 */
guint64 virtdisk_job_get_start_time(VirtdiskJob *job);
/**
 * virtdisk_job_get_expected_end_time:
 * @job: a job
 * Returns: microseconds since 1970-01-01 00:00 UTC; 0 if it is not known.
 */
guint64 virtdisk_job_get_expected_end_time(VirtdiskJob *job);
/**
 * virtdisk_job_get_cancelable:
 * @job: a job
 * Returns: whether it can be cancelled now.
 */
gboolean virtdisk_job_get_cancelable(VirtdiskJob *job);
/**
 * virtdisk_job_get_state:
 * @job: a job
 * Returns: (transfer none): "running", "done", "failed" or "cancelled".
 */
const char *virtdisk_job_get_state(VirtdiskJob *job);
/**
 * virtdisk_job_get_detached:
 * @job: a job
 * Returns: whether it goes on without who began it.
 */
gboolean virtdisk_job_get_detached(VirtdiskJob *job);
/**
 * virtdisk_job_get_error:
 * @job: a job
 * Returns: (transfer full) (nullable): why it failed or was cancelled, or %NULL.
 */
GError *virtdisk_job_get_error(VirtdiskJob *job);
/**
 * virtdisk_job_get_results:
 * @job: a job
 * Returns: (transfer full) (nullable): what virtdisk_job_wait() was told, a value of type a{sv} with new-size
 * (t), given-back (t), copied (t), note (s) and the like; %NULL before. Any thread.
 */
GVariant *virtdisk_job_get_results(VirtdiskJob *job);
/**
 * virtdisk_job_steal_handle:
 * @job: a job that has made an image, and was waited for
 * Returns: (transfer full) (nullable): the handle of the new image, once; later %NULL. Any thread.
 */
VirtdiskHandle *virtdisk_job_steal_handle(VirtdiskJob *job);

/**
 * virtdisk_job_wait:
 * @job: a job
 * @parameters: (nullable): its function is told of the progress; nothing else of it counts
 * @cancellable: (nullable): ends the waiting, not the job
 * @error: place for the error
 *
 * Waits until the job has ended.
 *
 * Returns: %TRUE if it succeeded; %FALSE with @error set: what it failed with. Any thread.
 */
gboolean virtdisk_job_wait(VirtdiskJob *job, VirtdiskOperationParameters *parameters,
                           GCancellable *cancellable, GError **error);
/**
 * virtdisk_job_wait_async:
 * @job: a job
 * @parameters: (nullable): see virtdisk_job_wait()
 * @cancellable: (nullable): ends the waiting, not the job
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_job_wait_async(VirtdiskJob *job, VirtdiskOperationParameters *parameters,
                             GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
/**
 * virtdisk_job_wait_finish:
 * @job: a job
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE if it succeeded, or %FALSE with @error set.
 */
gboolean virtdisk_job_wait_finish(VirtdiskJob *job, GAsyncResult *result, GError **error);

/**
 * virtdisk_job_cancel:
 * @job: a job
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * Asks the job to end. What it had begun is undone, or can be finished by beginning it again.
 *
 * Returns: %TRUE if it was asked, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_job_cancel(VirtdiskJob *job, GCancellable *cancellable, GError **error);
/**
 * virtdisk_job_cancel_async:
 * @job: a job
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_job_cancel_async(VirtdiskJob *job, GCancellable *cancellable, GAsyncReadyCallback callback,
                               gpointer user_data);
/**
 * virtdisk_job_cancel_finish:
 * @job: a job
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE if it was asked, or %FALSE with @error set.
 */
gboolean virtdisk_job_cancel_finish(VirtdiskJob *job, GAsyncResult *result, GError **error);

/**
 * virtdisk_job_release:
 * @job: a job that has ended
 * @cancellable: (nullable): ends the waiting
 * @error: place for the error
 *
 * Lets the service forget the job, which it would a minute later by itself.
 *
 * Returns: %TRUE, or %FALSE with @error set. Any thread.
 */
gboolean virtdisk_job_release(VirtdiskJob *job, GCancellable *cancellable, GError **error);
/**
 * virtdisk_job_release_async:
 * @job: a job that has ended
 * @cancellable: (nullable): ends the waiting
 * @callback: (scope async): called when done
 * @user_data: for @callback
 */
void virtdisk_job_release_async(VirtdiskJob *job, GCancellable *cancellable, GAsyncReadyCallback callback,
                                gpointer user_data);
/**
 * virtdisk_job_release_finish:
 * @job: a job that has ended
 * @result: what the callback got
 * @error: place for the error
 *
 * Returns: %TRUE, or %FALSE with @error set.
 */
gboolean virtdisk_job_release_finish(VirtdiskJob *job, GAsyncResult *result, GError **error);

G_END_DECLS

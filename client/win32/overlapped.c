/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Operations: at once, or with an OVERLAPPED in a thread of their own. */
#include "win32.h"

/* Only the ratio of the two values means something. */
#define COMPLETION 10000

typedef struct {
  VdObject *object;
  VdPending *pending;
  VdObject *event; /* or NULL */
  VdWork work;
  gpointer data;
  GDestroyNotify free_data; /* or NULL */
} Running;

static VdPending *pending_new(LPOVERLAPPED overlapped)
{
  VdPending *pending = g_atomic_rc_box_new0(VdPending);

  pending->overlapped = overlapped;
  pending->cancellable = g_cancellable_new();
  pending->status = ERROR_IO_PENDING;
  return pending;
}

/* Under the lock of the object. */
static VdPending *find_pending(VdObject *object, LPOVERLAPPED overlapped)
{
  for (guint i = object->pending->len; i > 0; i--) {
    VdPending *pending = g_ptr_array_index(object->pending, i - 1);

    if (pending->overlapped == overlapped)
      return pending;
  }
  return NULL;
}

void vd_overlapped_on_progress(VirtdiskJob *job, gpointer data)
{
  VdPending *pending = data;

  g_atomic_int_set(&pending->progress, (gint)(MAX(virtdisk_job_get_progress(job), 0.0) * COMPLETION));
}

static DWORD run_work(VdObject *object, VdWork work, gpointer data, VdPending *pending)
{
  GError *error = NULL;

  return work(object, data, pending, &error) ? ERROR_SUCCESS : vd_win32_code(error);
}

static gpointer run_in_thread(gpointer data)
{
  Running *running = data;
  VdPending *pending = running->pending;
  DWORD status = run_work(running->object, running->work, running->data, pending);

  if (running->free_data != NULL)
    running->free_data(running->data);
  g_mutex_lock(&running->object->lock);
  pending->status = status;
  /* From here on it may be gone, so it is not touched again. */
  pending->overlapped->Internal = status;
  g_cond_broadcast(&running->object->changed);
  g_mutex_unlock(&running->object->lock);
  if (running->event != NULL) {
    g_mutex_lock(&running->event->lock);
    running->event->signalled = TRUE;
    g_cond_broadcast(&running->event->changed);
    g_mutex_unlock(&running->event->lock);
    vd_object_unref(running->event);
  }
  vd_pending_unref(pending);
  vd_object_unref(running->object);
  g_free(running);
  return NULL;
}

static void start(VdObject *object, LPOVERLAPPED overlapped, VdWork work, gpointer data,
                  GDestroyNotify free_data)
{
  Running *running = g_new0(Running, 1);
  VdPending *old;

  running->object = g_atomic_rc_box_acquire(object);
  running->pending = pending_new(overlapped);
  running->event = vd_object_ref(overlapped->hEvent, VD_OBJECT_EVENT);
  running->work = work;
  running->data = data;
  running->free_data = free_data;
  overlapped->Internal = ERROR_IO_PENDING;
  if (running->event != NULL)
    ResetEvent(overlapped->hEvent);
  g_mutex_lock(&object->lock);
  old = find_pending(object, overlapped);
  if (old != NULL)
    g_ptr_array_remove(object->pending, old);
  g_ptr_array_add(object->pending, g_atomic_rc_box_acquire(running->pending));
  g_mutex_unlock(&object->lock);
  g_thread_unref(g_thread_new("virtdisk-overlapped", run_in_thread, running));
}

DWORD vd_overlapped_run(VdObject *object, LPOVERLAPPED overlapped, VdWork work, gpointer data,
                        GDestroyNotify free_data)
{
  VdPending *pending;
  DWORD code;

  if (overlapped != NULL) {
    start(object, overlapped, work, data, free_data);
    return ERROR_IO_PENDING;
  }
  pending = pending_new(NULL);
  code = run_work(object, work, data, pending);
  vd_pending_unref(pending);
  if (free_data != NULL)
    free_data(data);
  return code;
}

DWORD GetVirtualDiskOperationProgress(HANDLE VirtualDiskHandle, LPOVERLAPPED Overlapped,
                                      PVIRTUAL_DISK_PROGRESS Progress)
{
  g_autoptr(VdObject) object = vd_object_ref(VirtualDiskHandle, VD_OBJECT_DISK);
  VdPending *pending;
  DWORD code = ERROR_INVALID_PARAMETER;

  if (object == NULL || Overlapped == NULL || Progress == NULL)
    return object == NULL ? ERROR_INVALID_HANDLE : ERROR_INVALID_PARAMETER;
  g_mutex_lock(&object->lock);
  pending = find_pending(object, Overlapped);
  if (pending != NULL) {
    *Progress = (VIRTUAL_DISK_PROGRESS){.OperationStatus = pending->status, .CompletionValue = COMPLETION};
    Progress->CurrentValue =
        pending->status == ERROR_SUCCESS ? COMPLETION : (ULONGLONG)g_atomic_int_get(&pending->progress);
    code = ERROR_SUCCESS;
  }
  g_mutex_unlock(&object->lock);
  return code;
}

BOOL GetOverlappedResult(HANDLE File, LPOVERLAPPED Overlapped, DWORD *BytesTransferred, BOOL Wait)
{
  g_autoptr(VdObject) object = vd_object_ref(File, VD_OBJECT_DISK);
  VdPending *pending;
  DWORD status = ERROR_INVALID_PARAMETER;

  if (object == NULL || Overlapped == NULL)
    return FALSE;
  g_mutex_lock(&object->lock);
  for (pending = find_pending(object, Overlapped);
       pending != NULL && pending->status == ERROR_IO_PENDING && Wait;
       pending = find_pending(object, Overlapped))
    g_cond_wait(&object->changed, &object->lock);
  if (pending != NULL)
    status = pending->status;
  g_mutex_unlock(&object->lock);
  if (BytesTransferred != NULL)
    *BytesTransferred = 0;
  return status == ERROR_SUCCESS;
}

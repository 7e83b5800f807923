/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a HANDLE is: a disk, an event, or a file to ask about. A handle that was closed is not one any more.
 */
#include "win32.h"

static GMutex table_lock;
static GHashTable *table; /* VdObject, which the table keeps; under table_lock */
static GPrivate last_error;

DWORD GetLastError(void)
{
  return (DWORD)GPOINTER_TO_UINT(g_private_get(&last_error));
}

static BOOL result(DWORD code)
{
  g_private_set(&last_error, GUINT_TO_POINTER(code));
  return code == ERROR_SUCCESS;
}

/* ---- objects ---- */

static void pending_clear(gpointer data)
{
  VdPending *pending = data;

  g_object_unref(pending->cancellable);
}

void vd_pending_unref(gpointer pending)
{
  g_atomic_rc_box_release_full(pending, pending_clear);
}

static void object_clear(gpointer data)
{
  VdObject *object = data;

  g_clear_object(&object->disk);
  g_ptr_array_unref(object->pending);
  g_free(object->path);
  g_cond_clear(&object->changed);
  g_mutex_clear(&object->lock);
}

void vd_object_unref(VdObject *object)
{
  g_atomic_rc_box_release_full(object, object_clear);
}

HANDLE vd_object_new(VdObjectKind kind, VdObject **ret_object)
{
  VdObject *object = g_atomic_rc_box_new0(VdObject);

  object->kind = kind;
  object->pending = g_ptr_array_new_with_free_func(vd_pending_unref);
  g_mutex_init(&object->lock);
  g_cond_init(&object->changed);
  g_mutex_lock(&table_lock);
  if (table == NULL)
    table = g_hash_table_new_full(NULL, NULL, (GDestroyNotify)vd_object_unref, NULL);
  g_hash_table_add(table, object);
  if (ret_object != NULL)
    *ret_object = g_atomic_rc_box_acquire(object);
  g_mutex_unlock(&table_lock);
  return object;
}

static VdObject *object_find(HANDLE handle)
{
  G_GNUC_UNUSED g_autoptr(GMutexLocker) locker = g_mutex_locker_new(&table_lock);

  return handle != NULL && table != NULL && g_hash_table_contains(table, handle)
             ? g_atomic_rc_box_acquire((VdObject *)handle)
             : NULL;
}

VdObject *vd_object_ref(HANDLE handle, VdObjectKind kind)
{
  g_autoptr(VdObject) object = object_find(handle);

  return object != NULL && object->kind == kind ? g_steal_pointer(&object) : NULL;
}

VirtdiskHandle *vd_object_get_disk(HANDLE handle, DWORD *ret_code)
{
  g_autoptr(VdObject) object = vd_object_ref(handle, VD_OBJECT_DISK);
  VirtdiskHandle *disk = NULL;

  if (object == NULL) {
    *ret_code = ERROR_INVALID_HANDLE;
    return NULL;
  }
  g_mutex_lock(&object->lock);
  if (object->disk != NULL)
    disk = g_object_ref(object->disk);
  g_mutex_unlock(&object->lock);
  *ret_code = disk != NULL ? ERROR_SUCCESS : ERROR_BAD_COMMAND;
  return disk;
}

/* ---- CloseHandle, CancelIo ---- */

/* Under the lock of the object. overlapped: NULL for all. */
static guint cancel_pending(VdObject *object, LPOVERLAPPED overlapped)
{
  guint n = 0;

  for (guint i = 0; i < object->pending->len; i++) {
    VdPending *pending = g_ptr_array_index(object->pending, i);

    if (pending->status != ERROR_IO_PENDING || (overlapped != NULL && pending->overlapped != overlapped))
      continue;
    g_cancellable_cancel(pending->cancellable);
    n++;
  }
  return n;
}

BOOL CancelIoEx(HANDLE File, LPOVERLAPPED Overlapped)
{
  g_autoptr(VdObject) object = vd_object_ref(File, VD_OBJECT_DISK);
  guint n;

  if (object == NULL)
    return result(ERROR_INVALID_HANDLE);
  g_mutex_lock(&object->lock);
  n = cancel_pending(object, Overlapped);
  g_mutex_unlock(&object->lock);
  return result(n > 0 ? ERROR_SUCCESS : ERROR_NOT_FOUND);
}

BOOL CancelIo(HANDLE File)
{
  return CancelIoEx(File, NULL);
}

BOOL CloseHandle(HANDLE Object)
{
  g_autoptr(VdObject) object = object_find(Object);
  g_autoptr(VirtdiskHandle) disk = NULL;
  guint n;

  if (object == NULL)
    return result(ERROR_INVALID_HANDLE);
  g_mutex_lock(&table_lock);
  g_hash_table_remove(table, object);
  g_mutex_unlock(&table_lock);
  g_mutex_lock(&object->lock);
  n = cancel_pending(object, NULL);
  if (n == 0)
    disk = g_steal_pointer(&object->disk);
  g_mutex_unlock(&object->lock);
  /* With something under way, the end of that closes it. */
  if (disk != NULL)
    virtdisk_handle_close(disk, NULL, NULL);
  return result(ERROR_SUCCESS);
}

/* ---- events ---- */

HANDLE CreateEventW(void *Security, BOOL ManualReset, BOOL InitialState, PCWSTR Name)
{
  g_autoptr(VdObject) event = NULL;
  HANDLE handle;

  if (!result(Security != NULL || Name != NULL ? ERROR_NOT_SUPPORTED : ERROR_SUCCESS))
    return NULL;
  handle = vd_object_new(VD_OBJECT_EVENT, &event);
  event->manual = ManualReset != FALSE;
  event->signalled = InitialState != FALSE;
  return handle;
}

static BOOL event_set(HANDLE handle, gboolean signalled)
{
  g_autoptr(VdObject) event = vd_object_ref(handle, VD_OBJECT_EVENT);

  if (event == NULL)
    return result(ERROR_INVALID_HANDLE);
  g_mutex_lock(&event->lock);
  event->signalled = signalled;
  g_cond_broadcast(&event->changed);
  g_mutex_unlock(&event->lock);
  return result(ERROR_SUCCESS);
}

BOOL SetEvent(HANDLE Event)
{
  return event_set(Event, TRUE);
}

BOOL ResetEvent(HANDLE Event)
{
  return event_set(Event, FALSE);
}

DWORD WaitForSingleObject(HANDLE Event, DWORD Milliseconds)
{
  g_autoptr(VdObject) event = vd_object_ref(Event, VD_OBJECT_EVENT);
  gint64 end = g_get_monotonic_time() + (gint64)Milliseconds * G_TIME_SPAN_MILLISECOND;
  gboolean in_time = TRUE;
  DWORD code;

  if (event == NULL) {
    result(ERROR_INVALID_HANDLE);
    return WAIT_FAILED;
  }
  g_mutex_lock(&event->lock);
  while (!event->signalled && in_time) {
    if (Milliseconds == INFINITE)
      g_cond_wait(&event->changed, &event->lock);
    else
      in_time = g_cond_wait_until(&event->changed, &event->lock, end);
  }
  code = event->signalled ? WAIT_OBJECT_0 : WAIT_TIMEOUT;
  if (event->signalled && !event->manual)
    event->signalled = FALSE;
  g_mutex_unlock(&event->lock);
  return code;
}

/* ---- files ---- */

HANDLE CreateFileU8(const char *FileName, DWORD DesiredAccess, DWORD ShareMode, void *Security,
                    DWORD Disposition, DWORD FlagsAndAttributes, HANDLE Template)
{
  g_autoptr(VdObject) file = NULL;
  HANDLE handle;

  if (!result(FileName == NULL                            ? ERROR_INVALID_PARAMETER
              : g_file_test(FileName, G_FILE_TEST_EXISTS) ? ERROR_SUCCESS
                                                          : ERROR_FILE_NOT_FOUND))
    return INVALID_HANDLE_VALUE;
  handle = vd_object_new(VD_OBJECT_FILE, &file);
  file->path = g_strdup(FileName);
  return handle;
}

HANDLE CreateFileW(PCWSTR FileName, DWORD DesiredAccess, DWORD ShareMode, void *Security, DWORD Disposition,
                   DWORD FlagsAndAttributes, HANDLE Template)
{
  g_autofree char *path = vd_text_from_utf16(FileName);

  return CreateFileU8(path, DesiredAccess, ShareMode, Security, Disposition, FlagsAndAttributes, Template);
}

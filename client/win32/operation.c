/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* CompactVirtualDisk, ExpandVirtualDisk, ResizeVirtualDisk, MergeVirtualDisk, MirrorVirtualDisk,
 * BreakMirrorVirtualDisk. */
#include "win32.h"

typedef enum {
  OPERATION_COMPACT,
  OPERATION_EXPAND,
  OPERATION_RESIZE,
  OPERATION_MERGE,
  OPERATION_MIRROR,
} OperationKind;

typedef struct {
  OperationKind kind;
  guint flags;
  guint64 size;
  char *path; /* MIRROR; else NULL */
  VirtdiskOperationParameters *parameters;
} Operation;

static void operation_free(gpointer data)
{
  Operation *operation = data;

  g_object_unref(operation->parameters);
  g_free(operation->path);
  g_free(operation);
}

static VirtdiskJob *operate(VirtdiskHandle *disk, const Operation *operation, GCancellable *cancellable,
                            GError **error)
{
  VirtdiskOperationParameters *parameters = operation->parameters;

  switch (operation->kind) {
  case OPERATION_COMPACT:
    return virtdisk_handle_compact_virtual_disk(disk, (VirtdiskCompactFlags)operation->flags, parameters,
                                                cancellable, error);
  case OPERATION_EXPAND:
    return virtdisk_handle_expand_virtual_disk(disk, (VirtdiskExpandFlags)operation->flags, operation->size,
                                               parameters, cancellable, error);
  case OPERATION_RESIZE:
    return virtdisk_handle_resize_virtual_disk(disk, (VirtdiskResizeFlags)operation->flags, operation->size,
                                               parameters, cancellable, error);
  case OPERATION_MIRROR:
    return virtdisk_handle_mirror_virtual_disk(disk, (VirtdiskMirrorFlags)operation->flags, operation->path,
                                               parameters, cancellable, error);
  default:
    return virtdisk_handle_merge_virtual_disk(disk, (VirtdiskMergeFlags)operation->flags, parameters,
                                              cancellable, error);
  }
}

static gboolean operate_work(VdObject *object, gpointer data, VdPending *pending, GError **error)
{
  Operation *operation = data;
  g_autoptr(VirtdiskJob) job = NULL;

  virtdisk_operation_parameters_set_progress(operation->parameters, vd_overlapped_on_progress, pending, NULL);
  job = operate(object->disk, operation, pending->cancellable, error);
  return job != NULL;
}

/* Takes parameters, which may be NULL. */
static DWORD run_on(HANDLE handle, OperationKind kind, guint flags, guint64 size, const char *path,
                    VirtdiskOperationParameters *parameters, LPOVERLAPPED overlapped)
{
  g_autoptr(VirtdiskOperationParameters) taken =
      parameters != NULL ? parameters : virtdisk_operation_parameters_new();
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(handle, &code);
  g_autoptr(VdObject) object = vd_object_ref(handle, VD_OBJECT_DISK);
  Operation *operation;

  if (disk == NULL || object == NULL)
    return disk == NULL ? code : ERROR_INVALID_HANDLE;
  operation = g_new0(Operation, 1);
  operation->kind = kind;
  operation->flags = flags;
  operation->size = size;
  operation->path = g_strdup(path);
  operation->parameters = g_steal_pointer(&taken);
  return vd_overlapped_run(object, overlapped, operate_work, operation, operation_free);
}

static DWORD run(HANDLE handle, OperationKind kind, guint flags, guint64 size,
                 VirtdiskOperationParameters *parameters, LPOVERLAPPED overlapped)
{
  return run_on(handle, kind, flags, size, NULL, parameters, overlapped);
}

DWORD CompactVirtualDisk(HANDLE VirtualDiskHandle, COMPACT_VIRTUAL_DISK_FLAG Flags,
                         PCOMPACT_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
  if (Parameters != NULL &&
      (Parameters->Version != COMPACT_VIRTUAL_DISK_VERSION_1 || Parameters->Version1.Reserved != 0))
    return ERROR_INVALID_PARAMETER;
  return run(VirtualDiskHandle, OPERATION_COMPACT, Flags, 0, NULL, Overlapped);
}

DWORD ExpandVirtualDisk(HANDLE VirtualDiskHandle, EXPAND_VIRTUAL_DISK_FLAG Flags,
                        PEXPAND_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
  if (Parameters == NULL || Parameters->Version != EXPAND_VIRTUAL_DISK_VERSION_1)
    return ERROR_INVALID_PARAMETER;
  return run(VirtualDiskHandle, OPERATION_EXPAND, Flags, Parameters->Version1.NewSize, NULL, Overlapped);
}

DWORD ResizeVirtualDisk(HANDLE VirtualDiskHandle, RESIZE_VIRTUAL_DISK_FLAG Flags,
                        PRESIZE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
  if (Parameters == NULL || Parameters->Version != RESIZE_VIRTUAL_DISK_VERSION_1)
    return ERROR_INVALID_PARAMETER;
  return run(VirtualDiskHandle, OPERATION_RESIZE, Flags, Parameters->Version1.NewSize, NULL, Overlapped);
}

DWORD MergeVirtualDisk(HANDLE VirtualDiskHandle, MERGE_VIRTUAL_DISK_FLAG Flags,
                       PMERGE_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
  g_autoptr(VirtdiskOperationParameters) parameters = virtdisk_operation_parameters_new();

  if (Parameters != NULL && Parameters->Version == MERGE_VIRTUAL_DISK_VERSION_1)
    virtdisk_operation_parameters_set_merge_depth(parameters, Parameters->Version1.MergeDepth);
  else if (Parameters != NULL && Parameters->Version == MERGE_VIRTUAL_DISK_VERSION_2)
    virtdisk_operation_parameters_set_merge_depths(parameters, Parameters->Version2.MergeSourceDepth,
                                                   Parameters->Version2.MergeTargetDepth);
  else
    return ERROR_INVALID_PARAMETER;
  return run(VirtualDiskHandle, OPERATION_MERGE, Flags, 0, g_steal_pointer(&parameters), Overlapped);
}

DWORD MirrorVirtualDiskU8(HANDLE VirtualDiskHandle, MIRROR_VIRTUAL_DISK_FLAG Flags,
                          PMIRROR_VIRTUAL_DISK_PARAMETERS Parameters, const char *Path,
                          LPOVERLAPPED Overlapped)
{
  if (Parameters == NULL || Parameters->Version != MIRROR_VIRTUAL_DISK_VERSION_1 || Path == NULL ||
      Overlapped == NULL)
    return ERROR_INVALID_PARAMETER;
  return run_on(VirtualDiskHandle, OPERATION_MIRROR, Flags, 0, Path, NULL, Overlapped);
}

DWORD MirrorVirtualDisk(HANDLE VirtualDiskHandle, MIRROR_VIRTUAL_DISK_FLAG Flags,
                        PMIRROR_VIRTUAL_DISK_PARAMETERS Parameters, LPOVERLAPPED Overlapped)
{
  g_autofree char *path =
      Parameters != NULL ? vd_text_from_utf16(Parameters->Version1.MirrorVirtualDiskPath) : NULL;

  return MirrorVirtualDiskU8(VirtualDiskHandle, Flags, Parameters, path, Overlapped);
}

DWORD BreakMirrorVirtualDisk(HANDLE VirtualDiskHandle)
{
  DWORD code;
  g_autoptr(VirtdiskHandle) disk = vd_object_get_disk(VirtualDiskHandle, &code);
  GError *error = NULL;

  if (disk == NULL)
    return code;
  virtdisk_handle_break_mirror_virtual_disk(disk, NULL, &error);
  return vd_win32_code(error);
}

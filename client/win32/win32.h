/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of libvirtdisk-win32 share; nothing here is exported. */
#pragma once

#include "virtdisk.h"
#include "virtdisk-win32.h"

G_BEGIN_DECLS

/* ---- object.c: what a HANDLE is ---- */

typedef enum { VD_OBJECT_DISK, VD_OBJECT_EVENT, VD_OBJECT_FILE } VdObjectKind;

/* One operation with an OVERLAPPED, from its call until the handle is closed or the OVERLAPPED used again. */
typedef struct {
  LPOVERLAPPED overlapped; /* belongs to the caller; written to once, at the end */
  GCancellable *cancellable;
  DWORD status;
  gint progress; /* ten thousandths; atomic */
} VdPending;

typedef struct {
  VdObjectKind kind;
  GMutex lock;
  GCond changed;
  /* of a disk */
  VirtdiskHandle *disk; /* NULL while it is being made; under lock */
  GPtrArray *pending;   /* VdPending, counted; under lock */
  /* of an event; under lock */
  gboolean signalled, manual;
  /* of a file */
  char *path;
} VdObject;

HANDLE vd_object_new(VdObjectKind kind, VdObject **ret_object);
/* NULL: no such handle, or another kind. */
VdObject *vd_object_ref(HANDLE handle, VdObjectKind kind);
void vd_object_unref(VdObject *object);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdObject, vd_object_unref)
void vd_pending_unref(gpointer pending);

/* The disk of a handle, or NULL and the code. */
VirtdiskHandle *vd_object_get_disk(HANDLE handle, DWORD *ret_code);

/* ---- overlapped.c: what takes long ---- */

/* progress: to be given to the operation. */
typedef gboolean (*VdWork)(VdObject *object, gpointer data, VdPending *pending, GError **error);

/* Runs work at once, or with an OVERLAPPED in a thread. Takes data. */
DWORD vd_overlapped_run(VdObject *object, LPOVERLAPPED overlapped, VdWork work, gpointer data,
                        GDestroyNotify free_data);
/* VirtdiskProgressFunc; data is the VdPending. */
void vd_overlapped_on_progress(VirtdiskJob *job, gpointer data);

/* ---- text.c ---- */

/* NULL for what is no UTF-16. (transfer full) */
char *vd_text_from_utf16(PCWSTR text);
/* Writes UTF-16 with its NUL, and with size the bytes it takes. */
DWORD vd_text_to_utf16(const char *text, PULONG size, PWSTR out);
DWORD vd_text_to_utf8(const char *text, PULONG size, char *out);
/* Several strings and one more NUL. (transfer full) */
char *vd_text_join(char **strings, gsize *ret_length);
DWORD vd_text_block_to_utf16(const char *text, gsize length, PULONG size, PWSTR out);
char *vd_text_from_guid(const GUID *guid);
GUID vd_text_to_guid(const char *text);
gboolean vd_text_is_null_guid(const GUID *guid);

/* ---- client.c ---- */

/* The one client of this process. (transfer none) */
VirtdiskClient *vd_win32_client(GError **error);
/* Takes error; NULL is ERROR_SUCCESS. */
DWORD vd_win32_code(GError *error);

G_END_DECLS

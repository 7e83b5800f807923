/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The opener: a short-lived child that takes on somebody's uid, gid and supplementary groups, opens one path
 * and hands the descriptor back. The only way a path that comes from a client or an image becomes a file.
 * Main loop only.
 */
#pragma once

#include <gio/gio.h>

#include "auth/opener-protocol.h" /* VdOpenMode */
#include "util/identity.h"

/* Named deadline: an automounter or a dead server may hang an open(2). */
#define VD_OPENER_DEADLINE_MS 15000
/* Ceiling of openers of one uid at the same time. */
#define VD_OPENER_MAX_PER_UID 16

typedef struct VdOpener VdOpener;

/* program: path of virtdisk-opener. */
VdOpener *vd_opener_new(const char *program);
VdOpener *vd_opener_ref(VdOpener *self);
void vd_opener_unref(VdOpener *self);
/* Another deadline than VD_OPENER_DEADLINE_MS, for openers started from now on. Milliseconds. */
void vd_opener_set_deadline(VdOpener *self, guint deadline_ms);

/*
 * path: absolute, bytes. Opened with openat2(RESOLVE_NO_MAGICLINKS), O_NONBLOCK|O_NOCTTY|O_CLOEXEC; a FIFO,
 * socket or device is never opened for I/O (the type is looked at through an O_PATH descriptor first), but
 * for a block device when one is asked for (then whatever is none is NOT_A_REGULAR_FILE). Errors:
 * VIRTDISK_ERROR INVALID_PARAMETER (relative, empty), NAME_TOO_LONG, FILE_NOT_FOUND, PATH_NOT_FOUND (also
 * symbolic links that lead nowhere), ACCESS_DENIED (one text, whether the file is there or not),
 * WRITE_PROTECT, NOT_A_REGULAR_FILE, SHARING_VIOLATION (a program that runs, a swap file, a lease),
 * FILE_CHANGED, TIMED_OUT, IO, NO_RESOURCES, LIMIT_EXCEEDED, OPERATION_ABORTED, INTERNAL (the opener gave no
 * answer).
 */
void vd_opener_open_async(VdOpener *self, VdIdentity *identity, const char *path, VdOpenMode mode,
                          GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
/* Returns a descriptor that belongs to the caller, or -1. */
int vd_opener_open_finish(VdOpener *self, GAsyncResult *result, GError **error);

/*
 * A new file, made as somebody, open for reading and writing, that nobody else can find until it is
 * published. It is taken away, under whatever name, unless it was published and kept; also when the service
 * dies. Made with mode 0600. While one lives it counts among the openers of its uid.
 */
typedef struct VdNewFile VdNewFile;

/* Whose the file is to be, and its mode, from when it gets its name on; (uid_t)-1, (gid_t)-1, (mode_t)-1: as
 * it is. What the user may not do fails then. */
void vd_new_file_set_owner(VdNewFile *self, uid_t uid, gid_t gid, mode_t mode);
/* Errors: as vd_opener_open_async(), and FILE_EXISTS, DISK_FULL. */
void vd_opener_create_async(VdOpener *self, VdIdentity *identity, const char *path, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);
VdNewFile *vd_opener_create_finish(VdOpener *self, GAsyncResult *result, GError **error);
/* Borrowed. */
int vd_new_file_get_fd(VdNewFile *self);
/* Gives the file its name, never over another. Errors: FILE_EXISTS, ACCESS_DENIED, DISK_FULL, TIMED_OUT, IO,
 * INTERNAL. */
void vd_new_file_publish_async(VdNewFile *self, GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_new_file_publish_finish(VdNewFile *self, GAsyncResult *result, GError **error);
void vd_new_file_keep(VdNewFile *self);
void vd_new_file_free(VdNewFile *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdNewFile, vd_new_file_free)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdOpener, vd_opener_unref)

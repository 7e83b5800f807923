/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The opener: a short-lived child that takes on somebody's uid, gid and supplementary groups, opens one path
 * and hands the descriptor back. The only way a path that comes from a client or an image becomes a file.
 * Main loop only.
 */
#pragma once

#include <gio/gio.h>

#include "util/identity.h"

/* Named deadline: an automounter or a dead server may hang an open(2). */
#define VD_OPENER_DEADLINE_MS 15000
/* Ceiling of openers of one uid at the same time. */
#define VD_OPENER_MAX_PER_UID 16

typedef enum {
  VD_OPEN_READ,   /* O_RDONLY */
  VD_OPEN_WRITE,  /* O_RDWR */
  VD_OPEN_LOCATE, /* O_PATH: only to know which file is meant */
} VdOpenMode;

typedef struct VdOpener VdOpener;

/* program: path of virtdisk-opener. */
VdOpener *vd_opener_new(const char *program);
VdOpener *vd_opener_ref(VdOpener *self);
void vd_opener_unref(VdOpener *self);

/*
 * path: absolute, bytes. Opened with openat2(RESOLVE_NO_MAGICLINKS), O_NONBLOCK|O_NOCTTY|O_CLOEXEC; a FIFO,
 * socket or device is never opened for I/O (the type is looked at through an O_PATH descriptor first).
 * Errors: VIRTDISK_ERROR INVALID_PARAMETER (relative, empty), NAME_TOO_LONG, FILE_NOT_FOUND, PATH_NOT_FOUND,
 * ACCESS_DENIED (one text, whether the file is there or not), WRITE_PROTECT, NOT_A_REGULAR_FILE, TIMED_OUT,
 * IO, LIMIT_EXCEEDED, OPERATION_ABORTED.
 */
void vd_opener_open_async(VdOpener *self, VdIdentity *identity, const char *path, VdOpenMode mode,
                          GCancellable *cancellable, GAsyncReadyCallback callback, gpointer user_data);
/* Returns a descriptor that belongs to the caller, or -1. */
int vd_opener_open_finish(VdOpener *self, GAsyncResult *result, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdOpener, vd_opener_unref)

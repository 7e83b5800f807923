/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What CreateVirtualDisk copies from: an image with its parents, or a block device; found and opened as the
 * caller, and not written to by others as long as it is kept, as far as they can be kept from it.
 */
#pragma once

#include "manager-private.h"

typedef struct {
  VdImage *image; /* locked against writers; NULL: a device */
  VdChain *chain; /* its parents, locked; or NULL */
  int device_fd;  /* -1: an image */
  VdFacts facts;
} VdCopySource;

void vd_copy_source_free(VdCopySource *self);

/*
 * The source of params, for identity. Errors: the opener's; SHARING_VIOLATION (open for writing);
 * FILE_CHANGED (another device than source_device is there by now);
 * PROVIDER_NOT_FOUND; those of parents; DISK_ALREADY_OWNED, DISK_ONLINE_AND_WRITABLE (a device that others
 * may write to, and that was not to happen).
 */
void vd_manager_find_source_async(VdManager *self, VdIdentity *identity, const VdCreateParams *params,
                                  guint32 open_flags, GCancellable *cancellable, GAsyncReadyCallback callback,
                                  gpointer user_data);
VdCopySource *vd_manager_find_source_finish(VdManager *self, GAsyncResult *result, GError **error);

/* Borrowed descriptors, leaf first. (transfer full) (element int) */
GArray *vd_copy_source_files(const VdCopySource *self);
/* Any thread, blocking: FILE_CHANGED if somebody has written to it since. */
gboolean vd_copy_source_unchanged(const VdCopySource *self, GError **error);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdCopySource, vd_copy_source_free)

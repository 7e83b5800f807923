/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a device that a worker serves keeps for that worker's successors: the set-up, the descriptors of the
 * chain, the FUSE connection, and a record in rundir/workers that outlives the service. Never a descriptor of
 * /dev/ublkcN: while anybody holds one the kernel does not see that the worker has died. References may be
 * taken and dropped in any thread; the functions block and belong in threads, except where it says otherwise.
 */
#pragma once

#include "attach/device.h"
#include "worker/service.h"

typedef struct {
  int fd;     /* -1: to be opened again by its path, which must lead to this very file */
  char *path; /* absolute; when it was attached */
  dev_t dev;
  ino_t ino;
} VdServingImage;

struct VdServing {
  gatomicrefcount refs;
  char *rundir, *tag, *program, *user_argument, *socket_path;
  VdServeSetup setup;
  VdServingImage *images;
  gsize n_images;
  /* Where the changes of one image are kept (number dev, ino); without a path: they are not. */
  VdServingImage changes;
  dev_t changes_dev;
  ino_t changes_ino;
  /* Known as the device comes to be; changed by the thread that attaches or finds it, before others see it.
   */
  guint32 ublk_id;   /* VD_UBLK_ANY_ID: none */
  char *name;        /* loop3, ublkb0; or NULL */
  gboolean mirrored; /* the worker that was found mirrors, or did when it ended: the next does not */
  gboolean outdated; /* the worker that was found is of another program than the next, which can be made */
  guint64 diskseq;   /* 0: not yet */
  gboolean found;    /* the descriptors were a worker's, and their locks an earlier service's */
  GMutex lock;       /* of what follows */
  VdService *service;
  int fuse_fd; /* the connection of the mount; -1: none */
  pid_t pid;   /* of the worker as the record has it */
};

/* Makes rundir/workers. Errors: NO_RESOURCES, IO. */
VdServing *vd_serving_new(const VdAttachSpec *spec, VdTransport transport, GError **error);
VdServing *vd_serving_ref(VdServing *self);
void vd_serving_unref(VdServing *self);

/* Whether this loop device shows the worker's file. By the kernel's number of the disk, once it is known: who
 * may write to a loop device may give it any tag. */
gboolean vd_serving_is_under(const VdServing *self, const char *tag, guint64 diskseq);

/* The record, as things are now. Errors: IO. */
gboolean vd_serving_save(VdServing *self, GError **error);
void vd_serving_set_device(VdServing *self, const char *name, guint64 diskseq);
/* Of every record with this transport: without worker, without descriptors. (transfer full) (element
 * VdServing*) */
GPtrArray *vd_serving_load(const char *rundir, VdTransport transport);

/* serving-mirror.c: between two workers, in a thread. */
/* From the next one on what is written goes to fd too, which becomes image 1: borrowed, locked, and an image
 * of the same kind. over: whether anything may have been written to it. Errors: BUSY (there is a mirror),
 * NO_RESOURCES, INTERNAL. */
typedef enum { VD_MIRROR_TO_NEW, VD_MIRROR_TO_OLD } VdMirrorTo;
gboolean vd_serving_add_mirror(VdServing *self, int fd, VdMirrorTo over, GError **error);
/* The next one serves the image alone. Nothing, where there is no mirror. */
void vd_serving_drop_mirror(VdServing *self);
/* The next one serves the mirror in the image's place, also when the service ends now: it is on record.
 * Errors: IO, and nothing was changed. */
gboolean vd_serving_take_mirror(VdServing *self, GError **error);

/* A reference of its own to fd. Errors: NO_RESOURCES, INTERNAL. */
gboolean vd_serving_image_init(VdServingImage *image, int fd, GError **error);

/*
 * Starts a worker, the first or a successor (flags: VD_SERVE_TAKEOVER, VD_SERVE_RESEND besides those of the
 * set-up). transport_fd: borrowed. Errors: those of vd_service_start(); FILE_CHANGED (an image that has to be
 * opened again is not there); WORKER_LOST also when it says what cannot be.
 */
gboolean vd_serving_start_worker(VdServing *self, int transport_fd, guint32 flags, GCancellable *cancellable,
                                 GError **error);
/* Connects to the worker that serves on, and takes the descriptors that it has. Errors: NOT_FOUND,
 * WORKER_LOST, TIMED_OUT. */
gboolean vd_serving_find_worker(VdServing *self, GError **error);
/* The same for each of servings (VdServing*), all at once: one that does not answer holds up none but itself.
 * Afterwards those that were found have a service. */
void vd_serving_find_workers(GPtrArray *servings);
/* (transfer full) or NULL. Does not block. */
VdService *vd_serving_get_service(VdServing *self);
/* Takes fd. Does not block. */
void vd_serving_set_fuse(VdServing *self, int fd);
/* A new descriptor of the connection, or -1. Does not block. */
int vd_serving_dup_fuse(VdServing *self);
/* FALSE: the worker that is there has the only end of the connection, which goes with it. Does not block. */
gboolean vd_serving_has_transport(VdServing *self);

/* Whether the changes of the image that is served are kept. */
gboolean vd_serving_is_tracked(const VdServing *self);

/* Of the worker that serves now; 0: none. self may be NULL. Does not block. */
pid_t vd_serving_get_pid(VdServing *self);
/* vd_service_rest(). self may be NULL. Does not block. */
void vd_serving_rest(VdServing *self);
/* Kills the worker and ends the FUSE connection: whoever waits for either goes on with an error. */
void vd_serving_abort(VdServing *self);
/* Before a successor is made: a worker that is still there, but does not answer, is killed and waited for. */
void vd_serving_bury(VdServing *self);
/* After the device is gone: waits until the worker has closed the image, kills it at VD_CLOSE_DEADLINE_MS,
 * lets go of locks that were found, and removes socket and record. */
void vd_serving_end(VdServing *self);
/* Socket and record. */
void vd_serving_forget(VdServing *self);

/* While it exists, calls into the kernel that a worker has to answer cannot hang: when the worker ends, or
 * after VD_SERVICE_READY_DEADLINE_MS, vd_serving_abort() is called. */
typedef struct VdServingGuard VdServingGuard;
VdServingGuard *vd_serving_guard_new(VdServing *serving);
void vd_serving_guard_free(VdServingGuard *self);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdServing, vd_serving_unref)
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdServingGuard, vd_serving_guard_free)

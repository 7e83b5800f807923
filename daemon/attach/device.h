/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A kernel block device that shows an image, or a connection in its place (route "nbd"). Owning the VdDevice
 * is having the device: the last unref of one that was not relinquished detaches it. Main loop only; the
 * ioctls run in a thread on copied data.
 */
#pragma once

#include <gio/gio.h>
#include <sys/stat.h>
#include <sys/types.h>

/* Named deadlines, in milliseconds. */
#define VD_SETTLE_DEADLINE_MS 10000
#define VD_DETACH_DEADLINE_MS 5000
/* From the end of a serving device to the worker having closed the image; then it is killed. */
#define VD_CLOSE_DEADLINE_MS 30000
/* Ceiling of the images of a chain; as the engine has it. */
#define VD_MAX_CHAIN 256
/* Characters of a tag. */
#define VD_MAX_TAG_LENGTH 32
/* Tries to win a free loop device against others. */
#define VD_LOOP_MAX_TRIES 64

/* lo_file_name of our loop devices is this and the tag; so they are recognised after a restart. */
#define VD_LOOP_TAG_PREFIX "virtdisk1/"

typedef struct {
  guint32 number;
  guint64 offset, size; /* bytes */
} VdPartitionSpec;

/* What a worker needs to serve the image. Without a program only the kernel can serve it. Borrowed during the
 * call: the device keeps its own descriptors of the images for as long as it lives, for the worker's
 * successors. */
typedef struct {
  const char *program;       /* virtdisk-worker, or NULL */
  const char *user_argument; /* UID:GID, or NULL: as we are, for tests */
  guint32 device_id;         /* VirtdiskDeviceId of every image of the chain */
  const int *images;         /* leaf first; open for writing where the leaf is written */
  gsize n_images;            /* 1 to VD_MAX_CHAIN */
  guint64 skip;              /* bytes of the virtual disk before the device's first (RestrictedOffset) */
  gboolean zero_copy; /* by ublk, or not at all; a worker taken over could then show the kernel's memory */
  int changes_fd;     /* where the changes of the image are kept; 0: they are not tracked */
} VdServedSpec;

/* Of a device that the kernel has and udev has not settled yet: readable, and nobody was told of it. On the
 * main loop. user_data: of the attach. */
typedef void (*VdDeviceMadeFunc)(const char *path, const char *name, dev_t number, gpointer user_data);

/* Everything an attachment needs; a plain struct of facts and wishes. All pointers are borrowed during the
 * call. */
typedef struct {
  const char *tag;     /* [0-9a-f]+, at most 32 characters: names the attachment for ever */
  int fd;              /* the image; borrowed. The kernel keeps its open file description, and so our locks */
  gboolean translated; /* the payload is not one run of the file: a worker has to serve it */
  guint64 offset;      /* bytes in the file, where the payload is one run */
  guint64 size;        /* bytes; exact */
  guint32 sector_size; /* 512, 1024, 2048 or 4096 */
  guint32 physical_sector_size; /* 0: as sector_size */
  const char *route;            /* "loop", "ublk", "fuse", "nbd": no other; NULL: the best device there is */
  VdServedSpec served;
  gboolean read_only;
  gboolean direct_io;
  gboolean partition_scan;
  const VdPartitionSpec
      *partitions; /* what the worker found; added with BLKPG where the kernel has no parser */
  gsize n_partitions;
  uid_t uid; /* VD_UID_INVALID: leave the node to the system's defaults (with gid and mode) */
  gid_t gid;
  mode_t mode;
  const char *const *udev_env; /* KEY=value, NULL-terminated; for udev, see hints.h */
  const char *rundir;          /* /run/virtdisk */
  VdDeviceMadeFunc made_func;  /* or NULL; at most once, before the callback of the attach */
} VdAttachSpec;

typedef struct VdDevice VdDevice;

/* What is found out once and does not change. Strings belong to the device. */
typedef struct {
  const char *route;  /* "loop", "ublk", "fuse", "nbd" */
  const char *reason; /* why this route, one sentence */
  const char *path;   /* /dev/loop3; empty: there is no device, and number and diskseq are 0 */
  const char *title;  /* for people: path, or what there is in its place */
  const char *name;   /* loop3; unique also without device */
  const char *tag;
  dev_t number;
  guint64 diskseq;
  guint64 size; /* bytes */
  gboolean read_only;
  gboolean direct_io;
  gboolean settled; /* udev has processed the disk and its partitions (or no udev runs) */
  dev_t image_dev;  /* of the image (the leaf), whatever the kernel calls the backing file */
  ino_t image_ino;
  gboolean served;  /* by a worker */
  gboolean tracked; /* who writes to the image keeps its changes */
  gboolean failed;  /* no worker could be made to go on: whoever reads or writes gets errors */
} VdDeviceInfo;

/*
 * Attaches and waits for udev (or the deadline: then info->settled is FALSE and all else holds).
 * Errors: VIRTDISK_ERROR NO_RESOURCES (no free loop device), IO, UNSUPPORTED_DISK_SECTOR_SIZE, INTERNAL;
 * NOT_SUPPORTED (no route serves this image here, or not the one wanted; the message says why); those of a
 * worker (worker/service.h); OPERATION_ABORTED. On failure nothing is left in the kernel or in rundir.
 */
void vd_device_attach_async(const VdAttachSpec *spec, GCancellable *cancellable, GAsyncReadyCallback callback,
                            gpointer user_data);
VdDevice *vd_device_attach_finish(GAsyncResult *result, GError **error);

/* Devices of ours in the kernel (their tag begins with the prefix). Element: VdDevice*, relinquished: the
 * caller adopts or detaches them. Blocking, short; used before the bus name is taken. */
GPtrArray *vd_device_scan(const char *rundir);

VdDevice *vd_device_ref(VdDevice *self);
void vd_device_unref(VdDevice *self);
const VdDeviceInfo *vd_device_get_info(VdDevice *self);
/* TRUE (as after attach): the last unref detaches, in the background: at once if idle, else after the last
 * holder. FALSE: the kernel keeps it (daemon stops, disk goes on). */
void vd_device_set_owned(VdDevice *self, gboolean owned);

/* Called once, on the main loop, when the device is gone from the kernel, by us or by others; soon, if it is
 * already. */
typedef void (*VdDeviceGoneFunc)(VdDevice *self, gpointer user_data);
void vd_device_set_gone_func(VdDevice *self, VdDeviceGoneFunc func, gpointer user_data);

typedef enum {
  VD_DETACH_IF_IDLE,   /* refuse with BUSY, naming the holders */
  VD_DETACH_FORCE,     /* unmount file systems on it, swapoff no; then as IF_IDLE */
  VD_DETACH_WHEN_IDLE, /* now if idle, else as soon as the last holder goes (the kernel's autoclear) */
} VdDetachMode;

/*
 * Errors: BUSY (message and holders), TIMED_OUT, IO. ret_pending: WHEN_IDLE and still held.
 * After success without pending the device is gone from the kernel and rundir/udev is clean.
 */
void vd_device_detach_async(VdDevice *self, VdDetachMode mode, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_device_detach_finish(VdDevice *self, GAsyncResult *result, gboolean *ret_pending, GError **error);

/*
 * The image was made larger or smaller, and whoever serves it serves the new size: the kernel is told, and
 * whoever listens to the disk. Partitions stay as they are. size: bytes, a multiple of the sector size.
 * Errors: NOT_SUPPORTED (this route or this kernel cannot; the message says which), INVALID_PARAMETER, BUSY
 * (it is being detached), NOT_FOUND (it is gone), IO. After an error the kernel has the size it had.
 */
void vd_device_resize_async(VdDevice *self, guint64 size, GCancellable *cancellable,
                            GAsyncReadyCallback callback, gpointer user_data);
gboolean vd_device_resize_finish(VdDevice *self, GAsyncResult *result, GError **error);

/*
 * Its worker ends, between (in a thread) may change the images and what the serving says of them, and another
 * worker goes on; who uses the disk waits meanwhile, and sees no error. data is freed in any case. Errors:
 * between's; NOT_SUPPORTED (no worker serves it; the kernel would fail requests); BUSY (it ends, or another
 * exchange waits for its turn already); those of a worker.
 */
typedef struct VdServing VdServing;
typedef gboolean (*VdExchangeFunc)(VdServing *serving, gpointer user_data, GError **error);
void vd_device_exchange_async(VdDevice *self, VdExchangeFunc between, gpointer between_data,
                              GDestroyNotify free_data, GAsyncReadyCallback callback, gpointer user_data);
/* before: called first, in a thread, while the worker serves: on success it has ended by itself, on failure
 * it serves on and nothing else is done. */
void vd_device_exchange_after_async(VdDevice *self, VdExchangeFunc before, VdExchangeFunc between,
                                    gpointer data, GDestroyNotify free_data, GAsyncReadyCallback callback,
                                    gpointer user_data);
gboolean vd_device_exchange_finish(VdDevice *self, GAsyncResult *result, GError **error);
/* Whether it can be asked for at all. Errors: as of the exchange. */
gboolean vd_device_may_exchange(VdDevice *self, GError **error);

/* func: called on the main loop whenever the worker that serves has told something new of its mirror, whoever
 * it is by then. NULL: no more. */
typedef void (*VdDeviceNewsFunc)(VdDevice *self, gpointer user_data);
void vd_device_set_news_func(VdDevice *self, VdDeviceNewsFunc func, gpointer user_data);
/* Of the worker that serves now; NULL: none. (transfer full) */
typedef struct VdService VdService;
VdService *vd_device_get_service(VdDevice *self);

/* Route "nbd": the client's end of the connection, once (transfer full); else -1. Nobody else has it: when it
 * is closed, the device ends. */
int vd_device_take_connection(VdDevice *self);
/* Of the worker that serves it now; 0: none. */
pid_t vd_device_worker_pid(VdDevice *self);
/* Its worker, if it has one, is about to be ended by others: vd_service_rest(). */
void vd_device_rest_worker(VdDevice *self);

/* Number of mounts of the device and its partitions in our mount namespace (from /proc/self/mountinfo). */
guint vd_device_count_mounts(VdDevice *self);
/* Likewise, without those that the user of this name had UDisks2 mount. */
guint vd_device_count_mounts_of_others(VdDevice *self, const char *user);
/* TRUE if devno is the device or one of its partitions. */
gboolean vd_device_contains(VdDevice *self, dev_t devno);
/* Path of the node of partition number, or NULL. (transfer full) */
char *vd_device_partition_path(VdDevice *self, guint32 partition);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdDevice, vd_device_unref)

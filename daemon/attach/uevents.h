/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Events of block devices: as the kernel sends them, or after udev has processed them. */
#pragma once

#include <gio/gio.h>

typedef enum { VD_UEVENTS_KERNEL, VD_UEVENTS_UDEV } VdUeventsFrom;

typedef struct {
  const char *name;   /* loop3, loop3p1 */
  const char *action; /* add, change, remove */
  guint64 diskseq;    /* 0: the event does not say */
} VdUevent;

/* Listens from the moment it is made; what comes before somebody reads waits in the socket. One thread each.
 */
typedef struct VdUevents VdUevents;

/* event is NULL after events were lost: look at everything again. */
typedef void (*VdUeventFunc)(const VdUevent *event, gpointer user_data);

VdUevents *vd_uevents_new(VdUeventsFrom from, GError **error);
void vd_uevents_free(VdUevents *self);
/* Calls func for each event, from the thread-default main context, until freed. func may free self. */
void vd_uevents_attach(VdUevents *self, VdUeventFunc func, gpointer user_data);
/* For threads without a main loop: waits until done() says TRUE; it is asked first and after each event.
 * FALSE: the deadline passed or the operation was cancelled. self may be NULL: done() is asked only once. */
gboolean vd_uevents_wait(VdUevents *self, gboolean (*done)(gconstpointer data), gconstpointer data,
                         guint deadline_ms, GCancellable *cancellable);

/* udevd holds a shared BSD lock while it reads a device. Once fd, open on the whole disk, has the exclusive
 * one, udevd is out and stays out: nothing of it is under way that an end of the disk would turn into an I/O
 * error, and ours is the last close. If somebody keeps the lock for more than three seconds, it is gone on
 * without. */
void vd_uevents_keep_udev_out(int fd, GCancellable *cancellable);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdUevents, vd_uevents_free)

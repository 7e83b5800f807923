/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Image -> one end of a socket pair, the other with a worker that speaks NBD on it. Nothing of it is in the
 * kernel's list of disks: the attachment is the worker. Its client's end goes to the caller and to nobody
 * else, so the end of either is the end of the connection, and no worker can succeed another: what a client
 * has sent and what it has been answered is in the socket that is gone. A service that is started anew finds
 * the worker by its record and only looks on.
 */
#include "attach/nbd.h"

#include <errno.h>
#include <sys/socket.h>

#include "util/cleanup.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"

/* What the engine calls a sector of images that have no format of their own, bytes: also of an ISO. */
#define RAW_SECTOR_SIZE 512
/* Bytes on their way in each direction; a request and its answer fit. */
#define SOCKET_BUFFER (1 << 20)

static gboolean nbd_suits(const VdAttachSpec *spec, char **ret_why)
{
  *ret_why = g_strdup(spec->served.program != NULL ? "A worker serves the image through a connection"
                                                   : "there is no worker to serve it");
  return spec->served.program != NULL;
}

static guint32 sector_size_of(const VdAttachSpec *spec)
{
  guint32 id = spec->served.device_id;

  return id == VIRTDISK_DEVICE_RAW || id == VIRTDISK_DEVICE_ISO ? RAW_SECTOR_SIZE : spec->sector_size;
}

static gboolean make_connection(int *ret_client, int *ret_served, GError **error)
{
  const int size = SOCKET_BUFFER;
  int ends[2];

  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES, "No socket can be had: %s",
                g_strerror(errno));
    return FALSE;
  }
  *ret_client = ends[0];
  *ret_served = ends[1];
  /* Slower without. */
  for (gsize i = 0; i < G_N_ELEMENTS(ends); i++)
    setsockopt(ends[i], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size);
  return TRUE;
}

static VdAttachment *describe(VdServing *serving)
{
  VdAttachment *made = vd_attachment_new(serving->rundir);

  made->tag = g_strdup(serving->tag);
  made->name = g_strconcat("nbd-", serving->tag, NULL);
  made->path = g_strdup("");
  made->size = serving->setup.size;
  made->read_only = (serving->setup.flags & VD_SERVE_WRITABLE) == 0;
  made->direct_io = (serving->setup.flags & VD_SERVE_DIRECT) != 0;
  if (serving->n_images > 0) {
    made->image_dev = serving->images[0].dev;
    made->image_ino = serving->images[0].ino;
  }
  made->serving = vd_serving_ref(serving);
  return made;
}

static gboolean start(VdServing *serving, int served, GCancellable *cancellable, GError **error)
{
  g_autofree char *name = g_strconcat("nbd-", serving->tag, NULL);

  vd_serving_set_device(serving, name, 0);
  return vd_serving_save(serving, error) && vd_serving_start_worker(serving, served, 0, cancellable, error);
}

static VdAttachment *nbd_attach(const VdAttachSpec *spec, GCancellable *cancellable, GError **error)
{
  g_autoptr(VdServing) serving = NULL;
  vd_autofd client = -1, served = -1;
  VdAttachment *made;

  if (!make_connection(&client, &served, error))
    return NULL;
  serving = vd_serving_new(spec, VD_TRANSPORT_NBD, error);
  if (serving == NULL)
    return NULL;
  serving->setup.sector_size = sector_size_of(spec);
  if (!start(serving, served, cancellable, error)) {
    vd_serving_abort(serving);
    vd_serving_forget(serving);
    return NULL;
  }
  made = describe(serving);
  made->client_fd = vd_steal_fd(&client);
  return made;
}

/* Whoever reads and writes is the one who wants it ended, or has gone; there is no page cache to be written.
 */
static void stop(VdServing *serving)
{
  g_autoptr(VdService) service = vd_serving_get_service(serving);
  g_autoptr(GError) error = NULL;

  if (service != NULL && !vd_service_stop(service, VD_CLOSE_DEADLINE_MS, &error)) {
    g_message("%s: %s", serving->name, error->message);
    vd_service_kill(service);
  }
  vd_serving_end(serving);
}

static gboolean nbd_release(const VdAttachment *attachment, VdDetachMode mode, GCancellable *cancellable,
                            gboolean *ret_pending, GError **error)
{
  stop(attachment->serving);
  *ret_pending = FALSE;
  return TRUE;
}

static void nbd_abandon(VdAttachment *attachment)
{
  stop(attachment->serving);
}

static void nbd_reclaim(const VdAttachment *attachment)
{
  if (attachment->serving != NULL && attachment->serving->setup.transport == VD_TRANSPORT_NBD)
    vd_serving_end(attachment->serving);
}

static gboolean nbd_is_live(const VdAttachment *attachment)
{
  g_autoptr(VdService) service = vd_serving_get_service(attachment->serving);

  return service != NULL && !vd_service_is_gone(service);
}

/* No worker can succeed another. */
static gboolean nbd_may_exchange(void)
{
  return FALSE;
}

static void nbd_scan(const char *rundir, GPtrArray *ret_found)
{
  g_autoptr(GPtrArray) records = vd_serving_load(rundir, VD_TRANSPORT_NBD);

  vd_serving_find_workers(records);
  for (guint i = 0; i < records->len; i++) {
    VdServing *serving = g_ptr_array_index(records, i);
    g_autoptr(VdService) service = vd_serving_get_service(serving);

    if (service != NULL) {
      g_ptr_array_add(ret_found, describe(serving));
    } else {
      /* It ended while nobody looked on, or does not answer. */
      vd_serving_bury(serving);
      vd_serving_forget(serving);
    }
  }
}

const VdRoute vd_route_nbd = {
    .name = "nbd",
    .by_name = TRUE,
    .suits = nbd_suits,
    .attach = nbd_attach,
    .release = nbd_release,
    .abandon = nbd_abandon,
    .is_live = nbd_is_live,
    .reclaim = nbd_reclaim,
    .may_exchange = nbd_may_exchange,
    .scan = nbd_scan,
};

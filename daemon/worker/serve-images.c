/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The images of a serving worker: opened, compared with each other and with what the daemon expects, handed
 * to the engine. Here the first byte of an image is read; everything runs inside the sandbox.
 */
#include <errno.h>
#include <string.h>

#include "engine/pages.h"
#include "util/checked.h"
#include "worker/task.h"

/* Bytes of one page of metadata. */
#define PAGE_SIZE 4096

VdLayerSource vd_serve_source(const VdServer *server, unsigned file, bool writable)
{
  return (VdLayerSource){.io = server->io,
                         .file = file,
                         .fd = server->order.images[file],
                         .writable = writable,
                         .pages = server->pages};
}

bool vd_serve_open_chain_over(VdServer *server, unsigned leaf, unsigned first_parent, bool leaf_writable,
                              uint32_t device_id, VdLayer **ret_layers, unsigned *ret_n,
                              VdFormatError *ret_error)
{
  unsigned n = 1 + server->order.n_images - first_parent;

  for (unsigned i = 0; i < n; i++) {
    VdLayerSource source =
        vd_serve_source(server, i == 0 ? leaf : first_parent + i - 1, i == 0 && leaf_writable);

    ret_layers[i] = vd_layer_open(&source, device_id, ret_error);
    if (!ret_layers[i])
      return false;
  }
  *ret_n = n;
  return vd_layers_check_chain(ret_layers, n, ret_error);
}

bool vd_serve_open_chain(VdServer *server, unsigned first, bool leaf_writable, uint32_t device_id,
                         VdLayer **ret_layers, VdFormatError *ret_error)
{
  unsigned n;

  return vd_serve_open_chain_over(server, first, first + 1, leaf_writable, device_id, ret_layers, &n,
                                  ret_error);
}

static bool is_written(const VdServer *server)
{
  return (server->order.setup.flags & VD_SERVE_WRITABLE) != 0;
}

/* Of images that are served alone, whatever their parents. */
static bool open_leaf(VdServer *server, VdLayer **ret_layer, VdFormatError *ret_error)
{
  VdLayerSource source = vd_serve_source(server, 0, is_written(server));

  *ret_layer = vd_layer_open(&source, server->order.setup.device_id, ret_error);
  return *ret_layer != NULL;
}

bool vd_serve_check_disk(const VdServeSetup *setup, uint64_t size, uint32_t sector_size,
                         VdFormatError *ret_error)
{
  if (!vd_range_within(setup->offset, setup->size, size))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CHANGED, 0, "size",
                               "the image has %llu bytes, the device needs %llu from %llu",
                               (unsigned long long)size, (unsigned long long)setup->size,
                               (unsigned long long)setup->offset);
  if (sector_size != setup->sector_size)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_FILE_CHANGED, 0, "sector_size",
                               "the image has sectors of %u bytes, the device of %u", sector_size,
                               setup->sector_size);
  return true;
}

static bool no_memory(VdFormatError *ret_error, const char *what)
{
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "the worker: %s: %s", what,
                             strerrordesc_np(errno));
}

bool vd_serve_make_pages(VdServer *server, VdFormatError *ret_error)
{
  size_t capacity = server->order.setup.cache_size;

  server->pages = vd_pages_new(server->io, PAGE_SIZE, capacity != 0 ? capacity : VD_SERVE_CACHE_SIZE);
  return server->pages || no_memory(ret_error, "metadata cache");
}

bool vd_serve_open_images(VdServer *server, VdFormatError *ret_error)
{
  static VdLayer *layers[VD_IO_MAX_FILES];
  const VdServeOrder *order = &server->order;
  VdEngineOptions options = {.read_only = !is_written(server)};
  unsigned first_parent = (order->setup.flags & VD_SERVE_MIRROR) != 0 ? 2 : 1, n;

  vd_serve_changes_look(server);
  if (!vd_serve_make_pages(server, ret_error) ||
      !vd_serve_open_chain_over(server, 0, first_parent, is_written(server), order->setup.device_id, layers,
                                &n, ret_error) ||
      !vd_serve_check_disk(&order->setup, layers[0]->size, layers[0]->sector_size, ret_error))
    return false;
  options.pages = server->pages;
  server->engine = vd_engine_new(server->io, layers, n, &options);
  if (!server->engine)
    return no_memory(ret_error, "engine");
  vd_serve_changes_open(server, layers[0]);
  return true;
}

void vd_serve_close_images(VdServer *server)
{
  VdEngine *engine = server->engine;

  /* Closing runs the ring, and with it the transport: what comes meanwhile must find no engine. */
  server->engine = NULL;
  vd_serve_changes_close(server, vd_engine_close(engine));
  vd_engine_free(engine);
  vd_pages_free(server->pages);
  server->pages = NULL;
}

static void on_begun(void *user, int result)
{
  *(int *)user = result;
}

static bool io_failed(VdFormatError *ret_error, const char *what, int result)
{
  return vd_format_error_set(ret_error, result == -ENOSPC ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO, 0,
                             "", "%s: %s", what, strerrordesc_np(-result));
}

/* One asynchronous step of a layer, waited for. */
static int run_step(VdServer *server, VdLayer *layer,
                    void (*step)(VdLayer *self, void (*done)(void *user, int result), void *user))
{
  int result = 1, wait = 0;

  if (!step)
    return 0;
  step(layer, on_begun, &result);
  while (result > 0 && wait >= 0)
    wait = server->io->ops->wait(server->io);
  return result > 0 ? wait : result;
}

static bool flush_and_judge(VdServer *server, int result, const char *what, VdFormatError *ret_error)
{
  VdIoOp flush = {.kind = VD_IO_FLUSH};

  if (result == 0)
    result = vd_io_run(server->io, &flush);
  return result == 0 || io_failed(ret_error, what, result);
}

/* A session of writing as somebody else does it: announced in the image, durably, and left in clean form. */
static bool begin(VdServer *server, VdFormatError *ret_error)
{
  VdLayer *layer;
  int result;

  if (!vd_serve_make_pages(server, ret_error) || !open_leaf(server, &layer, ret_error))
    return false;
  result = run_step(server, layer, layer->ops->begin);
  if (result == 0)
    result = run_step(server, layer, layer->ops->close);
  return flush_and_judge(server, result, "the image could not be prepared for writing", ret_error);
}

bool vd_serve_reopen(VdServer *server, VdFormatError *ret_error)
{
  VdLayer *layer;

  if (!vd_serve_make_pages(server, ret_error) || !open_leaf(server, &layer, ret_error))
    return false;
  return flush_and_judge(server, run_step(server, layer, layer->ops->close),
                         "the image could not be repaired", ret_error);
}

bool vd_serve_do_task(VdServer *server, VdFormatError *ret_error)
{
  switch ((VdTask)server->order.setup.task) {
  case VD_TASK_CREATE:
    return vd_create(server->order.images[0], &server->order.setup.create, ret_error);
  case VD_TASK_CHECK:
  case VD_TASK_REPAIR:
    return vd_serve_check(server, ret_error);
  case VD_TASK_BEGIN:
    return begin(server, ret_error);
  default:
    return vd_task_run(server, ret_error);
  }
}

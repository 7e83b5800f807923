/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * VD_TASK_COPY: a new image is made, filled from a chain, and if it was asked for read back and compared. The
 * file is nobody's before it is whole: whatever goes wrong, the daemon takes it away.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "engine/copy.h"
#include "worker/task.h"

typedef struct {
  VdServer *server;
  uint64_t before; /* of the work, as GetVirtualDiskOperationProgress counts it */
  uint64_t completion;
} Course;

static bool step(void *user, uint64_t done, VdFormatError *ret_error)
{
  const Course *course = user;

  return vd_task_step(course->server, course->before + done, course->completion, ret_error);
}

/* What the file was when the ring was made is past. */
static bool open_copy(VdServer *server, VdLayer **ret_layer, VdFormatError *ret_error)
{
  int fd = server->order.images[0];
  VdLayerSource source = vd_serve_source(server, 0, false);
  struct stat st;

  if (fstat(fd, &st) < 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "", "the new image: its size cannot be had");
  server->io->files[0].size = (uint64_t)st.st_size;
  /* All of it is durable: what is read now comes from the disk, as far as that can be asked for. */
  (void)!posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  *ret_layer = vd_layer_open(&source, server->order.setup.create.device_id, ret_error);
  return *ret_layer != NULL;
}

static bool verify(VdServer *server, VdWalk *source, Course *course, VdFormatError *ret_error)
{
  const VdCopySteps steps = {step, course};
  VdLayer *layers[1];
  VdWalk copy;

  course->before = source->size;
  if (!open_copy(server, &layers[0], ret_error))
    return false;
  vd_walk_init(&copy, server->io, layers, 1, server->order.images);
  return vd_copy_compare(source, &copy, &steps, ret_error);
}

static bool check_room(const VdServer *server, uint64_t size, VdFormatError *ret_error)
{
  uint64_t room = server->order.setup.create.size;

  return room >= size ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_VHD_INVALID_SIZE, 0, "size",
                             "the new image has %" PRIu64 " bytes, its source %" PRIu64, room, size);
}

static bool copy(VdServer *server, VdWalk *source, Course *course, VdServeResult *result,
                 VdFormatError *ret_error)
{
  const VdCopySteps steps = {step, course};
  VdBuilder *builder = vd_builder_new(server->order.images[0], &server->order.setup.create, ret_error);
  VdCopy order = {source, builder, 0};
  bool good = builder != NULL && vd_copy_run(&order, &steps, &result->copied, ret_error) &&
              vd_builder_finish(builder, ret_error);

  vd_builder_free(builder);
  return good;
}

bool vd_task_copy(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  static VdLayer *layers[VD_IO_MAX_FILES];
  bool wants_proof = (server->order.setup.order.flags & VD_COPY_VERIFY) != 0;
  Course course = {.server = server};
  VdWalk source;

  if (server->order.n_images < 2)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, 0, "images",
                               "the order to the worker: there is no source");
  if (!vd_serve_make_pages(server, ret_error) ||
      !vd_serve_open_chain(server, 1, false, server->order.setup.order.source_device_id, layers, ret_error) ||
      !check_room(server, layers[0]->size, ret_error))
    return false;
  vd_walk_init(&source, server->io, layers, server->order.n_images - 1, server->order.images);
  /* Reading back: all of the new image. */
  course.completion = source.size + (wants_proof ? server->order.setup.create.size : 0);
  result->size = server->order.setup.create.size;
  return copy(server, &source, &course, result, ret_error) &&
         (!wants_proof || verify(server, &source, &course, ret_error));
}

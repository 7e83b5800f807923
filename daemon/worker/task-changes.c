/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The change tracking file of an image, seen and changed while nobody serves the image; looked into also
 * while somebody does, who is then its only writer. A new one is durable before it says that it is one.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "formats/bytes.h"
#include "formats/ctlog.h"
#include "worker/task.h"

/* Ranges of one answer. */
#define MAX_RANGES 65536
#define RANGE_LENGTH 16

static bool failed(VdFormatError *ret_error, const char *doing)
{
  return vd_format_error_set(ret_error, errno == ENOSPC ? VIRTDISK_ERROR_DISK_FULL : VIRTDISK_ERROR_IO, 0, "",
                             "the change tracking file: %s: %s", doing, strerrordesc_np(errno));
}

static bool write_page(int fd, const uint8_t *page, uint64_t offset)
{
  ssize_t n = pwrite(fd, page, VD_CTLOG_PAGE, (off_t)offset);

  if (n >= 0 && n < VD_CTLOG_PAGE)
    errno = ENOSPC;
  return n == VD_CTLOG_PAGE;
}

static bool read_log(const VdServeOrder *order, VdReader *ret_reader, VdCtlog *ret_log,
                     VdFormatError *ret_error)
{
  return vd_reader_init(ret_reader, order->changes_fd, ret_error) &&
         vd_ctlog_read(ret_reader, ret_log, ret_error);
}

/* Whether nothing can be missing in it. An image that cannot be looked at is not known. */
static bool is_good(const VdServeOrder *order, const VdCtlog *log)
{
  uint32_t flags = order->setup.order.flags;
  VdFormatError ignored;
  VdCtlogTie tie;

  if (log->device_id != order->setup.device_id || log->size != order->setup.order.disk_size ||
      log->state == VD_CTLOG_BROKEN || (flags & VD_CHANGES_UNTRACKED) != 0)
    return false;
  if ((flags & VD_CHANGES_SERVED) != 0)
    return true;
  return vd_ctlog_look(order->images[0], order->setup.device_id, &tie, &ignored) &&
         vd_ctlog_is_tied(log, &tie);
}

static bool changed_offline(VirtdiskError code, VdFormatError *ret_error)
{
  return vd_format_error_set(ret_error, code, 0, "",
                             "the image was changed, or may have been, while its changes were not tracked: "
                             "turn tracking on again, and copy all of it");
}

/* NULL: *ret_error says why. */
static uint16_t *read_marks(const VdReader *reader, const VdCtlog *log, VdFormatError *ret_error)
{
  uint16_t *marks = calloc(vd_ctlog_count_granules(log), sizeof *marks);

  if (!marks) {
    vd_format_error_set(ret_error, VIRTDISK_ERROR_NO_RESOURCES, 0, "", "no memory for the marks of changes");
    return NULL;
  }
  if (vd_ctlog_read_marks(reader, log, marks, ret_error))
    return marks;
  free(marks);
  return NULL;
}

/* What is there, whatever it is worth. */

static bool tell_state(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  uint64_t offset, length;
  uint16_t *marks;
  VdReader reader;
  VdCtlog log;

  result->changes = VD_CHANGES_ENABLED | VD_CHANGES_NEWER;
  if (!read_log(&server->order, &reader, &log, ret_error))
    return false;
  if (!is_good(&server->order, &log))
    return true;
  marks = read_marks(&reader, &log, ret_error);
  if (!marks)
    return false;
  vd_ctlog_format_id(&log, log.point, result->note);
  if (!vd_ctlog_next_range(&log, marks, log.point, 0, log.size, &offset, &length))
    result->changes &= ~VD_CHANGES_NEWER;
  free(marks);
  return true;
}

/* Ranges */

static bool write_ranges(VdServer *server, const VdCtlog *log, const uint16_t *marks, uint32_t point,
                         uint8_t *bytes, VdServeResult *result, VdFormatError *ret_error)
{
  const VdTaskOrder *order = &server->order.setup.order;
  uint64_t at = order->offset, end = order->offset + order->size, offset, length;
  unsigned most = order->value < MAX_RANGES ? order->value : MAX_RANGES, n = 0;
  ssize_t written;

  while (n < most && vd_ctlog_next_range(log, marks, point, at, end, &offset, &length)) {
    vd_put_le64(bytes + (size_t)n * RANGE_LENGTH, offset);
    vd_put_le64(bytes + (size_t)n * RANGE_LENGTH + 8, length);
    at = offset + length;
    n++;
  }
  if (n < most || !vd_ctlog_next_range(log, marks, point, at, end, &offset, &length))
    at = end;
  else
    at = offset;
  result->size = (uint64_t)n * RANGE_LENGTH;
  result->processed = at - order->offset;
  written = pwrite(server->order.blob_fd, bytes, (size_t)result->size, 0);
  return written == (ssize_t)result->size || failed(ret_error, "the answer");
}

static bool query_marks(VdServer *server, const VdReader *reader, const VdCtlog *log, VdServeResult *result,
                        VdFormatError *ret_error)
{
  static uint8_t bytes[MAX_RANGES * RANGE_LENGTH];
  VdTaskOrder *order = &server->order.setup.order;
  uint16_t *marks;
  uint32_t point;
  bool good;

  order->change_tracking_id[sizeof order->change_tracking_id - 1] = '\0';
  if (!vd_ctlog_parse_id(log, order->change_tracking_id, &point, ret_error))
    return false;
  marks = read_marks(reader, log, ret_error);
  if (!marks)
    return false;
  good = write_ranges(server, log, marks, point, bytes, result, ret_error);
  free(marks);
  return good;
}

static bool query(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  const VdTaskOrder *order = &server->order.setup.order;
  VdReader reader;
  VdCtlog log;

  if (!read_log(&server->order, &reader, &log, ret_error))
    return false;
  if (!is_good(&server->order, &log))
    return changed_offline(VIRTDISK_ERROR_VHD_MISSING_CHANGE_TRACKING_INFORMATION, ret_error);
  if (server->order.blob_fd < 0 || order->offset > log.size || order->size > log.size - order->offset)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "",
                               "%" PRIu64 " bytes from %" PRIu64 " are not within the disk's %" PRIu64,
                               order->size, order->offset, log.size);
  return query_marks(server, &reader, &log, result, ret_error);
}

/* Turning it on and off; sealing a point */

static bool write_new(int fd, const VdCtlog *log, const uint16_t *marks)
{
  static uint8_t page[VD_CTLOG_PAGE];

  if (ftruncate(fd, 0) < 0 || fdatasync(fd) < 0)
    return false;
  for (uint32_t i = 0; i < vd_ctlog_count_pages(log); i++) {
    vd_ctlog_build_page(log, i, marks, page);
    if (!write_page(fd, page, vd_ctlog_page_offset(i)))
      return false;
  }
  if (fdatasync(fd) < 0)
    return false;
  vd_ctlog_build(log, page);
  return write_page(fd, page, (uint64_t)log->slot * VD_CTLOG_PAGE) && fdatasync(fd) == 0;
}

static bool begin_log(const VdServeOrder *order, VdFormatError *ret_error)
{
  uint8_t id[16];
  uint16_t *marks;
  VdCtlog log;
  bool good;

  if (getrandom(id, sizeof id, 0) != sizeof id)
    return failed(ret_error, "an id");
  vd_ctlog_init(&log, order->setup.device_id, order->setup.order.disk_size, id);
  if (!vd_ctlog_look(order->images[0], order->setup.device_id, &log.tie, ret_error))
    return false;
  marks = calloc(vd_ctlog_count_granules(&log), sizeof *marks);
  good = marks && write_new(order->changes_fd, &log, marks);
  free(marks);
  return good || failed(ret_error, "it could not be written");
}

/* Whatever else bears the name of a log is not ours to empty. */
static bool is_ours(int fd, VdFormatError *ret_error)
{
  char bytes[VD_CTLOG_MAGIC_SIZE];
  off_t size = lseek(fd, 0, SEEK_END);

  for (off_t slot = 0; slot < VD_CTLOG_N_HEADERS && size != 0; slot++) {
    if (pread(fd, bytes, sizeof bytes, slot * VD_CTLOG_PAGE) == (ssize_t)sizeof bytes &&
        memcmp(bytes, VD_CTLOG_MAGIC, sizeof bytes) == 0)
      return true;
  }
  return size == 0 ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_CTLOG_INCONSISTENT_TRACKING_FILE, 0, "magic",
                             "the file is no change tracking file, and is left as it is");
}

static bool enable(const VdServeOrder *order, VdFormatError *ret_error)
{
  VdFormatError ignored;
  VdReader reader;
  VdCtlog log;

  if (read_log(order, &reader, &log, &ignored) && is_good(order, &log))
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_CTLOG_INVALID_TRACKING_STATE, 0, "",
                               "the changes of the image are tracked already");
  return is_ours(order->changes_fd, ret_error) && begin_log(order, ret_error);
}

static bool disable(const VdServeOrder *order, VdFormatError *ret_error)
{
  if (!is_ours(order->changes_fd, ret_error))
    return false;
  return (ftruncate(order->changes_fd, 0) == 0 && fdatasync(order->changes_fd) == 0) ||
         failed(ret_error, "it could not be emptied");
}

static bool seal(const VdServeOrder *order, VdFormatError *ret_error)
{
  static uint8_t page[VD_CTLOG_PAGE];
  VdReader reader;
  VdCtlog log;

  if (!read_log(order, &reader, &log, ret_error))
    return false;
  if (!is_good(order, &log))
    return changed_offline(VIRTDISK_ERROR_CTLOG_VHD_CHANGED_OFFLINE, ret_error);
  if (log.point == VD_CTLOG_LAST_POINT)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_CTLOG_LOGFILE_SIZE_EXCEEDED_MAXSIZE, 0, "",
                               "the change tracking file has its last point, %u: turn tracking off and on",
                               VD_CTLOG_LAST_POINT);
  log.point++;
  log.sequence++;
  log.slot ^= 1;
  vd_ctlog_build(&log, page);
  return (write_page(order->changes_fd, page, (uint64_t)log.slot * VD_CTLOG_PAGE) &&
          fdatasync(order->changes_fd) == 0) ||
         failed(ret_error, "a point could not be sealed");
}

bool vd_task_changes(VdServer *server, VdServeResult *result, VdFormatError *ret_error)
{
  const VdServeOrder *order = &server->order;

  if (order->changes_fd < 0)
    return vd_format_error_set(ret_error, VIRTDISK_ERROR_INTERNAL, 0, "changes",
                               "the order to the worker: no change tracking file");
  switch ((VdChangesCall)order->setup.order.call) {
  case VD_CHANGES_STATE:
    return tell_state(server, result, ret_error);
  case VD_CHANGES_QUERY:
    return query(server, result, ret_error);
  case VD_CHANGES_ENABLE:
    return enable(order, ret_error);
  case VD_CHANGES_DISABLE:
    return disable(order, ret_error);
  case VD_CHANGES_SEAL:
    return seal(order, ret_error);
  }
  return vd_format_error_set(ret_error, VIRTDISK_ERROR_INVALID_PARAMETER, 0, "call",
                             "the order to the worker: call %u of the changes is none",
                             order->setup.order.call);
}

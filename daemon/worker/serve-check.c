/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A worker that checks an image, or repairs it: what the checker finds goes to the daemon fault by fault. An
 * image in which nothing can be mended is never written to.
 */
#include "formats/check.h"
#include "worker/serve.h"

typedef struct {
  bool broken; /* nobody hears us any more */
} Telling;

static void tell(void *user, const VdFault *fault)
{
  Telling *telling = user;
  VdServeFault message = {{VD_SERVE_MAGIC, VD_SERVE_VERSION, VD_SERVE_FAULT, sizeof message}, *fault};

  if (!telling->broken)
    telling->broken = !vd_serve_send(&message.header);
}

static void keep_quiet(void *user, const VdFault *fault) {}

static bool look(const VdServer *server, VdFaultSink sink, void *user, VdCheckSummary *ret_summary,
                 VdFormatError *ret_error)
{
  VdReader reader;

  return vd_reader_init(&reader, server->order.images[0], ret_error) &&
         vd_check(&reader, server->order.setup.device_id, sink, user, ret_summary, ret_error);
}

/* The copies; then what a writer mends as it opens the image (a log to replay, a lost trailer), unless that
 * would build on bad tables; and the copies that only a replayed log could be compared with. */
static bool mend(VdServer *server, bool trusted, VdFormatError *ret_error)
{
  int fd = server->order.images[0];
  uint32_t device_id = server->order.setup.device_id;

  return vd_check_repair(fd, device_id, ret_error) &&
         (!trusted || (vd_serve_reopen(server, ret_error) && vd_check_repair(fd, device_id, ret_error)));
}

bool vd_serve_check(VdServer *server, VdFormatError *ret_error)
{
  VdServeChecked checked = {{VD_SERVE_MAGIC, VD_SERVE_VERSION, VD_SERVE_CHECKED, sizeof checked}, 0};
  VdCheckSummary before;
  Telling telling = {false};

  if (server->order.setup.task == VD_TASK_REPAIR) {
    if (!look(server, keep_quiet, NULL, &before, ret_error))
      return false;
    checked.repaired = before.repairable > 0;
    if (checked.repaired && !mend(server, before.counts[VD_FAULT_SERIOUS] == 0, ret_error))
      return false;
  }
  if (!look(server, tell, &telling, &checked.summary, ret_error))
    return false;
  return (!telling.broken && vd_serve_send(&checked.header)) ||
         vd_format_error_set(ret_error, VIRTDISK_ERROR_IO, 0, "", "the faults could not be told");
}

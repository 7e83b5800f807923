// SPDX-License-Identifier: LGPL-2.1-or-later
// Looking after a worker where none can be made.
#include <gtest/gtest.h>

extern "C" {
#include "attach/serving.h"
#include "attach/serving-record.h"
#include "attach/supervise.h"
#include "virtdisk-error.h"
}

namespace
{

gboolean is_live(const VdAttachment *)
{
  return TRUE;
}

gboolean recover(const VdAttachment *, GError **error)
{
  g_set_error_literal(error, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST, "it does not start");
  return FALSE;
}

void give_up(const VdAttachment *) {}

gboolean between(VdServing *, gpointer, GError **)
{
  ADD_FAILURE() << "nothing is changed of what was given up";
  return TRUE;
}

void take_code(GObject *, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GError) error = nullptr;

  vd_supervisor_exchange_finish(result, &error);
  *static_cast<int *>(user_data) = error != nullptr ? error->code : 0;
}

} // namespace

// The kernel has the device for as long as it is mounted, and who wants to end a mirror hears that it cannot
// be.
TEST(Supervise, WhatWasGivenUpIsNotExchanged)
{
  static const VdRoute route = [] {
    VdRoute r = {};

    r.name = "test";
    r.is_live = is_live;
    r.recover = recover;
    r.give_up = give_up;
    return r;
  }();
  g_autoptr(VdAttachment) attachment = vd_attachment_new("/nonexistent");
  gboolean failed = FALSE;
  int code = -1;

  attachment->path = g_strdup("a device");
  attachment->name = g_strdup("device");
  attachment->serving = vd_serving_alloc("/nonexistent", "0123");
  VdSupervisor *supervisor = vd_supervisor_new(
      &route, attachment, [](gpointer data) { *static_cast<gboolean *>(data) = TRUE; }, &failed);
  while (!failed)
    g_main_context_iteration(nullptr, TRUE);
  vd_supervisor_exchange_async(supervisor, nullptr, between, nullptr, nullptr, take_code, &code);
  while (code < 0)
    g_main_context_iteration(nullptr, TRUE);
  EXPECT_EQ(code, VIRTDISK_ERROR_BUSY);
  vd_supervisor_free(supervisor);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Between device.c, which makes and ends devices, and device-change.c, which changes those that go on. */
#pragma once

#include "attach/attachment.h"
#include "attach/choose.h"
#include "attach/idle.h"
#include "attach/supervise.h"

struct VdDevice {
  guint refs;
  const VdRoute *route;
  VdAttachment *attachment;
  char *reason;
  VdDeviceInfo info; /* strings: of the attachment and the route */
  gboolean owned;
  gboolean detaching;
  gboolean ending;   /* lost, and what is left of it is being seen to */
  gboolean unwanted; /* to be detached when idle; we have to notice that */
  VdIdleWatch *idle;
  VdSupervisor *supervisor; /* NULL: no worker serves it */
  GPtrArray *waiting;       /* element GTask*: detaches that wait for the end that is under way; or NULL */
  gboolean gone;
  VdDeviceGoneFunc gone_func;
  gpointer gone_data;
  VdDeviceNewsFunc news_func;
  gpointer news_data;
};

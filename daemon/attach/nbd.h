/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* No device at all: a worker serves the image to whoever attaches it, through a connection in the NBD
 * protocol (AttachVirtualDisk with NO_LOCAL_HOST). */
#pragma once

#include "attach/choose.h"

extern const VdRoute vd_route_nbd;

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* loop over a file that a worker answers for, on a FUSE mount that no path leads to: where there is no
 * ublk. */
#pragma once

#include "attach/choose.h"

extern const VdRoute vd_route_fuse;

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The generated skeletons with their method table replaced: every call goes to vd_call_dispatch() and nowhere
 * else, so no method can be reached around the rules. (GLib's own hook, g-authorize-method, runs in pool
 * threads.)
 */
#pragma once

#include "bus/service.h"

GDBusInterfaceSkeleton *vd_gated_manager_new(VdService *service);
GDBusInterfaceSkeleton *vd_gated_handle_new(VdService *service);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The generated skeletons with their method table replaced: every call goes to vd_call_dispatch() and nowhere
 * else, so no method can be reached around the rules. (GLib's own hook, g-authorize-method, runs in pool
 * threads.)
 */
#pragma once

#include "bus/service.h"

GDBusInterfaceSkeleton *vd_gated_manager_new(VdBusService *service);
GDBusInterfaceSkeleton *vd_gated_job_new(VdBusService *service);
/* All handles, those to come too -> number for g_dbus_connection_unregister_subtree(), or 0. */
guint vd_gated_register_handles(VdBusService *service, GError **error);

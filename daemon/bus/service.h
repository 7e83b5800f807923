/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The face on the bus: puts manager, handles and disks there and takes them away again. Main loop only. */
#pragma once

#include <gio/gio.h>

#include "auth/gate.h"
#include "auth/opener.h"
#include "auth/quota.h"
#include "manager.h"

typedef struct VdBusService VdBusService;

/* Exports everything at connection; the caller takes the bus name afterwards. */
VdBusService *vd_bus_service_new(GDBusConnection *connection, VdManager *manager, VdOpener *opener,
                                 GError **error);
void vd_bus_service_free(VdBusService *self);
/* What was found on an attached disk, aa{sv}: the property FileSystems. (floating) */
GVariant *vd_bus_service_file_systems(VdDisk *disk);

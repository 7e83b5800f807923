/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libvirtdisk: the Windows Virtual Disk API on Linux, for GLib programs and, through introspection, for
 * others.
 *
 * VirtdiskClient is the connection to the service, VirtdiskHandle one open image, VirtdiskDisk one attached
 * disk, VirtdiskJob one operation that takes long.
 *
 * Every method of the service comes three times: virtdisk_x() blocks the calling thread, virtdisk_x_async()
 * and virtdisk_x_finish() do not. The blocking ones may be called from any thread; they run no foreign main
 * context, so signals are not delivered meanwhile.
 *
 * Errors: whatever the service, the bus or the library refuses is in the domain VIRTDISK_ERROR; only a call
 * ended by its GCancellable gives G_IO_ERROR_CANCELLED. No service on the bus and none that can be started is
 * VIRTDISK_ERROR_NO_RESOURCES; a service that leaves before it answers is VIRTDISK_ERROR_OPERATION_ABORTED.
 * Cancelling ends the waiting; what the service has begun it may still complete. A handle that arrives after
 * that is closed by the library.
 *
 * What has a job (create from a source, compact, expand, resize, merge) is cancelled by its GCancellable, and
 * the call returns when the job has ended.
 *
 * Calls that may ask a person or take long (open, create, check, attach, detach, add a parent, jobs) wait
 * without limit, the others for 60 seconds.
 *
 * Paths are file names: any bytes but NUL, relative ones count from the current directory of this process.
 */
#pragma once

#include "virtdisk-changes.h"
#include "virtdisk-check.h"
#include "virtdisk-client.h"
#include "virtdisk-disk.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"
#include "virtdisk-handle.h"
#include "virtdisk-info.h"
#include "virtdisk-job.h"
#include "virtdisk-operation.h"
#include "virtdisk-parameters.h"
#include "virtdisk-types.h"

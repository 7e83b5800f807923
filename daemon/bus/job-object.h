/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* org.virtdisk1.Job: jobs as objects on the bus. */
#pragma once

#include "bus/call.h"
#include "jobs/job.h"

/* The jobs that there are, and those to come, as long as the service is there. */
void vd_job_objects_connect(VdBusService *service);
void vd_job_objects_disconnect(VdBusService *service);

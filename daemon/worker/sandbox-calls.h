/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The system calls that a worker keeps. */
#pragma once

#include "worker/sandbox.h"

/* The last step of the sandbox. Returns 0, or -1 with errno. */
int vd_sandbox_filter_calls(const VdSandboxPlan *plan);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the FUSE protocol has that the headers of Debian 12 (Linux 6.1) lack. Definitions only. */
#pragma once

#include <linux/fuse.h>

/* The oldest protocol that is served: Linux 5.4. */
#define VD_FUSE_MIN_MINOR 31

/* Flags of INIT: asked-for again after a server died, requests carry a mark. Linux 6.9. */
#define VD_FUSE_HAS_RESEND (UINT64_C(1) << 39)
/* A message of ours without request: give all that is unanswered again. Linux 6.9. */
#define VD_FUSE_NOTIFY_RESEND 7

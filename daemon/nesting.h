/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Images inside images: which attached disk's image lies on a file system of another attached disk. */
#pragma once

#include "manager.h"

/* An attached disk whose image lies on outer's device; NULL: none. (transfer full) */
VdDisk *vd_nesting_find_inner(VdManager *manager, VdDisk *outer);
/* The attached disk on whose device the file system with this st_dev lives; NULL: none. (transfer full) */
VdDisk *vd_nesting_find_host(VdManager *manager, dev_t file_system);

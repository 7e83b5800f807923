/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Changes of a VHD that nobody serves: what edit.h promises, for this format. Each opens the image for
 * writing first, which mends the ends of one that was not closed. */
#pragma once

#include "engine/edit.h"

bool vd_vhd_edit_parent(const VdLayerSource *source, const VdEditParent *parent, VdFormatError *ret_error);
bool vd_vhd_edit_identifier(const VdLayerSource *source, const uint8_t id[16], VdFormatError *ret_error);
bool vd_vhd_edit_size(const VdLayerSource *source, uint64_t size, VdFormatError *ret_error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The part of the ublk transport that needs no kernel. */
#pragma once

#include "engine/engine.h"
#include "util/ublk-abi.h"
#include "worker/serve-protocol.h"

/*
 * What a descriptor asks for, every field checked against the disk. True: *request is filled (but for buffer,
 * done and user), *ret_result is what to commit when it succeeds. False: *ret_result is the -errno to commit.
 */
bool vd_ublk_fill_request(const VdUblkDescriptor *descriptor, const VdServeSetup *setup, VdRequest *request,
                          int32_t *ret_result);

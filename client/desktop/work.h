/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is done with one image for a user of a desktop. Each function blocks (polkit may ask a person
 * meanwhile), so it runs on a thread that has a main context of its own as thread default; it touches nothing
 * but what it is given. The image is opened here, with the user's own rights, and goes to the service as a
 * descriptor.
 */
#pragma once

#include "messages.h"
#include "virtdisk.h"

typedef enum {
  VD_DEED_OPEN,
  VD_DEED_OPEN_WRITABLE,
  VD_DEED_EJECT,
  VD_DEED_CHECK,
  VD_DEED_COMPACT,
  VD_DEED_CREATE, /* path: the folder for the new image */
} VdDeed;

/* What came of it. */
typedef struct {
  VdSaying saying;
  char *path;  /* of the image; of a new one its own */
  char *place; /* see VdBlanks */
  char *reason;
  char *device;           /* of the disk that is attached afterwards, or NULL */
  GPtrArray *folders;     /* element char*: to be shown */
  VirtdiskHandle *handle; /* to be kept open while the disk is to stay, or NULL */
} VdOutcome;

VdOutcome *vd_outcome_new(const char *path);
void vd_outcome_free(VdOutcome *self);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdOutcome, vd_outcome_free)
/* What the error says, as a part of a sentence. */
void vd_outcome_set_reason(VdOutcome *self, const GError *error);
/* Takes error. */
void vd_outcome_fail(VdOutcome *self, GError *error);
/* The sentence and its heading. (transfer full) */
char *vd_outcome_summary(const VdOutcome *self);
char *vd_outcome_body(const VdOutcome *self);

/* path: absolute. handle: what keeps the disk of this path attached, or NULL. (transfer full) */
VdOutcome *vd_work_do(VirtdiskClient *client, VdDeed deed, const char *path, VirtdiskHandle *handle);

/* The parts of it. Each sets the outcome's saying. */
void vd_work_open(VirtdiskClient *client, VdDeed deed, VdOutcome *outcome);
void vd_work_eject(VirtdiskClient *client, VirtdiskHandle *handle, VdOutcome *outcome);
void vd_work_check(VirtdiskClient *client, VdOutcome *outcome);
void vd_work_compact(VirtdiskClient *client, VdOutcome *outcome);
void vd_work_create(VirtdiskClient *client, VdOutcome *outcome);
/* Mounts what is on the disk; says what there is to be seen. */
void vd_work_mount(VirtdiskClient *client, VirtdiskDisk *disk, VdOutcome *outcome);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every sentence that the desktop says, in one table: what is the case, what can be done next, and the button
 * that does it. Pure; knows neither bus nor files.
 */
#pragma once

#include <glib.h>

typedef enum {
  /* Opened */
  VD_SAYING_OPENED,
  VD_SAYING_OPENED_WRITABLE,
  VD_SAYING_OPENED_DOWNLOADED,
  VD_SAYING_FELL_BACK,        /* a file system is read-only that was to be written to */
  VD_SAYING_SOME_NOT_MOUNTED, /* some file systems are there, others are not */
  VD_SAYING_OPEN_READ_ONLY,   /* writing was asked for, but it is open for reading already */
  /* Attached, and nothing to show */
  VD_SAYING_NO_FILE_SYSTEM,
  VD_SAYING_BLANK_WRITABLE,
  VD_SAYING_ENCRYPTED,
  VD_SAYING_BITLOCKER,
  VD_SAYING_NO_UDISKS,
  VD_SAYING_NOT_MOUNTED,
  VD_SAYING_MOUNT_REFUSED,
  /* Not opened */
  VD_SAYING_IN_USE,
  VD_SAYING_NO_ACCESS,
  VD_SAYING_NOT_ALLOWED,
  VD_SAYING_DISMISSED,
  VD_SAYING_NOT_FOUND,
  VD_SAYING_NOT_AN_IMAGE,
  VD_SAYING_DAMAGED,
  VD_SAYING_PARENT_MISSING,
  VD_SAYING_WRONG_PLACE,
  VD_SAYING_WRITE_PROTECTED,
  VD_SAYING_UNSUPPORTED,
  VD_SAYING_TOO_MANY,
  VD_SAYING_NO_SERVICE,
  VD_SAYING_NO_SPACE,
  VD_SAYING_FAILED,
  /* Ejected */
  VD_SAYING_EJECTED,
  VD_SAYING_STILL_BUSY,
  VD_SAYING_NOT_OPEN,
  /* Checked, compacted, created */
  VD_SAYING_CHECK_GOOD,
  VD_SAYING_CHECK_MINOR,
  VD_SAYING_CHECK_SERIOUS,
  VD_SAYING_COMPACTED,
  VD_SAYING_CREATED,
  VD_N_SAYINGS
} VdSaying;

/* What a button does; the action's key on the bus is vd_next_key(). */
typedef enum {
  VD_NEXT_NOTHING,
  VD_NEXT_EJECT,
  VD_NEXT_OPEN,
  VD_NEXT_OPEN_WRITABLE,
  VD_NEXT_CHECK,
  VD_N_NEXT
} VdNext;

/* INFORM: goes away by itself. KEEP: stays while the image is open. WARN: something did not work. */
typedef enum { VD_TONE_INFORM, VD_TONE_KEEP, VD_TONE_WARN } VdTone;

/* {name}, {place} and {reason} are filled in. */
typedef struct {
  const char *summary;
  const char *body;
  VdNext next;
  VdTone tone;
} VdMessage;

/* NULL is written as an empty text. */
typedef struct {
  const char *name;   /* of the image, without its folder */
  const char *place;  /* a folder, a device or a web site */
  const char *reason; /* what the service or UDisks2 said */
} VdBlanks;

const VdMessage *vd_message_get(VdSaying saying);
/* What is filled in is never looked at for blanks of its own. (transfer full) */
char *vd_message_fill(const char *pattern, const VdBlanks *blanks);
/* Of an error in opening, ejecting and the like; VD_SAYING_FAILED for what the table does not know. */
VdSaying vd_saying_of_error(const GError *error);
/* Key and label of the button; NULL for VD_NEXT_NOTHING. The table is the same both ways. */
const char *vd_next_key(VdNext next);
const char *vd_next_label(VdNext next);
VdNext vd_next_of_key(const char *key);
/* Whether the file's doings had the wanted end: what the launcher's exit code is made from. */
gboolean vd_saying_is_success(VdSaying saying);

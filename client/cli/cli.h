/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What every verb of the command virtdisk is given, and the table of verbs. */
#pragma once

#include "virtdisk.h"

/* What was said on the command line to every verb, and what it leads to. One object for each run. */
typedef struct {
  VirtdiskClient *client; /* owned by main.c; set before a verb runs */
  GCancellable *cancellable;
  gboolean json;
  gboolean quiet;
  gboolean no_ask_password;
} VdCli;

/*
 * One verb. Its options are static values of its file, written by the parser before run() is called once.
 * Errors of run(): VIRTDISK_ERROR, VD_EXIT_ERROR (exit.h), G_IO_ERROR_CANCELLED, G_OPTION_ERROR for usage.
 */
typedef struct {
  const char *name;
  const char *arguments; /* as usage shows them, or NULL */
  const char *summary;   /* one line */
  guint min_arguments;
  guint max_arguments;
  const GOptionEntry *options; /* ends in an empty entry; or NULL */
  /* Looks at the values of the options before anything is done or connected to; or NULL. Errors:
   * G_OPTION_ERROR. */
  gboolean (*check)(GError **error);
  gboolean (*run)(VdCli *cli, char **arguments, GError **error);
} VdVerb;

extern const VdVerb vd_verb_attach;
extern const VdVerb vd_verb_break_mirror;
extern const VdVerb vd_verb_chain;
extern const VdVerb vd_verb_changes;
extern const VdVerb vd_verb_check;
extern const VdVerb vd_verb_compact;
extern const VdVerb vd_verb_convert;
extern const VdVerb vd_verb_create;
extern const VdVerb vd_verb_detach;
extern const VdVerb vd_verb_expand;
extern const VdVerb vd_verb_info;
extern const VdVerb vd_verb_jobs;
extern const VdVerb vd_verb_list;
extern const VdVerb vd_verb_merge;
extern const VdVerb vd_verb_metadata;
extern const VdVerb vd_verb_mirror;
extern const VdVerb vd_verb_monitor;
extern const VdVerb vd_verb_mount;
extern const VdVerb vd_verb_nbd;
extern const VdVerb vd_verb_resize;
extern const VdVerb vd_verb_set;
extern const VdVerb vd_verb_unmount;

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two helpers of mount(8) and umount(8), and what they have in common. */
#pragma once

#include <gio/gio.h>

/* Exit codes of mount(8), which passes ours on. */
typedef enum {
  VD_HELPER_OK = 0,
  VD_HELPER_USAGE = 1, /* also: not permitted */
  VD_HELPER_SYSTEM = 2,
  VD_HELPER_INTERRUPTED = 8,
  VD_HELPER_FAILURE = 32,
} VdHelperExit;

/* arguments: without the name of the program. They return an exit code. */
int vd_helper_mount(char **arguments, GCancellable *cancellable);
int vd_helper_umount(char **arguments, GCancellable *cancellable);

/* One line on standard error, escaped. path: what it is about, or NULL. Returns the exit code for the error.
 */
int vd_helper_report(const char *path, const GError *error);

/*
 * What comes before the options as getopt would have it, of both: "-sfnv", "-N NAMESPACE", "-o OPTIONS",
 * "-t TYPE", and at most n_names names in between.
 */
typedef struct {
  const char *names[2];
  GString *flags; /* single letters, each once */
  const char *name_space, *options, *type;
} VdHelperLine;

/* letters: flags that are allowed. Errors: G_OPTION_ERROR. */
gboolean vd_helper_parse(char **arguments, const char *letters, guint n_names, VdHelperLine *ret,
                         GError **error);
void vd_helper_line_clear(VdHelperLine *self);
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(VdHelperLine, vd_helper_line_clear)

/* Runs a program, which speaks for itself; its exit code, or VD_HELPER_SYSTEM. argv: element char*,
 * NULL-terminated. */
int vd_helper_run(GPtrArray *argv);

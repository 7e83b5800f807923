/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk-desktop: the service of the desktop, started by the session bus. */
#include <locale.h>

#include "service.h"

int main(int argc, char **argv)
{
  g_autoptr(GApplication) application = NULL;

  setlocale(LC_ALL, "");
  /* What we are given are files of this computer; the modules for others keep threads and memory that we are
   * to do without. Before there are threads. */
  g_setenv("GIO_USE_VFS", "local", TRUE);
  g_vfs_get_default();
  /* Not for a file manager that we start. */
  g_unsetenv("GIO_USE_VFS");
  application = vd_desktop_application_new(G_APPLICATION_IS_SERVICE);
  vd_desktop_serve(application);
  return g_application_run(application, argc, argv);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* virtdisk-open: sends its command line to the service of the desktop and waits for what comes of it. */
#include <locale.h>

#include "service.h"

int main(int argc, char **argv)
{
  g_autoptr(GApplication) application = NULL;

  setlocale(LC_ALL, "");
  application = vd_desktop_application_new(G_APPLICATION_IS_LAUNCHER);
  return g_application_run(application, argc, argv);
}

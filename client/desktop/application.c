/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What launcher and service have in common: the command line, and what of it needs nobody else. */
#include "arguments.h"
#include "config.h"
#include "service.h"

#define EXIT_USAGE 2
#define SEND_ON (-1)

static int on_local_options(GApplication *application, GVariantDict *options, gpointer user_data)
{
  g_autoptr(VdArguments) arguments = NULL;
  g_autoptr(GError) error = NULL;

  if (g_variant_dict_contains(options, "version")) {
    g_print("virtdisk-open %s\n", VD_VERSION);
    return 0;
  }
  if ((g_application_get_flags(application) & G_APPLICATION_IS_SERVICE) != 0)
    return SEND_ON;
  arguments = vd_arguments_new(options, &error);
  if (arguments != NULL)
    return SEND_ON;
  g_printerr("virtdisk-open: %s\n", error->message);
  return EXIT_USAGE;
}

GApplication *vd_desktop_application_new(GApplicationFlags flags)
{
  GApplication *application =
      g_application_new(VD_DESKTOP_NAME, flags | G_APPLICATION_HANDLES_COMMAND_LINE |
                                             G_APPLICATION_HANDLES_OPEN | G_APPLICATION_SEND_ENVIRONMENT);

  g_application_add_main_option_entries(application, vd_arguments_get_entries());
  g_application_set_option_context_summary(
      application,
      "Opens disk images (ISO, raw, VHD, VHDX) for the desktop: attaches them, mounts what is on them, and "
      "shows the folder.");
  g_signal_connect(application, "handle-local-options", G_CALLBACK(on_local_options), NULL);
  return application;
}

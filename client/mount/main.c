/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* mount.virtdisk and umount.virtdisk: one program, which goes by its name. */
#include <locale.h>

#include "interrupt.h"
#include "mount/helper.h"

int main(int argc, char **argv)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  g_autofree char *name = g_path_get_basename(argc > 0 ? argv[0] : "mount.virtdisk");
  int code;

  vd_interrupt_watch(cancellable);
  setlocale(LC_ALL, "");
  g_set_prgname(name);
  if (argc < 1)
    return VD_HELPER_USAGE;
  code = g_str_has_prefix(name, "umount") ? vd_helper_umount(argv + 1, cancellable)
                                          : vd_helper_mount(argv + 1, cancellable);
  return vd_interrupt_get() != 0 && code != VD_HELPER_OK ? VD_HELPER_INTERRUPTED : code;
}

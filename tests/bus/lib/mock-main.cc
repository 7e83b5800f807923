// SPDX-License-Identifier: LGPL-2.1-or-later
// The mock as a program, for clients in other languages: one disk is there; it ends when its standard input
// ends.
#include "mock.h"

#include <cstdio>

int main()
{
  MockService service(g_getenv("DBUS_SYSTEM_BUS_ADDRESS"));

  service.add_disk("/org/virtdisk1/disk/m1", "/images/\xff.vhd", "/dev/loop5");
  puts("ready");
  fflush(stdout);
  while (getchar() != EOF)
    ;
  return 0;
}

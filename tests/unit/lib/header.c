/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The public headers in a program of the old language: compiling it is the test. */
#include <virtdisk.h>
#include <virtdisk-enum-types.h>

GType virtdisk_header_in_c(void);

GType virtdisk_header_in_c(void)
{
  return VIRTDISK_TYPE_ATTACH_FLAGS;
}

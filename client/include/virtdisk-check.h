/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What verifying an image found. */
#pragma once

#include "virtdisk-types.h"

G_BEGIN_DECLS

/* ---- VirtdiskCheck ---- */

GType virtdisk_check_get_type(void);
/**
 * virtdisk_check_ref:
 * @check: what was found
 * Returns: (transfer full): @check.
 */
VirtdiskCheck *virtdisk_check_ref(VirtdiskCheck *check);
/**
 * virtdisk_check_unref:
 * @check: (transfer full): what was found
 */
void virtdisk_check_unref(VirtdiskCheck *check);
/**
 * virtdisk_check_get_faults:
 * @check: what was found
 * Returns: (transfer none) (element-type VirtdiskFault): the faults, of very many only the first.
 */
GPtrArray *virtdisk_check_get_faults(VirtdiskCheck *check);
/**
 * virtdisk_check_get_count:
 * @check: what was found
 * @kind: a kind
 * Returns: how many faults of that kind there are, told or not.
 */
guint64 virtdisk_check_get_count(VirtdiskCheck *check, VirtdiskFaultKind kind);
/**
 * virtdisk_check_get_repairable:
 * @check: what was found
 * Returns: how many of the faults %VIRTDISK_CHECK_REPAIR would mend.
 */
guint virtdisk_check_get_repairable(VirtdiskCheck *check);
/**
 * virtdisk_check_get_repaired:
 * @check: what was found
 * Returns: whether the file was written to; the faults are those that are left.
 */
gboolean virtdisk_check_get_repaired(VirtdiskCheck *check);
/**
 * virtdisk_check_get_blocks:
 * @check: what was found
 * Returns: blocks of the disk; 0 where the format has none, or they could not be read.
 */
guint64 virtdisk_check_get_blocks(VirtdiskCheck *check);
/**
 * virtdisk_check_get_allocated_blocks:
 * @check: what was found
 * Returns: blocks of the disk that have space in the file.
 */
guint64 virtdisk_check_get_allocated_blocks(VirtdiskCheck *check);
/**
 * virtdisk_check_get_leaked:
 * @check: what was found
 * Returns: bytes of the file that belong to nothing.
 */
guint64 virtdisk_check_get_leaked(VirtdiskCheck *check);
/**
 * virtdisk_check_to_variant:
 * @check: what was found
 * Returns: (transfer full): all of it as it came over the bus, a value of type a{sv}.
 */
GVariant *virtdisk_check_to_variant(VirtdiskCheck *check);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskCheck, virtdisk_check_unref)

/* ---- VirtdiskFault ---- */

GType virtdisk_fault_get_type(void);
/**
 * virtdisk_fault_copy:
 * @fault: a fault
 * Returns: (transfer full): a copy.
 */
VirtdiskFault *virtdisk_fault_copy(const VirtdiskFault *fault);
/**
 * virtdisk_fault_free:
 * @fault: (transfer full) (nullable): a fault
 */
void virtdisk_fault_free(VirtdiskFault *fault);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VirtdiskFault, virtdisk_fault_free)

G_END_DECLS

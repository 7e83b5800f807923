/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of who may call what. A test walks the introspection XML and the policy against it, both ways. */
#include "auth/rules.h"

#include "names.h"

#define MANAGER(name, is_counted, ...)                                                                       \
  {                                                                                                          \
    VD_IFACE_MANAGER, name, VD_MAY_ANYONE, is_counted,                                                       \
    {                                                                                                        \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
  }
#define HANDLE(name, is_counted, ...)                                                                        \
  {                                                                                                          \
    VD_IFACE_HANDLE, name, VD_MAY_OWNER, is_counted,                                                         \
    {                                                                                                        \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
  }
#define JOB(name, is_counted, ...)                                                                           \
  {                                                                                                          \
    VD_IFACE_JOB, name, VD_MAY_JOB_OWNER, is_counted,                                                        \
    {                                                                                                        \
      __VA_ARGS__                                                                                            \
    }                                                                                                        \
  }
#define ATTACH_ACTIONS VD_ACTION_ATTACH_READ_ONLY, VD_ACTION_MANAGE_VOLUME, VD_ACTION_ATTACH_AT_BOOT
#define COUNTED TRUE
#define UNCOUNTED FALSE /* answered at once from what is in memory */

static const VdRule rules[] = {
    MANAGER("OpenVirtualDisk", COUNTED, NULL),
    MANAGER("OpenVirtualDiskFd", COUNTED, NULL),
    MANAGER("CreateVirtualDisk", COUNTED, VD_ACTION_USE_PHYSICAL_DISK),
    MANAGER("AttachImage", COUNTED, ATTACH_ACTIONS),
    MANAGER("DetachImage", COUNTED, VD_ACTION_MANAGE_OTHERS),
    MANAGER("GetAllAttachedVirtualDiskPhysicalPaths", UNCOUNTED, NULL),
    MANAGER("GetStorageDependencyInformation", COUNTED, NULL),
    MANAGER("GetDiskForPath", COUNTED, NULL),
    MANAGER("CheckImage", COUNTED, NULL),
    HANDLE("AttachVirtualDisk", COUNTED, ATTACH_ACTIONS),
    HANDLE("DetachVirtualDisk", COUNTED, VD_ACTION_MANAGE_OTHERS),
    HANDLE("GetVirtualDiskPhysicalPath", UNCOUNTED, NULL),
    HANDLE("GetVirtualDiskInformation", COUNTED, NULL),
    HANDLE("AddVirtualDiskParent", COUNTED, NULL),
    HANDLE("AddVirtualDiskParentFd", COUNTED, NULL),
    HANDLE("CompactVirtualDisk", COUNTED, NULL),
    HANDLE("ExpandVirtualDisk", COUNTED, NULL),
    HANDLE("ResizeVirtualDisk", COUNTED, NULL),
    HANDLE("MergeVirtualDisk", COUNTED, NULL),
    HANDLE("MirrorVirtualDisk", COUNTED, NULL),
    HANDLE("BreakMirrorVirtualDisk", COUNTED, NULL),
    HANDLE("SetVirtualDiskInformation", COUNTED, NULL),
    HANDLE("QueryChangesVirtualDisk", COUNTED, NULL),
    HANDLE("EnumerateVirtualDiskMetadata", COUNTED, NULL),
    HANDLE("GetVirtualDiskMetadata", COUNTED, NULL),
    HANDLE("SetVirtualDiskMetadata", COUNTED, NULL),
    HANDLE("DeleteVirtualDiskMetadata", COUNTED, NULL),
    HANDLE("GetVirtualDiskOperationProgress", UNCOUNTED, NULL),
    HANDLE("Close", UNCOUNTED, NULL),
    JOB("Cancel", UNCOUNTED, VD_ACTION_MANAGE_OTHERS),
    JOB("Wait", COUNTED, NULL),
    JOB("Release", UNCOUNTED, NULL),
};

const VdRule *vd_rules_get(gsize *ret_n)
{
  *ret_n = G_N_ELEMENTS(rules);
  return rules;
}

const VdRule *vd_rules_find(const char *interface, const char *method)
{
  for (gsize i = 0; i < G_N_ELEMENTS(rules); i++) {
    if (g_strcmp0(rules[i].interface, interface) == 0 && g_strcmp0(rules[i].method, method) == 0)
      return &rules[i];
  }
  return NULL;
}

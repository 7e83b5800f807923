/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Everything a user can make us hold is counted against that user. Main loop only. */
#pragma once

#include <glib.h>
#include <sys/types.h>

typedef enum {
  VD_QUOTA_HANDLES,  /* open handles */
  VD_QUOTA_DISKS,    /* attached disks */
  VD_QUOTA_REQUESTS, /* calls in flight: openers, probes, attaches */
  VD_QUOTA_PROMPTS,  /* questions to polkit that wait for a person */
  VD_QUOTA_JOBS,     /* operations that run: workers, processor and disk time */
  VD_N_QUOTAS
} VdQuotaKind;

typedef struct VdQuota VdQuota;
typedef struct VdCharge VdCharge; /* one unit; returned to the account when freed */

VdQuota *vd_quota_new(void);
void vd_quota_free(VdQuota *self); /* charges may outlive it */
/* NULL with VIRTDISK_ERROR LIMIT_EXCEEDED, naming the limit. (transfer full) */
VdCharge *vd_quota_charge(VdQuota *self, uid_t uid, VdQuotaKind kind, GError **error);
void vd_charge_free(VdCharge *charge); /* NULL is fine */
guint vd_quota_limit(VdQuotaKind kind, uid_t uid);
guint vd_quota_used(VdQuota *self, uid_t uid, VdQuotaKind kind);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(VdCharge, vd_charge_free)

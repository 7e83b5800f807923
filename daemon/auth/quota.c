/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The accounts of users, and the one table of what each may hold. Counts only; it never frees anything. */
#include "auth/quota.h"

#include "util/identity.h"
#include "virtdisk-error.h"

typedef struct {
  const char *what;
  guint user;
  guint root; /* also a ceiling: a runaway script of root's shall not take the service down */
} LimitRow;

static const LimitRow limits[VD_N_QUOTAS] = {
    [VD_QUOTA_HANDLES] = {"open handles", 256, 65536},
    [VD_QUOTA_DISKS] = {"attached disks", 64, 4096},
    [VD_QUOTA_REQUESTS] = {"calls in flight", 32, 1024},
    [VD_QUOTA_PROMPTS] = {"open questions for authorization", 4, 64},
    [VD_QUOTA_JOBS] = {"running jobs", 8, 256},
};

typedef struct {
  guint used[VD_N_QUOTAS];
} Account;

struct VdQuota {
  GHashTable *accounts; /* uid -> Account; an account that holds nothing is dropped */
};

struct VdCharge {
  VdQuota *quota;
  uid_t uid;
  VdQuotaKind kind;
};

static void quota_clear(gpointer box)
{
  VdQuota *self = box;

  g_hash_table_unref(self->accounts);
}

VdQuota *vd_quota_new(void)
{
  VdQuota *self = g_rc_box_new0(VdQuota);

  self->accounts = g_hash_table_new_full(NULL, NULL, NULL, g_free);
  return self;
}

void vd_quota_free(VdQuota *self)
{
  if (self != NULL)
    g_rc_box_release_full(self, quota_clear);
}

static Account *account_of(VdQuota *self, uid_t uid)
{
  return g_hash_table_lookup(self->accounts, GUINT_TO_POINTER(uid));
}

static Account *ensure_account(VdQuota *self, uid_t uid)
{
  Account *account = account_of(self, uid);

  if (account == NULL) {
    account = g_new0(Account, 1);
    g_hash_table_insert(self->accounts, GUINT_TO_POINTER(uid), account);
  }
  return account;
}

static gboolean account_is_empty(const Account *account)
{
  for (guint kind = 0; kind < VD_N_QUOTAS; kind++) {
    if (account->used[kind] != 0)
      return FALSE;
  }
  return TRUE;
}

guint vd_quota_limit(VdQuotaKind kind, uid_t uid)
{
  g_return_val_if_fail((guint)kind < VD_N_QUOTAS, 0);
  return uid == 0 ? limits[kind].root : limits[kind].user;
}

guint vd_quota_used(VdQuota *self, uid_t uid, VdQuotaKind kind)
{
  const Account *account = account_of(self, uid);

  g_return_val_if_fail((guint)kind < VD_N_QUOTAS, 0);
  return account == NULL ? 0 : account->used[kind];
}

VdCharge *vd_quota_charge(VdQuota *self, uid_t uid, VdQuotaKind kind, GError **error)
{
  guint limit = vd_quota_limit(kind, uid);
  VdCharge *charge;

  g_return_val_if_fail(uid != VD_UID_INVALID && (guint)kind < VD_N_QUOTAS, NULL);
  if (vd_quota_used(self, uid, kind) >= limit) {
    g_set_error(error, VIRTDISK_ERROR, VIRTDISK_ERROR_LIMIT_EXCEEDED,
                "User %u has %u %s already, the most allowed", (guint)uid, limit, limits[kind].what);
    return NULL;
  }
  ensure_account(self, uid)->used[kind]++;
  charge = g_new0(VdCharge, 1);
  charge->quota = g_rc_box_acquire(self);
  charge->uid = uid;
  charge->kind = kind;
  return charge;
}

void vd_charge_free(VdCharge *charge)
{
  Account *account;

  if (charge == NULL)
    return;
  account = account_of(charge->quota, charge->uid);
  account->used[charge->kind]--;
  if (account_is_empty(account))
    g_hash_table_remove(charge->quota->accounts, GUINT_TO_POINTER(charge->uid));
  vd_quota_free(charge->quota);
  g_free(charge);
}

// SPDX-License-Identifier: LGPL-2.1-or-later
#include <gtest/gtest.h>
#include <vector>

extern "C" {
#include "auth/quota.h"
#include "virtdisk-error.h"
}

struct Quota : testing::Test {
  VdQuota *quota = vd_quota_new();

  ~Quota() override
  {
    vd_quota_free(quota);
  }
};

TEST_F(Quota, EndsAtTheLimitAndSaysWhich)
{
  std::vector<VdCharge *> charges;
  g_autoptr(GError) error = nullptr;

  for (guint i = 0; i < vd_quota_limit(VD_QUOTA_PROMPTS, 1000); i++)
    charges.push_back(vd_quota_charge(quota, 1000, VD_QUOTA_PROMPTS, nullptr));
  EXPECT_EQ(charges.size(), 4u);
  EXPECT_EQ(vd_quota_charge(quota, 1000, VD_QUOTA_PROMPTS, &error), nullptr);
  ASSERT_TRUE(g_error_matches(error, VIRTDISK_ERROR, VIRTDISK_ERROR_LIMIT_EXCEEDED));
  EXPECT_NE(strstr(error->message, "4 open questions"), nullptr) << error->message;
  EXPECT_EQ(vd_quota_used(quota, 1000, VD_QUOTA_PROMPTS), 4u);
  for (VdCharge *charge : charges)
    vd_charge_free(charge);
  EXPECT_EQ(vd_quota_used(quota, 1000, VD_QUOTA_PROMPTS), 0u);
}

TEST_F(Quota, KindsAndUsersAreApart)
{
  g_autoptr(VdCharge) disk = vd_quota_charge(quota, 1000, VD_QUOTA_DISKS, nullptr);
  g_autoptr(VdCharge) handle = vd_quota_charge(quota, 1000, VD_QUOTA_HANDLES, nullptr);
  g_autoptr(VdCharge) other = vd_quota_charge(quota, 1001, VD_QUOTA_DISKS, nullptr);

  EXPECT_EQ(vd_quota_used(quota, 1000, VD_QUOTA_DISKS), 1u);
  EXPECT_EQ(vd_quota_used(quota, 1000, VD_QUOTA_HANDLES), 1u);
  EXPECT_EQ(vd_quota_used(quota, 1000, VD_QUOTA_REQUESTS), 0u);
  vd_charge_free(g_steal_pointer(&disk));
  EXPECT_EQ(vd_quota_used(quota, 1000, VD_QUOTA_DISKS), 0u);
  EXPECT_EQ(vd_quota_used(quota, 1000, VD_QUOTA_HANDLES), 1u);
  EXPECT_EQ(vd_quota_used(quota, 1001, VD_QUOTA_DISKS), 1u);
}

TEST_F(Quota, UnitFreedIsUsableAgain)
{
  std::vector<VdCharge *> charges;

  for (guint i = 0; i < vd_quota_limit(VD_QUOTA_REQUESTS, 7); i++)
    charges.push_back(vd_quota_charge(quota, 7, VD_QUOTA_REQUESTS, nullptr));
  vd_charge_free(charges.back());
  charges.back() = vd_quota_charge(quota, 7, VD_QUOTA_REQUESTS, nullptr);
  EXPECT_NE(charges.back(), nullptr);
  for (VdCharge *charge : charges)
    vd_charge_free(charge);
}

TEST_F(Quota, RootHasItsOwnLimits)
{
  const guint user[] = {256, 64, 32, 4, 8}, root[] = {65536, 4096, 1024, 64, 256};

  for (int kind = 0; kind < VD_N_QUOTAS; kind++) {
    EXPECT_EQ(vd_quota_limit(static_cast<VdQuotaKind>(kind), 1000), user[kind]);
    EXPECT_EQ(vd_quota_limit(static_cast<VdQuotaKind>(kind), 0), root[kind]);
  }
}

TEST(QuotaEnd, ChargeOutlivesIt)
{
  VdQuota *quota = vd_quota_new();
  VdCharge *charge = vd_quota_charge(quota, 1000, VD_QUOTA_DISKS, nullptr);

  vd_quota_free(quota);
  vd_charge_free(charge);
  vd_charge_free(nullptr);
}

// SPDX-License-Identifier: LGPL-2.1-or-later
// The rules, the introspection XML and the policy against each other, both ways.
#include <gtest/gtest.h>
#include <gio/gio.h>
#include <set>
#include <string>

extern "C" {
#include "auth/rules.h"
#include "names.h"
}

static std::string contents_of(const char *path)
{
  g_autofree char *text = nullptr;
  g_autoptr(GError) error = nullptr;

  EXPECT_TRUE(g_file_get_contents(path, &text, nullptr, &error)) << error->message;
  return text != nullptr ? text : "";
}

static GDBusNodeInfo *introspection()
{
  g_autoptr(GError) error = nullptr;
  GDBusNodeInfo *node = g_dbus_node_info_new_for_xml(contents_of(VD_TEST_INTROSPECTION).c_str(), &error);

  EXPECT_NE(node, nullptr) << error->message;
  return node;
}

static std::set<std::string> methods_of_xml()
{
  g_autoptr(GDBusNodeInfo) node = introspection();
  std::set<std::string> names;

  for (GDBusInterfaceInfo **interface = node->interfaces; *interface != nullptr; interface++)
    for (GDBusMethodInfo **method = (*interface)->methods; method != nullptr && *method != nullptr; method++)
      names.insert(std::string((*interface)->name) + "." + (*method)->name);
  return names;
}

static std::set<std::string> methods_of_rules()
{
  std::set<std::string> names;
  gsize n;
  const VdRule *rules = vd_rules_get(&n);

  for (gsize i = 0; i < n; i++)
    EXPECT_TRUE(names.insert(std::string(rules[i].interface) + "." + rules[i].method).second)
        << rules[i].method << " stands twice";
  return names;
}

static std::set<std::string> actions_of_rules()
{
  std::set<std::string> names;
  gsize n;
  const VdRule *rules = vd_rules_get(&n);

  for (gsize i = 0; i < n; i++) {
    EXPECT_EQ(rules[i].actions[G_N_ELEMENTS(rules[i].actions) - 1], nullptr) << rules[i].method;
    for (const char *const *action = rules[i].actions; *action != nullptr; action++)
      names.insert(*action);
  }
  return names;
}

static std::set<std::string> actions_of_policy()
{
  std::set<std::string> names;
  std::string text = contents_of(VD_TEST_POLICY);
  g_autoptr(GRegex) regex = g_regex_new("<action id=\"([^\"]*)\"", static_cast<GRegexCompileFlags>(0),
                                        static_cast<GRegexMatchFlags>(0), nullptr);
  g_autoptr(GMatchInfo) match = nullptr;

  for (g_regex_match(regex, text.c_str(), static_cast<GRegexMatchFlags>(0), &match);
       g_match_info_matches(match); g_match_info_next(match, nullptr)) {
    g_autofree char *name = g_match_info_fetch(match, 1);

    EXPECT_TRUE(names.insert(name).second) << name << " stands twice";
  }
  return names;
}

TEST(Rules, EveryMethodHasARowAndEveryRowAMethod)
{
  EXPECT_FALSE(methods_of_xml().empty());
  EXPECT_EQ(methods_of_xml(), methods_of_rules());
}

TEST(Rules, EveryActionHasAPolicyAndEveryPolicyAnAsker)
{
  EXPECT_FALSE(actions_of_policy().empty());
  EXPECT_EQ(actions_of_rules(), actions_of_policy());
}

TEST(Rules, NoPropertyIsWritable)
{
  g_autoptr(GDBusNodeInfo) node = introspection();
  guint n = 0;

  for (GDBusInterfaceInfo **interface = node->interfaces; *interface != nullptr; interface++)
    for (GDBusPropertyInfo **property = (*interface)->properties; property != nullptr && *property != nullptr;
         property++, n++)
      EXPECT_EQ((*property)->flags, G_DBUS_PROPERTY_INFO_FLAGS_READABLE)
          << (*interface)->name << "." << (*property)->name << ": Set would not pass the gate";
  EXPECT_GT(n, 0u);
}

TEST(Rules, EveryMethodEndsInOptions)
{
  g_autoptr(GDBusNodeInfo) node = introspection();

  for (GDBusInterfaceInfo **interface = node->interfaces; *interface != nullptr; interface++)
    for (GDBusMethodInfo **method = (*interface)->methods; method != nullptr && *method != nullptr;
         method++) {
      GDBusArgInfo **arg = (*method)->in_args;

      ASSERT_TRUE(arg != nullptr && *arg != nullptr) << (*method)->name;
      while (arg[1] != nullptr)
        arg++;
      EXPECT_STREQ((*arg)->name, "options") << (*method)->name;
      EXPECT_STREQ((*arg)->signature, "a{sv}") << (*method)->name;
    }
}

static VdMay may_of(const char *interface)
{
  if (g_str_equal(interface, VD_IFACE_HANDLE))
    return VD_MAY_OWNER;
  return g_str_equal(interface, VD_IFACE_JOB) ? VD_MAY_JOB_OWNER : VD_MAY_ANYONE;
}

TEST(Rules, HandlesAndJobsAnswerTheirOwnerOnly)
{
  gsize n;
  const VdRule *rules = vd_rules_get(&n);

  for (gsize i = 0; i < n; i++)
    EXPECT_EQ(rules[i].may, may_of(rules[i].interface)) << rules[i].method;
}

TEST(Rules, AJobOfSomebodyElseCanBeCancelledByWhoMayManageIt)
{
  EXPECT_STREQ(vd_rules_find(VD_IFACE_JOB, "Cancel")->actions[0], VD_ACTION_MANAGE_OTHERS);
  EXPECT_EQ(vd_rules_find(VD_IFACE_JOB, "Wait")->actions[0], nullptr);
  EXPECT_EQ(vd_rules_find(VD_IFACE_JOB, "Release")->actions[0], nullptr);
}

TEST(Rules, WhatHasNoRowIsNotFound)
{
  EXPECT_EQ(vd_rules_find(VD_IFACE_MANAGER, "Close"), nullptr);
  EXPECT_EQ(vd_rules_find(VD_IFACE_DISK, "OpenVirtualDisk"), nullptr);
  EXPECT_EQ(vd_rules_find("org.freedesktop.DBus.Properties", "Set"), nullptr);
  EXPECT_EQ(vd_rules_find(nullptr, nullptr), nullptr);
  ASSERT_NE(vd_rules_find(VD_IFACE_HANDLE, "Close"), nullptr);
  EXPECT_STREQ(vd_rules_find(VD_IFACE_MANAGER, "DetachImage")->actions[0], VD_ACTION_MANAGE_OTHERS);
}

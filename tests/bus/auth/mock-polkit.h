// SPDX-License-Identifier: LGPL-2.1-or-later
// polkit's authority, with answers of the test's choice.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bus.h"

enum class Verdict { Yes, No, Challenge, Dismissed, Fail, Hold };

struct Question {
  std::string kind, subject, action;
  std::map<std::string, std::string> details;
  guint32 flags;
};

class MockPolkit
{
  GDBusConnection *connection = connect_to_bus();
  std::vector<GDBusMethodInvocation *> held;
  Handler handler;
  guint object;

  static constexpr const char *xml = R"(<node><interface name='org.freedesktop.PolicyKit1.Authority'>
    <method name='CheckAuthorization'><arg type='(sa{sv})' direction='in'/><arg type='s' direction='in'/>
      <arg type='a{ss}' direction='in'/><arg type='u' direction='in'/><arg type='s' direction='in'/>
      <arg type='(bba{ss})' direction='out'/></method>
    <method name='CancelCheckAuthorization'><arg type='s' direction='in'/></method></interface></node>)";

  static void answer(GDBusMethodInvocation *invocation, bool yes, bool challenge, bool dismissed)
  {
    g_auto(GVariantBuilder) details = G_VARIANT_BUILDER_INIT(G_VARIANT_TYPE("a{ss}"));

    if (dismissed)
      g_variant_builder_add(&details, "{ss}", "polkit.dismissed", "true");
    g_dbus_method_invocation_return_value(invocation, g_variant_new("((bba{ss}))", yes, challenge, &details));
  }

  static Question question_from(GVariant *parameters)
  {
    g_autoptr(GVariant) subject = nullptr;
    GVariantIter *details = nullptr;
    const char *kind, *name = "", *action, *key, *value;
    Question question;

    g_variant_get(parameters, "((&s@a{sv})&sa{ss}u&s)", &kind, &subject, &action, &details, &question.flags,
                  nullptr);
    g_variant_lookup(subject, "name", "&s", &name);
    question.kind = kind;
    question.subject = name;
    question.action = action;
    while (g_variant_iter_next(details, "{&s&s}", &key, &value))
      question.details[key] = value;
    g_variant_iter_free(details);
    return question;
  }

  void decide(const Question &question, GDBusMethodInvocation *invocation)
  {
    Verdict verdict =
        (question.flags & 1) != 0 ? with_person[question.action] : without_person[question.action];

    if (verdict == Verdict::Hold)
      held.push_back(invocation);
    else if (verdict == Verdict::Fail)
      g_dbus_method_invocation_return_dbus_error(invocation, "org.freedesktop.PolicyKit1.Error.Failed",
                                                 "on purpose");
    else
      answer(invocation, verdict == Verdict::Yes, verdict == Verdict::Challenge,
             verdict == Verdict::Dismissed);
  }

public:
  std::map<std::string, Verdict> without_person, with_person; // by action; Yes where nothing is said
  std::vector<Question> questions;
  int withdrawn = 0;

  MockPolkit()
  {
    handler = [this](const std::string &method, GVariant *parameters, GDBusMethodInvocation *invocation) {
      if (method == "CancelCheckAuthorization") {
        withdrawn++;
        g_dbus_method_invocation_return_value(invocation, nullptr);
        return;
      }
      questions.push_back(question_from(parameters));
      decide(questions.back(), invocation);
    };
    object = export_object(connection, "/org/freedesktop/PolicyKit1/Authority", xml, &handler);
    own_name(connection, "org.freedesktop.PolicyKit1");
  }

  // Leaves the bus with questions unanswered.
  ~MockPolkit()
  {
    g_dbus_connection_unregister_object(connection, object);
    g_dbus_connection_close_sync(connection, nullptr, nullptr);
    for (GDBusMethodInvocation *invocation : held)
      g_object_unref(invocation);
    g_object_unref(connection);
  }

  size_t open_questions() const
  {
    return held.size();
  }

  void release(bool yes)
  {
    for (GDBusMethodInvocation *invocation : held)
      answer(invocation, yes, false, false);
    held.clear();
  }
};

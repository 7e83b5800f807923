// SPDX-License-Identifier: LGPL-2.1-or-later
// The gate against a mock of polkit on a private bus.
#include <gtest/gtest.h>
#include <memory>
#include <vector>

#include "mock-polkit.h"

extern "C" {
#include "auth/gate.h"
#include "names.h"
#include "virtdisk-error.h"
}

static testing::Environment *const bus = testing::AddGlobalTestEnvironment(new PrivateBus);

static const uid_t user = 54242, other_user = 54243;

struct Answer {
  bool done = false, granted = false;
  int code = -1;
  std::string message;
};

static void on_asked(GObject *, GAsyncResult *result, gpointer user_data)
{
  auto *answer = static_cast<Answer *>(user_data);
  g_autoptr(GError) error = nullptr;

  answer->granted = vd_gate_ask_finish(nullptr, result, &error);
  EXPECT_EQ(answer->granted, error == nullptr);
  answer->done = true;
  if (error != nullptr) {
    EXPECT_EQ(error->domain, VIRTDISK_ERROR) << error->message;
    answer->code = error->code;
    answer->message = error->message;
  }
}

struct Gate : testing::Test {
  GDBusConnection *service = connect_to_bus(), *caller = connect_to_bus();
  VdQuota *quota = vd_quota_new();
  VdGate *gate = vd_gate_new(service, quota);
  std::unique_ptr<MockPolkit> polkit = std::make_unique<MockPolkit>();
  VdAsk ask = {{VD_ACTION_MANAGE_VOLUME},
               "/srv/a.vhd",
               "vhd",
               "read-write",
               "permanent",
               nullptr,
               nullptr,
               VD_UID_INVALID};

  ~Gate() override
  {
    EXPECT_EQ(vd_quota_used(quota, user, VD_QUOTA_PROMPTS), 0u);
    vd_gate_free(gate);
    vd_quota_free(quota);
    close_and_unref(caller);
    close_and_unref(service);
  }

  void start(Answer &answer, gboolean interactive, uid_t uid = user, GCancellable *cancellable = nullptr)
  {
    g_autoptr(VdIdentity) identity =
        vd_identity_new(g_dbus_connection_get_unique_name(caller), uid, VD_GID_INVALID, nullptr, 0, 1);

    vd_gate_ask_async(gate, identity, &ask, interactive, cancellable, on_asked, &answer);
  }

  Answer put(gboolean interactive, uid_t uid = user)
  {
    Answer answer;

    start(answer, interactive, uid);
    wait_until([&] { return answer.done; });
    return answer;
  }

  // Until a person is being asked n questions.
  void wait_for_dialogs(size_t n)
  {
    wait_until([&] { return polkit->open_questions() == n; });
  }
};

constexpr const char *kDownloadedReadWrite = "Authentication is required to attach the disk image $(path) "
                                             "for reading and writing. It was downloaded from "
                                             "$(origin)";
constexpr const char *kDownloadedReadOnly =
    "Authentication is required to attach the disk image $(path) read-only. It was downloaded from $(origin)";

TEST_F(Gate, WhatPolkitGrantsIsGranted)
{
  EXPECT_TRUE(put(FALSE).granted);
  ASSERT_EQ(polkit->questions.size(), 1u);
  EXPECT_EQ(polkit->questions[0].action, VD_ACTION_MANAGE_VOLUME);
  EXPECT_EQ(polkit->questions[0].kind, "system-bus-name");
  EXPECT_EQ(polkit->questions[0].subject, g_dbus_connection_get_unique_name(caller));
  EXPECT_EQ(polkit->questions[0].flags, 0u);
}

TEST_F(Gate, DetailsArePassed)
{
  ask.device = "/dev/loop7";
  ask.origin_url = "https://example.org/a.vhd";
  ask.file_owner = 0;
  put(FALSE);
  ASSERT_EQ(polkit->questions.size(), 1u);
  EXPECT_EQ(polkit->questions[0].details,
            (std::map<std::string, std::string>{{"path", "/srv/a.vhd"},
                                                {"format", "vhd"},
                                                {"access", "read-write"},
                                                {"lifetime", "permanent"},
                                                {"device", "/dev/loop7"},
                                                {"origin", "https://example.org/a.vhd"},
                                                {"owner", "root"},
                                                {"polkit.message", kDownloadedReadWrite}}));
}

TEST_F(Gate, OnlyTheQuestionWhetherToAttachSaysWhereFrom)
{
  ask.origin_url = "https://example.org/a.vhd";
  ask.actions[1] = VD_ACTION_ATTACH_AT_BOOT;
  put(FALSE);
  ASSERT_EQ(polkit->questions.size(), 2u);
  EXPECT_EQ(polkit->questions[0].details["polkit.message"], kDownloadedReadWrite);
  EXPECT_EQ(polkit->questions[1].details.count("polkit.message"), 0u);
  ask.actions[0] = VD_ACTION_ATTACH_READ_ONLY;
  ask.actions[1] = nullptr;
  put(FALSE);
  ASSERT_EQ(polkit->questions.size(), 3u);
  EXPECT_EQ(polkit->questions[2].details["polkit.message"], kDownloadedReadOnly);
  ask.origin_url = nullptr;
  put(FALSE);
  ASSERT_EQ(polkit->questions.size(), 4u);
  EXPECT_EQ(polkit->questions[3].details.count("polkit.message"), 0u);
}

TEST_F(Gate, OwnerWithoutANameIsANumberAndWhatIsUnknownIsLeftOut)
{
  ask.file_owner = other_user;
  put(FALSE);
  ask.file_owner = VD_UID_INVALID;
  ask.path = nullptr;
  put(FALSE);
  ASSERT_EQ(polkit->questions.size(), 2u);
  EXPECT_EQ(polkit->questions[0].details["owner"], "54243");
  EXPECT_EQ(polkit->questions[1].details.count("owner"), 0u);
  EXPECT_EQ(polkit->questions[1].details.count("path"), 0u);
}

TEST_F(Gate, TextsFromCallersCannotShapeTheDialog)
{
  ask.path = "/tmp/x\nYou are safe\xff";
  EXPECT_TRUE(put(FALSE).granted);
  ASSERT_EQ(polkit->questions.size(), 1u);
  EXPECT_EQ(polkit->questions[0].details["path"], "/tmp/x\\x0aYou are safe\\xff");
}

TEST_F(Gate, WhatPolkitRefusesIsRefused)
{
  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::No;
  for (bool interactive : {false, true}) {
    Answer answer = put(interactive);

    EXPECT_EQ(answer.code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
    EXPECT_NE(answer.message.find(VD_ACTION_MANAGE_VOLUME), std::string::npos) << answer.message;
  }
}

TEST_F(Gate, PersonIsAskedOnlyIfTheCallerAllowsIt)
{
  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Challenge;
  EXPECT_EQ(put(FALSE).code, VIRTDISK_ERROR_AUTHORIZATION_REQUIRED);
  ASSERT_EQ(polkit->questions.size(), 1u);
  EXPECT_EQ(polkit->questions[0].flags, 0u);
  EXPECT_TRUE(put(TRUE).granted);
  ASSERT_EQ(polkit->questions.size(), 3u);
  EXPECT_EQ(polkit->questions[2].flags, 1u);
}

TEST_F(Gate, PersonsAnswers)
{
  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Challenge;
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Dismissed;
  EXPECT_EQ(put(TRUE).code, VIRTDISK_ERROR_AUTHORIZATION_DISMISSED);
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::No;
  EXPECT_EQ(put(TRUE).code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Challenge; // no agent
  EXPECT_EQ(put(TRUE).code, VIRTDISK_ERROR_AUTHORIZATION_REQUIRED);
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Fail;
  EXPECT_EQ(put(TRUE).code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
}

TEST_F(Gate, AllActionsMustBeGranted)
{
  ask.actions[1] = VD_ACTION_ATTACH_AT_BOOT;
  ask.actions[2] = VD_ACTION_MANAGE_OTHERS;
  EXPECT_TRUE(put(FALSE).granted);
  EXPECT_EQ(polkit->questions.size(), 3u);
  polkit->questions.clear();
  polkit->without_person[VD_ACTION_ATTACH_AT_BOOT] = Verdict::No;
  EXPECT_NE(put(FALSE).message.find(VD_ACTION_ATTACH_AT_BOOT), std::string::npos);
  ASSERT_EQ(polkit->questions.size(), 2u) << "what cannot be granted any more is not asked";
}

TEST_F(Gate, EachActionMayNeedAPerson)
{
  ask.actions[1] = VD_ACTION_ATTACH_AT_BOOT;
  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Challenge;
  polkit->without_person[VD_ACTION_ATTACH_AT_BOOT] = Verdict::Challenge;
  EXPECT_TRUE(put(TRUE).granted);
  EXPECT_EQ(polkit->questions.size(), 4u);
  polkit->with_person[VD_ACTION_ATTACH_AT_BOOT] = Verdict::No;
  EXPECT_EQ(put(TRUE).code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
}

TEST_F(Gate, RootIsNotAsked)
{
  g_autoptr(VdIdentity) service_itself = vd_identity_new(nullptr, 0, 0, nullptr, 0, 0);
  Answer answer;

  polkit.reset();
  EXPECT_TRUE(put(FALSE, 0).granted);
  vd_gate_ask_async(gate, service_itself, &ask, FALSE, nullptr, on_asked, &answer);
  wait_until([&] { return answer.done; });
  EXPECT_TRUE(answer.granted);
}

TEST_F(Gate, NobodyElseIsGrantedWithoutAName)
{
  g_autoptr(VdIdentity) nameless = vd_identity_new(nullptr, user, VD_GID_INVALID, nullptr, 0, 0);
  Answer answer;

  vd_gate_ask_async(gate, nameless, &ask, TRUE, nullptr, on_asked, &answer);
  wait_until([&] { return answer.done; });
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
}

TEST_F(Gate, NoActionGrantsNothing)
{
  ask.actions[0] = nullptr;
  EXPECT_EQ(put(FALSE).code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
  EXPECT_EQ(put(FALSE, 0).code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
}

TEST_F(Gate, WithoutPolkitEverythingIsRefusedUntilItIsThere)
{
  polkit.reset();
  for (bool interactive : {false, true}) {
    Answer answer = put(interactive);

    EXPECT_EQ(answer.code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
    EXPECT_NE(answer.message.find("polkit could not be asked"), std::string::npos) << answer.message;
  }
  polkit = std::make_unique<MockPolkit>();
  EXPECT_TRUE(put(FALSE).granted);
}

TEST_F(Gate, PolkitsFailureIsARefusal)
{
  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Fail;
  EXPECT_EQ(put(TRUE).code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD);
}

TEST_F(Gate, PolkitThatGoesMidQuestionRefusesAndComesBack)
{
  for (bool person : {false, true}) {
    Answer answer;

    polkit->without_person[VD_ACTION_MANAGE_VOLUME] = person ? Verdict::Challenge : Verdict::Hold;
    polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Hold;
    start(answer, TRUE);
    wait_for_dialogs(1);
    polkit.reset();
    wait_until([&] { return answer.done; });
    EXPECT_EQ(answer.code, VIRTDISK_ERROR_PRIVILEGE_NOT_HELD) << answer.message;
    polkit = std::make_unique<MockPolkit>();
    EXPECT_TRUE(put(TRUE).granted);
  }
}

TEST_F(Gate, CallerThatLeavesWithdrawsItsQuestion)
{
  Answer answer;

  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Challenge;
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Hold;
  start(answer, TRUE);
  wait_for_dialogs(1);
  close_and_unref(caller);
  wait_until([&] { return answer.done && polkit->withdrawn == 1; });
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  caller = connect_to_bus();
}

TEST_F(Gate, CancelledQuestionIsWithdrawn)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Answer answer, late;

  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Hold;
  start(answer, FALSE, user, cancellable);
  wait_for_dialogs(1);
  g_cancellable_cancel(cancellable);
  wait_until([&] { return answer.done && polkit->withdrawn == 1; });
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  start(late, FALSE, 0, cancellable);
  wait_until([&] { return late.done; });
  EXPECT_EQ(late.code, VIRTDISK_ERROR_OPERATION_ABORTED);
}

TEST_F(Gate, GateThatIsFreedAbortsItsQuestions)
{
  Answer waiting, starting;

  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Challenge;
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Hold;
  start(waiting, TRUE);
  wait_for_dialogs(1);
  start(starting, TRUE);
  vd_gate_free(gate);
  gate = vd_gate_new(service, quota);
  wait_until([&] { return waiting.done && starting.done; });
  EXPECT_EQ(waiting.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  EXPECT_EQ(starting.code, VIRTDISK_ERROR_OPERATION_ABORTED);
}

TEST_F(Gate, PromptsAreLimitedForEachUser)
{
  std::vector<Answer> prompts(vd_quota_limit(VD_QUOTA_PROMPTS, user));
  Answer others;

  polkit->without_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Challenge;
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Hold;
  for (Answer &answer : prompts)
    start(answer, TRUE);
  wait_for_dialogs(prompts.size());
  EXPECT_EQ(put(TRUE).code, VIRTDISK_ERROR_LIMIT_EXCEEDED);
  EXPECT_EQ(put(FALSE).code, VIRTDISK_ERROR_AUTHORIZATION_REQUIRED) << "no prompt, no charge";
  start(others, TRUE, other_user);
  wait_for_dialogs(prompts.size() + 1);
  polkit->release(true);
  for (Answer &answer : prompts) {
    wait_until([&] { return answer.done; });
    EXPECT_TRUE(answer.granted) << answer.message;
  }
  wait_until([&] { return others.done; });
  polkit->with_person[VD_ACTION_MANAGE_VOLUME] = Verdict::Yes;
  EXPECT_TRUE(put(TRUE).granted) << "a prompt that was answered is given back";
}

TEST_F(Gate, WhatNeedsNoPersonIsNotLimited)
{
  std::vector<Answer> asks(20);

  for (Answer &answer : asks)
    start(answer, TRUE);
  for (Answer &answer : asks) {
    wait_until([&] { return answer.done; });
    EXPECT_TRUE(answer.granted) << answer.message;
  }
}

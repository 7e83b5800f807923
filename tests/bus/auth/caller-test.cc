// SPDX-License-Identifier: LGPL-2.1-or-later
// Who the caller is, as a bus tells it that says what the test wants; and its session, from a mock of logind.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>
#include <vector>

#include "bus.h"

extern "C" {
#include "auth/caller.h"
#include "virtdisk-error.h"
}

struct Answer {
  bool done = false;
  VdIdentity *identity = nullptr;
  std::string session, message;
  int code = -1;

  Answer() = default;
  Answer(const Answer &) = delete;
  ~Answer()
  {
    g_clear_pointer(&identity, vd_identity_unref);
  }

  void finish(const GError *error)
  {
    done = true;
    if (error == nullptr)
      return;
    EXPECT_EQ(error->domain, VIRTDISK_ERROR) << error->message;
    code = error->code;
    message = error->message;
  }
};

static void on_lookup(GObject *, GAsyncResult *result, gpointer user_data)
{
  auto *answer = static_cast<Answer *>(user_data);
  g_autoptr(GError) error = nullptr;

  answer->identity = vd_caller_lookup_finish(result, &error);
  EXPECT_EQ(answer->identity == nullptr, error != nullptr);
  answer->finish(error);
}

static void on_session(GObject *, GAsyncResult *result, gpointer user_data)
{
  auto *answer = static_cast<Answer *>(user_data);
  g_autoptr(GError) error = nullptr;
  g_autofree char *session = vd_caller_session_finish(result, &error);

  EXPECT_EQ(session == nullptr, error != nullptr);
  answer->session = session != nullptr ? session : "";
  answer->finish(error);
}

static void connect_over(int fd, GDBusConnectionFlags flags, GAsyncReadyCallback done, gpointer data)
{
  g_autoptr(GSocket) socket = g_socket_new_from_fd(fd, nullptr);
  g_autoptr(GSocketConnection) stream = g_socket_connection_factory_create_connection(socket);
  g_autofree char *guid = g_dbus_generate_guid();

  g_dbus_connection_new(G_IO_STREAM(stream),
                        (flags & G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER) ? guid : nullptr, flags,
                        nullptr, nullptr, done, data);
}

static void on_connected(GObject *, GAsyncResult *result, gpointer user_data)
{
  g_autoptr(GError) error = nullptr;

  *static_cast<GDBusConnection **>(user_data) = g_dbus_connection_new_finish(result, &error);
  EXPECT_EQ(error, nullptr) << error->message;
}

// The other end of a connection, playing the message bus.
class FakeBus : public testing::Test
{
  GDBusConnection *bus = nullptr;
  Handler handler;
  guint object = 0;

  static constexpr const char *xml = R"(<node><interface name='org.freedesktop.DBus'>
    <method name='Hello'><arg type='s' direction='out'/></method>
    <method name='AddMatch'><arg type='s' direction='in'/></method>
    <method name='RemoveMatch'><arg type='s' direction='in'/></method>
    <method name='GetConnectionCredentials'><arg type='s' direction='in'/><arg type='a{sv}' direction='out'/></method>
    </interface></node>)";

  static void on_bus_connected(GObject *source, GAsyncResult *result, gpointer user_data)
  {
    auto *self = static_cast<FakeBus *>(user_data);

    on_connected(source, result, &self->bus);
    self->object = export_object(self->bus, "/org/freedesktop/DBus", xml, &self->handler);
    g_dbus_connection_start_message_processing(self->bus);
  }

  void answer(const std::string &method, GDBusMethodInvocation *invocation)
  {
    if (method == "Hello")
      g_dbus_method_invocation_return_value(invocation, g_variant_new("(s)", ":1.1"));
    else if (method != "GetConnectionCredentials")
      g_dbus_method_invocation_return_value(invocation, nullptr);
    else if (asked++, hold)
      held.push_back(invocation);
    else
      tell(invocation);
  }

  void tell(GDBusMethodInvocation *invocation)
  {
    if (credentials == nullptr)
      g_dbus_method_invocation_return_dbus_error(invocation, "org.freedesktop.DBus.Error.NameHasNoOwner",
                                                 "gone");
    else
      g_dbus_method_invocation_return_value(invocation, g_variant_new("(@a{sv})", credentials));
  }

protected:
  GDBusConnection *service = nullptr;
  GVariant *credentials = nullptr; // NULL: an error
  std::vector<GDBusMethodInvocation *> held;
  bool hold = false;
  int asked = 0;

  FakeBus()
  {
    int ends[2];

    handler = [this](const std::string &method, GVariant *, GDBusMethodInvocation *invocation) {
      answer(method, invocation);
    };
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    connect_over(ends[0],
                 static_cast<GDBusConnectionFlags>(G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_SERVER |
                                                   G_DBUS_CONNECTION_FLAGS_DELAY_MESSAGE_PROCESSING),
                 on_bus_connected, this);
    connect_over(ends[1],
                 static_cast<GDBusConnectionFlags>(G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                                   G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION),
                 on_connected, &service);
    wait_until([&] { return bus != nullptr && service != nullptr; });
  }

  ~FakeBus() override
  {
    g_dbus_connection_unregister_object(bus, object);
    close_and_unref(service);
    close_and_unref(bus);
    g_clear_pointer(&credentials, g_variant_unref);
  }

  void say(const char *text)
  {
    g_clear_pointer(&credentials, g_variant_unref);
    if (text != nullptr)
      credentials = g_variant_ref_sink(g_variant_new_parsed(text));
  }

  void release()
  {
    for (GDBusMethodInvocation *invocation : held)
      tell(invocation);
    held.clear();
  }

  void leave(const char *name)
  {
    g_autoptr(GDBusMessage) signal =
        g_dbus_message_new_signal("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameOwnerChanged");

    g_dbus_message_set_sender(signal, "org.freedesktop.DBus");
    g_dbus_message_set_body(signal, g_variant_new("(sss)", name, name, ""));
    g_dbus_connection_send_message(bus, signal, G_DBUS_SEND_MESSAGE_FLAGS_NONE, nullptr, nullptr);
  }

  void start(Answer &answer, const char *name = ":1.7", GCancellable *cancellable = nullptr)
  {
    vd_caller_lookup_async(service, name, cancellable, on_lookup, &answer);
  }

  void look_up(Answer &answer, const char *name = ":1.7")
  {
    start(answer, name);
    wait_until([&] { return answer.done; });
  }
};

struct Caller : FakeBus {
};

TEST_F(Caller, IsWhoTheBusSays)
{
  Answer answer;

  say("{'UnixUserID': <uint32 1000>, 'ProcessID': <uint32 77>, 'UnixGroupIDs': <[uint32 24, 1000]>}");
  look_up(answer);
  ASSERT_NE(answer.identity, nullptr) << answer.message;
  EXPECT_STREQ(answer.identity->bus_name, ":1.7");
  EXPECT_EQ(answer.identity->uid, 1000u);
  EXPECT_EQ(answer.identity->gid, VD_GID_INVALID);
  EXPECT_EQ(answer.identity->pid, 77);
  ASSERT_EQ(answer.identity->n_groups, 2u);
  EXPECT_EQ(answer.identity->groups[0], 24u);
  EXPECT_EQ(answer.identity->groups[1], 1000u);
}

TEST_F(Caller, OlderBusKnowsNoGroups)
{
  Answer answer;

  say("{'UnixUserID': <uint32 0>}");
  look_up(answer);
  ASSERT_NE(answer.identity, nullptr) << answer.message;
  EXPECT_EQ(answer.identity->uid, 0u);
  EXPECT_EQ(answer.identity->pid, 0);
  EXPECT_EQ(answer.identity->n_groups, 0u);
  EXPECT_EQ(answer.identity->gid, VD_GID_INVALID);
}

TEST_F(Caller, WithoutAUserIsNobodyAndNotRoot)
{
  for (const char *text :
       {"@a{sv} {}", "{'ProcessID': <uint32 77>}", "{'UnixUserID': <'0'>}", "{'UnixUserID': <uint64 0>}",
        "{'UnixUserID': <uint32 4294967295>}", static_cast<const char *>(nullptr)}) {
    Answer answer;

    say(text);
    look_up(answer);
    EXPECT_EQ(answer.code, VIRTDISK_ERROR_ACCESS_DENIED) << (text != nullptr ? text : "error");
  }
  EXPECT_EQ(asked, 6) << "what failed is not remembered";
}

TEST_F(Caller, WithTooManyGroupsIsRefused)
{
  std::string groups = "uint32 0";
  Answer answer;

  for (int i = 0; i < VD_MAX_GROUPS; i++)
    groups += ",1";
  say(("{'UnixUserID': <uint32 1000>, 'UnixGroupIDs': <[" + groups + "]>}").c_str());
  look_up(answer);
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_ACCESS_DENIED);
}

TEST_F(Caller, MustBeAUniqueName)
{
  for (const char *name : {"org.freedesktop.DBus", "", "x", static_cast<const char *>(nullptr)}) {
    Answer answer;

    look_up(answer, name);
    EXPECT_EQ(answer.code, VIRTDISK_ERROR_ACCESS_DENIED);
  }
  EXPECT_EQ(asked, 0);
}

TEST_F(Caller, IsRememberedUntilItLeaves)
{
  Answer first, second, other, later, after;

  say("{'UnixUserID': <uint32 1000>}");
  look_up(first);
  look_up(second);
  EXPECT_EQ(asked, 1);
  EXPECT_EQ(first.identity, second.identity);
  look_up(other, ":1.8");
  EXPECT_EQ(asked, 2);
  say(nullptr);
  leave(":1.7");
  hold = true;
  start(later, ":1.9"); // its answer comes after the signal
  wait_until([&] { return held.size() == 1; });
  release();
  hold = false;
  wait_until([&] { return later.done; });
  look_up(after);
  EXPECT_EQ(after.code, VIRTDISK_ERROR_ACCESS_DENIED);
}

TEST_F(Caller, ManyWhoAskAtOnceAskTheBusOnce)
{
  std::vector<Answer> answers(5);

  say("{'UnixUserID': <uint32 1000>}");
  hold = true;
  for (Answer &answer : answers)
    start(answer);
  wait_until([&] { return held.size() == 1; });
  release();
  for (Answer &answer : answers) {
    wait_until([&] { return answer.done; });
    EXPECT_NE(answer.identity, nullptr);
  }
  EXPECT_EQ(asked, 1);
}

TEST_F(Caller, ThatLeavesWhileItIsLookedUpIsNobody)
{
  Answer answer, again;

  say("{'UnixUserID': <uint32 0>}");
  hold = true;
  start(answer);
  wait_until([&] { return held.size() == 1; });
  leave(":1.7");
  wait_until([&] { return answer.done; });
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_ACCESS_DENIED);
  release();
  hold = false;
  look_up(again, ":1.8");
  EXPECT_NE(again.identity, nullptr);
}

TEST_F(Caller, CancelledLookupIsAborted)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Answer answer, others;

  say("{'UnixUserID': <uint32 1000>}");
  hold = true;
  start(answer, ":1.7", cancellable);
  start(others);
  wait_until([&] { return held.size() == 1; });
  g_cancellable_cancel(cancellable);
  release();
  wait_until([&] { return answer.done && others.done; });
  EXPECT_EQ(answer.code, VIRTDISK_ERROR_OPERATION_ABORTED);
  EXPECT_NE(others.identity, nullptr);
}

static testing::Environment *const bus = testing::AddGlobalTestEnvironment(new PrivateBus);

TEST(CallerOnABus, IsThisProcess)
{
  GDBusConnection *service = connect_to_bus(), *client = connect_to_bus();
  std::string name = g_dbus_connection_get_unique_name(client);
  Answer answer;

  vd_caller_lookup_async(service, name.c_str(), nullptr, on_lookup, &answer);
  wait_until([&] { return answer.done; });
  ASSERT_NE(answer.identity, nullptr) << answer.message;
  EXPECT_EQ(answer.identity->uid, getuid());
  EXPECT_EQ(answer.identity->pid, getpid());
  close_and_unref(client);
  // Remembered until the bus has noticed; each turn is answered by the bus or by the memory of it.
  for (int code = -1; code != VIRTDISK_ERROR_ACCESS_DENIED;) {
    Answer late;

    vd_caller_lookup_async(service, name.c_str(), nullptr, on_lookup, &late);
    wait_until([&] { return late.done; });
    code = late.code;
  }
  close_and_unref(service);
}

// logind: one session c2 of user 1000, and a user 1001 whose desktop is session c5.
class Logind
{
  GDBusConnection *connection = connect_to_bus();
  Handler manager, session, user;
  std::vector<guint> objects;

  static void fail(GDBusMethodInvocation *invocation, const char *name)
  {
    g_dbus_method_invocation_return_dbus_error(invocation, name, "on purpose");
  }

  void answer(const std::string &method, GVariant *parameters, GDBusMethodInvocation *invocation)
  {
    guint32 number;

    g_variant_get(parameters, "(u)", &number);
    if (method == "GetSessionByPID" && number == 77)
      g_dbus_method_invocation_return_value(invocation,
                                            g_variant_new("(o)", "/org/freedesktop/login1/session/c2"));
    else if (method == "GetSessionByPID")
      fail(invocation,
           number == 99 ? "org.freedesktop.login1.NoSuchProcess" : "org.freedesktop.login1.NoSessionForPID");
    else if (number == 1001)
      g_dbus_method_invocation_return_value(invocation,
                                            g_variant_new("(o)", "/org/freedesktop/login1/user/_1001"));
    else
      fail(invocation, "org.freedesktop.login1.NoSuchUser");
  }

  static void answer_properties(GDBusMethodInvocation *invocation, const char *text)
  {
    g_dbus_method_invocation_return_value(invocation, g_variant_new("(@a{sv})", g_variant_new_parsed(text)));
  }

  static constexpr const char *manager_xml = R"(<node><interface name='org.freedesktop.login1.Manager'>
    <method name='GetSessionByPID'><arg type='u' direction='in'/><arg type='o' direction='out'/></method>
    <method name='GetUser'><arg type='u' direction='in'/><arg type='o' direction='out'/></method></interface></node>)";
  static constexpr const char *properties_xml = R"(<node><interface name='org.freedesktop.DBus.Properties'>
    <method name='GetAll'><arg type='s' direction='in'/><arg type='a{sv}' direction='out'/></method>
    </interface></node>)";

public:
  Logind()
  {
    manager = [this](const std::string &method, GVariant *parameters, GDBusMethodInvocation *invocation) {
      answer(method, parameters, invocation);
    };
    session = [](const std::string &, GVariant *, GDBusMethodInvocation *invocation) {
      answer_properties(invocation, "{'Id': <'c2'>, 'User': <(uint32 1000, objectpath '/u')>}");
    };
    user = [](const std::string &, GVariant *, GDBusMethodInvocation *invocation) {
      answer_properties(invocation, "{'Display': <('c5', objectpath '/s')>}");
    };
    objects.push_back(export_object(connection, "/org/freedesktop/login1", manager_xml, &manager));
    objects.push_back(
        export_object(connection, "/org/freedesktop/login1/session/c2", properties_xml, &session));
    objects.push_back(export_object(connection, "/org/freedesktop/login1/user/_1001", properties_xml, &user));
    own_name(connection, "org.freedesktop.login1");
  }

  ~Logind()
  {
    for (guint object : objects)
      g_dbus_connection_unregister_object(connection, object);
    close_and_unref(connection);
  }
};

struct Session : testing::Test {
  GDBusConnection *service = connect_to_bus();

  ~Session() override
  {
    close_and_unref(service);
  }

  void find(Answer &answer, uid_t uid, pid_t pid)
  {
    g_autoptr(VdIdentity) identity = vd_identity_new(":1.7", uid, VD_GID_INVALID, nullptr, 0, pid);

    vd_caller_session_async(service, identity, nullptr, on_session, &answer);
    wait_until([&] { return answer.done; });
  }

  int code(uid_t uid, pid_t pid)
  {
    Answer answer;

    find(answer, uid, pid);
    return answer.code;
  }
};

TEST_F(Session, IsTheOneOfTheProcess)
{
  Logind logind;
  Answer answer, root;

  find(answer, 1000, 77);
  EXPECT_EQ(answer.session, "c2") << answer.message;
  find(root, 0, 77);
  EXPECT_EQ(root.session, "c2") << "a user who became root";
}

TEST_F(Session, OfSomebodyElseIsNotTheCallers)
{
  Logind logind;

  EXPECT_EQ(code(1002, 77), VIRTDISK_ERROR_NOT_FOUND);
}

TEST_F(Session, ProgramOfTheServiceManagerIsInTheOneOnScreen)
{
  Logind logind;
  Answer answer;

  find(answer, 1001, 78);
  EXPECT_EQ(answer.session, "c5") << answer.message;
}

TEST_F(Session, ThereMayBeNone)
{
  Logind logind;

  EXPECT_EQ(code(1000, 78), VIRTDISK_ERROR_NOT_FOUND);
  EXPECT_EQ(code(0, 78), VIRTDISK_ERROR_NOT_FOUND);
  EXPECT_EQ(code(1000, 99), VIRTDISK_ERROR_NOT_FOUND);
  EXPECT_EQ(code(1000, 0), VIRTDISK_ERROR_NOT_FOUND);
}

TEST_F(Session, WithoutLogindIsNotSupported)
{
  EXPECT_EQ(code(1000, 77), VIRTDISK_ERROR_NOT_SUPPORTED);
}

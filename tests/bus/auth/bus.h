// SPDX-License-Identifier: LGPL-2.1-or-later
// A private bus, and objects on it whose methods are C++ functions.
#pragma once

#include <gio/gio.h>
#include <gtest/gtest.h>
#include <functional>
#include <string>

constexpr guint patience_ms = 5000;

inline gboolean out_of_patience(gpointer)
{
  ADD_FAILURE() << "nothing happened for " << patience_ms << " ms";
  return G_SOURCE_REMOVE;
}

template <typename Condition> void wait_until(Condition condition)
{
  g_autoptr(GSource) deadline = g_timeout_source_new(patience_ms);

  g_source_set_callback(deadline, out_of_patience, nullptr, nullptr);
  g_source_attach(deadline, nullptr);
  while (!condition() && !g_source_is_destroyed(deadline))
    g_main_context_iteration(nullptr, TRUE);
  g_source_destroy(deadline);
}

// One bus for all cases of a program: the library that talks to polkit keeps its connection for good.
class PrivateBus : public testing::Environment
{
  GTestDBus *bus = nullptr;

public:
  void SetUp() override
  {
    bus = g_test_dbus_new(G_TEST_DBUS_NONE);
    g_test_dbus_up(bus);
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", g_test_dbus_get_bus_address(bus), TRUE);
    g_autoptr(GDBusConnection) system = g_bus_get_sync(G_BUS_TYPE_SYSTEM, nullptr, nullptr);
    g_dbus_connection_set_exit_on_close(system, FALSE);
  }

  void TearDown() override
  {
    g_test_dbus_down(bus);
    g_object_unref(bus);
  }
};

inline GDBusConnection *connect_to(const char *address)
{
  g_autoptr(GError) error = nullptr;
  GDBusConnection *connection = g_dbus_connection_new_for_address_sync(
      address,
      static_cast<GDBusConnectionFlags>(G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                        G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION),
      nullptr, nullptr, &error);

  EXPECT_NE(connection, nullptr) << error->message;
  return connection;
}

inline GDBusConnection *connect_to_bus()
{
  return connect_to(g_getenv("DBUS_SYSTEM_BUS_ADDRESS"));
}

inline void close_and_unref(GDBusConnection *connection)
{
  g_dbus_connection_close_sync(connection, nullptr, nullptr);
  g_object_unref(connection);
}

using Handler = std::function<void(const std::string &method, GVariant *parameters, GDBusMethodInvocation *)>;

// Exports the one interface of xml; the handler answers the invocation, now or later. Unregister before the
// handler goes: calls that have arrived are still to be dispatched then.
inline guint export_object(GDBusConnection *connection, const char *path, const char *xml, Handler *handler)
{
  static const GDBusInterfaceVTable vtable = {
      [](GDBusConnection *, const char *, const char *, const char *, const char *method,
         GVariant *parameters, GDBusMethodInvocation *invocation,
         gpointer user_data) { (*static_cast<Handler *>(user_data))(method, parameters, invocation); },
      nullptr,
      nullptr,
      {}};
  g_autoptr(GError) error = nullptr;
  g_autoptr(GDBusNodeInfo) node = g_dbus_node_info_new_for_xml(xml, &error);
  guint id = g_dbus_connection_register_object(connection, path, node->interfaces[0], &vtable, handler,
                                               nullptr, &error);

  EXPECT_NE(id, 0u) << error->message;
  return id;
}

inline void own_name(GDBusConnection *connection, const char *name)
{
  g_autoptr(GError) error = nullptr;
  g_autoptr(GVariant) reply = g_dbus_connection_call_sync(
      connection, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName",
      g_variant_new("(su)", name, 4), G_VARIANT_TYPE("(u)"), G_DBUS_CALL_FLAGS_NONE, -1, nullptr, &error);

  ASSERT_NE(reply, nullptr) << error->message;
  EXPECT_EQ(g_variant_get_uint32(g_variant_get_child_value(reply, 0)), 1u) << name;
}

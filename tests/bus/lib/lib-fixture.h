// SPDX-License-Identifier: LGPL-2.1-or-later
// What the tests of libvirtdisk share: a private bus, a client of the service that is written down in
// mock.cc.
#pragma once

#include <fcntl.h>
#include <unistd.h>

#include <gio/gio.h>
#include <glib/gstdio.h>
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "virtdisk.h"
#include "mock.h"

using Options = std::map<std::string, std::string>;

inline GTestDBus *bus;

class Bus : public testing::Environment
{
  void SetUp() override
  {
    bus = g_test_dbus_new(G_TEST_DBUS_NONE);
    g_test_dbus_up(bus);
    g_setenv("DBUS_SYSTEM_BUS_ADDRESS", g_test_dbus_get_bus_address(bus), TRUE);
  }
  void TearDown() override
  {
    g_test_dbus_down(bus);
    g_clear_object(&bus);
  }
};
inline testing::Environment *const environment = testing::AddGlobalTestEnvironment(new Bus);

// Runs the main context until the condition holds; false after ten seconds.
inline bool run_until(const std::function<bool()> &condition)
{
  bool late = false;
  guint timer = g_timeout_add(
      10000,
      [](gpointer data) -> gboolean {
        *static_cast<bool *>(data) = true;
        return G_SOURCE_CONTINUE;
      },
      &late);

  while (!condition() && !late)
    g_main_context_iteration(nullptr, TRUE);
  g_source_remove(timer);
  return !late;
}

// The result of one async call: pass on_result and the Await.
struct Await {
  GAsyncResult *result = nullptr;
  ~Await()
  {
    g_clear_object(&result);
  }
  GAsyncResult *get()
  {
    EXPECT_TRUE(run_until([this] { return result != nullptr; })) << "no result in time";
    return result;
  }
};

inline void on_result(GObject *, GAsyncResult *result, gpointer data)
{
  static_cast<Await *>(data)->result = G_ASYNC_RESULT(g_object_ref(result));
}

class Lib : public testing::Test
{
protected:
  void SetUp() override
  {
    connection = connect();
    start();
  }
  void TearDown() override
  {
    g_clear_object(&handle);
    g_clear_object(&client);
    service.reset();
    close_connection(connection);
    // What was put off to the main context must not reach the next test.
    while (g_main_context_iteration(nullptr, FALSE))
      ;
  }
  static GDBusConnection *connect()
  {
    return g_dbus_connection_new_for_address_sync(
        g_test_dbus_get_bus_address(bus),
        static_cast<GDBusConnectionFlags>(G_DBUS_CONNECTION_FLAGS_AUTHENTICATION_CLIENT |
                                          G_DBUS_CONNECTION_FLAGS_MESSAGE_BUS_CONNECTION),
        nullptr, nullptr, nullptr);
  }
  static void close_connection(GDBusConnection *closed)
  {
    g_dbus_connection_close_sync(closed, nullptr, nullptr);
    g_object_unref(closed);
  }
  void start()
  {
    service = std::make_unique<MockService>(g_test_dbus_get_bus_address(bus));
  }
  VirtdiskClient *need_client()
  {
    if (client == nullptr)
      client = virtdisk_client_new_for_connection(connection, nullptr, nullptr);
    return client;
  }
  VirtdiskHandle *need_handle()
  {
    if (handle == nullptr)
      handle = virtdisk_client_open_virtual_disk(need_client(), "/a.vhd", VIRTDISK_ACCESS_ALL,
                                                 VIRTDISK_OPEN_NONE, nullptr, nullptr, nullptr);
    return handle;
  }

  GDBusConnection *connection = nullptr;
  std::unique_ptr<MockService> service;
  VirtdiskClient *client = nullptr;
  VirtdiskHandle *handle = nullptr;
  GError *error = nullptr;
};

#define EXPECT_ERROR(domain, code)                                                                           \
  do {                                                                                                       \
    EXPECT_TRUE(g_error_matches(error, domain, code)) << (error ? error->message : "no error");              \
    g_clear_error(&error);                                                                                   \
  } while (0)

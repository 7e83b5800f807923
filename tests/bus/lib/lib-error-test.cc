// SPDX-License-Identifier: LGPL-2.1-or-later
// libvirtdisk against a mock of the service over a private bus: errors, a service that goes, cancelling.
#include "lib-fixture.h"

/* ---- errors ---- */

TEST_F(Lib, EveryErrorArrivesAsItself)
{
  for (int code = 0; code < VIRTDISK_N_ERRORS; code++) {
    const char *name = virtdisk_error_to_dbus_name(static_cast<VirtdiskError>(code));

    service->fail_next(name, "what happened at 512");
    EXPECT_FALSE(virtdisk_client_detach_image(need_client(), "/a", nullptr, nullptr, nullptr, &error));
    ASSERT_NE(error, nullptr);
    EXPECT_STREQ(error->message, "what happened at 512");
    EXPECT_ERROR(VIRTDISK_ERROR, code);
  }
}

struct Foreign {
  const char *name;
  VirtdiskError manager;
  VirtdiskError handle;
};

TEST_F(Lib, ForeignErrorsAreTranslated)
{
  static const Foreign table[] = {
      {"org.freedesktop.DBus.Error.AccessDenied", VIRTDISK_ERROR_ACCESS_DENIED, VIRTDISK_ERROR_ACCESS_DENIED},
      {"org.freedesktop.DBus.Error.InvalidArgs", VIRTDISK_ERROR_INVALID_PARAMETER,
       VIRTDISK_ERROR_INVALID_PARAMETER},
      {"org.freedesktop.DBus.Error.LimitsExceeded", VIRTDISK_ERROR_LIMIT_EXCEEDED,
       VIRTDISK_ERROR_LIMIT_EXCEEDED},
      {"org.freedesktop.DBus.Error.NoMemory", VIRTDISK_ERROR_NO_RESOURCES, VIRTDISK_ERROR_NO_RESOURCES},
      {"org.freedesktop.DBus.Error.NotSupported", VIRTDISK_ERROR_NOT_SUPPORTED, VIRTDISK_ERROR_NOT_SUPPORTED},
      {"org.freedesktop.DBus.Error.TimedOut", VIRTDISK_ERROR_TIMED_OUT, VIRTDISK_ERROR_TIMED_OUT},
      {"org.freedesktop.DBus.Error.NoReply", VIRTDISK_ERROR_OPERATION_ABORTED,
       VIRTDISK_ERROR_OPERATION_ABORTED},
      {"org.freedesktop.DBus.Error.Spawn.ChildExited", VIRTDISK_ERROR_NO_RESOURCES,
       VIRTDISK_ERROR_NO_RESOURCES},
      {"org.freedesktop.DBus.Error.UnknownMethod", VIRTDISK_ERROR_NOT_SUPPORTED,
       VIRTDISK_ERROR_INVALID_HANDLE},
      {"org.freedesktop.DBus.Error.UnknownObject", VIRTDISK_ERROR_NOT_SUPPORTED,
       VIRTDISK_ERROR_INVALID_HANDLE},
      {"org.virtdisk1.Error.OfTheFuture", VIRTDISK_ERROR_INTERNAL, VIRTDISK_ERROR_INTERNAL},
  };

  need_handle();
  for (const Foreign &row : table) {
    SCOPED_TRACE(row.name);
    service->fail_next(row.name, "why");
    EXPECT_FALSE(virtdisk_client_detach_image(client, "/a", nullptr, nullptr, nullptr, &error));
    EXPECT_EQ(strstr(error->message, "GDBus.Error"), nullptr) << error->message;
    EXPECT_NE(strstr(error->message, "why"), nullptr) << error->message;
    EXPECT_ERROR(VIRTDISK_ERROR, row.manager);
    service->fail_next(row.name, "why");
    EXPECT_EQ(virtdisk_handle_get_virtual_disk_physical_path(handle, nullptr, &error), nullptr);
    EXPECT_ERROR(VIRTDISK_ERROR, row.handle);
  }
}

TEST_F(Lib, EveryMethodPassesErrorsOn)
{
  auto refuse = [this] { service->fail_next("org.virtdisk1.Error.WriteProtect", "no"); };

  need_handle();
  refuse();
  EXPECT_EQ(virtdisk_client_open_virtual_disk(client, "/a", VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE, nullptr,
                                              nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_EQ(virtdisk_client_open_virtual_disk_fd(client, 0, nullptr, VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE,
                                                 nullptr, nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_EQ(virtdisk_client_attach_image(client, "/a", nullptr, nullptr, &error), nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_EQ(virtdisk_client_get_all_attached_virtual_disk_physical_paths(client, nullptr, &error), nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_EQ(virtdisk_client_get_storage_dependency_information(client, "/", VIRTDISK_DEPENDENCY_NONE, 1,
                                                               nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_EQ(virtdisk_client_get_disk_for_path(client, "/a", nullptr, &error), nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_FALSE(
      virtdisk_handle_attach_virtual_disk(handle, VIRTDISK_ATTACH_NONE, nullptr, nullptr, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_FALSE(
      virtdisk_handle_detach_virtual_disk(handle, VIRTDISK_DETACH_NONE, nullptr, nullptr, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_EQ(virtdisk_handle_get_virtual_disk_information(handle, VIRTDISK_INFO_SIZE, nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
  refuse();
  EXPECT_FALSE(virtdisk_handle_close(handle, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_WRITE_PROTECT);
}

TEST_F(Lib, AnswerOfTheWrongTypeIsAnError)
{
  service->answer_next("(uint32 1,)");
  EXPECT_EQ(virtdisk_client_open_virtual_disk(need_client(), "/a", VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE,
                                              nullptr, nullptr, &error),
            nullptr);
  EXPECT_NE(error, nullptr);
  EXPECT_EQ(error->domain, VIRTDISK_ERROR);
  g_clear_error(&error);
}

/* ---- no service, and one that goes ---- */

TEST_F(Lib, NoService)
{
  service.reset();
  g_autofree char *owner = virtdisk_client_dup_name_owner(need_client());

  ASSERT_NE(client, nullptr);
  EXPECT_EQ(owner, nullptr);
  EXPECT_EQ(virtdisk_client_dup_version(client), nullptr);
  EXPECT_FALSE(virtdisk_client_detach_image(client, "/a", nullptr, nullptr, nullptr, &error));
  EXPECT_NE(strstr(error->message, "could not be started"), nullptr) << error->message;
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_NO_RESOURCES);
}

TEST_F(Lib, ServiceGoesInTheMiddleOfACall)
{
  need_handle();
  service->hold_next();
  std::thread ender([this] {
    EXPECT_TRUE(service->wait_for("AttachVirtualDisk"));
    service.reset();
  });
  EXPECT_FALSE(
      virtdisk_handle_attach_virtual_disk(handle, VIRTDISK_ATTACH_NONE, nullptr, nullptr, nullptr, &error));
  ender.join();
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED);
}

TEST_F(Lib, BusGoesInTheMiddleOfACall)
{
  need_handle();
  service->hold_next();
  std::thread ender([this] {
    EXPECT_TRUE(service->wait_for("AttachVirtualDisk"));
    g_dbus_connection_close_sync(connection, nullptr, nullptr);
  });
  EXPECT_FALSE(
      virtdisk_handle_attach_virtual_disk(handle, VIRTDISK_ATTACH_NONE, nullptr, nullptr, nullptr, &error));
  ender.join();
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_OPERATION_ABORTED);
}

/* ---- cancelling ---- */

TEST_F(Lib, CancelledBeforeItBegins)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();

  need_handle();
  g_cancellable_cancel(cancellable);
  EXPECT_EQ(virtdisk_client_open_virtual_disk(client, "/b", VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE, nullptr,
                                              cancellable, &error),
            nullptr);
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
  EXPECT_FALSE(virtdisk_handle_attach_virtual_disk(handle, VIRTDISK_ATTACH_NONE, nullptr, nullptr,
                                                   cancellable, &error));
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
  EXPECT_EQ(service->calls().size(), 1u) << "only the open that went before";
}

TEST_F(Lib, CancelledWhileTheServiceThinks)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();

  need_handle();
  service->hold_next();
  std::thread ender([&] {
    EXPECT_TRUE(service->wait_for("AttachVirtualDisk"));
    g_cancellable_cancel(cancellable);
  });
  EXPECT_FALSE(virtdisk_handle_attach_virtual_disk(handle, VIRTDISK_ATTACH_NONE, nullptr, nullptr,
                                                   cancellable, &error));
  ender.join();
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
  service->release();
}

TEST_F(Lib, HandleOfACancelledOpenIsClosed)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();

  need_client();
  service->hold_next();
  std::thread ender([&] {
    EXPECT_TRUE(service->wait_for("OpenVirtualDisk"));
    g_cancellable_cancel(cancellable);
  });
  EXPECT_EQ(virtdisk_client_open_virtual_disk(client, "/a", VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE, nullptr,
                                              cancellable, &error),
            nullptr);
  ender.join();
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
  service->release();
  // No main context runs here: the library brings this about by itself.
  EXPECT_TRUE(service->wait_for("Close"));
  EXPECT_EQ(service->last().object_path, "/org/virtdisk1/handle/1");
}

TEST_F(Lib, HandleOfACancelledAsyncOpenIsClosed)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Await await;

  need_client();
  service->hold_next();
  virtdisk_client_open_virtual_disk_async(client, "/a", VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE, nullptr,
                                          cancellable, on_result, &await);
  ASSERT_TRUE(service->wait_for("OpenVirtualDisk"));
  g_cancellable_cancel(cancellable);
  EXPECT_EQ(virtdisk_client_open_virtual_disk_finish(client, await.get(), &error), nullptr);
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
  service->release();
  EXPECT_TRUE(run_until([this] { return service->last().method == "Close"; }));
}

TEST_F(Lib, BlockingCallsFromManyThreads)
{
  std::vector<std::thread> threads;

  need_client();
  for (int i = 0; i < 8; i++)
    threads.emplace_back([this, i] {
      std::string path = "/" + std::to_string(i);
      g_autoptr(GError) failure = nullptr;
      g_autoptr(VirtdiskHandle) opened = virtdisk_client_open_virtual_disk(
          client, path.c_str(), VIRTDISK_ACCESS_ALL, VIRTDISK_OPEN_NONE, nullptr, nullptr, &failure);

      ASSERT_NE(opened, nullptr) << failure->message;
      EXPECT_TRUE(virtdisk_handle_close(opened, nullptr, nullptr));
    });
  for (std::thread &thread : threads)
    thread.join();
  EXPECT_EQ(service->calls().size(), 16u);
}

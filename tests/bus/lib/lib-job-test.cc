// SPDX-License-Identifier: LGPL-2.1-or-later
// Operations and their jobs, and the small changes, through the library.
#include "lib-fixture.h"

#include <vector>

namespace
{

// What a progress function was told.
struct Told {
  std::vector<double> progress;
  std::function<void()> on_first;
  bool freed = false;
};

void on_progress(VirtdiskJob *job, gpointer data)
{
  auto told = static_cast<Told *>(data);
  told->progress.push_back(virtdisk_job_get_progress(job));
  if (told->progress.size() == 1 && told->on_first)
    told->on_first();
}

void on_freed(gpointer data)
{
  static_cast<Told *>(data)->freed = true;
}

VirtdiskOperationParameters *telling(Told *told)
{
  VirtdiskOperationParameters *parameters = virtdisk_operation_parameters_new();
  virtdisk_operation_parameters_set_progress(parameters, on_progress, told, on_freed);
  return parameters;
}

const char kJob[] = "/org/virtdisk1/job/1";

} // namespace

TEST_F(Lib, CompactIsAJob)
{
  Told told;
  {
    g_autoptr(VirtdiskOperationParameters) parameters = telling(&told);
    virtdisk_operation_parameters_set_file_systems(parameters, TRUE);
    g_autoptr(VirtdiskJob) job = virtdisk_handle_compact_virtual_disk(
        need_handle(), VIRTDISK_COMPACT_NO_BLOCK_MOVES, parameters, nullptr, &error);
    ASSERT_NE(job, nullptr) << error->message;
    EXPECT_STREQ(virtdisk_job_get_object_path(job), kJob);
    EXPECT_STREQ(virtdisk_job_get_state(job), "done");
    EXPECT_STREQ(virtdisk_job_get_operation(job), "compact");
    EXPECT_EQ(virtdisk_job_get_bytes(job), 5000000000u);
    EXPECT_EQ(virtdisk_job_get_owner_uid(job), 1000u);
    EXPECT_EQ(virtdisk_job_get_error(job), nullptr);
    g_autoptr(GVariant) results = virtdisk_job_get_results(job);
    guint64 given_back = 0;
    EXPECT_TRUE(g_variant_lookup(results, "given-back", "t", &given_back));
    EXPECT_EQ(given_back, 4096u);
  }
  ASSERT_GE(told.progress.size(), 1u);
  EXPECT_EQ(told.progress[0], 0.25);
  EXPECT_TRUE(told.freed);
  std::vector<Call> calls = service->calls();
  ASSERT_EQ(calls.size(), 3u);
  EXPECT_EQ(calls[1].method, "CompactVirtualDisk");
  EXPECT_EQ(calls[1].arguments, "2");
  EXPECT_EQ(calls[1].options, (Options{{"async", "true"}, {"file-systems", "true"}}));
  EXPECT_EQ(calls[2].method, "Wait");
  EXPECT_EQ(calls[2].object_path, kJob);
}

TEST_F(Lib, SizesGoAlong)
{
  g_autoptr(VirtdiskJob) expanded = virtdisk_handle_expand_virtual_disk(need_handle(), VIRTDISK_EXPAND_NONE,
                                                                        5000000000, nullptr, nullptr, &error);
  ASSERT_NE(expanded, nullptr) << error->message;
  EXPECT_EQ(service->calls()[1].arguments, "0 5000000000");
  g_autoptr(VirtdiskJob) resized = virtdisk_handle_resize_virtual_disk(
      need_handle(), VIRTDISK_RESIZE_TO_SMALLEST_SAFE_VIRTUAL_SIZE, 0, nullptr, nullptr, &error);
  ASSERT_NE(resized, nullptr) << error->message;
  EXPECT_EQ(service->calls()[3].method, "ResizeVirtualDisk");
  EXPECT_EQ(service->calls()[3].arguments, "2 0");
}

TEST_F(Lib, MergeSaysItsDepths)
{
  g_autoptr(VirtdiskOperationParameters) first = virtdisk_operation_parameters_new();
  g_autoptr(VirtdiskOperationParameters) second = virtdisk_operation_parameters_new();
  virtdisk_operation_parameters_set_merge_depth(first, 2);
  virtdisk_operation_parameters_set_merge_depths(second, 1, 3);
  virtdisk_operation_parameters_set_detach_job(second, TRUE);
  virtdisk_operation_parameters_set_job(second, "word");
  g_autoptr(VirtdiskJob) one =
      virtdisk_handle_merge_virtual_disk(need_handle(), VIRTDISK_MERGE_NONE, first, nullptr, &error);
  g_autoptr(VirtdiskJob) other =
      virtdisk_handle_merge_virtual_disk(need_handle(), VIRTDISK_MERGE_NONE, second, nullptr, &error);
  ASSERT_NE(other, nullptr) << error->message;
  EXPECT_EQ(service->calls()[1].options,
            (Options{{"async", "true"}, {"merge-depth", "uint32 2"}, {"version", "uint32 1"}}));
  EXPECT_EQ(service->calls()[3].options, (Options{{"async", "true"},
                                                  {"detach-job", "true"},
                                                  {"job", "'word'"},
                                                  {"merge-source-depth", "uint32 1"},
                                                  {"merge-target-depth", "uint32 3"},
                                                  {"version", "uint32 2"}}));
}

TEST_F(Lib, ProgressIsToldWhileTheCallBlocks)
{
  Told told;
  g_autoptr(VirtdiskOperationParameters) parameters = telling(&told);
  service->hold_next("Wait");
  std::thread changes([this] {
    service->wait_for("Wait");
    service->change_job(kJob, "{'Progress': <0.75>}");
    service->release();
  });
  g_autoptr(VirtdiskJob) job =
      virtdisk_handle_compact_virtual_disk(need_handle(), VIRTDISK_COMPACT_NONE, parameters, nullptr, &error);
  changes.join();
  ASSERT_NE(job, nullptr) << error->message;
  EXPECT_EQ(told.progress, (std::vector<double>{0.25, 0.75}));
}

TEST_F(Lib, AJobThatFailsFailsTheCall)
{
  Await await;
  service->hold_next("Wait");
  virtdisk_handle_compact_virtual_disk_async(need_handle(), VIRTDISK_COMPACT_NONE, nullptr, nullptr,
                                             on_result, &await);
  EXPECT_TRUE(run_until([this] { return service->last().method == "Wait"; }));
  service->fail_next("org.virtdisk1.Error.DiskFull", "no space");
  service->release();
  EXPECT_EQ(virtdisk_handle_compact_virtual_disk_finish(need_handle(), await.get(), &error), nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_DISK_FULL);
}

TEST_F(Lib, CancellingCancelsTheJobAndWaitsForItsEnd)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Await await;
  service->hold_next("Wait");
  virtdisk_handle_compact_virtual_disk_async(need_handle(), VIRTDISK_COMPACT_NONE, nullptr, cancellable,
                                             on_result, &await);
  EXPECT_TRUE(run_until([this] { return service->last().method == "Wait"; }));
  g_cancellable_cancel(cancellable);
  EXPECT_TRUE(run_until([this] { return service->last().method == "Cancel"; }));
  EXPECT_EQ(service->last().object_path, kJob);
  EXPECT_EQ(await.result, nullptr) << "the job has not ended";
  service->fail_next("org.virtdisk1.Error.OperationAborted", "it was cancelled");
  service->release();
  EXPECT_EQ(virtdisk_handle_compact_virtual_disk_finish(need_handle(), await.get(), &error), nullptr);
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
}

TEST_F(Lib, CancelledTooLateIsDone)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Await await;
  service->hold_next("Wait");
  virtdisk_handle_compact_virtual_disk_async(need_handle(), VIRTDISK_COMPACT_NONE, nullptr, cancellable,
                                             on_result, &await);
  EXPECT_TRUE(run_until([this] { return service->last().method == "Wait"; }));
  g_cancellable_cancel(cancellable);
  service->release();
  g_autoptr(VirtdiskJob) job =
      virtdisk_handle_compact_virtual_disk_finish(need_handle(), await.get(), &error);
  EXPECT_NE(job, nullptr);
}

TEST_F(Lib, AJobThatBeginsTooLateIsCancelled)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Await await;
  service->hold_next("CompactVirtualDisk");
  virtdisk_handle_compact_virtual_disk_async(need_handle(), VIRTDISK_COMPACT_NONE, nullptr, cancellable,
                                             on_result, &await);
  EXPECT_TRUE(run_until([this] { return service->last().method == "CompactVirtualDisk"; }));
  g_cancellable_cancel(cancellable);
  EXPECT_EQ(virtdisk_handle_compact_virtual_disk_finish(need_handle(), await.get(), &error), nullptr);
  EXPECT_ERROR(G_IO_ERROR, G_IO_ERROR_CANCELLED);
  service->release();
  EXPECT_TRUE(run_until([this] { return service->last().method == "Cancel"; }));
}

TEST_F(Lib, InTheBackgroundTheBeginningIsEnough)
{
  g_autoptr(VirtdiskOperationParameters) parameters = virtdisk_operation_parameters_new();
  virtdisk_operation_parameters_set_background(parameters, TRUE);
  g_autoptr(VirtdiskJob) job =
      virtdisk_handle_compact_virtual_disk(need_handle(), VIRTDISK_COMPACT_NONE, parameters, nullptr, &error);
  ASSERT_NE(job, nullptr) << error->message;
  EXPECT_EQ(service->last().method, "CompactVirtualDisk");
  EXPECT_STREQ(virtdisk_job_get_state(job), "running");
  EXPECT_TRUE(virtdisk_job_cancel(job, nullptr, &error));
  EXPECT_EQ(service->last().method, "Cancel");
  service->fail_next("org.virtdisk1.Error.IO", "it broke");
  EXPECT_FALSE(virtdisk_job_wait(job, nullptr, nullptr, &error));
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_IO);
  EXPECT_STREQ(virtdisk_job_get_state(job), "failed");
  g_autoptr(GError) why = virtdisk_job_get_error(job);
  EXPECT_TRUE(g_error_matches(why, VIRTDISK_ERROR, VIRTDISK_ERROR_IO));
  EXPECT_STREQ(why->message, "it broke");
  EXPECT_TRUE(virtdisk_job_release(job, nullptr, &error));
  EXPECT_EQ(service->last().method, "Release");
}

TEST_F(Lib, CreateFromASourceIsAJob)
{
  Told told;
  g_autoptr(VirtdiskCreateParameters) parameters = virtdisk_create_parameters_new();
  virtdisk_create_parameters_set_source_path(parameters, "/source.iso");
  virtdisk_create_parameters_set_verify(parameters, TRUE);
  virtdisk_create_parameters_set_mode(parameters, 0600);
  virtdisk_create_parameters_set_progress(parameters, on_progress, &told, nullptr);
  g_autoptr(VirtdiskHandle) made = virtdisk_client_create_virtual_disk(
      need_client(), "/a.vhdx", VIRTDISK_ACCESS_NONE, VIRTDISK_CREATE_NONE, 0, parameters, nullptr, &error);
  ASSERT_NE(made, nullptr) << error->message;
  EXPECT_STREQ(virtdisk_handle_get_object_path(made), "/org/virtdisk1/handle/1");
  EXPECT_EQ(
      service->calls()[0].options,
      (Options{
          {"async", "true"}, {"mode", "uint32 384"}, {"source-path", "'/source.iso'"}, {"verify", "true"}}));
  EXPECT_FALSE(told.progress.empty());
}

TEST_F(Lib, CreateInTheBackgroundGivesItsHandleOnce)
{
  g_autoptr(VirtdiskJob) job = virtdisk_client_create_virtual_disk_job(
      need_client(), "/a.vhdx", VIRTDISK_ACCESS_NONE, VIRTDISK_CREATE_NONE, 4096, nullptr, nullptr, &error);
  ASSERT_NE(job, nullptr) << error->message;
  EXPECT_EQ(virtdisk_job_steal_handle(job), nullptr);
  ASSERT_TRUE(virtdisk_job_wait(job, nullptr, nullptr, &error));
  g_autoptr(VirtdiskHandle) made = virtdisk_job_steal_handle(job);
  EXPECT_NE(made, nullptr);
  EXPECT_EQ(virtdisk_job_steal_handle(job), nullptr);
}

TEST_F(Lib, JobsOfOthersAreSeen)
{
  struct Seen {
    std::vector<std::string> added, removed;
  } seen;
  auto note = [](VirtdiskClient *, VirtdiskJob *job, gpointer data) {
    static_cast<std::vector<std::string> *>(data)->push_back(virtdisk_job_get_operation(job));
  };
  service->add_job("/org/virtdisk1/job/a", "merge");
  g_autoptr(GPtrArray) jobs = virtdisk_client_get_jobs(need_client());
  ASSERT_EQ(jobs->len, 1u);
  auto job = static_cast<VirtdiskJob *>(g_ptr_array_index(jobs, 0));
  EXPECT_STREQ(virtdisk_job_get_operation(job), "merge");
  EXPECT_EQ(virtdisk_job_get_progress(job), 0.5);
  g_autoptr(GError) why = virtdisk_job_get_error(job);
  EXPECT_TRUE(g_error_matches(why, VIRTDISK_ERROR, VIRTDISK_ERROR_DISK_FULL));
  g_signal_connect(client, "job-added", G_CALLBACK(+note), &seen.added);
  g_signal_connect(client, "job-removed", G_CALLBACK(+note), &seen.removed);
  service->add_job("/org/virtdisk1/job/b", "resize");
  EXPECT_TRUE(run_until([&] { return !seen.added.empty(); }));
  service->remove_job("/org/virtdisk1/job/a");
  EXPECT_TRUE(run_until([&] { return !seen.removed.empty(); }));
  EXPECT_EQ(seen.added, (std::vector<std::string>{"resize"}));
  EXPECT_EQ(seen.removed, (std::vector<std::string>{"merge"}));
}

TEST_F(Lib, OperationProgress)
{
  guint status = 0;
  guint64 current = 0, completion = 0;
  ASSERT_TRUE(virtdisk_handle_get_virtual_disk_operation_progress(need_handle(), &status, &current,
                                                                  &completion, nullptr, &error));
  EXPECT_EQ(status, 997u);
  EXPECT_EQ(current, 5u);
  EXPECT_EQ(completion, 10u);
}

TEST_F(Lib, SetInformation)
{
  struct {
    VirtdiskSetInfo *info;
    const char *said;
  } cases[] = {
      {virtdisk_set_info_new_parent_path("/p.vhd"), "1 {'ParentFilePath': <'/p.vhd'>}"},
      {virtdisk_set_info_new_identifier("g"), "2 {'UniqueIdentifier': <'g'>}"},
      {virtdisk_set_info_new_parent_path_with_depth(2, "/p"),
       "3 {'ChildDepth': <uint32 2>, 'ParentFilePath': <'/p'>}"},
      {virtdisk_set_info_new_physical_sector_size(4096), "4 {'VhdPhysicalSectorSize': <uint32 4096>}"},
      {virtdisk_set_info_new_virtual_disk_id("g"), "5 {'VirtualDiskId': <'g'>}"},
      {virtdisk_set_info_new_parent_locator("g", "/p"), "7 {'LinkageId': <'g'>, 'ParentFilePath': <'/p'>}"},
  };
  for (auto &each : cases) {
    EXPECT_TRUE(virtdisk_handle_set_virtual_disk_information(need_handle(), each.info, nullptr, &error));
    std::string said = service->last().arguments;
    EXPECT_EQ(said, each.said);
    EXPECT_TRUE(service->last().options.empty());
    virtdisk_set_info_unref(each.info);
  }
}

TEST_F(Lib, Metadata)
{
  g_auto(GStrv) items = virtdisk_handle_enumerate_virtual_disk_metadata(need_handle(), nullptr, &error);
  ASSERT_NE(items, nullptr);
  EXPECT_STREQ(items[1], "two");
  g_autoptr(GBytes) data = virtdisk_handle_get_virtual_disk_metadata(need_handle(), "one", nullptr, &error);
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(std::string(static_cast<const char *>(g_bytes_get_data(data, nullptr)), g_bytes_get_size(data)),
            std::string("\1\0\2", 3));
  EXPECT_TRUE(virtdisk_handle_set_virtual_disk_metadata(need_handle(), "one", data, nullptr, &error));
  EXPECT_EQ(service->last().arguments, "'one' [0x01, 0x00, 0x02]");
  EXPECT_TRUE(virtdisk_handle_delete_virtual_disk_metadata(need_handle(), "one", nullptr, &error));
  EXPECT_EQ(service->last().method, "DeleteVirtualDiskMetadata");
}

TEST_F(Lib, AClosedHandleOperatesOnNothing)
{
  ASSERT_TRUE(virtdisk_handle_close(need_handle(), nullptr, &error));
  EXPECT_EQ(virtdisk_handle_compact_virtual_disk(handle, VIRTDISK_COMPACT_NONE, nullptr, nullptr, &error),
            nullptr);
  EXPECT_ERROR(VIRTDISK_ERROR, VIRTDISK_ERROR_INVALID_HANDLE);
}

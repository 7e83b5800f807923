// SPDX-License-Identifier: LGPL-2.1-or-later
// The daemon's end of the line, against the real worker and against workers that misbehave.
#include <gtest/gtest.h>
#include <string>
#include <filesystem>
#include <algorithm>
#include <dirent.h>
#include <fcntl.h>
#include <fstream>
#include <gio/gio.h>

#include "images/iso.hh"
#include "images/partitions.hh"
#include "images/vhd.hh"

extern "C" {
#include "util/spawn.h"
#include "virtdisk-enums.h"
#include "virtdisk-error.h"
#include "worker/client.h"
}

namespace
{

constexpr uid_t kUser = 1000, kOtherUser = 1001;
constexpr guint kPatienceMs = 60000; // a test that waits longer than this has failed

#ifdef VD_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// GLib's own thread closes the pidfd of a child some time after it has been waited for: it may be there, or
// just have gone.
bool is_ours(const std::string &path)
{
  char target[64] = {};

  return readlink(path.c_str(), target, sizeof target - 1) > 0 && strcmp(target, "anon_inode:[pidfd]") != 0;
}

size_t count_fds()
{
  size_t count = 0;
  DIR *directory = opendir("/proc/self/fd");

  while (const dirent *entry = readdir(directory))
    count += is_ours(std::string("/proc/self/fd/") + entry->d_name) ? 1 : 0;
  closedir(directory);
  return count;
}

// Images are closed by threads of their own: the number once there are none but GLib's. (A new thread has our
// name until it gives itself one.)
size_t settled_fds()
{
  const gint64 deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
  const auto closes = [] {
    for (const auto &entry : std::filesystem::directory_iterator("/proc/self/task")) {
      std::ifstream file(entry.path() / "comm");
      std::string name;

      if (entry.path().filename() != std::to_string(getpid()) && std::getline(file, name) &&
          name != "gmain" && name != "gdbus" && name.rfind("pool-", 0) != 0)
        return true;
    }
    return false;
  };

  while (closes() && g_get_monotonic_time() < deadline)
    g_thread_yield();
  return count_fds();
}

bool is_child(const char *pid)
{
  std::ifstream file(std::string("/proc/") + pid + "/stat");
  std::string text;
  // getline: a process that ends while its file is read must not be an exception.
  std::getline(file, text);
  size_t end = text.rfind(')');
  char state = 0;
  int parent = 0;

  return end != std::string::npos && sscanf(text.c_str() + end + 1, " %c %d", &state, &parent) == 2 &&
         parent == getpid();
}

size_t count_children()
{
  size_t count = 0;
  DIR *directory = opendir("/proc");

  while (const dirent *entry = readdir(directory))
    // The process that starts the others is there all the time.
    if (isdigit(entry->d_name[0]) && atoi(entry->d_name) != vd_spawn_pid() && is_child(entry->d_name))
      count++;
  closedir(directory);
  return count;
}

struct Answer {
  bool done = false;
  VdFacts *facts = nullptr;
  GError *error = nullptr;

  Answer() = default;
  ~Answer()
  {
    g_free(facts);
    g_clear_error(&error);
  }
  Answer(const Answer &) = delete;
  Answer &operator=(const Answer &) = delete;
  const char *text() const
  {
    return error != nullptr ? error->message : "no error";
  }
  bool is(VirtdiskError code) const
  {
    return g_error_matches(error, VIRTDISK_ERROR, code);
  }
};

void on_answer(GObject *, GAsyncResult *result, gpointer user_data)
{
  Answer *answer = static_cast<Answer *>(user_data);

  ASSERT_FALSE(answer->done) << "answered twice";
  answer->done = true;
  answer->facts = vd_worker_probe_finish(nullptr, result, &answer->error);
  EXPECT_NE(answer->facts == nullptr, answer->error == nullptr);
}

gboolean on_late(gpointer late)
{
  *static_cast<bool *>(late) = true;
  return G_SOURCE_CONTINUE;
}

// Runs the main loop until done() holds, or patience ends.
template <typename Done> bool run_until(Done done)
{
  bool late = false;
  guint id = g_timeout_add(kPatienceMs, on_late, &late);

  while (!done() && !late)
    g_main_context_iteration(nullptr, TRUE);
  g_source_remove(id);
  return !late;
}

bool no_child_left()
{
  return count_children() == 0;
}

class Client : public testing::Test
{
protected:
  Client()
  {
    // What GLib opens once and keeps is not a leak.
    auto client = fake("good");
    Answer answer;

    probe(client, answer);
    EXPECT_TRUE(answer.facts != nullptr) << answer.text();
    drop(client);
    fds_ = settled_fds();
  }
  void TearDown() override
  {
    EXPECT_TRUE(run_until(no_child_left));
    while (g_main_context_iteration(nullptr, FALSE))
      ;
    EXPECT_EQ(settled_fds(), fds_);
  }

  VdWorkerClient *fake(const std::string &way, guint deadline_ms = 20000)
  {
    std::string path = directory_.file(way);

    EXPECT_TRUE(symlink(FAKE_WORKER, path.c_str()) == 0 || errno == EEXIST);
    return vd_worker_client_new(path.c_str(), "", deadline_ms);
  }
  static VdWorkerClient *real()
  {
    return vd_worker_client_new(REAL_WORKER, geteuid() == 0 ? "nobody" : "", 20000);
  }
  static void drop(VdWorkerClient *client)
  {
    EXPECT_TRUE(run_until(no_child_left));
    vd_worker_client_unref(client);
  }
  void probe(VdWorkerClient *client, Answer &answer, guint32 device = VIRTDISK_DEVICE_RAW)
  {
    probe_file(client, image_, answer, device);
  }
  static void probe_file(VdWorkerClient *client, const images::File &file, Answer &answer, guint32 device)
  {
    vd_worker_probe_async(client, kUser, file.fd(), device, TRUE, nullptr, on_answer, &answer);
    ASSERT_FALSE(answer.done) << "answered within the call";
    ASSERT_TRUE(run_until([&] { return answer.done; }));
  }

  images::Directory directory_;
  images::File image_{images::Bytes(), 1 << 20};
  size_t fds_ = 0;
};

struct Way {
  const char *name;
  VirtdiskError code;
  const char *text; // what the message says
};

const Way kWays[] = {
    {"exit-0", VIRTDISK_ERROR_WORKER_LOST, "status 0"},
    {"exit-7", VIRTDISK_ERROR_WORKER_LOST, "status 7"},
    {"signal", VIRTDISK_ERROR_WORKER_LOST, "signal 15"},
    {"empty", VIRTDISK_ERROR_WORKER_LOST, "status 0"},
    {"short", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"long", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"huge", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"garbage", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"magic", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"version", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"size", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"failed-2", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"descriptor", VIRTDISK_ERROR_WORKER_LOST, "shape"},
    {"size-lie", VIRTDISK_ERROR_WORKER_LOST, "virtual_size"},
    {"file-size-lie", VIRTDISK_ERROR_WORKER_LOST, "file_size"},
    {"device-lie", VIRTDISK_ERROR_WORKER_LOST, "device_id"},
    {"error-good", VIRTDISK_ERROR_VHD_DRIVE_FOOTER_MISSING, "no footer at offset 7"},
    {"error-denied", VIRTDISK_ERROR_WORKER_LOST, "cannot have"},
    {"error-negative", VIRTDISK_ERROR_WORKER_LOST, "cannot have"},
    {"error-control", VIRTDISK_ERROR_WORKER_LOST, "not plain"},
    {"error-silent", VIRTDISK_ERROR_WORKER_LOST, "cannot have"},
    {"error-endless", VIRTDISK_ERROR_WORKER_LOST, "cannot have"},
};

class ClientFake : public Client, public testing::WithParamInterface<Way>
{
};

TEST_P(ClientFake, IsNamed)
{
  VdWorkerClient *client = fake(GetParam().name);
  Answer answer;

  probe(client, answer);
  EXPECT_TRUE(answer.is(GetParam().code)) << answer.text();
  EXPECT_NE(strstr(answer.text(), GetParam().text), nullptr) << answer.text();
  drop(client);
}

INSTANTIATE_TEST_SUITE_P(Ways, ClientFake, testing::ValuesIn(kWays), [](const auto &info) {
  std::string name = info.param.name;

  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});

} // namespace

TEST_F(Client, HangIsKilledAtTheDeadline)
{
  for (const char *way : {"hang", "hang-silent"}) {
    VdWorkerClient *client = fake(way, 100);
    Answer answer;

    probe(client, answer);
    EXPECT_TRUE(answer.is(VIRTDISK_ERROR_TIMED_OUT)) << answer.text();
    EXPECT_NE(strstr(answer.text(), "100 ms"), nullptr) << answer.text();
    drop(client);
  }
}

TEST_F(Client, AnswerOfAWorkerThatStaysIsTaken)
{
  VdWorkerClient *client = fake("good-then-hang");
  Answer answer;

  probe(client, answer);
  ASSERT_NE(answer.facts, nullptr) << answer.text();
  EXPECT_EQ(answer.facts->virtual_size, 1u << 20);
  drop(client);
}

TEST_F(Client, CancelKills)
{
  VdWorkerClient *client = fake("hang");
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Answer answer;

  vd_worker_probe_async(client, kUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, cancellable, on_answer,
                        &answer);
  EXPECT_EQ(count_children(), 1u);
  g_cancellable_cancel(cancellable);
  ASSERT_TRUE(run_until([&] { return answer.done; }));
  EXPECT_TRUE(answer.is(VIRTDISK_ERROR_OPERATION_ABORTED)) << answer.text();
  drop(client);
}

TEST_F(Client, CancelledBeforehand)
{
  VdWorkerClient *client = fake("hang");
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  Answer answer;

  g_cancellable_cancel(cancellable);
  vd_worker_probe_async(client, kUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, cancellable, on_answer,
                        &answer);
  ASSERT_TRUE(run_until([&] { return answer.done; }));
  EXPECT_TRUE(answer.is(VIRTDISK_ERROR_OPERATION_ABORTED)) << answer.text();
  drop(client);
}

TEST_F(Client, OthersWaitInLine)
{
  constexpr size_t kProbes = 2 * VD_WORKER_MAX_PROBES + 3;
  VdWorkerClient *client = fake("hang", 300);
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  std::vector<Answer> answers(kProbes);
  Answer cancelled;
  size_t most = 0;

  for (size_t i = 0; i < kProbes; i++)
    vd_worker_probe_async(client, i % 2 == 0 ? kUser : kOtherUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE,
                          nullptr, on_answer, &answers[i]);
  vd_worker_probe_async(client, kUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, cancellable, on_answer,
                        &cancelled);
  EXPECT_EQ(count_children(), static_cast<size_t>(VD_WORKER_MAX_PROBES));
  g_cancellable_cancel(cancellable);
  ASSERT_TRUE(run_until([&] {
    most = std::max(most, count_children());
    return std::all_of(answers.begin(), answers.end(), [](const Answer &answer) { return answer.done; });
  }));
  EXPECT_TRUE(cancelled.is(VIRTDISK_ERROR_OPERATION_ABORTED)) << cancelled.text();
  EXPECT_EQ(most, static_cast<size_t>(VD_WORKER_MAX_PROBES));
  for (const Answer &answer : answers)
    EXPECT_TRUE(answer.is(VIRTDISK_ERROR_TIMED_OUT)) << answer.text();
  drop(client);
}

TEST_F(Client, OneUserCannotTakeAllWorkers)
{
  VdWorkerClient *client = fake("hang");
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  std::vector<Answer> answers(2 * VD_WORKER_MAX_PER_UID),
      others(VD_WORKER_MAX_PROBES - VD_WORKER_MAX_PER_UID);

  for (Answer &answer : answers)
    vd_worker_probe_async(client, kUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, cancellable, on_answer,
                          &answer);
  EXPECT_EQ(count_children(), static_cast<size_t>(VD_WORKER_MAX_PER_UID));
  for (Answer &answer : others)
    vd_worker_probe_async(client, kOtherUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, cancellable, on_answer,
                          &answer);
  EXPECT_EQ(count_children(), static_cast<size_t>(VD_WORKER_MAX_PROBES))
      << "another user was not let past the first";
  g_cancellable_cancel(cancellable);
  for (const std::vector<Answer> *all : {&answers, &others})
    ASSERT_TRUE(run_until([&] {
      return std::all_of(all->begin(), all->end(), [](const Answer &answer) { return answer.done; });
    }));
  drop(client);
}

TEST_F(Client, ClientMayBeDroppedMeanwhile)
{
  VdWorkerClient *client = fake("good");
  Answer answer;

  vd_worker_probe_async(client, kUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, nullptr, on_answer, &answer);
  vd_worker_client_unref(client);
  ASSERT_TRUE(run_until([&] { return answer.done; }));
  EXPECT_NE(answer.facts, nullptr) << answer.text();
}

TEST_F(Client, DescriptorIsBorrowedForTheCallOnly)
{
  VdWorkerClient *client = real();
  Answer answer;
  int fd = dup(image_.fd());

  vd_worker_probe_async(client, kUser, fd, VIRTDISK_DEVICE_RAW, TRUE, nullptr, on_answer, &answer);
  close(fd);
  ASSERT_TRUE(run_until([&] { return answer.done; }));
  EXPECT_NE(answer.facts, nullptr) << answer.text();
  drop(client);
}

TEST_F(Client, NoSuchProgram)
{
  VdWorkerClient *client = vd_worker_client_new(directory_.file("absent").c_str(), "", 0);
  Answer answer;

  probe(client, answer);
  EXPECT_TRUE(answer.is(VIRTDISK_ERROR_INTERNAL)) << answer.text();
  drop(client);
}

TEST_F(Client, NoSuchAccountStartsNothing)
{
  for (const char *user : {"virtdisk-no-such-account", "root"}) {
    VdWorkerClient *client = vd_worker_client_new(REAL_WORKER, user, 0);
    Answer answer;

    probe(client, answer);
    EXPECT_TRUE(answer.is(VIRTDISK_ERROR_INTERNAL)) << answer.text();
    EXPECT_NE(strstr(answer.text(), user), nullptr) << answer.text();
    drop(client);
  }
}

TEST_F(Client, DescriptorThatIsNone)
{
  VdWorkerClient *client = real();
  Answer answer;

  vd_worker_probe_async(client, kUser, -1, VIRTDISK_DEVICE_RAW, TRUE, nullptr, on_answer, &answer);
  ASSERT_TRUE(run_until([&] { return answer.done; }));
  EXPECT_TRUE(answer.is(VIRTDISK_ERROR_INTERNAL)) << answer.text();
  drop(client);
}

TEST_F(Client, FileThatGrowsMeanwhile)
{
  VdWorkerClient *client = fake("good");
  Answer answer;

  vd_worker_probe_async(client, kUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, nullptr, on_answer, &answer);
  image_.resize(2 << 20);
  ASSERT_TRUE(run_until([&] { return answer.done; }));
  EXPECT_TRUE(answer.is(VIRTDISK_ERROR_FILE_CHANGED)) << answer.text();
  drop(client);
}

TEST_F(Client, RealWorkerServesEveryFormat)
{
  VdWorkerClient *client = real();
  images::Bytes disk(1 << 20);
  images::put_swap(disk, 0, "inside");
  images::Iso iso_description;
  iso_description.size = 1 << 20;
  images::File iso(iso_description.build()), vhd(images::fixed_vhd(disk)), raw(disk);
  Answer iso_answer, vhd_answer, raw_answer;

  probe_file(client, iso, iso_answer, VIRTDISK_DEVICE_ISO);
  ASSERT_NE(iso_answer.facts, nullptr) << iso_answer.text();
  EXPECT_STREQ(iso_answer.facts->contents[0].label, "LABEL");
  probe_file(client, vhd, vhd_answer, VIRTDISK_DEVICE_VHD);
  ASSERT_NE(vhd_answer.facts, nullptr) << vhd_answer.text();
  EXPECT_EQ(vhd_answer.facts->virtual_size, 1u << 20);
  EXPECT_STREQ(vhd_answer.facts->contents[0].label, "inside");
  probe_file(client, raw, raw_answer, VIRTDISK_DEVICE_RAW);
  ASSERT_NE(raw_answer.facts, nullptr) << raw_answer.text();
  EXPECT_STREQ(raw_answer.facts->contents[0].type, "swap");
  drop(client);
}

TEST_F(Client, RealWorkerNamesTheFieldAndTheOffset)
{
  VdWorkerClient *client = real();
  images::VhdFooter footer;
  footer.checksum = 0;
  images::File file(images::fixed_vhd(images::Bytes(1 << 20), footer));
  Answer answer;

  probe_file(client, file, answer, VIRTDISK_DEVICE_VHD);
  EXPECT_TRUE(answer.is(VIRTDISK_ERROR_VHD_DRIVE_FOOTER_CHECKSUM_MISMATCH)) << answer.text();
  EXPECT_NE(strstr(answer.text(), "footer at offset 1048576: checksum is 0x00000000"), nullptr)
      << answer.text();
  drop(client);
}

TEST_F(Client, RealWorkerTakesNothingElseForVhdx)
{
  VdWorkerClient *client = real();
  Answer answer;

  probe(client, answer, VIRTDISK_DEVICE_VHDX);
  EXPECT_TRUE(answer.is(VIRTDISK_ERROR_FILE_CORRUPT)) << answer.text();
  drop(client);
}

// It opens the file anew: the position that the descriptor's other owners share stays where it is.
TEST_F(Client, RealWorkerLeavesTheSharedPositionAlone)
{
  VdWorkerClient *client = real();
  Answer answer;

  ASSERT_EQ(lseek(image_.fd(), 12345, SEEK_SET), 12345);
  probe(client, answer);
  EXPECT_NE(answer.facts, nullptr) << answer.text();
  EXPECT_EQ(lseek(image_.fd(), 0, SEEK_CUR), 12345);
  drop(client);
}

TEST_F(Client, ManyAtOnceAgainstTheRealWorker)
{
  VdWorkerClient *client = real();
  std::vector<Answer> answers(kSanitized ? 20 : 60);

  for (Answer &answer : answers)
    vd_worker_probe_async(client, kUser, image_.fd(), VIRTDISK_DEVICE_RAW, TRUE, nullptr, on_answer, &answer);
  ASSERT_TRUE(run_until([&] {
    return std::all_of(answers.begin(), answers.end(), [](const Answer &answer) { return answer.done; });
  }));
  for (const Answer &answer : answers)
    EXPECT_NE(answer.facts, nullptr) << answer.text();
  drop(client);
}

// SPDX-License-Identifier: LGPL-2.1-or-later
// What the daemon believes of a worker that checks an image.
#include <gtest/gtest.h>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <poll.h>
#include <future>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

extern "C" {
#include "virtdisk-error.h"
#include "worker/service-private.h"
}

namespace
{

class ServiceCheck : public testing::Test
{
protected:
  ServiceCheck()
  {
    renew();
  }
  void renew()
  {
    int ends[2];

    EXPECT_EQ(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends), 0);
    worker_ = ends[0];
    service_ = vd_service_new_on_line(ends[1], -1, 0);
    service_->faults = g_array_new(FALSE, FALSE, sizeof(VdFault));
  }
  ~ServiceCheck() override
  {
    hang_up();
    g_clear_pointer(&service_, vd_service_unref);
  }
  static VdServeFault fault()
  {
    VdServeFault message = {};

    vd_service_fill_header(&message.header, VD_SERVE_FAULT, sizeof message);
    message.fault.kind = VD_FAULT_MINOR;
    message.fault.repairable = 1;
    message.fault.error.code = VIRTDISK_ERROR_FILE_CORRUPT;
    message.fault.error.offset = 4711;
    strcpy(message.fault.error.field, "cookie");
    strcpy(message.fault.error.text, "it is wrong");
    return message;
  }
  static VdServeChecked checked(uint64_t n)
  {
    VdServeChecked message = {};

    vd_service_fill_header(&message.header, VD_SERVE_CHECKED, sizeof message);
    message.summary.counts[VD_FAULT_MINOR] = n;
    return message;
  }
  template <typename T> void say(const T &message)
  {
    send(worker_, &message, sizeof message, MSG_NOSIGNAL);
  }
  // Reads what is there; whether the worker is believed still.
  bool is_believed()
  {
    return !vd_service_is_gone(service_);
  }
  static VdServeReport report(VdServeKind kind)
  {
    VdServeReport message = {};

    vd_service_fill_header(&message.header, kind, sizeof message);
    message.error.code = -1;
    return message;
  }
  // A message with descriptors of the worker's end of the line.
  void say_with_files(const VdServeReport &message, size_t n, size_t size = sizeof(VdServeReport))
  {
    alignas(cmsghdr) char control[CMSG_SPACE(16 * sizeof(int))] = {};
    iovec part = {const_cast<VdServeReport *>(&message), size};
    msghdr header = {};

    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(n * sizeof(int));
    cmsghdr *c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    for (size_t i = 0; i < n; i++)
      memcpy(CMSG_DATA(c) + i * sizeof(int), &worker_, sizeof(int));
    ASSERT_EQ(sendmsg(worker_, &header, MSG_NOSIGNAL), static_cast<ssize_t>(size));
  }
  bool line_ends()
  {
    pollfd end = {service_->line, POLLRDHUP, 0};

    return poll(&end, 1, 10000) == 1;
  }
  void hang_up()
  {
    if (worker_ >= 0)
      close(worker_);
    worker_ = -1;
  }

  int worker_;
  VdService *service_;
  VdCheckSummary summary_ = {};
  gboolean repaired_ = FALSE;
  GError *error_ = nullptr;
};

} // namespace

TEST_F(ServiceCheck, WhoTalksWithoutEndIsEnded)
{
  for (int i = 0; i < 100 && is_believed(); i++)
    say(report(VD_SERVE_STATUS_REPLY));
  EXPECT_FALSE(is_believed());
}

TEST_F(ServiceCheck, AnotherVersionTalksNoLonger)
{
  VdServeReport message = report(VD_SERVE_STATUS_REPLY);

  message.header.version++;
  for (int i = 0; i < 100 && is_believed(); i++)
    say(message);
  EXPECT_FALSE(is_believed());
}

TEST_F(ServiceCheck, WhatIsAskedForIsHeard)
{
  for (int i = 0; i < 100; i++) {
    vd_service_expect(service_, 1);
    say(report(VD_SERVE_STATUS_REPLY));
    ASSERT_TRUE(is_believed()) << i;
  }
}

// One of them would be our own line's other end: the worker's death would be unseen.
TEST_F(ServiceCheck, DescriptorsThatNobodyAskedForAreNotTaken)
{
  for (size_t n = 1; n <= 16; n++) {
    say_with_files(report(VD_SERVE_READY), n);
    EXPECT_FALSE(is_believed()) << n;
    hang_up();
    EXPECT_TRUE(line_ends()) << "with " << n << " descriptors: somebody holds the other end";
    vd_service_unref(service_);
    renew();
  }
}

TEST_F(ServiceCheck, NotMoreDescriptorsThanOneAtATime)
{
  VdServeFile file = {};
  const int none = -1;

  for (size_t n = 2; n <= 16; n++) {
    VdServeReport message = {};

    vd_service_fill_header(&file.header, VD_SERVE_GIVEN, sizeof file);
    file.role = VD_ROLE_IMAGE;
    memcpy(&message, &file, sizeof file);
    service_->given = g_array_new(FALSE, FALSE, sizeof(int));
    g_array_append_val(service_->given, none);
    g_array_append_val(service_->given, none);
    say_with_files(message, n, sizeof file);
    EXPECT_FALSE(is_believed()) << n;
    hang_up();
    EXPECT_TRUE(line_ends()) << "with " << n << " descriptors: somebody holds the other end";
    vd_service_unref(service_);
    renew();
  }
}

// The worker answers before it is asked: the line keeps it.
TEST_F(ServiceCheck, TransportIsAConnectionOfFuse)
{
  VdServeFile file = {};
  int transport = 0, image = 0;

  vd_service_fill_header(&file.header, VD_SERVE_GIVEN, sizeof file);
  file.role = VD_ROLE_TRANSPORT;
  service_->report.n_files = 1;
  VdServeReport message = {};
  memcpy(&message, &file, sizeof file);
  say_with_files(message, 1, sizeof file);
  EXPECT_TRUE(vd_service_take_files(service_, &transport, &image, 1, &error_));
  EXPECT_EQ(transport, -1);
  EXPECT_EQ(image, -1);
  hang_up();
  EXPECT_TRUE(line_ends());
}

TEST_F(ServiceCheck, FaultsAreCollected)
{
  VdServeChecked end = checked(2);

  end.repaired = 1;
  say(fault());
  say(fault());
  say(end);
  EXPECT_TRUE(is_believed());
  g_autoptr(GArray) faults = vd_service_take_faults(service_, &summary_, &repaired_, &error_);
  ASSERT_NE(faults, nullptr) << error_->message;
  ASSERT_EQ(faults->len, 2u);
  EXPECT_EQ(g_array_index(faults, VdFault, 1).error.offset, 4711u);
  EXPECT_EQ(summary_.counts[VD_FAULT_MINOR], 2u);
  EXPECT_TRUE(repaired_);
}

TEST_F(ServiceCheck, NothingSaidIsNothingFound)
{
  say(fault());
  hang_up();
  EXPECT_FALSE(is_believed());
  EXPECT_EQ(vd_service_take_faults(service_, &summary_, &repaired_, &error_), nullptr);
  EXPECT_TRUE(g_error_matches(error_, VIRTDISK_ERROR, VIRTDISK_ERROR_WORKER_LOST));
  g_clear_error(&error_);
}

TEST_F(ServiceCheck, OnlyWhoChecksTellsOfFaults)
{
  g_clear_pointer(&service_->faults, g_array_unref);
  say(fault());
  EXPECT_FALSE(is_believed());
}

TEST_F(ServiceCheck, TheEndIsTheEnd)
{
  say(checked(0));
  EXPECT_TRUE(is_believed());
  say(fault());
  EXPECT_FALSE(is_believed());
}

TEST_F(ServiceCheck, NotMoreThanTheCeiling)
{
  for (int i = 0; i < VD_CHECK_MAX_FAULTS; i++) {
    say(fault());
    ASSERT_TRUE(is_believed()) << i;
  }
  say(fault());
  EXPECT_FALSE(is_believed());
}

TEST_F(ServiceCheck, WhatIsCountedBeyondTheCeilingIsNotTold)
{
  for (int i = 0; i < VD_CHECK_MAX_FAULTS; i++) {
    say(fault());
    ASSERT_TRUE(is_believed()) << i;
  }
  say(checked(UINT64_C(1) << 40));
  EXPECT_TRUE(is_believed());
}

struct Lie {
  const char *name;
  std::function<void(VdServeFault &)> spoil;
};

class ServiceLie : public ServiceCheck, public testing::WithParamInterface<Lie>
{
};

TEST_P(ServiceLie, IsNotBelieved)
{
  VdServeFault message = fault();

  GetParam().spoil(message);
  say(message);
  EXPECT_FALSE(is_believed());
  ASSERT_NE(service_->said, nullptr);
  EXPECT_EQ(service_->said->code, VIRTDISK_ERROR_WORKER_LOST);
}

INSTANTIATE_TEST_SUITE_P(
    Fields, ServiceLie,
    testing::Values(Lie{"kind", [](VdServeFault &m) { m.fault.kind = VD_FAULT_SERIOUS + 1; }},
                    Lie{"repairable", [](VdServeFault &m) { m.fault.repairable = 2; }},
                    Lie{"code", [](VdServeFault &m) { m.fault.error.code = VIRTDISK_ERROR_ACCESS_DENIED; }},
                    Lie{"empty", [](VdServeFault &m) { m.fault.error.text[0] = '\0'; }},
                    Lie{"escape", [](VdServeFault &m) { m.fault.error.text[3] = '\033'; }},
                    Lie{"field", [](VdServeFault &m) { m.fault.error.field[0] = '\n'; }},
                    Lie{"long_field", [](VdServeFault &m) { memset(m.fault.error.field, 'x', 32); }},
                    Lie{"long_text", [](VdServeFault &m) { memset(m.fault.error.text, 'x', 256); }}),
    [](const auto &info) { return info.param.name; });

TEST_F(ServiceCheck, CountsMustFit)
{
  say(fault());
  say(checked(2));
  EXPECT_FALSE(is_believed());
}

TEST_F(ServiceCheck, CountsMustNotOverflow)
{
  VdServeChecked end = checked(UINT64_MAX);

  end.summary.counts[VD_FAULT_NOTE] = 1;
  say(end);
  EXPECT_FALSE(is_believed());
}

// Whoever still holds the listening socket of a worker may still write for it.
TEST(ServiceTask, ThatIsDoneWhenItHearsOfItsEndHasSucceeded)
{
  g_autoptr(GCancellable) cancellable = g_cancellable_new();
  g_autoptr(GError) error = nullptr;
  int image = open("/dev/null", O_RDONLY | O_CLOEXEC);
  VdServiceSpec spec = {};
  VdServeResult result;

  spec.program = FAKE_TASK;
  spec.setup.task = VD_TASK_COMPACT;
  spec.transport_fd = -1;
  spec.images = &image;
  spec.n_images = 1;
  g_cancellable_cancel(cancellable);
  g_autoptr(VdService) service = vd_service_start(&spec, cancellable, &error);
  close(image);
  ASSERT_NE(service, nullptr) << error->message;
  EXPECT_TRUE(vd_service_get_result(service, &result, nullptr));
}

// Who asked for the mirror was an earlier service; the worker tells whoever has a line.
TEST(ServiceConnect, AWorkerThatMirrorsIsBelieved)
{
  std::string folder = "/tmp/virtdisk-test.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/worker.sock";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, path.c_str());
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
  EXPECT_EQ(listen(listener, 4), 0);
  auto worker = std::async(std::launch::async, [&] {
    int line = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    VdServeProgress progress = {};
    VdServeReport mirrored = {}, broken, reply;

    vd_service_fill_header(&progress.header, VD_SERVE_PROGRESS, sizeof progress);
    progress.completion = VD_SERVE_MIRROR_STEPS;
    for (progress.current = 1; progress.current <= VD_SERVE_MIRROR_STEPS; progress.current++)
      send(line, &progress, sizeof progress, MSG_NOSIGNAL);
    mirrored.error.code = -1;
    broken = reply = mirrored;
    vd_service_fill_header(&mirrored.header, VD_SERVE_MIRRORED, sizeof mirrored);
    vd_service_fill_header(&broken.header, VD_SERVE_BROKEN, sizeof broken);
    vd_service_fill_header(&reply.header, VD_SERVE_STATUS_REPLY, sizeof reply);
    for (const VdServeReport &report : {mirrored, broken, reply})
      send(line, &report, sizeof report, MSG_NOSIGNAL);
    return line;
  });
  g_autoptr(GError) error = nullptr;
  g_autoptr(VdService) service = vd_service_connect(path.c_str(), &error);
  int line = worker.get();
  EXPECT_NE(service, nullptr) << error->message;
  EXPECT_TRUE(service == nullptr || !vd_service_is_gone(service));
  close(line);
  close(listener);
  unlink(path.c_str());
  rmdir(folder.c_str());
}

TEST(ServiceEnd, IsWhenNobodyListens)
{
  std::string folder = "/tmp/virtdisk-test.XXXXXX";
  ASSERT_NE(mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/worker.sock";
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  strcpy(address.sun_path, path.c_str());
  EXPECT_TRUE(vd_service_await_end(path.c_str(), 10000));
  int listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  EXPECT_EQ(bind(listener, reinterpret_cast<sockaddr *>(&address), sizeof address), 0);
  EXPECT_EQ(listen(listener, 4), 0);
  EXPECT_FALSE(vd_service_await_end(path.c_str(), 50));
  auto ended = std::async(std::launch::async, [&] { return vd_service_await_end(path.c_str(), 20000); });
  pollfd asked = {listener, POLLIN, 0};
  EXPECT_EQ(poll(&asked, 1, 20000), 1);
  close(listener);
  EXPECT_TRUE(ended.get());
  EXPECT_TRUE(vd_service_await_end(path.c_str(), 10000));
  unlink(path.c_str());
  rmdir(folder.c_str());
}

// SPDX-License-Identifier: LGPL-2.1-or-later
// An NBD client, polite and hostile, at the other end of a socket that the real worker serves.
#include "serve-fixture.h"

#include <map>
#include <random>

#include "images/image.hh"

extern "C" {
#include "worker/nbd-abi.h"
}

namespace
{

using serving::Fd;
using serving::Message;
using serving::Worker;
using Bytes = std::vector<uint8_t>;

constexpr uint64_t kSize = 16 << 20;
constexpr uint32_t kMaxIo = VD_SERVE_DEFAULT_IO_FUSE;
constexpr uint32_t kGone = 0xffffffff;

Bytes random_bytes(size_t n, unsigned seed)
{
  std::mt19937 random(seed);
  Bytes bytes(n);

  for (uint8_t &byte : bytes)
    byte = static_cast<uint8_t>(random());
  return bytes;
}

struct Reply {
  uint32_t type = kGone;
  Bytes data;
};

// One end of the connection. Nothing waits longer than the deadline.
class Client
{
public:
  explicit Client(int fd) : fd_(fd) {}
  // False: it was hung up on, or nothing came in time.
  bool receive(void *to, size_t n)
  {
    uint8_t *at = static_cast<uint8_t *>(to);

    while (n > 0) {
      pollfd waiting = {fd_.get(), POLLIN, 0};
      if (poll(&waiting, 1, serving::kDeadlineMs) <= 0)
        return false;
      ssize_t got = recv(fd_.get(), at, n, 0);
      if (got <= 0)
        return false;
      at += got;
      n -= static_cast<size_t>(got);
    }
    return true;
  }
  bool send(const void *from, size_t n)
  {
    const uint8_t *at = static_cast<const uint8_t *>(from);

    while (n > 0) {
      ssize_t sent = ::send(fd_.get(), at, n, MSG_NOSIGNAL);
      if (sent <= 0)
        return false;
      at += sent;
      n -= static_cast<size_t>(sent);
    }
    return true;
  }
  bool send(const Bytes &bytes)
  {
    return send(bytes.data(), bytes.size());
  }
  bool is_hung_up_on()
  {
    uint8_t byte;

    while (receive(&byte, 1))
      continue;
    pollfd waiting = {fd_.get(), POLLIN, 0};
    return poll(&waiting, 1, 0) == 1;
  }
  bool greet(uint32_t flags = VD_NBD_FIXED_NEWSTYLE | VD_NBD_NO_ZEROES)
  {
    uint8_t greeting[18], answer[4];

    vd_nbd_put32(answer, flags);
    return receive(greeting, sizeof greeting) && vd_nbd_get64(greeting) == VD_NBD_MAGIC &&
           vd_nbd_get64(greeting + 8) == VD_NBD_OPTION_MAGIC && vd_nbd_get16(greeting + 16) == 3 &&
           send(answer, sizeof answer);
  }
  static Bytes option(uint32_t option, const Bytes &data, uint64_t magic = VD_NBD_OPTION_MAGIC)
  {
    Bytes bytes(VD_NBD_OPTION_SIZE);

    vd_nbd_put32(vd_nbd_put32(vd_nbd_put64(bytes.data(), magic), option), static_cast<uint32_t>(data.size()));
    bytes.insert(bytes.end(), data.begin(), data.end());
    return bytes;
  }
  Reply reply(uint32_t option)
  {
    uint8_t header[VD_NBD_REPLY_SIZE];
    Reply reply;

    if (!receive(header, sizeof header) || vd_nbd_get64(header) != VD_NBD_REPLY_MAGIC ||
        vd_nbd_get32(header + 8) != option)
      return reply;
    reply.data.resize(vd_nbd_get32(header + 16));
    if (receive(reply.data.data(), reply.data.size()))
      reply.type = vd_nbd_get32(header + 12);
    return reply;
  }
  // The export without a name, and no kind of information asked for.
  bool go()
  {
    if (!send(option(VD_NBD_OPT_GO, Bytes(6))))
      return false;
    for (Reply r = reply(VD_NBD_OPT_GO); r.type == VD_NBD_REP_INFO; r = reply(VD_NBD_OPT_GO))
      infos_[vd_nbd_get16(r.data.data())] = r.data;
    return infos_.size() == 2;
  }
  bool begin()
  {
    return greet() && go();
  }
  const Bytes &info(uint16_t kind)
  {
    return infos_[kind];
  }
  unsigned flags()
  {
    return vd_nbd_get16(infos_[VD_NBD_INFO_EXPORT].data() + 10);
  }
  static Bytes request(uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length, uint16_t flags = 0)
  {
    Bytes bytes(VD_NBD_REQUEST_SIZE);
    uint8_t *at = vd_nbd_put32(bytes.data(), VD_NBD_REQUEST_MAGIC);

    at = vd_nbd_put64(vd_nbd_put16(vd_nbd_put16(at, flags), type), cookie);
    vd_nbd_put32(vd_nbd_put64(at, offset), length);
    return bytes;
  }
  // The error; kGone: there is no answer.
  uint32_t answer(uint64_t *ret_cookie = nullptr)
  {
    uint8_t header[VD_NBD_SIMPLE_REPLY_SIZE];

    if (!receive(header, sizeof header) || vd_nbd_get32(header) != VD_NBD_SIMPLE_REPLY_MAGIC)
      return kGone;
    if (ret_cookie)
      *ret_cookie = vd_nbd_get64(header + 8);
    return vd_nbd_get32(header + 4);
  }
  uint32_t read(uint64_t offset, Bytes *data)
  {
    if (!send(request(VD_NBD_CMD_READ, 7, offset, static_cast<uint32_t>(data->size()))))
      return kGone;
    uint32_t error = answer();
    return error == 0 && !receive(data->data(), data->size()) ? kGone : error;
  }
  uint32_t write(uint64_t offset, const Bytes &data, uint16_t flags = 0)
  {
    if (!send(request(VD_NBD_CMD_WRITE, 8, offset, static_cast<uint32_t>(data.size()), flags)) || !send(data))
      return kGone;
    return answer();
  }
  uint32_t ask(uint16_t type, uint64_t offset, uint32_t length, uint16_t flags = 0)
  {
    return send(request(type, 9, offset, length, flags)) ? answer() : kGone;
  }
  void half_close()
  {
    shutdown(fd_.get(), SHUT_WR);
  }
  void close()
  {
    fd_.reset();
  }

private:
  Fd fd_;
  std::map<uint16_t, Bytes> infos_;
};

class ServeNbd : public testing::Test
{
protected:
  ServeNbd() : image_({}, kSize), client_(-1) {}
  void start(uint32_t flags = VD_SERVE_WRITABLE, uint64_t margin = 0)
  {
    VdServeSetup setup = serving::setup_of(kSize - 2 * margin, flags);
    int ends[2];

    setup.transport = VD_TRANSPORT_NBD;
    setup.offset = margin;
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    client_ = Client(ends[0]);
    Fd served(ends[1]);
    ASSERT_TRUE(worker_.order(setup, served.get(), {image_.fd()}));
    Message ready = serving::receive(worker_.line());
    ASSERT_EQ(ready.kind(), VD_SERVE_READY) << ready.report.error.text;
  }
  // margin: bytes of the disk before the first and behind the last that are served.
  void begin(uint32_t flags = VD_SERVE_WRITABLE, uint64_t margin = 0)
  {
    start(flags, margin);
    ASSERT_TRUE(client_.begin());
  }
  Bytes in_image(uint64_t offset, size_t n)
  {
    Bytes bytes(n);

    EXPECT_EQ(pread(image_.fd(), bytes.data(), n, static_cast<off_t>(offset)), static_cast<ssize_t>(n));
    return bytes;
  }
  void expect_clean_end()
  {
    Message closed = serving::receive(worker_.line());

    ASSERT_EQ(closed.kind(), VD_SERVE_CLOSED);
    EXPECT_EQ(closed.report.error.code, -1) << closed.report.error.text;
    EXPECT_EQ(worker_.wait(), 0);
  }

  images::File image_;
  Worker worker_;
  Client client_;
};

} // namespace

TEST_F(ServeNbd, GoTellsWhatTheExportIs)
{
  begin();
  const Bytes &sizes = client_.info(VD_NBD_INFO_BLOCK_SIZE);

  EXPECT_EQ(vd_nbd_get64(client_.info(VD_NBD_INFO_EXPORT).data() + 2), kSize);
  EXPECT_EQ(client_.flags(), VD_NBD_HAS_FLAGS | VD_NBD_SEND_FLUSH | VD_NBD_SEND_FUA | VD_NBD_SEND_TRIM |
                                 VD_NBD_SEND_WRITE_ZEROES);
  ASSERT_EQ(sizes.size(), 14U);
  EXPECT_EQ(vd_nbd_get32(sizes.data() + 2), 512U);
  EXPECT_EQ(vd_nbd_get32(sizes.data() + 6), 4096U);
  EXPECT_EQ(vd_nbd_get32(sizes.data() + 10), kMaxIo);
}

TEST_F(ServeNbd, ExportNameHasZeroesBehindItForOldClients)
{
  Bytes found(10 + VD_NBD_EXPORT_ZEROES), read(4096);

  start();
  ASSERT_TRUE(client_.greet(VD_NBD_FIXED_NEWSTYLE));
  ASSERT_TRUE(client_.send(Client::option(VD_NBD_OPT_EXPORT_NAME, {})));
  ASSERT_TRUE(client_.receive(found.data(), found.size()));
  EXPECT_EQ(vd_nbd_get64(found.data()), kSize);
  EXPECT_EQ(Bytes(found.begin() + 10, found.end()), Bytes(VD_NBD_EXPORT_ZEROES));
  EXPECT_EQ(client_.read(0, &read), 0U);
}

TEST_F(ServeNbd, OptionsAreAnsweredOneByOne)
{
  const struct {
    uint32_t option;
    Bytes data;
    uint32_t type;
  } cases[] = {
      {5 /* STARTTLS */, {}, VD_NBD_REP_ERR_UNSUP},
      {8 /* STRUCTURED_REPLY */, {}, VD_NBD_REP_ERR_UNSUP},
      {0, {}, VD_NBD_REP_ERR_UNSUP},
      {0xffffffff, Bytes(100), VD_NBD_REP_ERR_UNSUP},
      {VD_NBD_OPT_LIST, {0}, VD_NBD_REP_ERR_INVALID},
      {VD_NBD_OPT_LIST, {}, VD_NBD_REP_SERVER},
      {VD_NBD_OPT_INFO, {}, VD_NBD_REP_ERR_INVALID},
      {VD_NBD_OPT_INFO, {0, 0, 0, 1, 'x', 0, 0}, VD_NBD_REP_ERR_UNKNOWN},
      {VD_NBD_OPT_INFO, {0xff, 0xff, 0xff, 0xff, 0, 0}, VD_NBD_REP_ERR_INVALID},
      {VD_NBD_OPT_INFO, {0, 0, 0, 0, 0, 9}, VD_NBD_REP_ERR_INVALID},
      {VD_NBD_OPT_GO, {0, 0, 0, 0, 0, 0, 0}, VD_NBD_REP_ERR_INVALID},
      {VD_NBD_OPT_GO, Bytes(8193), VD_NBD_REP_ERR_TOO_BIG},
      {VD_NBD_OPT_INFO, Bytes(1 << 20), VD_NBD_REP_ERR_TOO_BIG},
      {VD_NBD_OPT_INFO, {0, 0, 0, 0, 0, 1, 0, 3}, VD_NBD_REP_INFO},
  };

  start();
  ASSERT_TRUE(client_.greet());
  for (const auto &c : cases) {
    ASSERT_TRUE(client_.send(Client::option(c.option, c.data)));
    Reply reply = client_.reply(c.option);
    EXPECT_EQ(reply.type, c.type) << "option " << c.option << ", " << c.data.size() << " bytes";
    while (reply.type == VD_NBD_REP_SERVER || reply.type == VD_NBD_REP_INFO)
      reply = client_.reply(c.option);
  }
  EXPECT_TRUE(client_.go());
  client_.close();
  expect_clean_end();
}

TEST_F(ServeNbd, AbortIsAnsweredAndEndsTheConnection)
{
  start();
  ASSERT_TRUE(client_.greet());
  ASSERT_TRUE(client_.send(Client::option(VD_NBD_OPT_ABORT, {})));
  EXPECT_EQ(client_.reply(VD_NBD_OPT_ABORT).type, VD_NBD_REP_ACK);
  EXPECT_TRUE(client_.is_hung_up_on());
  expect_clean_end();
}

TEST_F(ServeNbd, ReadsAndWritesThroughToTheImage)
{
  begin();
  const Bytes written = random_bytes(kMaxIo, 1), small = random_bytes(512, 2);
  Bytes read(kMaxIo), odd(1001);

  ASSERT_EQ(client_.write(512, written), 0U);
  ASSERT_EQ(client_.write(kSize - 512, small, VD_NBD_CMD_FLAG_FUA), 0U);
  ASSERT_EQ(client_.ask(VD_NBD_CMD_FLUSH, 0, 0), 0U);
  EXPECT_EQ(in_image(512, written.size()), written);
  EXPECT_EQ(in_image(kSize - 512, 512), small);
  ASSERT_EQ(client_.read(512, &read), 0U);
  EXPECT_EQ(read, written);
  ASSERT_EQ(client_.read(515, &odd), 0U);
  EXPECT_EQ(odd, Bytes(written.begin() + 3, written.begin() + 1004));
  ASSERT_EQ(client_.ask(VD_NBD_CMD_WRITE_ZEROES, 512, 8192, VD_NBD_CMD_FLAG_FUA), 0U);
  ASSERT_EQ(client_.ask(VD_NBD_CMD_WRITE_ZEROES, 8704, 512, VD_NBD_CMD_FLAG_NO_HOLE), 0U);
  ASSERT_EQ(client_.ask(VD_NBD_CMD_TRIM, 65536, 65536, VD_NBD_CMD_FLAG_FUA), 0U);
  EXPECT_EQ(in_image(512, 8704), Bytes(8704));
  EXPECT_EQ(in_image(65536, 65536), Bytes(65536));
  client_.close();
  expect_clean_end();
}

TEST_F(ServeNbd, ARangeOfTheDiskIsAllThereIs)
{
  constexpr uint64_t kMargin = 1 << 20, kShown = kSize - 2 * kMargin;
  Bytes read(512);

  begin(VD_SERVE_WRITABLE, kMargin);
  EXPECT_EQ(vd_nbd_get64(client_.info(VD_NBD_INFO_EXPORT).data() + 2), kShown);
  ASSERT_EQ(client_.write(0, Bytes(512, 5)), 0U);
  EXPECT_EQ(in_image(kMargin, 512), Bytes(512, 5));
  EXPECT_EQ(client_.read(kShown, &read), VD_NBD_EINVAL);
  EXPECT_EQ(client_.write(kShown, Bytes(512, 5)), VD_NBD_ENOSPC);
  EXPECT_EQ(client_.write(0 - kMargin, Bytes(512, 5)), VD_NBD_ENOSPC);
  EXPECT_EQ(client_.ask(VD_NBD_CMD_WRITE_ZEROES, 0, kShown + 512), VD_NBD_ENOSPC);
  EXPECT_EQ(client_.ask(VD_NBD_CMD_TRIM, kShown, 512), VD_NBD_ENOSPC);
}

TEST_F(ServeNbd, ManyRequestsAreUnderWayAtOnce)
{
  constexpr unsigned kRequests = 500;
  std::vector<bool> answered(kRequests);
  Bytes all;

  begin();
  const Bytes content = random_bytes(kRequests * 4096, 3);
  ASSERT_EQ(pwrite(image_.fd(), content.data(), content.size(), 0), static_cast<ssize_t>(content.size()));
  for (unsigned i = 0; i < kRequests; i++) {
    const Bytes request = Client::request(VD_NBD_CMD_READ, 1000 + i, i * 4096, 4096);
    all.insert(all.end(), request.begin(), request.end());
  }
  ASSERT_TRUE(client_.send(all));
  for (unsigned n = 0; n < kRequests; n++) {
    uint64_t cookie = 0;
    Bytes data(4096);

    ASSERT_EQ(client_.answer(&cookie), 0U);
    ASSERT_TRUE(client_.receive(data.data(), data.size()));
    ASSERT_LT(cookie - 1000, kRequests);
    EXPECT_FALSE(answered[cookie - 1000]);
    answered[cookie - 1000] = true;
    EXPECT_EQ(memcmp(data.data(), content.data() + (cookie - 1000) * 4096, 4096), 0);
  }
}

TEST_F(ServeNbd, WritesInOneStreamArriveWhole)
{
  constexpr unsigned kRequests = 60;
  Bytes all;

  begin();
  for (unsigned i = 0; i < kRequests; i++) {
    const size_t size = 512 * (1 + i * 7 % 90);
    const Bytes data = random_bytes(size, i);
    const Bytes request = Client::request(VD_NBD_CMD_WRITE, i, i * 65536, static_cast<uint32_t>(size));

    all.insert(all.end(), request.begin(), request.end());
    all.insert(all.end(), data.begin(), data.end());
  }
  ASSERT_TRUE(client_.send(all));
  for (unsigned i = 0; i < kRequests; i++)
    ASSERT_EQ(client_.answer(), 0U);
  for (unsigned i = 0; i < kRequests; i++)
    EXPECT_EQ(in_image(i * 65536, 512 * (1 + i * 7 % 90)), random_bytes(512 * (1 + i * 7 % 90), i));
}

TEST_F(ServeNbd, BytesMayComeOneByOne)
{
  Bytes all = Client::request(VD_NBD_CMD_WRITE, 1, 4096, 512), more = random_bytes(512, 4);

  begin();
  all.insert(all.end(), more.begin(), more.end());
  for (uint8_t byte : all)
    ASSERT_TRUE(client_.send(&byte, 1));
  EXPECT_EQ(client_.answer(), 0U);
  EXPECT_EQ(in_image(4096, 512), more);
}

TEST_F(ServeNbd, WhatCannotBeIsRefusedAndTheConnectionGoesOn)
{
  const struct {
    const char *what;
    uint16_t type;
    uint64_t offset;
    uint32_t length;
    uint16_t flags;
    uint32_t error;
  } cases[] = {
      {"read behind the end", VD_NBD_CMD_READ, kSize - 512, 1024, 0, VD_NBD_EINVAL},
      {"read of an offset that overflows", VD_NBD_CMD_READ, UINT64_MAX - 511, 1024, 0, VD_NBD_EINVAL},
      {"read of nothing", VD_NBD_CMD_READ, 0, 0, 0, VD_NBD_EINVAL},
      {"read of too much", VD_NBD_CMD_READ, 0, kMaxIo + 512, 0, VD_NBD_EINVAL},
      {"read of far too much", VD_NBD_CMD_READ, 0, UINT32_MAX, 0, VD_NBD_EINVAL},
      {"read with a flag nobody knows", VD_NBD_CMD_READ, 0, 512, 4, VD_NBD_EINVAL},
      {"write behind the end", VD_NBD_CMD_WRITE, kSize, 512, 0, VD_NBD_ENOSPC},
      {"write of an offset that overflows", VD_NBD_CMD_WRITE, UINT64_MAX - 511, 512, 0, VD_NBD_ENOSPC},
      {"write of half a sector", VD_NBD_CMD_WRITE, 0, 256, 0, VD_NBD_EINVAL},
      {"write between sectors", VD_NBD_CMD_WRITE, 100, 512, 0, VD_NBD_EINVAL},
      {"write of nothing", VD_NBD_CMD_WRITE, 0, 0, 0, VD_NBD_EINVAL},
      {"write of too much", VD_NBD_CMD_WRITE, 0, kMaxIo + 512, 0, VD_NBD_EINVAL},
      {"write with a flag nobody knows", VD_NBD_CMD_WRITE, 0, 512, 8, VD_NBD_EINVAL},
      {"zeroes behind the end", VD_NBD_CMD_WRITE_ZEROES, 512, kSize, 0, VD_NBD_ENOSPC},
      {"zeroes fast or not at all", VD_NBD_CMD_WRITE_ZEROES, 0, 512, 16, VD_NBD_EINVAL},
      {"trim of half a sector", VD_NBD_CMD_TRIM, 0, 100, 0, VD_NBD_EINVAL},
      {"a flush of something", VD_NBD_CMD_FLUSH, 512, 512, 0, VD_NBD_EINVAL},
      {"a command that was not offered", 5, 0, 512, 0, VD_NBD_EINVAL},
      {"a command nobody knows", 999, 0, 512, 0, VD_NBD_EINVAL},
  };
  Bytes read(512);

  begin();
  for (const auto &c : cases) {
    ASSERT_TRUE(client_.send(Client::request(c.type, 1, c.offset, c.length, c.flags)));
    if (c.type == VD_NBD_CMD_WRITE) {
      ASSERT_TRUE(client_.send(Bytes(c.length, 0xee)));
    }
    EXPECT_EQ(client_.answer(), c.error) << c.what;
  }
  ASSERT_EQ(client_.read(0, &read), 0U);
  EXPECT_EQ(read, Bytes(512));
  client_.close();
  expect_clean_end();
}

TEST_F(ServeNbd, AReadOnlyDiskTakesNothing)
{
  Bytes read(512);

  begin(0);
  EXPECT_EQ(client_.flags(), VD_NBD_HAS_FLAGS | VD_NBD_READ_ONLY | VD_NBD_SEND_FLUSH);
  EXPECT_EQ(client_.write(0, Bytes(512, 1)), VD_NBD_EPERM);
  EXPECT_EQ(client_.ask(VD_NBD_CMD_TRIM, 0, 512), VD_NBD_EPERM);
  EXPECT_EQ(client_.ask(VD_NBD_CMD_WRITE_ZEROES, 0, 512), VD_NBD_EPERM);
  EXPECT_EQ(client_.ask(VD_NBD_CMD_FLUSH, 0, 0), 0U);
  EXPECT_EQ(client_.read(0, &read), 0U);
  EXPECT_EQ(read, Bytes(512));
}

TEST_F(ServeNbd, WhoBreaksTheProtocolIsHungUpOn)
{
  struct Case {
    const char *what;
    bool begun;
    Bytes bytes;
  };
  Bytes long_option = Client::option(VD_NBD_OPT_INFO, {}), bad_request = Client::request(0, 1, 0, 512);
  vd_nbd_put32(long_option.data() + 12, (1 << 20) + 1);
  bad_request[0] = 0;
  const Case cases[] = {
      {"flags nobody knows", false, {0, 0, 0, 0x80}},
      {"no option", false, Client::option(VD_NBD_OPT_GO, Bytes(6), 1)},
      {"an option without end", false, long_option},
      {"the name of another export", false, Client::option(VD_NBD_OPT_EXPORT_NAME, {'x'})},
      {"a name without end", false, Client::option(VD_NBD_OPT_EXPORT_NAME, Bytes(4097))},
      {"no request", true, bad_request},
      {"a payload without end", true, Client::request(VD_NBD_CMD_WRITE, 1, 0, (32 << 20) + 512)},
  };

  for (const auto &c : cases) {
    SCOPED_TRACE(c.what);
    Worker worker;
    VdServeSetup setup = serving::setup_of(kSize);
    int ends[2];

    setup.transport = VD_TRANSPORT_NBD;
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Client client(ends[0]);
    ASSERT_TRUE(worker.order(setup, ends[1], {image_.fd()}));
    close(ends[1]);
    ASSERT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_READY);
    if (c.bytes.size() != 4) {
      ASSERT_TRUE(c.begun ? client.begin() : client.greet());
    }
    client.send(c.bytes);
    EXPECT_TRUE(client.is_hung_up_on());
    EXPECT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_CLOSED);
    EXPECT_EQ(worker.wait(), 0);
  }
}

TEST_F(ServeNbd, HalfAMessageIsNone)
{
  const Bytes header = Client::request(VD_NBD_CMD_WRITE, 1, 0, 65536);

  begin();
  ASSERT_TRUE(client_.send(header));
  ASSERT_TRUE(client_.send(Bytes(65535, 0xee)));
  client_.close();
  expect_clean_end();
  EXPECT_EQ(in_image(0, 65536), Bytes(65536));
}

TEST_F(ServeNbd, WhatWasAskedBeforeTheEndIsStillAnswered)
{
  Bytes all;

  begin();
  for (unsigned i = 0; i < 100; i++) {
    const Bytes request = Client::request(VD_NBD_CMD_WRITE, i, i * 4096, 4096), data(4096, 0xaa);

    all.insert(all.end(), request.begin(), request.end());
    all.insert(all.end(), data.begin(), data.end());
  }
  ASSERT_TRUE(client_.send(all));
  ASSERT_TRUE(client_.send(Client::request(VD_NBD_CMD_DISC, 0, 0, 0)));
  for (unsigned i = 0; i < 100; i++)
    ASSERT_EQ(client_.answer(), 0U);
  EXPECT_TRUE(client_.is_hung_up_on());
  expect_clean_end();
  EXPECT_EQ(in_image(0, 100 * 4096), Bytes(100 * 4096, 0xaa));
}

TEST_F(ServeNbd, WhoOnlyStopsSendingGetsItsAnswers)
{
  Bytes data(4096);

  begin();
  ASSERT_TRUE(client_.send(Client::request(VD_NBD_CMD_READ, 1, 0, 4096)));
  client_.half_close();
  EXPECT_EQ(client_.answer(), 0U);
  EXPECT_TRUE(client_.receive(data.data(), data.size()));
  EXPECT_TRUE(client_.is_hung_up_on());
  expect_clean_end();
}

TEST_F(ServeNbd, WhoTakesNoAnswersHoldsUpNobodyElse)
{
  begin();
  /* More than sockets hold and slots there are. */
  for (unsigned i = 0; i < 200; i++)
    ASSERT_TRUE(client_.send(Client::request(VD_NBD_CMD_READ, i, 0, kMaxIo)));
  ASSERT_TRUE(worker_.send(VD_SERVE_STATUS));
  EXPECT_EQ(serving::receive(worker_.line()).kind(), VD_SERVE_STATUS_REPLY);
  client_.close();
  expect_clean_end();
}

TEST_F(ServeNbd, StopEndsAConnectionThatIsInUse)
{
  begin();
  ASSERT_EQ(client_.write(0, Bytes(512, 1)), 0U);
  ASSERT_TRUE(worker_.send(VD_SERVE_STOP));
  expect_clean_end();
  EXPECT_TRUE(client_.is_hung_up_on());
  EXPECT_EQ(in_image(0, 512), Bytes(512, 1));
}

TEST_F(ServeNbd, ASignalDoesNotEndAConnectionThatIsInUse)
{
  begin();
  ASSERT_EQ(client_.write(0, Bytes(512, 1)), 0U);
  ASSERT_EQ(kill(worker_.pid(), SIGTERM), 0);
  EXPECT_EQ(client_.write(512, Bytes(512, 2)), 0U);
  client_.close();
  expect_clean_end();
}

TEST_F(ServeNbd, AKilledWorkerIsTheEndOfTheConnection)
{
  begin();
  worker_.kill();
  EXPECT_TRUE(client_.is_hung_up_on());
}

TEST_F(ServeNbd, NoNoiseGetsBeyondItsConnection)
{
  for (unsigned seed = 0; seed < 12; seed++) {
    SCOPED_TRACE(seed);
    Worker worker;
    VdServeSetup setup = serving::setup_of(kSize, 0);
    Bytes noise = random_bytes(100000, seed);
    int ends[2];

    setup.transport = VD_TRANSPORT_NBD;
    ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    Client client(ends[0]);
    ASSERT_TRUE(worker.order(setup, ends[1], {image_.fd()}));
    close(ends[1]);
    ASSERT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_READY);
    if (seed % 3 == 1) {
      ASSERT_TRUE(client.greet());
    }
    if (seed % 3 == 2) {
      /* Requests that begin as such. */
      ASSERT_TRUE(client.begin());
      for (size_t i = 0; i + VD_NBD_REQUEST_SIZE <= noise.size(); i += VD_NBD_REQUEST_SIZE) {
        vd_nbd_put32(noise.data() + i, VD_NBD_REQUEST_MAGIC);
        noise[i + 4] = noise[i + 5] = noise[i + 6] = 0;
        noise[i + 7] %= 8;
      }
    }
    client.send(noise);
    client.close();
    EXPECT_EQ(serving::receive(worker.line()).kind(), VD_SERVE_CLOSED);
    EXPECT_EQ(worker.wait(), 0);
  }
}

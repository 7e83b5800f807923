// SPDX-License-Identifier: LGPL-2.1-or-later
// What others say of our images, and ours of theirs: qemu-img as the judge of VHDX that have no parent.
#include "vhdx-rig.hh"

#include <cstdlib>
#include <filesystem>
#include <fstream>

using namespace vhdx;

namespace
{

constexpr uint64_t mib = 1 << 20;

class VhdxOracle : public ::testing::Test
{
protected:
  std::filesystem::path folder;

  void SetUp() override
  {
    if (system("command -v qemu-img qemu-io >/dev/null 2>&1") != 0)
      GTEST_SKIP() << "qemu-img is not installed";
    // In memory where that is to be had: qemu flushes after each change of its own.
    std::string name =
        std::string(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + "/virtdisk-test-XXXXXX";
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder = name;
  }
  void TearDown() override
  {
    if (!folder.empty())
      std::filesystem::remove_all(folder);
  }
  std::string path(const char *name) const
  {
    return (folder / name).string();
  }
  int run(const std::string &command) const
  {
    return system(("cd " + folder.string() + " && " + command + " >output 2>&1").c_str());
  }
  std::string output() const
  {
    std::ifstream file(folder / "output");
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  std::vector<uint8_t> bytes_of(const char *name) const
  {
    std::ifstream file(folder / name, std::ios::binary);
    std::vector<uint8_t> bytes(std::filesystem::file_size(folder / name));

    file.read(reinterpret_cast<char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    return bytes;
  }
  Image image_of(const char *name) const
  {
    File file(open(path(name).c_str(), O_RDONLY | O_CLOEXEC));
    return Image::from_fd(file.fd());
  }
};

void change(Chain &chain, std::vector<uint8_t> &should, uint64_t seed)
{
  std::mt19937_64 random(seed);

  for (unsigned i = 0; i < 60; i++) {
    uint64_t length = (1 + random() % 300) * 512;
    uint64_t offset = random() % ((should.size() - length) / 512) * 512;
    std::vector<uint8_t> bytes(length, static_cast<uint8_t>(random()));

    ASSERT_EQ(chain.write(offset, bytes), 0);
    std::copy(bytes.begin(), bytes.end(), should.begin() + static_cast<long>(offset));
  }
}

} // namespace

TEST_F(VhdxOracle, QemuReadsWhatWeWrote)
{
  for (uint32_t subtype : {VIRTDISK_SUBTYPE_DYNAMIC, VIRTDISK_SUBTYPE_FIXED}) {
    Shape shape;
    shape.subtype = subtype;
    shape.size = 16 * mib;
    std::vector<uint8_t> should(shape.size);
    Chain chain({create(shape)}, true);

    ASSERT_NE(chain.engine, nullptr) << chain.error.text;
    change(chain, should, 5);
    ASSERT_EQ(chain.zeroes(2 * mib, 3 * mib), 0);
    std::fill_n(should.begin() + 2 * mib, 3 * mib, 0);
    ASSERT_EQ(vd_engine_close(chain.engine), 0);
    chain.sim.image(0).to_file(path("ours.vhdx"));
    EXPECT_EQ(run("qemu-img check -f vhdx ours.vhdx"), 0) << output();
    EXPECT_EQ(run("qemu-img convert -f vhdx -O raw ours.vhdx ours.raw"), 0) << output();
    EXPECT_EQ(difference(bytes_of("ours.raw"), should), "");
  }
}

// The log that we leave, replayed by another.
TEST_F(VhdxOracle, QemuReplaysOurLog)
{
  Shape shape;
  shape.size = 16 * mib;
  std::vector<uint8_t> should(shape.size);
  Chain chain({create(shape)}, true);

  ASSERT_NE(chain.engine, nullptr) << chain.error.text;
  change(chain, should, 6);
  chain.sim.image(0).to_file(path("killed.vhdx"));
  EXPECT_EQ(run("qemu-img check -r all -f vhdx killed.vhdx"), 0) << output();
  EXPECT_EQ(run("qemu-img convert -f vhdx -O raw killed.vhdx killed.raw"), 0) << output();
  EXPECT_EQ(difference(bytes_of("killed.raw"), should), "");
}

TEST_F(VhdxOracle, WeReadAndChangeWhatQemuWrote)
{
  for (const char *subformat : {"dynamic", "fixed"}) {
    std::string create =
        "rm -f theirs.vhdx; qemu-img create -f vhdx -o block_size=1M,subformat=" + std::string(subformat) +
        " theirs.vhdx 21504k";

    ASSERT_EQ(run(create), 0) << output();
    ASSERT_EQ(
        run("qemu-io -f vhdx -c 'write -P 7 3M 64k' -c 'write -P 9 20480k 700k' -c 'write -P 3 512 512' "
            "theirs.vhdx"),
        0)
        << output();
    ASSERT_EQ(run("qemu-img convert -f vhdx -O raw theirs.vhdx theirs.raw"), 0) << output();
    std::vector<uint8_t> should = bytes_of("theirs.raw");
    Image image = image_of("theirs.vhdx");
    Chain reader({image}, false);
    ASSERT_NE(reader.engine, nullptr) << reader.error.text;
    EXPECT_EQ(difference(reader.all(), should), "") << subformat;

    Chain writer({image}, true);
    ASSERT_NE(writer.engine, nullptr) << writer.error.text;
    change(writer, should, 8);
    EXPECT_EQ(difference(writer.all(), should), "") << subformat;
    ASSERT_EQ(vd_engine_close(writer.engine), 0);
    EXPECT_EQ(faults(writer.sim.image(0)), "");
    writer.sim.image(0).to_file(path("both.vhdx"));
    EXPECT_EQ(run("qemu-img check -f vhdx both.vhdx"), 0) << output();
    EXPECT_EQ(run("qemu-img convert -f vhdx -O raw both.vhdx both.raw"), 0) << output();
    EXPECT_EQ(difference(bytes_of("both.raw"), should), "") << subformat;
  }
}

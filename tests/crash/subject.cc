// SPDX-License-Identifier: LGPL-2.1-or-later
#include "subject.hh"

#include <cstdlib>
#include <cstring>
#include <stdexcept>

#include <sys/mman.h>
#include <unistd.h>

extern "C" {
#include "formats/create.h"
#include "virtdisk-enums.h"
}

namespace vd_crash
{

namespace
{

constexpr size_t largest = 4 << 20; // bytes of one request

struct Aligned {
  explicit Aligned(size_t length) : bytes(static_cast<uint8_t *>(aligned_alloc(VD_IO_ALIGNMENT, length))) {}
  ~Aligned()
  {
    free(bytes);
  }
  uint8_t *bytes;
};

uint8_t identity_byte(unsigned which, size_t i)
{
  return static_cast<uint8_t>(0x10 * which + i + 1);
}

vd_sim::Image create(const VdCreateSpec &spec)
{
  VdFormatError error = {};
  int fd = memfd_create("image", MFD_CLOEXEC);

  if (!vd_create(fd, &spec, &error))
    throw std::runtime_error(std::string("vd_create: ") + error.text);
  vd_sim::Image image = vd_sim::Image::from_fd(fd);
  ::close(fd);
  return image;
}

uint64_t load_be(const vd_sim::Image &image, uint64_t at, size_t length)
{
  uint64_t value = 0;

  for (uint8_t byte : image.read(at, length))
    value = value << 8 | byte;
  return value;
}

// The trailer, and with it the first block, right behind the table.
void unalign(vd_sim::Image &image)
{
  uint64_t header = load_be(image, 16, 8), table = load_be(image, header + 16, 8);
  uint64_t end = table + (load_be(image, header + 28, 4) * 4 + 511) / 512 * 512;
  std::vector<uint8_t> footer = image.read(0, sector);

  image.truncate(end);
  image.write(end, footer.data(), footer.size());
}

VdCreateSpec spec_of(const Format &format, unsigned which)
{
  VdCreateSpec spec = {};

  spec.device_id = format.device_id;
  spec.subtype = format.subtype;
  spec.size = format.size;
  spec.block_size = format.block_size;
  spec.sector_size = format.sector_size;
  spec.unix_time = 1700000000;
  for (size_t i = 0; i < 16; i++) {
    spec.identifier[i] = identity_byte(which, i);
    spec.guids[0][i] = identity_byte(which + 4, i);
    spec.guids[1][i] = identity_byte(which + 8, i);
  }
  return spec;
}

// What a child stores of its parent, as VdFacts have it: read from an open layer, as on disk.
void link_to_parent(VdCreateSpec &spec, const VdCreateSpec &parent)
{
  memcpy(spec.parent_linkage, parent.device_id == VIRTDISK_DEVICE_VHD ? parent.identifier : parent.guids[1],
         16);
  strcpy(spec.parent_relative, "parent");
}

} // namespace

Images make_images(const Format &format)
{
  Images images;
  VdCreateSpec spec = spec_of(format, 1);

  if (format.device_id == VIRTDISK_DEVICE_RAW) {
    images.files.push_back(vd_sim::Image::of_size(format.size));
    return images;
  }
  if (format.subtype != VIRTDISK_SUBTYPE_DIFFERENCING) {
    images.files.push_back(create(spec));
    if (format.unaligned)
      unalign(images.files[0]);
    return images;
  }
  // A dynamic parent in which most sectors hold something, but of a large one only at its two ends.
  Format base = format;
  base.subtype = VIRTDISK_SUBTYPE_DYNAMIC;
  VdCreateSpec parent = spec_of(base, 2);
  vd_sim::Io sim;
  sim.add(create(parent), true);
  Model model(format.size);
  {
    Disk disk(sim, base, 1, true);
    Driver driver(sim, disk, model, 5, 8);
    uint64_t step = 40 * std::max<uint64_t>(sector, format.sector_size), most = 8 << 20;

    if (!disk.ok())
      throw std::runtime_error("the parent does not open: " + disk.error());
    for (uint64_t at = 0; at + step <= format.size; at += step + step / 8)
      if (at < most || format.size - at < most / 4)
        driver.write(at, step);
    driver.flush();
    driver.drain();
    std::vector<uint8_t> all = disk.read_all();
    for (uint64_t i = 0; i < format.size / sector; i++) {
      uint64_t word = 0;

      if (!Model::word_of(all.data() + i * sector, &word))
        throw std::runtime_error("the parent holds a torn sector");
      if (word != 0)
        images.initial.emplace_back(i, word);
    }
    disk.close();
  }
  link_to_parent(spec, parent);
  // Writing has given the parent a new identity.
  vd_sim::Image base_image = sim.image(0);
  VdFormatError error = {};
  VdPages *pages = vd_pages_new(sim.io(), 4096, 1 << 20);
  VdLayerSource source = sim.source(0, pages, false);
  VdLayer *layer = vd_layer_open(&source, format.device_id, &error);
  if (layer == nullptr)
    throw std::runtime_error(std::string("the parent does not open again: ") + error.text);
  if (format.device_id == VIRTDISK_DEVICE_VHDX) {
    // As printed: the first three groups the other way round.
    const uint8_t *id = layer->identity;
    const uint8_t printed[16] = {id[3], id[2], id[1],  id[0],  id[5],  id[4],  id[7],  id[6],
                                 id[8], id[9], id[10], id[11], id[12], id[13], id[14], id[15]};
    memcpy(spec.parent_linkage, printed, 16);
  }
  vd_layer_free(layer);
  vd_pages_free(pages);
  images.files.push_back(create(spec));
  images.files.push_back(base_image);
  return images;
}

Disk::Disk(vd_sim::Io &sim, const Format &format, unsigned n_files, bool writable) : sim_(sim)
{
  std::vector<VdLayer *> layers;
  VdEngineOptions options = {};

  pages_ = vd_pages_new(sim.io(), 4096, 1 << 20);
  for (unsigned i = 0; i < n_files; i++) {
    VdLayerSource source = sim.source(i, pages_, writable && i == 0);
    VdLayer *layer = vd_layer_open(&source, format.device_id, &error_);

    if (layer == nullptr) {
      for (VdLayer *one : layers)
        vd_layer_free(one);
      return;
    }
    layers.push_back(layer);
  }
  if (!vd_layers_check_chain(layers.data(), n_files, &error_)) {
    for (VdLayer *one : layers)
      vd_layer_free(one);
    return;
  }
  options.read_only = !writable;
  engine_ = vd_engine_new(sim.io(), layers.data(), n_files, &options);
}

Disk::~Disk()
{
  if (engine_ != nullptr)
    vd_engine_free(engine_);
  vd_pages_free(pages_);
}

std::string Disk::error() const
{
  return error_.text;
}

std::vector<uint8_t> Disk::read_all(std::vector<bool> *ret_unreadable)
{
  uint64_t size = vd_engine_size(engine_), step = ret_unreadable != nullptr ? 16 << 10 : 1 << 20;
  std::vector<uint8_t> all(size);
  Aligned buffer(step);

  if (ret_unreadable != nullptr)
    ret_unreadable->assign(size / sector, false);
  for (uint64_t at = 0; at < size; at += step) {
    VdRequest request = {};
    int result = 1;

    request.op = VD_OP_READ;
    request.offset = at;
    request.length = std::min<uint64_t>(step, size - at);
    request.buffer = buffer.bytes;
    request.user = &result;
    request.done = [](VdRequest *one, int value) { *static_cast<int *>(one->user) = value; };
    vd_engine_submit(engine_, &request);
    if (!sim_.run_until([&] { return result != 1; }))
      throw std::runtime_error("a read hangs");
    if (result != 0 && ret_unreadable == nullptr)
      return {};
    if (result == 0)
      memcpy(all.data() + at, buffer.bytes, request.length);
    for (uint64_t i = 0; result != 0 && i < request.length / sector; i++)
      (*ret_unreadable)[at / sector + i] = true;
  }
  return all;
}

int Disk::close()
{
  return vd_engine_close(engine_);
}

struct Driver::Request {
  VdRequest request = {};
  Aligned buffer{largest};
  Driver *driver = nullptr;
  size_t step = 0;
  uint64_t offset = 0, length = 0;
  bool busy = false;
};

Driver::Driver(vd_sim::Io &sim, Disk &disk, Model &model, uint64_t seed, unsigned depth)
    : random(seed), sim_(sim), disk_(disk), model_(model), depth_(depth)
{
  for (unsigned i = 0; i < depth; i++)
    requests_.push_back(std::make_unique<Request>());
}

Driver::~Driver() = default;

void Driver::on_done(VdRequest *request, int result)
{
  Request *self = static_cast<Request *>(request->user);
  Driver *driver = self->driver;

  driver->model_.end(self->step, result, driver->sim_.log().size());
  driver->failures += result != 0;
  driver->in_flight_--;
  self->busy = false;
}

Driver::Request *Driver::take()
{
  if (!sim_.run_until([&] { return in_flight_ < depth_; }))
    throw std::runtime_error("requests hang");
  for (auto &request : requests_)
    if (!request->busy)
      return request.get();
  throw std::logic_error("no request is free");
}

void Driver::wait_for_room(uint64_t offset, uint64_t length)
{
  auto overlaps = [&] {
    for (auto &one : requests_)
      if (one->busy && one->offset < offset + length && offset < one->offset + one->length)
        return true;
    return false;
  };

  if (!sim_.run_until([&] { return !overlaps(); }))
    throw std::runtime_error("requests hang");
}

void Driver::submit(Request *request)
{
  request->driver = this;
  request->busy = true;
  request->request.user = request;
  request->request.done = on_done;
  request->request.offset = request->offset;
  request->request.length = request->length;
  request->request.buffer = request->buffer.bytes;
  in_flight_++;
  vd_engine_submit(disk_.engine(), &request->request);
}

void Driver::write(uint64_t offset, uint64_t length, uint32_t flags)
{
  std::vector<uint64_t> words(length / sector);

  wait_for_room(offset, length);
  Request *request = take();
  for (size_t i = 0; i < words.size(); i++) {
    words[i] = random() | 1;
    Model::fill(words[i], request->buffer.bytes + i * sector);
  }
  request->offset = offset;
  request->length = length;
  request->request.op = VD_OP_WRITE;
  request->request.flags = flags;
  request->step = model_.begin_write(offset, length, words, false, sim_.log().size());
  if (flags & VD_REQUEST_FUA)
    model_.set_durable(request->step);
  submit(request);
}

void Driver::zero(uint64_t offset, uint64_t length, VdOp op)
{
  wait_for_room(offset, length);
  Request *request = take();
  request->offset = offset;
  request->length = length;
  request->request.op = op;
  request->request.flags = 0;
  request->step = model_.begin_write(offset, length, {}, op == VD_OP_DISCARD, sim_.log().size());
  submit(request);
}

void Driver::flush()
{
  Request *request = take();

  request->offset = request->length = 0;
  request->request.op = VD_OP_FLUSH;
  request->request.flags = 0;
  request->step = model_.begin_flush(sim_.log().size());
  submit(request);
}

bool Driver::drain()
{
  return sim_.run_until([&] { return in_flight_ == 0; });
}

} // namespace vd_crash

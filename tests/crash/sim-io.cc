// SPDX-License-Identifier: LGPL-2.1-or-later
#include "sim-io.hh"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace vd_sim
{

namespace
{

constexpr uint64_t sector = 512;

struct Pending {
  VdIoOp *op;
  uint64_t id;
  std::shared_ptr<const std::vector<uint8_t>> data;
};

struct Fault {
  std::optional<VdIoKind> kind;
  uint64_t left;
  int error;
  bool forever;
};

bool changes(VdIoKind kind)
{
  return kind == VD_IO_WRITE || kind == VD_IO_PUNCH || kind == VD_IO_TRUNCATE;
}

bool is_read(VdIoKind kind)
{
  return kind == VD_IO_READ || kind == VD_IO_READ_PADDED;
}

// Which of the log is durable as events go by.
struct Durability {
  struct Change {
    Event event;
    uint64_t applied;
    size_t completed_at;
    bool lost; // a flush has failed: the kernel takes it for written, and no other flush writes it
  };

  size_t position = 0;
  std::vector<Image> images;
  std::vector<Change> completed;      // not durable, in the order in which they completed
  std::map<uint64_t, Event> flying;   // by id
  std::map<uint64_t, size_t> flushes; // id: when it was submitted

  void flushed(unsigned file, size_t before);
  void lose(unsigned file);
  void step(const Event &event);
};

void apply(Image &image, const Event &event, uint64_t from, uint64_t to)
{
  if (event.kind == VD_IO_TRUNCATE)
    image.truncate(event.length);
  else if (event.kind == VD_IO_PUNCH)
    image.punch(event.offset + from, std::min(to, event.length) - from);
  else
    image.write(event.offset + from, event.data->data() + from, to - from);
}

void Durability::flushed(unsigned file, size_t before)
{
  std::vector<Change> rest;

  for (const Change &change : completed) {
    if (change.event.file != file || change.completed_at >= before)
      rest.push_back(change);
    else if (!change.lost)
      apply(images[file], change.event, 0, change.applied);
  }
  completed.swap(rest);
}

void Durability::lose(unsigned file)
{
  for (Change &change : completed)
    change.lost = change.lost || change.event.file == file;
}

void Durability::step(const Event &event)
{
  bool submitted = event.what == Event::What::submitted;

  if (event.kind == VD_IO_FLUSH && submitted) {
    flushes[event.id] = position;
  } else if (event.kind == VD_IO_FLUSH) {
    if (event.result == 0)
      flushed(event.file, flushes[event.id]);
    else
      lose(event.file);
    flushes.erase(event.id);
  } else if (submitted) {
    flying[event.id] = event;
  } else {
    if (event.applied > 0 || (event.kind == VD_IO_TRUNCATE && event.result == 0))
      completed.push_back({flying[event.id], event.applied, position, false});
    flying.erase(event.id);
  }
  position++;
}

} // namespace

struct Io::Impl {
  VdIo base = {}; // first: the functions get it
  Options options;
  std::mt19937_64 random;
  std::vector<std::shared_ptr<int>> fds;
  std::vector<Image> initial;
  std::vector<Pending> pending;
  std::vector<Fault> faults;
  std::vector<Event> log;
  std::map<VdIoKind, uint64_t> counts;
  uint64_t next_id = 0, changed = 0;
  Io *owner;
  Durability durability;

  static Impl *of(VdIo *io)
  {
    return reinterpret_cast<Impl *>(io);
  }

  void submit(VdIoOp *op);
  int wait();
  void complete(Pending &pending);
  int fault(VdIoKind kind);
  int perform(const Pending &pending, uint64_t *applied);
  int transfer(const Pending &pending, uint64_t length);
  bool misaligned(const VdIoOp &op) const;
  std::vector<uint64_t> choose_round();
};

bool Io::Impl::misaligned(const VdIoOp &op) const
{
  uint64_t mask = options.alignment - 1;

  return options.alignment != 0 && (is_read(op.kind) || op.kind == VD_IO_WRITE) &&
         ((op.offset | op.length | reinterpret_cast<uintptr_t>(op.buffer)) & mask) != 0;
}

void Io::Impl::submit(VdIoOp *op)
{
  Pending one = {op, next_id++, nullptr};
  const uint8_t *bytes = static_cast<const uint8_t *>(op->buffer);

  if (op->file >= fds.size())
    throw std::logic_error("an operation on a file that does not exist");
  op->io = &base;
  if (op->kind == VD_IO_WRITE)
    one.data = std::make_shared<const std::vector<uint8_t>>(bytes, bytes + op->length);
  if (!is_read(op->kind))
    log.push_back(
        {Event::What::submitted, op->kind, op->file, op->offset, op->length, one.data, one.id, 0, 0});
  pending.push_back(one);
}

int Io::Impl::fault(VdIoKind kind)
{
  int error = 0;

  for (auto one = faults.begin(); one != faults.end();) {
    if (one->kind && *one->kind != kind) {
      ++one;
    } else if (one->left > 0) {
      one->left--;
      ++one;
    } else {
      error = one->error;
      one = one->forever ? one + 1 : faults.erase(one);
    }
  }
  return error;
}

// READ and WRITE of the first bytes.
int Io::Impl::transfer(const Pending &one, uint64_t length)
{
  VdIoOp *op = one.op;
  int fd = *fds[op->file];

  if (op->kind == VD_IO_WRITE)
    return pwrite(fd, one.data->data(), length, static_cast<off_t>(op->offset)) ==
                   static_cast<ssize_t>(length)
               ? 0
               : -EIO;
  ssize_t got = pread(fd, op->buffer, length, static_cast<off_t>(op->offset));
  if (got < 0)
    return -errno;
  if (static_cast<uint64_t>(got) < length && op->kind == VD_IO_READ)
    return -EIO;
  memset(static_cast<uint8_t *>(op->buffer) + got, 0, length - static_cast<uint64_t>(got));
  return 0;
}

int Io::Impl::perform(const Pending &one, uint64_t *applied)
{
  VdIoOp *op = one.op;
  int fd = *fds[op->file];
  int error = misaligned(*op) ? -EINVAL : fault(op->kind);

  *applied = 0;
  if (error && op->kind == VD_IO_WRITE && options.partial_faults && options.seed && error != -EINVAL)
    *applied = random() % (op->length / sector + 1) * sector;
  if (error && *applied == 0)
    return error;
  if (changes(op->kind) && !base.files[op->file].writable)
    throw std::logic_error("a change of a file that may not be written");
  if (!error)
    *applied = op->length;
  switch (op->kind) {
  case VD_IO_READ:
  case VD_IO_READ_PADDED:
    return transfer(one, op->length);
  case VD_IO_WRITE:
    if (memcmp(op->buffer, one.data->data(), op->length) != 0)
      changed++;
    if (transfer(one, *applied) < 0)
      throw std::runtime_error("the memory file cannot be written");
    return error;
  case VD_IO_PUNCH:
    return fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(op->offset),
                     static_cast<off_t>(op->length)) < 0
               ? -errno
               : 0;
  case VD_IO_TRUNCATE:
    return ftruncate(fd, static_cast<off_t>(op->length)) < 0 ? -errno : 0;
  case VD_IO_FLUSH:
    return 0;
  }
  return -EINVAL;
}

void Io::Impl::complete(Pending &one)
{
  VdIoOp *op = one.op;
  uint64_t applied;
  int result = perform(one, &applied);

  counts[op->kind]++;
  if (!is_read(op->kind))
    log.push_back({Event::What::completed, op->kind, op->file, op->offset, op->length, one.data, one.id,
                   result, applied});
  op->result = result;
  if (op->done)
    op->done(op, result);
}

// The ids of what completes in this round, in their order.
std::vector<uint64_t> Io::Impl::choose_round()
{
  std::vector<uint64_t> ids;

  for (const Pending &one : pending)
    if (!owner->hold || !owner->hold(*one.op))
      ids.push_back(one.id);
  if (options.seed && !ids.empty()) {
    std::shuffle(ids.begin(), ids.end(), random);
    ids.resize(1 + random() % ids.size());
  }
  return ids;
}

int Io::Impl::wait()
{
  bool ran = vd_io_run_tasks(&base);
  std::vector<uint64_t> ids = choose_round();

  if (ids.empty())
    return ran ? 0 : -EDEADLK;
  for (uint64_t id : ids) {
    auto at = std::find_if(pending.begin(), pending.end(), [&](const Pending &one) { return one.id == id; });
    Pending one = *at;

    pending.erase(at);
    complete(one);
  }
  return 0;
}

Io::Io(const Options &options) : impl_(new Impl)
{
  static const VdIoOps ops = {
      [](VdIo *io, VdIoOp *op) { Impl::of(io)->submit(op); },
      [](VdIo *io) { return Impl::of(io)->wait(); },
  };

  impl_->options = options;
  impl_->random.seed(options.seed);
  impl_->owner = this;
  vd_io_init(&impl_->base, &ops);
}

Io::~Io() = default;

VdIo *Io::io()
{
  return &impl_->base;
}

unsigned Io::add(const Image &image, bool writable)
{
  unsigned index = impl_->base.n_files++;
  VdIoFile *file = &impl_->base.files[index];

  impl_->fds.push_back(writable ? image.own_fd() : image.shared_fd());
  impl_->initial.push_back(image);
  file->writable = writable;
  file->direct = impl_->options.alignment != 0;
  file->alignment = std::max<uint32_t>(1, impl_->options.alignment);
  file->size = image.size();
  return index;
}

int Io::fd(unsigned file) const
{
  return *impl_->fds.at(file);
}

VdLayerSource Io::source(unsigned file, VdPages *pages, bool writable)
{
  VdLayerSource source = {};

  source.io = io();
  source.file = file;
  source.fd = fd(file);
  source.writable = writable;
  source.pages = pages;
  return source;
}

Image Io::image(unsigned file) const
{
  return Image::from_fd(fd(file));
}

bool Io::run_until(const std::function<bool()> &done)
{
  while (!done())
    if (impl_->wait() < 0)
      return done();
  return true;
}

void Io::run_until_quiet()
{
  while (impl_->wait() == 0)
    ;
}

void Io::fail(uint64_t nth, int error, std::optional<VdIoKind> kind, bool forever)
{
  impl_->faults.push_back({kind, nth, error < 0 ? error : -error, forever});
}

void Io::clear_faults()
{
  impl_->faults.clear();
}

void Io::shorten(unsigned file, uint64_t size)
{
  if (ftruncate(fd(file), static_cast<off_t>(size)) < 0)
    throw std::runtime_error("ftruncate");
}

uint64_t Io::count(VdIoKind kind) const
{
  auto found = impl_->counts.find(kind);

  return found == impl_->counts.end() ? 0 : found->second;
}

uint64_t Io::operations() const
{
  uint64_t sum = 0;

  for (const auto &one : impl_->counts)
    sum += one.second;
  return sum;
}

bool Io::has_lost() const
{
  return std::any_of(impl_->log.begin(), impl_->log.end(), [](const Event &event) {
    return event.kind == VD_IO_FLUSH && event.what == Event::What::completed && event.result < 0;
  });
}

size_t Io::in_flight() const
{
  return impl_->pending.size();
}

uint64_t Io::changed_in_flight() const
{
  return impl_->changed;
}

const std::vector<Event> &Io::log() const
{
  return impl_->log;
}

// One write of the chosen: nothing of it, all, or some of its pieces.
static void choose(Image &image, const Event &event, uint64_t applied, uint32_t atom, std::mt19937_64 &random)
{
  uint64_t what = random() % 5;

  if (what < 2)
    return;
  if (what < 4 || atom == 0 || event.kind == VD_IO_TRUNCATE) {
    apply(image, event, 0, applied);
    return;
  }
  for (uint64_t at = 0; at < applied;) {
    uint64_t next = std::min(applied, (event.offset + at) / atom * atom + atom - event.offset);

    if (random() & 1)
      apply(image, event, at, next);
    at = next;
  }
}

// Where a piece of a write begins that is not only zeros, which one finds in a file anyhow.
static uint64_t choose_piece(const Event &event, uint32_t atom, std::mt19937_64 &random)
{
  std::vector<uint64_t> pieces;

  for (uint64_t at = 0; at < event.length; at += atom)
    if (std::any_of(event.data->begin() + static_cast<long>(at),
                    event.data->begin() + static_cast<long>(std::min(event.length, at + atom)),
                    [](uint8_t byte) { return byte != 0; }))
      pieces.push_back(at);
  return pieces.empty() ? 0 : pieces[random() % pieces.size()];
}

// All that is in flight, but of the write that was submitted last one piece is missing.
static void tear_last(std::vector<Image> &images, const std::map<uint64_t, Event> &flying, uint32_t atom,
                      std::mt19937_64 &random)
{
  const Event *last = nullptr;

  for (const auto &one : flying)
    if (one.second.kind == VD_IO_WRITE)
      last = &one.second;
  for (const auto &one : flying) {
    const Event &event = one.second;
    uint64_t from = event.length, to = event.length;

    if (&event == last && atom != 0) {
      from = choose_piece(event, atom, random);
      to = std::min(event.length, from + atom);
    }
    if (from > 0)
      apply(images[event.file], event, 0, from);
    if (to < event.length)
      apply(images[event.file], event, to, event.length);
  }
}

std::vector<Image> Io::state(const Cut &cut)
{
  Durability &durability = impl_->durability;
  std::mt19937_64 random(cut.seed);

  if (durability.images.size() != impl_->initial.size() || durability.position > cut.position) {
    durability = Durability();
    durability.images = impl_->initial;
  }
  while (durability.position < cut.position)
    durability.step(impl_->log.at(durability.position));
  std::vector<Image> images = durability.images;
  if (cut.kept == Cut::Kept::durable)
    return images;
  for (const auto &change : durability.completed) {
    if (cut.kept == Cut::Kept::chosen)
      choose(images[change.event.file], change.event, change.applied, cut.atom, random);
    else
      apply(images[change.event.file], change.event, 0, change.applied);
  }
  if (cut.kept == Cut::Kept::torn)
    tear_last(images, durability.flying, cut.atom, random);
  if (cut.kept == Cut::Kept::chosen)
    for (const auto &one : durability.flying)
      choose(images[one.second.file], one.second, one.second.length, cut.atom, random);
  return images;
}

void Io::for_each_cut(const Cuts &cuts, const std::function<void(const Cut &, std::vector<Image> &)> &check)
{
  size_t positions = impl_->log.size() + 1;
  size_t first = std::min(cuts.first_position, positions - 1);
  size_t per_position = 3 + cuts.choices, all = (positions - first) * per_position;
  size_t n = std::min(all, std::max<size_t>(1, cuts.most));
  std::mt19937_64 random(cuts.seed);

  auto one = [&](size_t position, Cut::Kept kept, uint64_t seed) {
    Cut cut = {position, kept, seed, cuts.atom};
    std::vector<Image> images = state(cut);

    check(cut, images);
  };
  // Spread over all positions and, by turns, over the kinds: where there are too many, each of another
  // moment.
  for (size_t i = 0; i < n; i++) {
    size_t kind = i % per_position;
    size_t position = first + i * (positions - first) / n;

    one(position, static_cast<Cut::Kept>(std::min<size_t>(kind, 3)), kind < 2 ? 0 : random());
  }
}

std::string describe(const Cut &cut)
{
  static const char *const kept[] = {"durable", "completed", "all but a piece", "chosen"};

  return "cut before event " + std::to_string(cut.position) + ", kept: " + kept[static_cast<int>(cut.kept)] +
         ", seed " + std::to_string(cut.seed) + ", atom " + std::to_string(cut.atom);
}

} // namespace vd_sim

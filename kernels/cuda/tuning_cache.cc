#include "kernels/cuda/tuning_cache.h"

#include <unistd.h>

#include <bit>
#include <charconv>
#include <cinttypes>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <vector>

#include "base/log.h"

namespace trireme::kernels::cuda {
namespace {

constexpr std::string_view kHeader = "trireme product algorithms, format 1";
constexpr size_t kMaxBytes = size_t{16} << 20;
constexpr size_t kMaxEntries = size_t{1} << 16;
constexpr size_t kFields = 10;

std::vector<std::string_view> split(std::string_view line, char separator) {
  std::vector<std::string_view> parts;
  for (;;) {
    const size_t end = line.find(separator);
    parts.push_back(line.substr(0, end));
    if (end == std::string_view::npos) return parts;
    line.remove_prefix(end + 1);
  }
}

template <typename Number, typename... Base>
bool read(std::string_view text, Number* number, Base... base) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, *number, base...);
  return error == std::errc() && at == end && !text.empty();
}

// device, version, six numbers of the shape, the algorithm as words of hex, seconds; by tabs.
std::optional<TuningCache::Entry> parse_line(std::string_view line) {
  const std::vector<std::string_view> fields = split(line, '\t');
  if (fields.size() != kFields || fields[0].empty()) return std::nullopt;
  TuningCache::Entry entry;
  entry.device = fields[0];
  ProductShape& shape = entry.shape;
  int out_is_bf16 = 0;
  if (!read(fields[1], &entry.version) || !read(fields[2], &shape.rows) ||
      !read(fields[3], &shape.outs) || !read(fields[4], &shape.ins) ||
      !read(fields[5], &shape.x_stride) || !read(fields[6], &shape.out_stride) ||
      !read(fields[7], &out_is_bf16) || out_is_bf16 < 0 || out_is_bf16 > 1 ||
      !read(fields[9], &entry.seconds)) {
    return std::nullopt;
  }
  shape.out_is_bf16 = out_is_bf16 == 1;
  const std::vector<std::string_view> words = split(fields[8], '.');
  if (words.size() != entry.algorithm.size()) return std::nullopt;
  for (size_t i = 0; i < words.size(); ++i) {
    if (!read(words[i], &entry.algorithm[i], 16)) return std::nullopt;
  }
  return entry;
}

TuningCache::Key key_of(const TuningCache::Entry& entry) {
  return {entry.device, entry.version, entry.shape};
}

}  // namespace

int64_t row_bucket(int64_t rows) {
  if (rows <= 64) return (rows + 7) / 8 * 8;
  const auto next = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(rows)));
  const int64_t step = next / 8;
  return (rows + step - 1) / step * step;
}

TuningCache::TuningCache(std::string path, std::string device, int64_t version)
    : path_(std::move(path)), device_(std::move(device)), version_(version) {
  entries_ = read_file().entries;
}

std::optional<AlgorithmRecord> TuningCache::find(const ProductShape& shape) const {
  const auto at = entries_.find({device_, version_, shape});
  if (at == entries_.end()) return std::nullopt;
  return at->second.algorithm;
}

void TuningCache::put(const ProductShape& shape, const AlgorithmRecord& algorithm, double seconds) {
  const Entry entry{.device = device_,
                    .version = version_,
                    .shape = shape,
                    .algorithm = algorithm,
                    .seconds = seconds};
  // What other ranks have written meanwhile is kept.
  if (!path_.empty()) entries_.merge(read_file().entries);
  if (entries_.size() >= kMaxEntries) entries_.clear();
  entries_[key_of(entry)] = entry;
  if (path_.empty() || write_failed_) return;
  const std::string beside = path_ + "." + std::to_string(getpid());
  std::error_code error;
  if (std::ofstream file(beside, std::ios::binary); !(file << to_text(entries_)).flush()) {
    error = std::make_error_code(std::errc::io_error);
  } else {
    std::filesystem::rename(beside, path_, error);
  }
  if (!error) return;
  write_failed_ = true;
  std::error_code ignored;
  std::filesystem::remove(beside, ignored);
  log::warn("chosen algorithms cannot be kept in {} and will be measured at each start", path_);
}

TuningCache::Parsed TuningCache::read_file() const {
  if (path_.empty()) return {};
  std::error_code error;
  const auto bytes = std::filesystem::file_size(path_, error);
  if (error) return {};
  if (bytes > kMaxBytes) {
    log::warn("{} has {} bytes and is not read: measured algorithms take far fewer", path_, bytes);
    return {};
  }
  std::ifstream file(path_, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  Parsed parsed = parse(text.str());
  if (parsed.n_bad_lines > 0) {
    log::warn("{} lines of {} are no measured algorithms and are passed over", parsed.n_bad_lines,
              path_);
  }
  return parsed;
}

TuningCache::Parsed TuningCache::parse(std::string_view text) {
  Parsed parsed;
  bool first = true;
  for (const std::string_view line : split(text, '\n')) {
    if (first) {
      first = false;
      if (line == kHeader) continue;
      // Of another format, or none of ours: nothing in it is believed.
      parsed.n_bad_lines = text.empty() ? 0 : 1;
      return parsed;
    }
    if (line.empty()) continue;
    std::optional<Entry> entry = parse_line(line);
    if (!entry.has_value() || parsed.entries.size() >= kMaxEntries) {
      ++parsed.n_bad_lines;
      continue;
    }
    Key key = key_of(*entry);
    parsed.entries[std::move(key)] = std::move(*entry);
  }
  return parsed;
}

std::string TuningCache::to_text(const std::map<Key, Entry>& entries) {
  std::string text(kHeader);
  text += '\n';
  for (const auto& [key, entry] : entries) {
    const ProductShape& shape = entry.shape;
    text += entry.device + '\t' + std::to_string(entry.version);
    for (const int64_t number : {shape.rows, shape.outs, shape.ins, shape.x_stride,
                                 shape.out_stride, static_cast<int64_t>(shape.out_is_bf16)}) {
      text += '\t' + std::to_string(number);
    }
    char separator = '\t';
    for (const uint64_t word : entry.algorithm) {
      char hex[24];
      (void)std::snprintf(hex, sizeof(hex), "%c%" PRIx64, separator, word);
      text += hex;
      separator = '.';
    }
    char seconds[32];
    (void)std::snprintf(seconds, sizeof(seconds), "\t%.3e\n", entry.seconds);
    text += seconds;
  }
  return text;
}

}  // namespace trireme::kernels::cuda

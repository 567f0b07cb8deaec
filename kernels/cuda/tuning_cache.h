// TuningCache: algorithms of products that were chosen by measuring, kept in a file for the next
// start.
//
// An entry belongs to a device, a version of the library, and a shape; any other finds nothing. The
// file is text, one entry a line, written beside itself and renamed, so that ranks that share it
// never read half of it; where two write at once, one's news are measured again another time. A
// file that cannot be read, or lines of it, count as absent, with a line in the log. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "base/result.h"

namespace trireme::kernels::cuda {

// The library's own record of an algorithm, opaque.
using AlgorithmRecord = std::array<uint64_t, 8>;

// A product out [rows, outs] = x [rows, ins] weight^T: one choice serves all row counts of a
// bucket.
struct ProductShape {
  int64_t rows = 0;  // a bucket's, see row_bucket
  int64_t outs = 0;
  int64_t ins = 0;
  int64_t x_stride = 0;
  int64_t out_stride = 0;
  bool out_is_bf16 = false;

  auto operator<=>(const ProductShape&) const = default;  // NOLINT(modernize-use-nullptr)
};

// The least row count of the grid that is not below `rows`: steps of 8 to 64 rows, of an eighth of
// the next power of two beyond.
int64_t row_bucket(int64_t rows);

class TuningCache {
 public:
  // `device`: its name; `version`: the library's. An empty path: nothing is read or written.
  TuningCache(std::string path, std::string device, int64_t version);

  std::optional<AlgorithmRecord> find(const ProductShape& shape) const;
  // Keeps it, and writes the file. A file that cannot be written is said once in the log.
  void put(const ProductShape& shape, const AlgorithmRecord& algorithm, double seconds);

  // Of all devices and versions in the text. Pure.
  struct Entry {
    std::string device;
    int64_t version = 0;
    ProductShape shape;
    AlgorithmRecord algorithm{};
    double seconds = 0;  // that it took, for readers
  };
  using Key = std::tuple<std::string, int64_t, ProductShape>;
  struct Parsed {
    std::map<Key, Entry> entries;
    int64_t n_bad_lines = 0;
  };
  static Parsed parse(std::string_view text);
  static std::string to_text(const std::map<Key, Entry>& entries);

 private:
  Parsed read_file() const;

  const std::string path_;
  const std::string device_;
  const int64_t version_;
  std::map<Key, Entry> entries_;
  bool write_failed_ = false;
};

}  // namespace trireme::kernels::cuda

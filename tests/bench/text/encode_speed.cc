// How fast one thread turns documents into ids: `encode_speed TOKENIZER.json TEXT SECONDS
// [offsets]`.
//
// TEXT holds documents with a NUL between. Prints one JSON object: bytes, ids and rounds, the best
// round's seconds, and a hash of all ids, by which another implementation can be compared.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "text/tokenizer.h"

namespace {

std::string read_all(const char* path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

double now_s() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
  using trireme::text::Tokenizer;
  if (argc < 4) {
    std::fprintf(stderr, "usage: encode_speed TOKENIZER.json TEXT SECONDS [offsets]\n");
    return 2;
  }
  const auto tokenizer = Tokenizer::from_json(read_all(argv[1]));
  if (!tokenizer.ok()) {
    std::fprintf(stderr, "error: %s\n", tokenizer.error().message.c_str());
    return 1;
  }
  const std::string all = read_all(argv[2]);
  std::vector<std::string> documents;
  for (size_t at = 0; at < all.size();) {
    const size_t end = std::min(all.find('\0', at), all.size());
    documents.push_back(all.substr(at, end - at));
    at = end + 1;
  }
  const double deadline = now_s() + std::atof(argv[3]);
  double best = 1e30;
  int rounds = 0;
  size_t n_ids = 0;
  uint64_t hash = 0;
  for (; rounds < 2 || now_s() < deadline; ++rounds) {
    const double begin = now_s();
    n_ids = 0;
    for (const std::string& document : documents) {
      const auto encoding = tokenizer->encode(document, {.offsets = argc > 4});
      if (!encoding.ok()) return 1;
      n_ids += encoding->ids.size();
      if (rounds > 0) continue;
      for (const int32_t id : encoding->ids) {
        hash = (hash * 1'000'003 + static_cast<uint64_t>(id)) % ((uint64_t{1} << 31) - 1);
      }
    }
    if (rounds > 0) best = std::min(best, now_s() - begin);  // the first one also hashes
  }
  std::printf(R"({"bytes": %zu, "ids": %zu, "rounds": %d, "seconds": %.6f, "hash": %llu})"
              "\n",
              all.size(), n_ids, rounds, best, static_cast<unsigned long long>(hash));
  return 0;
}

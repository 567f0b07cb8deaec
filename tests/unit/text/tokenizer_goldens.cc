#include "tests/unit/text/tokenizer_goldens.h"

#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "text/detokenizer.h"

namespace trireme::text {

namespace {

using Json = nlohmann::json;

template <typename Use>
void for_each_case(const std::string& path, Use use) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) use(Json::parse(line));
  }
}

}  // namespace

std::string GoldenReport::summary() const {
  std::ostringstream out;
  out << failed << " of " << cases << " differ";
  for (const std::string& example : examples) out << "\n  " << example;
  return out.str();
}

std::string read_all(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream out;
  out << file.rdbuf();
  return out.str();
}

GoldenReport check_encode(const Tokenizer& tokenizer, const std::string& path) {
  GoldenReport report;
  for_each_case(path, [&](const Json& c) {
    ++report.cases;
    const auto text = c["text"].get<std::string>();
    const EncodeOptions options{.add_special_tokens = c["add_special_tokens"], .offsets = true};
    const auto got = tokenizer.encode(text, options);
    if (!got.ok()) return report.fail(c["text"].dump() + ": " + got.error().message);
    const Json ids = got->ids;
    const Json offsets = got->offsets;
    if (ids != c["ids"] || offsets != c["offsets"]) {
      report.fail(c["text"].dump() + "\n    got  " + ids.dump() + " " + offsets.dump() +
                  "\n    want " + c["ids"].dump() + " " + c["offsets"].dump());
    }
    EncodeOptions plain = options;
    plain.offsets = false;
    if (tokenizer.encode(text, plain)->ids != got->ids)
      report.fail(c["text"].dump() + ": ids depend on offsets");
  });
  return report;
}

GoldenReport check_ids(const Tokenizer& tokenizer, const std::string& path, const char* key) {
  GoldenReport report;
  for_each_case(path, [&](const Json& c) {
    if (!c.contains(key)) return;
    ++report.cases;
    const auto got = tokenizer.encode(c["text"].get<std::string>(),
                                      {.add_special_tokens = c["add_special_tokens"]});
    if (!got.ok()) return report.fail(c["text"].dump() + ": " + got.error().message);
    if (Json(got->ids) != c[key]) {
      report.fail(c["text"].dump() + "\n    got  " + Json(got->ids).dump() + "\n    want " +
                  c[key].dump());
    }
  });
  return report;
}

GoldenReport check_decode(const Tokenizer& tokenizer, const std::string& path, bool cleaned) {
  GoldenReport report;
  for_each_case(path, [&](const Json& c) {
    ++report.cases;
    const auto ids = c["ids"].get<std::vector<int32_t>>();
    for (const char* key : {"decoded", "decoded_skip"}) {
      const std::string raw_key = std::string(key) + "_no_cleanup";
      const Json& want = !cleaned && c.contains(raw_key) ? c[raw_key] : c[key];
      const std::string got = tokenizer.decode(ids, std::string(key) == "decoded_skip");
      if (got != want.get<std::string>()) {
        report.fail(std::string(key) + " " + c["ids"].dump() + ": got " + Json(got).dump() +
                    " want " + want.dump());
        break;
      }
    }
  });
  return report;
}

GoldenReport check_stream(const Tokenizer& tokenizer, const std::string& path) {
  GoldenReport report;
  for_each_case(path, [&](const Json& c) {
    ++report.cases;
    Detokenizer stream(tokenizer, c["skip_special_tokens"]);
    std::vector<std::string> pieces;
    for (const int32_t id : c["ids"]) pieces.push_back(stream.push(id));
    const std::string flush = stream.flush();
    if (Json(pieces) != c["pieces"] || flush != c["flush"]) {
      report.fail(c["ids"].dump() + "\n    got  " + Json(pieces).dump() + Json(flush).dump() +
                  "\n    want " + c["pieces"].dump() + c["flush"].dump());
    }
  });
  return report;
}

GoldenReport check_sentencepiece(const Tokenizer& tokenizer, const std::string& path) {
  GoldenReport report;
  for_each_case(path, [&](const Json& c) {
    ++report.cases;
    const auto got = tokenizer.encode(c["text"].get<std::string>(),
                                      {.add_special_tokens = false, .parse_special = false});
    if (!got.ok()) return report.fail(c["text"].dump() + ": " + got.error().message);
    const auto want_ids = c["ids"].get<std::vector<int32_t>>();
    const std::string decoded = tokenizer.decode(want_ids, false);
    if (got->ids != want_ids) {
      report.fail(c["text"].dump() + "\n    got  " + Json(got->ids).dump() + "\n    want " +
                  c["ids"].dump());
    } else if (decoded != c["decoded"]) {
      report.fail(c["ids"].dump() + ": got " + Json(decoded).dump() + " want " +
                  c["decoded"].dump());
    }
  });
  return report;
}

}  // namespace trireme::text

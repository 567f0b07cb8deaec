#include <fmt/format.h>

#include <algorithm>

#include "base/yaml.h"
#include "base/yaml_internal.h"

namespace trireme::yaml {

std::string clipped(std::string_view text) {
  constexpr size_t kShown = 60;
  return text.size() <= kShown ? std::string(text) : std::string(text.substr(0, kShown)) + "...";
}

std::string format_duration(int64_t ns) {
  if (ns % 1'000'000'000 == 0) return fmt::format("{}s", ns / 1'000'000'000);
  if (ns % 1'000'000 == 0) return fmt::format("{}ms", ns / 1'000'000);
  return fmt::format("{}ns", ns);
}

std::string format_size(int64_t bytes) {
  if (bytes != 0 && bytes % (1 << 20) == 0) return fmt::format("{}MiB", bytes >> 20);
  if (bytes != 0 && bytes % (1 << 10) == 0) return fmt::format("{}KiB", bytes >> 10);
  return fmt::format("{}", bytes);
}

namespace {

struct Unit {
  std::string_view name;
  int64_t scale;
};

// "<digits>[.<digits>]<unit>" times the unit's scale, exactly or not at all: no rounding, no
// overflow.
Result<int64_t> parse_scaled(std::string_view text, const std::vector<Unit>& units,
                             const char* what) {
  const Error wrong = invalid_argument(fmt::format("\"{}\" is not {}", clipped(text), what));
  size_t i = 0;
  int64_t whole = 0;
  for (; i < text.size() && text[i] >= '0' && text[i] <= '9'; ++i) {
    if (__builtin_mul_overflow(whole, 10, &whole) ||
        __builtin_add_overflow(whole, text[i] - '0', &whole)) {
      return wrong;
    }
  }
  if (i == 0) return wrong;
  std::string_view fraction;
  if (i < text.size() && text[i] == '.') {
    const size_t begin = ++i;
    while (i < text.size() && text[i] >= '0' && text[i] <= '9') ++i;
    fraction = text.substr(begin, i - begin);
    if (fraction.empty() || fraction.size() > 30) return wrong;
  }
  const std::string_view name = text.substr(i);
  const auto unit =
      std::find_if(units.begin(), units.end(), [&](const Unit& u) { return u.name == name; });
  if (unit == units.end()) return wrong;
  int64_t value = 0;
  if (__builtin_mul_overflow(whole, unit->scale, &value)) return wrong;
  // The fraction times the scale by long multiplication: what is left over after its last digit
  // must be zero.
  std::string digits(fraction);
  int64_t part = 0;
  __int128 numerator = 0;
  __int128 denominator = 1;
  while (!digits.empty() && digits.back() == '0') digits.pop_back();
  if (digits.size() > 18) return wrong;
  for (const char c : digits) {
    numerator = numerator * 10 + (c - '0');
    denominator *= 10;
  }
  if (numerator * unit->scale % denominator != 0) {
    return invalid_argument(fmt::format("\"{}\" is finer than the smallest unit", clipped(text)));
  }
  part = static_cast<int64_t>(numerator * unit->scale / denominator);
  if (__builtin_add_overflow(value, part, &value)) return wrong;
  return value;
}

// Edit distance with transpositions; the words are short (keys).
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> d(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) {
    for (size_t j = 0; j <= b.size(); ++j) {
      if (i == 0 || j == 0) {
        d[i][j] = i + j;
        continue;
      }
      d[i][j] = std::min(
          {d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
      }
    }
  }
  return d[a.size()][b.size()];
}

}  // namespace

Result<int64_t> parse_duration_ns(std::string_view text) {
  return parse_scaled(text,
                      {{"", 1'000'000'000},
                       {"s", 1'000'000'000},
                       {"ms", 1'000'000},
                       {"us", 1'000},
                       {"ns", 1},
                       {"m", 60'000'000'000},
                       {"h", 3'600'000'000'000}},
                      "a duration such as 5, \"500ms\", \"5s\" or \"2m\"");
}

Result<int64_t> parse_size_bytes(std::string_view text) {
  return parse_scaled(text,
                      {{"", 1},
                       {"B", 1},
                       {"KiB", 1LL << 10},
                       {"MiB", 1LL << 20},
                       {"GiB", 1LL << 30},
                       {"TiB", 1LL << 40},
                       {"kB", 1'000},
                       {"MB", 1'000'000},
                       {"GB", 1'000'000'000}},
                      "a size such as 4096, \"64KiB\" or \"8MiB\"");
}

std::string nearest_word(std::string_view word, const std::vector<std::string>& known) {
  if (word.size() > 100) return "";
  std::string best;
  size_t best_distance = std::max<size_t>(2, word.size() / 3) + 1;
  for (const std::string& candidate : known) {
    const size_t distance = edit_distance(word, candidate);
    // A word of which every letter would change is no correction of it.
    if (distance < best_distance && distance < candidate.size()) {
      best = candidate;
      best_distance = distance;
    }
  }
  return best;
}

}  // namespace trireme::yaml

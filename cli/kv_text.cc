#include "cli/kv_text.h"

#include <fmt/format.h>

#include "parallel/plan/format.h"
#include "parallel/plan/kv_layout.h"

namespace trireme::cli {
namespace {

const char* name_of(plan::AttentionKind kind) {
  switch (kind) {
    case plan::AttentionKind::kSliding:
      return "sliding";
    case plan::AttentionKind::kChunked:
      return "chunked";
    case plan::AttentionKind::kFull:
      break;
  }
  return "full";
}

}  // namespace

std::vector<std::string> describe_kv_kinds(const plan::ModelSpec& spec, DType kv_dtype) {
  const auto sizes = plan::kv_kind_sizes(spec, kv_dtype);
  if (sizes.size() == 1 && sizes.front().kind.is_full()) return {};
  std::vector<std::string> lines;
  for (const plan::KvKindSize& size : sizes) {
    const std::string which =
        size.kind.is_full() ? "for all tokens"
                            : fmt::format("for the last {}", plan::format_grouped(size.kind.span));
    lines.push_back(fmt::format("{} {} layers: {} bytes per token, {}", size.n_layers,
                                name_of(size.kind.attention),
                                plan::format_grouped(size.bytes_per_token), which));
  }
  return lines;
}

Json kv_kinds_json(const plan::ModelSpec& spec, DType kv_dtype) {
  Json kinds = Json::array();
  for (const plan::KvKindSize& size : plan::kv_kind_sizes(spec, kv_dtype)) {
    kinds.push_back({{"attention", name_of(size.kind.attention)},
                     {"span_tokens", size.kind.is_full() ? Json(nullptr) : Json(size.kind.span)},
                     {"layers", size.n_layers},
                     {"bytes_per_token", size.bytes_per_token}});
  }
  return kinds;
}

}  // namespace trireme::cli

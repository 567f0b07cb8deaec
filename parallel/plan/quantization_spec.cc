#include "parallel/plan/quantization_spec.h"

#include <fmt/format.h>

#include <algorithm>

#include "parallel/plan/config_json.h"

namespace trireme::plan {
namespace {

constexpr size_t kMaxModules = 1 << 16;
constexpr size_t kMaxModuleBytes = 1 << 10;
constexpr int64_t kMaxGroup = 1 << 20;
constexpr const char* kRoot = "quantization_config.";

Error unserved(std::string_view what) {
  return unimplemented(fmt::format("config.json: 'quantization_config' {}.", what));
}

// The lists of the various tools, which all mean the same.
Status read_not_converted(const ConfigObject& config, QuantizationSpec& spec) {
  for (const char* key : {"modules_to_not_convert", "ignored_layers", "ignore"}) {
    if (!config.has(key)) continue;
    const nlohmann::json& list = config.raw().at(key);
    if (!list.is_array() || list.size() > kMaxModules) {
      return invalid_argument(fmt::format("config.json: '{}{}' is not a list.", kRoot, key));
    }
    for (const nlohmann::json& entry : list) {
      if (!entry.is_string() || entry.get_ref<const std::string&>().size() > kMaxModuleBytes) {
        return invalid_argument(
            fmt::format("config.json: '{}{}' is not a list of module names.", kRoot, key));
      }
      spec.not_converted.push_back(entry.get<std::string>());
    }
  }
  return {};
}

// [rows, columns] of a block.
Status read_block(const ConfigObject& config, const char* key, QuantizationSpec& spec) {
  ASSIGN_OR_RETURN(const std::vector<int32_t> block, config.integers(key, 1, kMaxGroup));
  if (block.size() != 2) {
    return invalid_argument(fmt::format("config.json: '{}{}' is not two sizes.", kRoot, key));
  }
  spec.scale = QuantScale::kBlock;
  spec.block_rows = block[0];
  spec.block_columns = block[1];
  return {};
}

Status read_fp8(const ConfigObject& config, QuantizationSpec& spec) {
  ASSIGN_OR_RETURN(const std::string fmt_name, config.string_or("fmt", "e4m3"));
  if (fmt_name != "e4m3" && fmt_name != "float8_e4m3fn") {
    return unserved(fmt::format("has 'fmt' '{}'; e4m3 is read", fmt_name.substr(0, 40)));
  }
  spec.layout = QuantLayout::kScaled;
  spec.element = QuantElement::kE4M3;
  if (config.has("weight_block_size")) {
    TRY(read_block(config, "weight_block_size", spec));
    spec.scale_suffix = "weight_scale_inv";
    spec.name = fmt::format("fp8, blocks of {}x{}", spec.block_rows, spec.block_columns);
  } else {
    spec.scale = QuantScale::kTensor;
    spec.scale_suffix = "weight_scale";
    spec.name = "fp8, one scale per tensor";
  }
  return {};
}

// -1 means one group.
Status read_group_size(const ConfigObject& config, QuantizationSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t group, config.integer_or("group_size", -1, kMaxGroup, 128));
  if (group == 0) return invalid_argument("config.json: 'group_size' is 0.");
  spec.group_size = static_cast<int32_t>(std::max<int64_t>(group, 0));
  return {};
}

Status read_awq(const ConfigObject& config, QuantizationSpec& spec) {
  // Files of the tool itself say w_bit and q_group_size; those of transformers, these.
  ASSIGN_OR_RETURN(const int64_t bits, config.integer("bits", 1, 16));
  ASSIGN_OR_RETURN(const std::string version, config.string_or("version", "gemm"));
  if (bits != 4) return unserved(fmt::format("is AWQ with {} bits; 4 are read", bits));
  if (version != "gemm" && version != "GEMM") {
    return unserved(fmt::format("is AWQ version '{}'; gemm is read", version.substr(0, 40)));
  }
  ASSIGN_OR_RETURN(const bool zero_point, config.boolean_or("zero_point", true));
  if (!zero_point) return unserved("is AWQ without zero points, which is not read");
  TRY(read_group_size(config, spec));
  spec.layout = QuantLayout::kAwq;
  spec.bits = 4;
  spec.name = "AWQ, 4 bits";
  return {};
}

Status read_gptq(const ConfigObject& config, QuantizationSpec& spec) {
  ASSIGN_OR_RETURN(const int64_t bits, config.integer("bits", 1, 16));
  if (bits != 2 && bits != 4 && bits != 8) {
    return unserved(fmt::format("is GPTQ with {} bits; 2, 4 and 8 are read", bits));
  }
  ASSIGN_OR_RETURN(const std::string format, config.string_or("checkpoint_format", "gptq"));
  if (format != "gptq" && format != "gptq_v2") {
    return unserved(fmt::format("has 'checkpoint_format' '{}'; gptq and gptq_v2 are read",
                                format.substr(0, 40)));
  }
  TRY(read_group_size(config, spec));
  spec.layout = QuantLayout::kGptq;
  spec.bits = static_cast<int32_t>(bits);
  spec.zeros_minus_one = format == "gptq";
  spec.name = fmt::format("GPTQ, {} bits", bits);
  return {};
}

// One group of compressed-tensors: the arguments of its weights.
Status read_weights(const ConfigObject& weights, const std::string& format,
                    QuantizationSpec& spec) {
  ASSIGN_OR_RETURN(const std::string type, weights.string_or("type", "int"));
  ASSIGN_OR_RETURN(const int64_t bits, weights.integer("num_bits", 1, 16));
  ASSIGN_OR_RETURN(const std::string strategy, weights.string_or("strategy", "tensor"));
  ASSIGN_OR_RETURN(spec.symmetric, weights.boolean_or("symmetric", true));
  spec.bits = static_cast<int32_t>(bits);
  spec.name = fmt::format("compressed-tensors {}, {} bits, scales per {}", format, bits, strategy);
  if (format == "pack-quantized") {
    if (type != "int" || (bits != 4 && bits != 8) ||
        (strategy != "group" && strategy != "channel")) {
      return unserved(
          fmt::format("is {} (type {}); 4 or 8 bit integers with scales per group or "
                      "channel are read",
                      spec.name, type));
    }
    spec.layout = QuantLayout::kPackedInts;
    if (strategy == "group") TRY(read_group_size(weights, spec));
    return {};
  }
  const bool is_float = format == "float-quantized" && type == "float" && bits == 8;
  const bool is_int = format == "int-quantized" && type == "int" && bits == 8 && spec.symmetric;
  if (!is_float && !is_int) {
    return unserved(fmt::format("is {} (type {}{}), which is not read", spec.name, type,
                                spec.symmetric ? "" : ", asymmetric"));
  }
  spec.layout = QuantLayout::kScaled;
  spec.element = is_float ? QuantElement::kE4M3 : QuantElement::kInt8;
  spec.scale_suffix = "weight_scale";
  if (strategy == "tensor") {
    spec.scale = QuantScale::kTensor;
  } else if (strategy == "channel") {
    spec.scale = QuantScale::kChannel;
  } else if (strategy == "block") {
    TRY(read_block(weights, "block_structure", spec));
  } else {
    return unserved(fmt::format("is {}, which is not read", spec.name));
  }
  return {};
}

bool same_layout(const QuantizationSpec& a, const QuantizationSpec& b) {
  return a.layout == b.layout && a.element == b.element && a.scale == b.scale &&
         a.block_rows == b.block_rows && a.block_columns == b.block_columns && a.bits == b.bits &&
         a.group_size == b.group_size && a.symmetric == b.symmetric;
}

Status read_compressed_tensors(const ConfigObject& config, QuantizationSpec& spec) {
  ASSIGN_OR_RETURN(const std::string format, config.string("format"));
  if (config.has("sparsity_config")) {
    ASSIGN_OR_RETURN(const ConfigObject sparsity, config.object("sparsity_config"));
    ASSIGN_OR_RETURN(const std::string kind, sparsity.string_or("format", "dense"));
    if (kind != "dense") {
      return unserved(fmt::format("is sparse ('{}'), which is not read", kind.substr(0, 40)));
    }
  }
  ASSIGN_OR_RETURN(const ConfigObject groups, config.object("config_groups"));
  bool first = true;
  for (const auto& [name, group] : groups.raw().items()) {
    if (!group.is_object()) {
      return invalid_argument("config.json: 'config_groups' is not a set of groups.");
    }
    const ConfigObject one(group, fmt::format("{}config_groups.{}.", kRoot, name.substr(0, 40)));
    ASSIGN_OR_RETURN(const ConfigObject weights, one.object("weights"));
    QuantizationSpec read;
    TRY(read_weights(weights, format.substr(0, 40), read));
    if (!first && !same_layout(spec, read)) {
      return unserved("has groups of different layouts, which is not read");
    }
    spec = std::move(read);
    first = false;
  }
  // Without groups, only the cache of keys and values is to be quantised, which no weight shows.
  if (first && !config.has("kv_cache_scheme")) {
    return invalid_argument("config.json: 'config_groups' is empty.");
  }
  return {};
}

Result<QuantizationSpec> read_quantization(const ConfigObject& config, const std::string& method) {
  QuantizationSpec spec;
  if (method == "fp8") {
    TRY(read_fp8(config, spec));
  } else if (method == "mxfp4") {
    spec.layout = QuantLayout::kMxfp4;
    spec.name = "MXFP4";
  } else if (method == "awq") {
    TRY(read_awq(config, spec));
  } else if (method == "gptq") {
    TRY(read_gptq(config, spec));
  } else if (method == "compressed-tensors") {
    TRY(read_compressed_tensors(config, spec));
  } else {
    return unserved(fmt::format(
        "has 'quant_method' '{}'; fp8, mxfp4, awq, gptq and compressed-tensors are read",
        method.substr(0, 40)));
  }
  TRY(read_not_converted(config, spec));
  return spec;
}

// A run of whole name parts: "gate" covers "a.gate" and "gate.b", not "a.gate_proj".
bool covers_parts(std::string_view entry, std::string_view module) {
  if (entry.empty() || module.size() < entry.size()) return false;
  for (size_t at = module.find(entry); at != std::string_view::npos;
       at = module.find(entry, at + 1)) {
    const size_t end = at + entry.size();
    const bool begins = at == 0 || module[at - 1] == '.';
    const bool ends = end == module.size() || module[end] == '.';
    if (begins && ends) return true;
  }
  return false;
}

// Parsed pattern: a character, or one of the two below.
constexpr int kAnyOne = -1;
constexpr int kAnyRun = -2;

// Backtracks to the last run only, so linear in pattern times text. A match may end at the end of
// a name part when `open_end`.
bool matches(const std::vector<int>& pattern, std::string_view text, bool open_end) {
  size_t p = 0;
  size_t t = 0;
  size_t run = std::string::npos;
  size_t run_text = 0;
  for (;;) {
    if (p == pattern.size() && (t == text.size() || (open_end && text[t] == '.'))) return true;
    if (p < pattern.size() && pattern[p] == kAnyRun) {
      run = ++p;
      run_text = t;
      continue;
    }
    if (p < pattern.size() && t < text.size() &&
        (pattern[p] == kAnyOne || pattern[p] == static_cast<unsigned char>(text[t]))) {
      ++p;
      ++t;
      continue;
    }
    if (run == std::string::npos || run_text >= text.size()) return false;
    p = run;
    t = ++run_text;
  }
}

std::vector<int> glob_pattern(std::string_view entry) {
  std::vector<int> pattern;
  for (const char c : entry) {
    pattern.push_back(c == '*' ? kAnyRun : static_cast<unsigned char>(c));
  }
  return pattern;
}

// A regular expression of literals, '.', ".*", escaped characters and anchors; nullopt for others.
// A match begins at the name's beginning and may end anywhere, unless there is a '$'.
std::optional<std::vector<int>> regex_pattern(std::string_view entry) {
  std::vector<int> pattern;
  if (entry.starts_with('^')) entry.remove_prefix(1);
  const bool closed = entry.ends_with('$') && !entry.ends_with("\\$");
  if (closed) entry.remove_suffix(1);
  for (size_t i = 0; i < entry.size(); ++i) {
    const char c = entry[i];
    if (c == '\\') {
      if (++i == entry.size() || std::isalnum(static_cast<unsigned char>(entry[i])) != 0) {
        return std::nullopt;
      }
      pattern.push_back(static_cast<unsigned char>(entry[i]));
    } else if (c == '.' && i + 1 < entry.size() && entry[i + 1] == '*') {
      pattern.push_back(kAnyRun);
      ++i;
    } else if (c == '.') {
      pattern.push_back(kAnyOne);
    } else if (std::string_view("*+?()[]{}|^$").find(c) != std::string_view::npos) {
      return std::nullopt;
    } else {
      pattern.push_back(static_cast<unsigned char>(c));
    }
  }
  if (!closed) pattern.push_back(kAnyRun);
  return pattern;
}

}  // namespace

QuantizationSpec::LeftAlone QuantizationSpec::left_alone(std::string_view module) const {
  bool unknown = false;
  for (const std::string& entry : not_converted) {
    if (entry.starts_with("re:")) {
      const auto pattern = regex_pattern(std::string_view(entry).substr(3));
      if (!pattern.has_value()) {
        unknown = true;
      } else if (matches(*pattern, module, false)) {
        return LeftAlone::kYes;
      }
    } else if (entry.find('*') != std::string::npos) {
      if (matches(glob_pattern(entry), module, true)) return LeftAlone::kYes;
    } else if (covers_parts(entry, module)) {
      return LeftAlone::kYes;
    }
  }
  return unknown ? LeftAlone::kUnknown : LeftAlone::kNo;
}

bool stays_low_bit(const QuantizationSpec& spec) {
  switch (spec.layout) {
    case QuantLayout::kScaled:
    case QuantLayout::kMxfp4:
    case QuantLayout::kAwq:
      return true;
    case QuantLayout::kGptq:
      return spec.bits == 4;
    case QuantLayout::kPackedInts:
      return spec.bits == 4 || (spec.bits == 8 && spec.symmetric);
    case QuantLayout::kNone:
      break;
  }
  return false;
}

kernels::LowBitCode low_bit_code(const QuantizationSpec& spec) {
  if (spec.layout == QuantLayout::kMxfp4) return kernels::LowBitCode::kE2M1;
  if (spec.layout == QuantLayout::kScaled && spec.element == QuantElement::kE4M3) {
    return kernels::LowBitCode::kE4M3;
  }
  const bool bytes = spec.layout == QuantLayout::kScaled || spec.bits == 8;
  return bytes ? kernels::LowBitCode::kInt8 : kernels::LowBitCode::kInt4;
}

int64_t low_bit_group(const QuantizationSpec& spec) {
  switch (spec.layout) {
    case QuantLayout::kScaled:
      return spec.scale == QuantScale::kBlock ? spec.block_columns : 0;
    case QuantLayout::kMxfp4:
      return kernels::kE2M1Group;
    default:
      return spec.group_size;
  }
}

bool has_low_bit_zeros(const QuantizationSpec& spec) {
  return spec.layout == QuantLayout::kAwq || spec.layout == QuantLayout::kGptq ||
         (spec.layout == QuantLayout::kPackedInts && !spec.symmetric);
}

Result<QuantizationSpec> parse_quantization(const std::string& config_json) {
  ASSIGN_OR_RETURN(const nlohmann::json document, parse_config_json(config_json));
  const ConfigObject root(document, "");
  if (!root.has("quantization_config")) return QuantizationSpec{};
  ASSIGN_OR_RETURN(const ConfigObject config, root.object("quantization_config"));
  ASSIGN_OR_RETURN(const std::string method, config.string("quant_method"));
  return read_quantization(config, method);
}

Result<QuantizationSpec> parse_quantize_config(const std::string& quantize_config_json) {
  ASSIGN_OR_RETURN(const nlohmann::json document, parse_config_json(quantize_config_json));
  const ConfigObject config(document, "");
  ASSIGN_OR_RETURN(const std::string method, config.string_or("quant_method", "gptq"));
  return read_quantization(config, method);
}

}  // namespace trireme::plan

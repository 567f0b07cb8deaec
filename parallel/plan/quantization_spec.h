// QuantizationSpec: what a config.json's `quantization_config` says about how the weights are
// stored.
//
// Pure data, read together with the ModelSpec. Unless weights are to stay low-bit it changes no
// size that a plan counts with: they are expanded when they are loaded
// (worker/weights/quantized_checkpoint.h). Which of a model's
// modules are stored quantised is known from the files' inventory; the list here is held against
// it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kernels/low_bit.h"

namespace trireme::plan {

// How the numbers of a quantised weight are laid out.
enum class QuantLayout : uint8_t {
  kNone,        // plain floats
  kScaled,      // one byte per weight times a scale per block, per output channel or per tensor
  kMxfp4,       // 4-bit floats in blocks of 32 that share a power of two (expert stacks)
  kAwq,         // 4-bit integers packed along the outputs, scale and zero point per group
  kGptq,        // integers packed along the inputs, scale and zero point per group
  kPackedInts,  // compressed-tensors "pack-quantized": integers packed along the inputs
};

enum class QuantElement : uint8_t { kE4M3, kInt8 };
enum class QuantScale : uint8_t { kTensor, kChannel, kBlock };

struct QuantizationSpec {
  QuantLayout layout = QuantLayout::kNone;
  std::string name;  // for people: "fp8, blocks of 128x128"

  QuantElement element = QuantElement::kE4M3;  // kScaled
  QuantScale scale = QuantScale::kTensor;      // kScaled
  std::string scale_suffix;                    // kScaled: "weight_scale" or "weight_scale_inv"
  int32_t block_rows = 0;                      // kScaled with kBlock
  int32_t block_columns = 0;
  int32_t bits = 0;                        // of the packed integers
  int32_t group_size = 0;                  // inputs that share a scale; 0: all of them
  bool symmetric = true;                   // kPackedInts: no zero points are stored
  bool zeros_minus_one = true;             // kGptq: zero points are stored less one
  std::vector<std::string> not_converted;  // modules that are said to be left alone

  bool enabled() const { return layout != QuantLayout::kNone; }

  // Is `module` ("model.layers.0.mlp.gate") one of `not_converted`? An entry names a module, a
  // leading or trailing run of a name's parts, or a pattern with '*'; "re:" entries are regular
  // expressions, of which those made of literals, '.', ".*" and anchors are understood. kUnknown:
  // only an entry that is not understood may cover it.
  enum class LeftAlone : uint8_t { kNo, kYes, kUnknown };
  LeftAlone left_alone(std::string_view module) const;
};

// Whether matrices in this form can stay codes (kernels/low_bit.h): e4m3, int8, MXFP4, packed
// integers of four bits, and of eight without zero points.
bool stays_low_bit(const QuantizationSpec& spec);
// Of such a form: the code, the inputs that share a scale (0: all of them), and whether zero points
// are stored.
kernels::LowBitCode low_bit_code(const QuantizationSpec& spec);
int64_t low_bit_group(const QuantizationSpec& spec);
bool has_low_bit_zeros(const QuantizationSpec& spec);

// From the text of a config.json, or of the quantize_config.json that older GPTQ folders have
// beside a config.json without the key. No `quantization_config`: layout kNone. unimplemented names
// a method or an option that is not read; invalid_argument names the key.
Result<QuantizationSpec> parse_quantization(const std::string& config_json);
Result<QuantizationSpec> parse_quantize_config(const std::string& quantize_config_json);

}  // namespace trireme::plan

// A short text that is equal for replicas that give identical tokens: same configuration, same
// weights, same plan, same arithmetic. A stream is resumed only between replicas with equal
// fingerprints.
#pragma once

#include <string>

#include "base/result.h"

namespace trireme::launch {

struct FingerprintInputs {
  std::string model_dir;        // or a GGUF file
  bool random_weights = false;  // then the weights follow from config.json
  std::string plan;             // "tp 2 x pp 2 (layers 4 + 4)"
  std::string compute_dtype;
  std::string kv_cache_dtype;     // "auto" or "fp8_e4m3"
  std::string quantized_weights;  // "expand" or "keep"
  std::string device;             // the ranks' backend and instruction set
};

// SHA-256 over config.json, every safetensors file's name, size and header (of GGUF: every part's
// name, size and beginning), and the rest of the inputs; 32 hex digits. The tensors' bytes are not
// read: two files that differ in them alone, with equal sizes and headers, are taken for equal.
Result<std::string> model_fingerprint(const FingerprintInputs& inputs);

}  // namespace trireme::launch

// A checkpoint whose weights are stored quantised, presented as the plain one that it stands for.
//
// Tensors come out under the names and in the shapes of the unquantised checkpoint, as f32; what is
// stored plain passes through. Packed parts (scales, zero points, indices) are used up, each in its
// place: a missing, surplus or misshapen one is an error that names it, and so is a module that
// config.json says is left alone and the files hold quantised, or the other way round. Scales of
// activations and of the KV cache are read past: both stay unquantised here.
#pragma once

#include <memory>

#include "base/result.h"
#include "parallel/plan/quantization_spec.h"
#include "worker/weights/checkpoint.h"
#include "worker/weights/weight_source.h"

namespace trireme::worker {

// Requires quantization.enabled().
Result<std::unique_ptr<WeightSource>> open_quantized_checkpoint(
    std::unique_ptr<Checkpoint> checkpoint, const plan::QuantizationSpec& quantization);

}  // namespace trireme::worker

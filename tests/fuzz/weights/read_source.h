// Reads a source as a loader would: corners and edges of every tensor that is small enough.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "worker/weights/weight_source.h"

namespace trireme::worker {

inline void read_everything(WeightSource& source) {
  constexpr int64_t kMaxElements = 1 << 16;
  int64_t budget = 1 << 20;
  const auto inventory = source.inventory();
  for (const SourceTensor& tensor : *inventory) {
    if (!tensor.dtype.has_value() || tensor.shape.empty()) continue;
    int64_t rows = 1;
    for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) rows *= tensor.shape[i];
    int64_t columns = tensor.shape.back();
    if (tensor.shape.size() == 1) std::swap(rows, columns);
    const auto read = [&](plan::Range r, plan::Range c) {
      const int64_t n = r.size() * c.size();
      if (n <= 0 || n > kMaxElements || n > budget) return;
      budget -= n;
      std::vector<char> out(static_cast<size_t>(n) * size_of(source.dtype(tensor.name)));
      const Status status = source.read({tensor.name, tensor.shape, r, c}, out.data());
      (void)status;  // an error is an answer too
    };
    if (rows < 1 || columns < 1) continue;
    // As codes, where it has them: all inputs of one output.
    plan::TensorSlice last{tensor.name, tensor.shape, {rows - 1, rows}, {0, columns}};
    const LowBitForm* form = source.low_bit_form(last);
    if (form != nullptr && form->in_features <= kMaxElements && form->in_features <= budget) {
      if (form->transposed) {
        last.rows = {rows - form->in_features, rows};
        last.columns = {columns - 1, columns};
      }
      budget -= form->in_features;
      const auto n = static_cast<size_t>(form->in_features);
      std::vector<uint32_t> codes(n / 4 + 1);
      std::vector<float> scales(n);
      std::vector<uint8_t> zeros(n);
      const Status status = source.read_low_bit(
          last, {reinterpret_cast<uint8_t*>(codes.data()), scales.data(), zeros.data()});
      (void)status;
    }
    read({0, std::min<int64_t>(rows, 3)}, {0, std::min<int64_t>(columns, 300)});
    read({rows - 1, rows}, {std::max<int64_t>(columns - 300, 0), columns});
    read({rows / 2, std::min(rows, rows / 2 + 2)}, {columns / 2, columns / 2 + 1});
  }
}

}  // namespace trireme::worker

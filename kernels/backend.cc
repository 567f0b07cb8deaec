#include "kernels/backend.h"

namespace trireme::kernels {

std::string_view to_string(ComputeDType dtype) {
  switch (dtype) {
    case ComputeDType::kBF16:
      return "bf16";
    case ComputeDType::kF32:
      return "f32";
  }
  return "?";
}

}  // namespace trireme::kernels

// Activations, plain and gated, and the elementwise scales.
#include "kernels/cuda/cuda_ops.h"
#include "kernels/cuda/elementwise.h"
#include "kernels/cuda/vectors.h"

namespace trireme::kernels::cuda {
namespace {

__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

template <Activation kWhich>
__device__ __forceinline__ float activate(float x) {
  if constexpr (kWhich == Activation::kSilu) {
    return x / (1.0f + expf(-x));
  } else if constexpr (kWhich == Activation::kGelu) {
    return 0.5f * x * (1.0f + erff(x * 0.70710678f));
  } else {
    return 0.5f * x * (1.0f + tanhf(0.79788456f * (x + 0.044715f * x * x * x)));
  }
}

struct ActivationParams {
  const float* x;  // or gate, then up
  int64_t x_stride;
  void* out;
  int64_t out_stride;
  int64_t n_rows;
  int64_t width;
  float alpha;
  float limit;
};

template <Activation kWhich, typename Out, int kCount>
__global__ void activation_kernel(ActivationParams p) {
  each_element(p.n_rows, p.width / kCount, [&](int64_t i, int64_t j) {
    const auto x = load_vector<kCount>(p.x + i * p.x_stride + j * kCount);
    Vector<Out, kCount> out;
    for (int c = 0; c < kCount; ++c) out.at[c] = device_from_f32<Out>(activate<kWhich>(x.at[c]));
    store_vector(static_cast<Out*>(p.out) + i * p.out_stride + j * kCount, out);
  });
}

template <Activation kWhich, typename Out, int kCount>
__global__ void gated_kernel(ActivationParams p) {
  each_element(p.n_rows, p.width / kCount, [&](int64_t i, int64_t j) {
    const float* row = p.x + i * p.x_stride + j * kCount;
    const auto gate = load_vector<kCount>(row);
    const auto up = load_vector<kCount>(row + p.width);
    Vector<Out, kCount> out;
    for (int c = 0; c < kCount; ++c) {
      out.at[c] = device_from_f32<Out>(activate<kWhich>(gate.at[c]) * up.at[c]);
    }
    store_vector(static_cast<Out*>(p.out) + i * p.out_stride + j * kCount, out);
  });
}

template <typename Out>
__global__ void clamped_swiglu_kernel(ActivationParams p) {
  each_element(p.n_rows, p.width, [&](int64_t i, int64_t j) {
    const float* row = p.x + i * p.x_stride + j;
    const float gate = fminf(row[0], p.limit);
    const float up = fminf(fmaxf(row[p.width], -p.limit), p.limit);
    static_cast<Out*>(p.out)[i * p.out_stride + j] =
        device_from_f32<Out>((up + 1.0f) * gate * sigmoid(p.alpha * gate));
  });
}

struct ScaleParams {
  float* x;
  int64_t x_stride;
  int64_t n_rows;
  int64_t width;
  float factor;
  const float* gate;  // [n_rows, 1]
  int64_t gate_stride;
  const int32_t* positions;
  float floor_scale;
};

__global__ void scale_kernel(ScaleParams p) {
  each_element(p.n_rows, p.width,
               [&](int64_t i, int64_t j) { p.x[i * p.x_stride + j] *= p.factor; });
}

__global__ void softcap_kernel(ScaleParams p) {
  each_element(p.n_rows, p.width, [&](int64_t i, int64_t j) {
    float& x = p.x[i * p.x_stride + j];
    x = p.factor * tanhf(x / p.factor);
  });
}

__global__ void sigmoid_scale_kernel(ScaleParams p) {
  each_element(p.n_rows, p.width, [&](int64_t i, int64_t j) {
    p.x[i * p.x_stride + j] *= sigmoid(p.gate[i * p.gate_stride]);
  });
}

__global__ void position_scale_kernel(ScaleParams p) {
  each_element(p.n_rows, p.width, [&](int64_t i, int64_t j) {
    const auto position = static_cast<float>(p.positions[i]);
    p.x[i * p.x_stride + j] *= 1.0f + p.factor * log1pf(floorf((position + 1.0f) / p.floor_scale));
  });
}

using ActivationKernel = void (*)(ActivationParams);

template <Activation kWhich, bool kGated>
ActivationKernel kernel_for(bool as_bf16, bool vectors) {
  if constexpr (kGated) {
    if (as_bf16) return vectors ? gated_kernel<kWhich, bf16, 4> : gated_kernel<kWhich, bf16, 1>;
    return vectors ? gated_kernel<kWhich, float, 4> : gated_kernel<kWhich, float, 1>;
  } else {
    if (as_bf16) {
      return vectors ? activation_kernel<kWhich, bf16, 4> : activation_kernel<kWhich, bf16, 1>;
    }
    return vectors ? activation_kernel<kWhich, float, 4> : activation_kernel<kWhich, float, 1>;
  }
}

template <bool kGated>
ActivationKernel kernel_for(Activation which, bool as_bf16, bool vectors) {
  switch (which) {
    case Activation::kSilu:
      return kernel_for<Activation::kSilu, kGated>(as_bf16, vectors);
    case Activation::kGelu:
      return kernel_for<Activation::kGelu, kGated>(as_bf16, vectors);
    case Activation::kGeluTanh:
      return kernel_for<Activation::kGeluTanh, kGated>(as_bf16, vectors);
  }
  CHECK(false) << "no such activation";
  return nullptr;
}

ActivationParams params_of(const TensorView& x, const TensorView& out) {
  return {.x = x.as<float>(),
          .x_stride = x.row_stride,
          .out = out.data,
          .out_stride = out.row_stride,
          .n_rows = out.dim(0),
          .width = out.dim(1)};
}

ScaleParams params_of(const TensorView& x) {
  return {.x = x.as<float>(), .x_stride = x.row_stride, .n_rows = x.dim(0), .width = x.row_numel()};
}

// Vectors need whole ones in `out`'s width, where the second half of a gated row begins.
bool vectors_for(const TensorView& x, const TensorView& out) {
  return takes_vectors(x) && takes_vectors(out);
}

LaunchShape shape_for(const ActivationParams& params, bool vectors) {
  return elementwise_shape(params.n_rows, vectors ? params.width / 4 : params.width);
}

}  // namespace

void activation(const ActivationArgs& args, const Launcher& launcher) {
  const ActivationParams params = params_of(args.x, args.out);
  const bool vectors = vectors_for(args.x, args.out);
  launch(kernel_for<false>(args.activation, args.out.dtype == DType::kBF16, vectors), "activation",
         shape_for(params, vectors), launcher, params);
}

void gated_activation(const GatedActivationArgs& args, const Launcher& launcher) {
  const ActivationParams params = params_of(args.gate_up, args.out);
  const bool vectors = vectors_for(args.gate_up, args.out);
  launch(kernel_for<true>(args.activation, args.out.dtype == DType::kBF16, vectors),
         "gated_activation", shape_for(params, vectors), launcher, params);
}

void clamped_swiglu(const ClampedSwigluArgs& args, const Launcher& launcher) {
  ActivationParams params = params_of(args.gate_up, args.out);
  params.alpha = args.alpha;
  params.limit = args.limit;
  launch(
      args.out.dtype == DType::kBF16 ? clamped_swiglu_kernel<bf16> : clamped_swiglu_kernel<float>,
      "clamped_swiglu", shape_for(params, false), launcher, params);
}

void scale(const ScaleArgs& args, const Launcher& launcher) {
  ScaleParams params = params_of(args.x);
  params.factor = args.factor;
  launch(scale_kernel, "scale", elementwise_shape(params.n_rows, params.width), launcher, params);
}

void softcap(const SoftcapArgs& args, const Launcher& launcher) {
  ScaleParams params = params_of(args.x);
  params.factor = args.cap;
  launch(softcap_kernel, "softcap", elementwise_shape(params.n_rows, params.width), launcher,
         params);
}

void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args, const Launcher& launcher) {
  ScaleParams params = params_of(args.x);
  params.gate = args.gate.as<float>();
  params.gate_stride = args.gate.row_stride;
  launch(sigmoid_scale_kernel, "sigmoid_scale_rows", elementwise_shape(params.n_rows, params.width),
         launcher, params);
}

void position_scale(const PositionScaleArgs& args, const Launcher& launcher) {
  ScaleParams params = params_of(args.x);
  params.positions = args.positions.as<int32_t>();
  params.floor_scale = args.floor_scale;
  params.factor = args.attn_scale;
  launch(position_scale_kernel, "position_scale", elementwise_shape(params.n_rows, params.width),
         launcher, params);
}

}  // namespace trireme::kernels::cuda

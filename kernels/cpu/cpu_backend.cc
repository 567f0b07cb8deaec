#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "kernels/cpu/isa_kernels.h"
#include "kernels/cpu/isa_select.h"
#include "kernels/cpu/linear.h"
#include "kernels/cpu/low_bit_weight.h"
#include "kernels/cpu/moe.h"
#include "kernels/cpu/packed_weight.h"
#include "kernels/cpu/paged_attention.h"
#include "kernels/cpu/rope_table.h"
#include "kernels/cpu/thread_pool.h"
#include "kernels/host_backend.h"
#include "kernels/reference/reference_ops.h"
#include "kernels/shape_match.h"

namespace trireme::kernels {
namespace {

using cpu::IsaKernels;

constexpr int kMaxThreads = 1024;
// Elements of an op from which on a second thread pays for being woken.
constexpr int64_t kElementsWorthThreads = 32768;

char* row_of(const TensorView& view, int64_t i) {
  return static_cast<char*>(view.data) +
         i * view.row_stride * static_cast<int64_t>(size_of(view.dtype));
}

class CpuBackend final : public HostBackend {
 public:
  CpuBackend(const IsaKernels& isa, ComputeDType compute_dtype, int n_threads)
      : isa_(isa),
        compute_dtype_(compute_dtype),
        pool_(n_threads),
        linear_(isa_, compute_dtype, &pool_),
        attention_(isa_, &pool_),
        router_(isa_, &pool_) {}

  std::string_view name() const override { return "cpu"; }
  std::string description() const override {
    return "cpu " + std::string(isa_.name) + ", " + std::to_string(pool_.n_threads()) +
           (pool_.n_threads() == 1 ? " thread, " : " threads, ") +
           std::string(to_string(compute_dtype_));
  }
  ComputeDType compute_dtype() const override { return compute_dtype_; }

  Result<std::unique_ptr<PackedWeight>> pack_weight(const TensorView& host_weight) override {
    return cpu::pack_weight(host_weight, compute_dtype_, isa_, &pool_);
  }
  Result<std::unique_ptr<PackedWeight>> pack_low_bit(const LowBitMatrix& host_weight) override {
    return cpu::pack_low_bit(host_weight, isa_, &pool_);
  }

  void embedding(const EmbeddingArgs& args, Stream) override {
    check_shapes(args);
    const int64_t hidden = args.out.dim(1);
    const int32_t* ids = args.ids.as<int32_t>();
    each_row(args.out.dim(0), hidden, [&](int64_t i) {
      const int64_t row = int64_t{ids[i]} - args.first_id;
      if (row >= 0 && row < args.table.dim(0)) {
        isa_.to_f32(row_of(args.table, row), args.table.dtype, hidden, args.out.row<float>(i));
      } else {
        std::fill_n(args.out.row<float>(i), hidden, 0.0f);
      }
    });
  }

  void rms_norm(const RmsNormArgs& args, Stream) override {
    check_shapes(args);
    each_row(args.x.dim(0), args.x.dim(1), [&](int64_t i) {
      isa_.rms_norm(args.x.row<float>(i), nullptr, 1, args.weight.as<float>(), args.eps,
                    args.x.dim(1), args.out.dtype, row_of(args.out, i));
    });
  }

  void add_rms_norm(const AddRmsNormArgs& args, Stream) override {
    check_shapes(args);
    each_row(args.residual.dim(0), args.residual.dim(1), [&](int64_t i) {
      isa_.rms_norm(args.residual.row<float>(i), args.delta.row<float>(i), args.delta_scale,
                    args.weight.as<float>(), args.eps, args.residual.dim(1), args.out.dtype,
                    row_of(args.out, i));
    });
  }

  void add(const AddArgs& args, Stream) override {
    check_shapes(args);
    each_row(args.x.dim(0), args.x.dim(1), [&](int64_t i) {
      isa_.add(args.x.row<float>(i), args.scale, args.x.dim(1), args.y.row<float>(i));
    });
  }

  void linear(const LinearArgs& args, Stream) override {
    check_shapes(args);
    linear_.run(args);
  }

  void layer_norm(const LayerNormArgs& args, Stream) override {
    check_shapes(args);
    const float* bias = args.bias.defined() ? args.bias.as<float>() : nullptr;
    each_row(args.x.dim(0), args.x.dim(1), [&](int64_t i) {
      isa_.layer_norm(args.x.row<float>(i), args.weight.as<float>(), bias, args.eps, args.x.dim(1),
                      args.out.dtype, row_of(args.out, i));
    });
  }

  void head_rms_norm(const HeadRmsNormArgs& args, Stream) override {
    check_shapes(args);
    each_head(args.x, args.weight, [&](float* x, const float* weight, int64_t n) {
      isa_.rms_norm(x, nullptr, 1, weight, args.eps, n, DType::kF32, x);
    });
  }

  void head_layer_norm(const HeadLayerNormArgs& args, Stream) override {
    check_shapes(args);
    each_head(args.x, args.weight, [&](float* x, const float* weight, int64_t n) {
      isa_.layer_norm(x, weight, nullptr, args.eps, n, DType::kF32, x);
    });
  }

  void row_sum_squares(const RowSumSquaresArgs& args, Stream) override {
    check_shapes(args);
    each_row(args.x.dim(0), args.x.dim(1), [&](int64_t i) {
      *args.out.row<float>(i) = isa_.sum_squares(args.x.row<float>(i), args.x.dim(1));
    });
  }

  void rms_norm_rows(const RmsNormRowsArgs& args, Stream) override {
    check_shapes(args);
    const auto width = static_cast<float>(args.total_width);
    each_row(args.x.dim(0), args.x.dim(1), [&](int64_t i) {
      const float inv_rms = 1.0f / std::sqrt(*args.sum_squares.row<float>(i) / width + args.eps);
      scale_row(args.x, i, inv_rms, args.weight.as<float>());
    });
  }

  void scale(const ScaleArgs& args, Stream) override {
    check_shapes(args);
    each_row(args.x.dim(0), args.x.dim(1), [&](int64_t i) { scale_row(args.x, i, args.factor); });
  }

  void softcap(const SoftcapArgs& args, Stream) override {
    check_shapes(args);
    each_row(args.x.dim(0), 4 * args.x.dim(1),
             [&](int64_t i) { isa_.softcap(args.x.row<float>(i), args.cap, args.x.dim(1)); });
  }

  void sigmoid_scale_rows(const SigmoidScaleRowsArgs& args, Stream) override {
    check_shapes(args);
    each_row(args.x.dim(0), args.x.dim(1), [&](int64_t i) {
      scale_row(args.x, i, 1.0f / (1.0f + std::exp(-*args.gate.row<float>(i))));
    });
  }

  void position_scale(const PositionScaleArgs& args, Stream) override {
    check_shapes(args);
    const int32_t* positions = args.positions.as<int32_t>();
    each_row(args.x.dim(0), args.x.row_numel(), [&](int64_t i) {
      const float step = std::floor((static_cast<float>(positions[i]) + 1.0f) / args.floor_scale);
      scale_row(args.x, i, 1.0f + args.attn_scale * std::log1p(step));
    });
  }

  void activation(const ActivationArgs& args, Stream) override {
    check_shapes(args);
    const int64_t width = args.out.dim(1);
    each_row(args.out.dim(0), 4 * width, [&](int64_t i) {
      isa_.activate(args.x.row<float>(i), nullptr, args.activation, width, args.out.dtype,
                    row_of(args.out, i));
    });
  }

  void gated_activation(const GatedActivationArgs& args, Stream) override {
    check_shapes(args);
    const int64_t width = args.out.dim(1);
    each_row(args.out.dim(0), 4 * width, [&](int64_t i) {
      const float* gate = args.gate_up.row<float>(i);
      isa_.activate(gate, gate + width, args.activation, width, args.out.dtype,
                    row_of(args.out, i));
    });
  }

  void clamped_swiglu(const ClampedSwigluArgs& args, Stream) override {
    check_shapes(args);
    const int64_t width = args.out.dim(1);
    each_row(args.out.dim(0), 4 * width, [&](int64_t i) {
      const float* gate = args.gate_up.row<float>(i);
      isa_.clamped_swiglu(gate, gate + width, args.alpha, args.limit, width, args.out.dtype,
                          row_of(args.out, i));
    });
  }

  void rope(const RopeArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    const cpu::RopeTable& table = rope_tables_.get(args, &pool_);
    const int64_t n_pairs = args.inv_freq.dim(args.inv_freq.rank - 1);
    const auto rotate = [&](const TensorView& heads, int64_t t) {
      if (!heads.defined()) return;
      if (args.layout == RopeLayout::kHalfSplit) {
        isa_.rope(heads.row<float>(t), heads.dim(1), heads.dim(2), n_pairs, table.cos(t),
                  table.sin(t));
      } else {
        isa_.rope_interleaved(heads.row<float>(t), heads.dim(1), heads.dim(2), 2 * n_pairs,
                              table.cos(t), table.sin(t));
      }
    };
    const int64_t q_width = args.q.defined() ? args.q.row_numel() : 0;
    const int64_t k_width = args.k.defined() ? args.k.row_numel() : 0;
    each_row(args.positions.dim(0), q_width + k_width, [&](int64_t t) {
      rotate(args.q, t);
      rotate(args.k, t);
    });
  }

  void kv_append(const KvAppendArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    const int64_t head_dim = args.k.dim(2);
    const int64_t block_size = args.k_cache.dim(2);
    const DType dtype = args.k_cache.dtype;
    const auto size = static_cast<int64_t>(size_of(dtype));
    const float k_factor = 1 / args.k_scale;
    const float v_factor = 1 / args.v_scale;
    each_row(args.k.dim(0), 2 * args.k.row_numel(), [&](int64_t t) {
      const int64_t slot = args.slots.as<int64_t>()[t];
      for (int64_t h = 0; h < args.k.dim(1); ++h) {
        const int64_t offset = (h * block_size + slot % block_size) * head_dim * size;
        isa_.convert_scaled(args.k.row<float>(t) + h * head_dim, DType::kF32, k_factor, head_dim,
                            dtype, row_of(args.k_cache, slot / block_size) + offset);
        isa_.convert_scaled(args.v.row<float>(t) + h * head_dim, DType::kF32, v_factor, head_dim,
                            dtype, row_of(args.v_cache, slot / block_size) + offset);
      }
    });
  }

  void paged_attention(const PagedAttentionArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    attention_.run(args);
  }

  void latent_append(const LatentAppendArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    const int64_t rank = args.latent.dim(1);
    const int64_t block_size = args.cache.dim(1);
    const DType dtype = args.cache.dtype;
    const auto size = static_cast<int64_t>(size_of(dtype));
    const float factor = 1 / args.cache_scale;
    each_row(args.slots.dim(0), args.cache.dim(2), [&](int64_t t) {
      const int64_t slot = args.slots.as<int64_t>()[t];
      char* to =
          row_of(args.cache, slot / block_size) + slot % block_size * args.cache.dim(2) * size;
      isa_.convert_scaled(args.latent.row<float>(t), DType::kF32, factor, rank, dtype, to);
      isa_.convert_scaled(args.rope_key.row<float>(t), DType::kF32, factor, args.rope_key.dim(1),
                          dtype, to + rank * size);
    });
  }

  void latent_attention(const LatentAttentionArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    attention_.run(args);
  }

  void moe_route(const MoeRouteArgs& args, Stream) override {
    check_shapes(args);
    router_.run(args);
  }

  void moe_dispatch(const MoeDispatchArgs& args, Stream) override {
    check_shapes(args);
    cpu::moe_dispatch(args);
  }

  // By tokens, each of which knows the rows of its choices.
  void moe_gather(const MoeGatherArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    const int64_t hidden = args.x.dim(1);
    const int64_t top_k = args.row_of_choice.dim(1);
    each_row(args.x.dim(0), top_k * hidden, [&](int64_t t) {
      const int32_t* rows = args.row_of_choice.row<int32_t>(t);
      for (int64_t c = 0; c < top_k; ++c) {
        if (rows[c] < 0) continue;
        const float weight = args.weights.defined() ? args.weights.row<float>(t)[c] : 1;
        isa_.convert_scaled(row_of(args.x, t), args.x.dtype, weight, hidden, args.out.dtype,
                            row_of(args.out, rows[c]));
      }
    });
  }

  void grouped_linear(const GroupedLinearArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    linear_.run(args);
  }

  void moe_combine(const MoeCombineArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    const int64_t hidden = args.out.dim(1);
    const int64_t top_k = args.row_of_choice.dim(1);
    each_row(args.out.dim(0), top_k * hidden, [&](int64_t t) {
      float* out = args.out.row<float>(t);
      std::fill_n(out, hidden, 0.0f);
      for (int64_t c = 0; c < top_k; ++c) {
        const int32_t row = args.row_of_choice.row<int32_t>(t)[c];
        if (row < 0) continue;
        const float weight = args.weights.defined() ? args.weights.row<float>(t)[c] : 1;
        isa_.add(args.y.row<float>(row), weight, hidden, out);
      }
    });
  }

  void gather_rows(const GatherRowsArgs& args, Stream) override {
    check_shapes(args);
    check_contents(args);
    const auto bytes = static_cast<size_t>(args.x.dim(1)) * sizeof(float);
    for (int64_t i = 0; i < args.rows.dim(0); ++i) {
      std::memcpy(args.out.row<float>(i), args.x.row<float>(args.rows.as<int32_t>()[i]), bytes);
    }
  }

  void row_max_log_sum_exp(const RowMaxLogSumExpArgs& args, Stream) override {
    check_shapes(args);
    if (args.rows.defined() || args.inverse_temperature.defined()) {
      check_contents(args);
      reference::row_max_log_sum_exp(args);
      return;
    }
    each_row(args.x.dim(0), 2 * args.x.dim(1), [&](int64_t i) {
      isa_.max_sum_exp(args.x.row<float>(i), args.x.dim(1), args.max.as<float>() + i,
                       args.sum_exp.as<float>() + i);
    });
  }

 private:
  // Rows are independent: whole rows go to threads, and small ops stay on the calling one.
  template <typename Function>
  void each_row(int64_t n_rows, int64_t elements_per_row, Function&& function) {
    pool_.split(n_rows, n_rows * elements_per_row >= kElementsWorthThreads,
                [&](int64_t begin, int64_t end, int /*thread*/) {
                  for (int64_t i = begin; i < end; ++i) function(i);
                });
  }

  // function(head's channels, its weights or null, their number) for each head of each row.
  template <typename Function>
  void each_head(const TensorView& x, const TensorView& weight, Function&& function) {
    const int64_t head_dim = x.dim(2);
    const float* weights = weight.defined() ? weight.as<float>() : nullptr;
    const int64_t weight_stride = weight.defined() && weight.rank == 2 ? head_dim : 0;
    each_row(x.dim(0), x.row_numel(), [&](int64_t t) {
      for (int64_t h = 0; h < x.dim(1); ++h) {
        function(x.row<float>(t) + h * head_dim,
                 weights == nullptr ? nullptr : weights + h * weight_stride, head_dim);
      }
    });
  }

  void scale_row(const TensorView& x, int64_t i, float factor, const float* weight = nullptr) {
    float* row = x.row<float>(i);
    isa_.scale(row, factor, weight, x.row_numel(), DType::kF32, row);
  }

  const IsaKernels isa_;
  const ComputeDType compute_dtype_;
  cpu::ThreadPool pool_;
  cpu::Linear linear_;
  cpu::PagedAttention attention_;
  cpu::MoeRouter router_;
  cpu::RopeTables rope_tables_;
};

}  // namespace

Result<std::unique_ptr<Backend>> make_cpu_backend(const CpuOptions& options) {
  if (options.n_threads < 0 || options.n_threads > kMaxThreads) {
    return invalid_argument("the cpu backend runs on 1 to " + std::to_string(kMaxThreads) +
                            " threads, not " + std::to_string(options.n_threads));
  }
  ASSIGN_OR_RETURN(const IsaKernels isa, cpu::select_kernels(options.max_isa));
  const int n_threads =
      options.n_threads > 0 ? options.n_threads : std::min(cpu::available_cores(), kMaxThreads);
  return std::unique_ptr<Backend>(
      std::make_unique<CpuBackend>(isa, options.compute_dtype, n_threads));
}

}  // namespace trireme::kernels

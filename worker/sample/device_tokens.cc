#include "worker/sample/device_tokens.h"

#include <span>

#include "base/check.h"

namespace trireme::worker {
namespace {

constexpr int64_t kEntryBytes = 4;  // of an id, a score, a value, a sum

}  // namespace

Result<std::unique_ptr<DeviceTokens>> DeviceTokens::create(kernels::Backend& backend,
                                                           DeviceScan& scan, comm::Group& tp,
                                                           int64_t max_rows) {
  std::unique_ptr<DeviceTokens> tokens(new DeviceTokens(backend, scan, tp));
  ASSIGN_OR_RETURN(tokens->tokens_, allocate_tensor(backend, DType::kI32, {max_rows}));
  if (tp.size() > 1) {
    ASSIGN_OR_RETURN(
        tokens->gathered_,
        allocate_tensor(backend, DType::kU8, {tp.size() * DeviceScan::max_found_bytes()}));
  }
  return tokens;
}

TensorView DeviceTokens::of_ranks(int64_t rank_bytes, int64_t at, DType dtype,
                                  int64_t columns) const {
  const TensorView all = tp_.size() > 1 ? gathered_.view : scan_.found();
  TensorView view(static_cast<char*>(all.data) + at, dtype, {tp_.size(), columns});
  view.row_stride = rank_bytes / kEntryBytes;
  return view;
}

Status DeviceTokens::tell(const DeviceScan::Round& round, const std::vector<Best>& best,
                          const std::optional<Drawn>& drawn, StepContext& context) {
  CHECK(round.is_whole());
  const int64_t bytes = round.n_found_bytes();
  if (tp_.size() > 1 && bytes > 0) {
    const TensorView mine(scan_.found().data, DType::kU8, {bytes});
    const TensorView all(gathered_.view.data, DType::kU8, {tp_.size() * bytes});
    TRY(tp_.all_gather_enqueued(mine, all, context.begin("sampled tokens all_gather")));
  }
  for (const Best& of : best) {
    const DeviceScan::Answer& answer = round.answer(of.question);
    const auto n = static_cast<int64_t>(of.rows->size());
    const int64_t third = n * answer.k * kEntryBytes;
    backend_.best_tokens({.ids = of_ranks(bytes, answer.at, DType::kI32, n * answer.k),
                          .scores = of_ranks(bytes, answer.at + third, DType::kF32, n * answer.k),
                          .rows = scan_.upload(std::span<const int32_t>(of.rows->rows), context),
                          .tokens = tokens_.view},
                         context.stream);
  }
  if (drawn.has_value()) draw(round, *drawn, context);
  return {};
}

void DeviceTokens::draw(const DeviceScan::Round& round, const Drawn& drawn, StepContext& context) {
  const int64_t bytes = round.n_found_bytes();
  const DeviceScan::Answer& answer = round.answer(drawn.question);
  const auto n = static_cast<int64_t>(drawn.rows->size());
  const int64_t third = n * answer.k * kEntryBytes;
  std::vector<float> inverse_temperature;
  std::vector<int32_t> top_k;
  std::vector<float> top_p;
  std::vector<float> min_p;
  for (const step::SamplingParams* params : drawn.params) {
    inverse_temperature.push_back(1 / params->temperature);
    top_k.push_back(params->top_k);
    top_p.push_back(params->top_p);
    min_p.push_back(params->min_p);
  }
  kernels::DrawTokensArgs args{
      .ids = of_ranks(bytes, answer.at, DType::kI32, n * answer.k),
      .values = of_ranks(bytes, answer.at + 2 * third, DType::kF32, n * answer.k),
      .inverse_temperature = scan_.upload(std::span<const float>(inverse_temperature), context),
      .keys = scan_.upload(std::span<const int64_t>(drawn.keys), context),
      .top_k = scan_.upload(std::span<const int32_t>(top_k), context),
      .top_p = scan_.upload(std::span<const float>(top_p), context),
      .min_p = scan_.upload(std::span<const float>(min_p), context),
      .rows = scan_.upload(std::span<const int32_t>(drawn.rows->rows), context),
      .tokens = tokens_.view};
  if (drawn.sums.has_value()) {
    args.sum_exp = of_ranks(bytes, round.answer(*drawn.sums).at, DType::kF32, n);
  }
  backend_.draw_tokens(args, context.stream);
}

}  // namespace trireme::worker

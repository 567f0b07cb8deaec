// Whole models from every storage form, through the real worker: logits, greedy paths and top five.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "parallel/plan/model_spec.h"
#include "tests/unit/weights/format_goldens.h"
#include "tests/unit/worker/test_replica.h"
#include "text/model_text.h"

namespace trireme::worker {
namespace {

constexpr int kGreedySteps = 32;
constexpr float kTolerance = 1e-3f;
// Tokens whose logits are so close may change places among the best five: the last bits of float32.
// One pair of gemma_q4_k_m does.
constexpr float kTie = 1e-5f;

struct Layout {
  const char* name;
  int tp;
  int pp;
  plan::ExpertCut experts = plan::ExpertCut::kExpert;
};
constexpr Layout kLayouts[] = {{"tp1", 1, 1}, {"tp2", 2, 1}, {"pp2", 1, 2}, {"tp2_pp2", 2, 2}};
// Of experts, slices whose inputs are whole blocks of MXFP4 here, and others.
constexpr Layout kSliced[] = {{"tp2_sliced", 2, 1, plan::ExpertCut::kTensor},
                              {"tp4_sliced", 4, 1, plan::ExpertCut::kTensor}};

bool plan_fits(const plan::ModelSpec& spec, const Layout& layout) {
  return plan::make_parallel_plan(spec,
                                  {.tp = layout.tp, .pp = layout.pp, .experts = layout.experts})
      .ok();
}

class FormatGoldens : public testing::TestWithParam<std::string> {};

void compare(const FormatPrompt& want, const Generated& got, int64_t vocab) {
  ASSERT_EQ(got.logits.size(), static_cast<size_t>(want.n_logits) + kGreedySteps - 1);
  float worst = 0;
  for (int64_t row = 0; row < want.n_logits; ++row) {
    for (int64_t token = 0; token < vocab; ++token) {
      const float logit = got.logits[static_cast<size_t>(row)][static_cast<size_t>(token)];
      worst =
          std::max(worst, std::abs(logit - want.logits[static_cast<size_t>(row * vocab + token)]));
    }
  }
  EXPECT_LT(worst, kTolerance);
  EXPECT_EQ(got.tokens, want.greedy);
  for (size_t step = 0; step < kGreedySteps; ++step) {
    const std::vector<float>& row = got.logits[static_cast<size_t>(want.n_logits) - 1 + step];
    ASSERT_EQ(got.logprobs[step].top.size(), 5u);
    for (size_t place = 0; place < 5; ++place) {
      const auto token = static_cast<size_t>(got.logprobs[step].top[place].token);
      const auto wanted = static_cast<size_t>(want.greedy_top5[step * 5 + place]);
      EXPECT_TRUE(token == wanted || std::abs(row[token] - row[wanted]) < kTie)
          << "place " << place << " of step " << step << ": token " << token << " (" << row[token]
          << ") instead of " << wanted << " (" << row[wanted] << ")";
    }
  }
}

// The weight bytes of all ranks.
int64_t run_layout(const FormatGolden& golden, const Layout& layout, bool keep_low_bit = false) {
  SCOPED_TRACE(layout.name);
  TestReplica replica({.model_dir = golden.dir,
                       .tp = layout.tp,
                       .pp = layout.pp,
                       .experts = layout.experts,
                       .keep_low_bit = keep_low_bit});
  std::vector<TestSequence> sequences;
  for (const FormatPrompt& prompt : golden.prompts) {
    TestSequence sequence;
    sequence.prompt = prompt.ids;
    sequence.sampling = greedy_sampling();
    sequence.sampling.n_logprobs = 5;
    sequence.n_new = kGreedySteps;
    sequence.prompt_logprobs = prompt.n_logits > 1;
    sequences.push_back(sequence);
  }
  const std::vector<Generated> results = generate(replica, sequences);
  for (size_t i = 0; i < results.size(); ++i) {
    SCOPED_TRACE("prompt " + std::to_string(i));
    compare(golden.prompts[i], results[i], golden.vocab);
  }
  int64_t weight_bytes = 0;
  for (const step::RankReady& rank : replica.ready()) weight_bytes += rank.weight_bytes;
  return weight_bytes;
}

// tp1 and one sharded plan, which varies with the golden; all plans with TRIREME_TEST_ALL=1.
TEST_P(FormatGoldens, LogitsGreedyAndTopFive) {
  const FormatGolden golden = load_format_golden(GetParam());
  const auto spec = plan::load_model_spec(golden.dir);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  const char* all = std::getenv("TRIREME_TEST_ALL");
  const bool every = all != nullptr && std::string(all) == "1";
  run_layout(golden, kLayouts[0]);
  const size_t n = std::size(kLayouts);
  const size_t first = 1 + std::hash<std::string>()(golden.name) % (n - 1);
  for (size_t k = 0; k + 1 < n; ++k) {
    const Layout& layout = kLayouts[1 + (first - 1 + k) % (n - 1)];
    if (!plan_fits(*spec, layout)) continue;
    run_layout(golden, layout);
    if (!every) break;
  }
}

// The same with weights that stay the codes that they are stored as, of the goldens that can.
class LowBitGoldens : public testing::TestWithParam<std::string> {};

TEST_P(LowBitGoldens, LogitsGreedyAndTopFive) {
  const FormatGolden golden = load_format_golden(GetParam());
  const auto spec = plan::load_model_spec(golden.dir);
  ASSERT_TRUE(spec.ok()) << spec.error().message;
  const int64_t expanded = run_layout(golden, kLayouts[0]);
  const int64_t kept = run_layout(golden, kLayouts[0], true);
  // In this golden q, k and v, like gate and up, have orders of their own: those stacks are
  // expanded.
  const bool stays_whole = !golden.name.ends_with("actorder");
  EXPECT_LT(kept, stays_whole ? expanded * 2 / 3 : expanded * 9 / 10);
  for (size_t i = 1; i < std::size(kLayouts); ++i) {
    if (plan_fits(*spec, kLayouts[i])) run_layout(golden, kLayouts[i], true);
  }
  for (const Layout& layout : kSliced) {
    if (spec->moe && plan_fits(*spec, layout)) run_layout(golden, layout, true);
  }
}

std::string test_name(const testing::TestParamInfo<std::string>& test) {
  std::string name = test.param;
  std::replace(name.begin(), name.end(), '/', '_');
  return name;
}

std::vector<std::string> low_bit_names() {
  std::vector<std::string> names = format_golden_names();
  std::erase_if(names, [](const std::string& name) {
    const auto spec = plan::load_model_spec(format_golden_dir(name));
    return spec.ok() && !plan::stays_low_bit(spec->quantization);
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(Sample, FormatGoldens, testing::ValuesIn(format_golden_names()),
                         test_name);
// A checkout alone has no such golden: then SaysWhatWasLeftOut speaks.
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(LowBitGoldens);
INSTANTIATE_TEST_SUITE_P(Sample, LowBitGoldens, testing::ValuesIn(low_bit_names()), test_name);

TEST(FormatGoldensAll, SaysWhatWasLeftOut) {
  const std::string note = left_out();
  if (!note.empty()) GTEST_SKIP() << note;
}

nlohmann::json golden_info(const std::string& name) {
  std::ifstream stream(format_golden_dir(name) + "/golden.json");
  return nlohmann::json::parse(stream);
}

// The tokenizer that a GGUF file carries.
class GgufTokenizers : public testing::TestWithParam<std::string> {};

TEST_P(GgufTokenizers, IdsAndBack) {
  const nlohmann::json info = golden_info(GetParam());
  const auto text = text::ModelText::load(format_golden_dir(GetParam()));
  ASSERT_TRUE(text.ok()) << text.error().message;
  ASSERT_TRUE(text->has_tokenizer());
  const text::Tokenizer& tokenizer = text->tokenizer();
  for (const auto& entry : info["tokenize"]) {
    const auto input = entry["text"].get<std::string>();
    const auto encoding = tokenizer.encode(input, {.add_special_tokens = false});
    ASSERT_TRUE(encoding.ok()) << encoding.error().message;
    EXPECT_EQ(encoding->ids, entry["ids"].get<std::vector<int32_t>>()) << input;
    EXPECT_EQ(tokenizer.decode(encoding->ids), input);
  }
}

std::vector<std::string> names_with_texts() {
  std::vector<std::string> names = format_golden_names();
  std::erase_if(names, [](const std::string& name) {
    return !name.starts_with("gguf/") || !golden_info(name).contains("tokenize");
  });
  return names;
}

INSTANTIATE_TEST_SUITE_P(Sample, GgufTokenizers, testing::ValuesIn(names_with_texts()), test_name);

}  // namespace
}  // namespace trireme::worker

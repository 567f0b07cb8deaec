#include "kernels/cuda/large_gemm.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <vector>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/runtime.h"
#include "kernels/cuda/tuning_cache.h"

namespace trireme::kernels::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA advises for Hopper
constexpr int kMaxSuggestions = 8;

void expect(const CublasLt& lt, cublasStatus_t status, const char* what) {
  CHECK(status == CUBLAS_STATUS_SUCCESS)
      << "cuBLASLt: " << what << ": " << lt.status_string(status);
}

// One product's descriptors and algorithm. The library is column-major: a row-major matrix is its
// transpose there, so that out^T [out, rows] = weight [out, in] x^T [in, rows].
class Product {
 public:
  Product(const CublasLt& lt, const GemmOperands& o) : lt_(lt) {
    expect(lt, lt.desc_create(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "operation");
    const cublasOperation_t transposed = CUBLAS_OP_T;
    expect(lt,
           lt.desc_set(operation_, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
           "transposition");
    const auto in = static_cast<uint64_t>(o.x_width);
    const auto out = static_cast<uint64_t>(o.out_features);
    const auto rows = static_cast<uint64_t>(o.n_rows);
    expect(lt, lt.layout_create(&weight_, CUDA_R_16BF, in, out, o.pitch), "weight");
    expect(lt, lt.layout_create(&x_, CUDA_R_16BF, in, rows, o.x_stride), "x");
    const cudaDataType_t type = o.out_dtype == DType::kBF16 ? CUDA_R_16BF : CUDA_R_32F;
    expect(lt, lt.layout_create(&out_, type, out, rows, o.out_stride), "out");
  }
  ~Product() {
    lt_.layout_destroy(out_);
    lt_.layout_destroy(x_);
    lt_.layout_destroy(weight_);
    lt_.desc_destroy(operation_);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  bool ready() const { return found_; }
  const cublasLtMatmulAlgo_t& algorithm() const { return algorithm_; }

  // The library's suggestions, its favourite first.
  std::vector<cublasLtMatmulHeuristicResult_t> suggestions(cublasLtHandle_t handle) const {
    cublasLtMatmulPreference_t preference = nullptr;
    expect(lt_, lt_.preference_create(&preference), "preference");
    const size_t bytes = kWorkspaceBytes;
    expect(lt_,
           lt_.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                              sizeof(bytes)),
           "workspace");
    std::vector<cublasLtMatmulHeuristicResult_t> found(kMaxSuggestions);
    int n_found = 0;
    const cublasStatus_t status =
        lt_.get_heuristic(handle, operation_, weight_, x_, out_, out_, preference, kMaxSuggestions,
                          found.data(), &n_found);
    lt_.preference_destroy(preference);
    found.resize(status == CUBLAS_STATUS_SUCCESS ? static_cast<size_t>(n_found) : 0);
    std::erase_if(found, [](const auto& one) { return one.state != CUBLAS_STATUS_SUCCESS; });
    return found;
  }

  void use(const cublasLtMatmulAlgo_t& algorithm) {
    algorithm_ = algorithm;
    found_ = true;
  }

  // False where it does not serve this product: it was chosen for its neighbours.
  bool use_if_it_serves(cublasLtHandle_t handle, const AlgorithmRecord& record) {
    static_assert(sizeof(AlgorithmRecord) == sizeof(cublasLtMatmulAlgo_t));
    cublasLtMatmulAlgo_t algorithm;
    std::memcpy(&algorithm, record.data(), sizeof(algorithm));
    cublasLtMatmulHeuristicResult_t result{};
    const cublasStatus_t status =
        lt_.check_algorithm(handle, operation_, weight_, x_, out_, out_, &algorithm, &result);
    if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kWorkspaceBytes) return false;
    use(algorithm);
    return true;
  }

  cublasStatus_t run(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm,
                     const GemmOperands& o, void* workspace, void* stream) const {
    const float one = 1;
    const float zero = 0;
    return lt_.matmul(handle, operation_, &one, o.weight, weight_, o.x, x_, &zero, o.out, out_,
                      o.out, out_, &algorithm, workspace, kWorkspaceBytes,
                      static_cast<cudaStream_t>(stream));
  }

  void run(cublasLtHandle_t handle, const GemmOperands& o, void* workspace, void* stream) const {
    expect(lt_, run(handle, algorithm_, o, workspace, stream), "product");
  }

 private:
  const CublasLt& lt_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr;
  cublasLtMatrixLayout_t x_ = nullptr;
  cublasLtMatrixLayout_t out_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  bool found_ = false;  // an algorithm
};

class CublasLtGemm final : public LargeGemm {
 public:
  CublasLtGemm(const CublasLt& lt, cublasLtHandle_t handle, void* workspace,
               const LargeGemmOptions& options)
      : lt_(lt),
        handle_(handle),
        workspace_(workspace),
        tuned_(options.tuning_file, options.device, static_cast<int64_t>(lt.get_version())) {}
  ~CublasLtGemm() override {
    products_.clear();
    lt_.destroy(handle_);
    release_device(workspace_);
  }

  bool run(const GemmOperands& o, const Launcher& launcher) override {
    const ProductShape shape{.rows = o.n_rows,
                             .outs = o.out_features,
                             .ins = o.x_width,
                             .x_stride = o.x_stride,
                             .out_stride = o.out_stride,
                             .out_is_bf16 = o.out_dtype == DType::kBF16};
    auto at = products_.find(shape);
    if (at == products_.end()) {
      // Prefill lengths come in many sizes: what is kept has a bound.
      if (products_.size() >= kMaxProducts) products_.clear();
      at = products_.emplace(shape, std::make_unique<Product>(lt_, o)).first;
      choose(shape, *at->second, o, launcher);
    }
    if (!at->second->ready()) return false;
    at->second->run(handle_, o, workspace_, launcher.stream);
    return true;
  }

 private:
  static constexpr size_t kMaxProducts = 4096;

  void choose(const ProductShape& shape, Product& product, const GemmOperands& o,
              const Launcher& launcher) {
    ProductShape bucket = shape;
    bucket.rows = row_bucket(shape.rows);
    if (const auto known = tuned_.find(bucket);
        known.has_value() && product.use_if_it_serves(handle_, *known)) {
      return;
    }
    const auto suggested = product.suggestions(handle_);
    if (suggested.empty()) return;
    product.use(suggested.front().algo);
    if (suggested.size() == 1 || is_capturing(launcher.stream)) return;
    double best = kTooLong;
    for (const auto& suggestion : suggested) {
      const double seconds = measure(product, suggestion.algo, o, launcher);
      if (seconds >= best) continue;
      best = seconds;
      product.use(suggestion.algo);
    }
    if (best >= kTooLong) return;
    AlgorithmRecord record;
    std::memcpy(record.data(), &product.algorithm(), sizeof(record));
    tuned_.put(bucket, record, best);
  }

  // The product is the same whoever makes it: the operands at hand serve.
  double measure(const Product& product, const cublasLtMatmulAlgo_t& algorithm,
                 const GemmOperands& o, const Launcher& launcher) {
    void* begin = make_event();
    void* end = make_event();
    double best = kTooLong;
    for (int round = -1; round < kRounds; ++round) {  // the first warms up
      record_event(begin, launcher.stream);
      const cublasStatus_t status = product.run(handle_, algorithm, o, workspace_, launcher.stream);
      record_event(end, launcher.stream);
      wait_for_event(end);
      if (status != CUBLAS_STATUS_SUCCESS) break;
      if (round >= 0) best = std::min(best, seconds_between(begin, end));
    }
    release_event(begin);
    release_event(end);
    return best;
  }

  static constexpr int kRounds = 5;
  static constexpr double kTooLong = 1e30;

  const CublasLt lt_;
  cublasLtHandle_t handle_;
  void* workspace_;
  TuningCache tuned_;
  std::map<ProductShape, std::unique_ptr<Product>> products_;
};

}  // namespace

Result<std::unique_ptr<LargeGemm>> make_large_gemm(const LargeGemmOptions& options) {
  ASSIGN_OR_RETURN(const CublasLt lt, open_cublaslt());
  ASSIGN_OR_RETURN(void* workspace, allocate_device(kWorkspaceBytes));
  cublasLtHandle_t handle = nullptr;
  if (const cublasStatus_t status = lt.create(&handle); status != CUBLAS_STATUS_SUCCESS) {
    release_device(workspace);
    return failed_precondition(std::string("cuBLASLt does not start: ") + lt.status_string(status));
  }
  return std::unique_ptr<LargeGemm>(std::make_unique<CublasLtGemm>(lt, handle, workspace, options));
}

}  // namespace trireme::kernels::cuda

#include "kernels/cuda/large_gemm.h"

#include <cuda_runtime_api.h>

#include <map>
#include <tuple>

#include "kernels/cuda/cublaslt.h"
#include "kernels/cuda/launcher.h"
#include "kernels/cuda/runtime.h"

namespace trireme::kernels::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t{32} << 20;  // what NVIDIA advises for Hopper

void expect(const CublasLt& lt, cublasStatus_t status, const char* what) {
  CHECK(status == CUBLAS_STATUS_SUCCESS)
      << "cuBLASLt: " << what << ": " << lt.status_string(status);
}

// One product's descriptors and algorithm. The library is column-major: a row-major matrix is its
// transpose there, so that out^T [out, rows] = weight [out, in] x^T [in, rows].
class Product {
 public:
  Product(const CublasLt& lt, cublasLtHandle_t handle, const GemmOperands& o) : lt_(lt) {
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
    cublasLtMatmulPreference_t preference = nullptr;
    expect(lt, lt.preference_create(&preference), "preference");
    const size_t bytes = kWorkspaceBytes;
    expect(lt,
           lt.preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &bytes,
                             sizeof(bytes)),
           "workspace");
    int n_found = 0;
    const cublasStatus_t status = lt.get_heuristic(handle, operation_, weight_, x_, out_, out_,
                                                   preference, 1, &algorithm_, &n_found);
    found_ = status == CUBLAS_STATUS_SUCCESS && n_found == 1;
    lt.preference_destroy(preference);
  }
  ~Product() {
    lt_.layout_destroy(out_);
    lt_.layout_destroy(x_);
    lt_.layout_destroy(weight_);
    lt_.desc_destroy(operation_);
  }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  bool run(cublasLtHandle_t handle, const GemmOperands& o, void* workspace, void* stream) const {
    if (!found_) return false;
    const float one = 1;
    const float zero = 0;
    expect(lt_,
           lt_.matmul(handle, operation_, &one, o.weight, weight_, o.x, x_, &zero, o.out, out_,
                      o.out, out_, &algorithm_.algo, workspace, kWorkspaceBytes,
                      static_cast<cudaStream_t>(stream)),
           "product");
    return true;
  }

 private:
  const CublasLt& lt_;
  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t weight_ = nullptr;
  cublasLtMatrixLayout_t x_ = nullptr;
  cublasLtMatrixLayout_t out_ = nullptr;
  cublasLtMatmulHeuristicResult_t algorithm_{};
  bool found_ = false;
};

class CublasLtGemm final : public LargeGemm {
 public:
  CublasLtGemm(const CublasLt& lt, cublasLtHandle_t handle, void* workspace)
      : lt_(lt), handle_(handle), workspace_(workspace) {}
  ~CublasLtGemm() override {
    products_.clear();
    lt_.destroy(handle_);
    release_device(workspace_);
  }

  bool run(const GemmOperands& o, const Launcher& launcher) override {
    const Key key{o.n_rows,   o.out_features, o.x_width,
                  o.x_stride, o.out_stride,   o.out_dtype == DType::kBF16};
    auto at = products_.find(key);
    if (at == products_.end()) {
      // Prefill lengths come in many sizes: what is kept has a bound.
      if (products_.size() >= kMaxProducts) products_.clear();
      at = products_.emplace(key, std::make_unique<Product>(lt_, handle_, o)).first;
    }
    return at->second->run(handle_, o, workspace_, launcher.stream);
  }

 private:
  static constexpr size_t kMaxProducts = 4096;
  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, bool>;

  const CublasLt lt_;
  cublasLtHandle_t handle_;
  void* workspace_;
  std::map<Key, std::unique_ptr<Product>> products_;
};

}  // namespace

Result<std::unique_ptr<LargeGemm>> make_large_gemm() {
  ASSIGN_OR_RETURN(const CublasLt lt, open_cublaslt());
  ASSIGN_OR_RETURN(void* workspace, allocate_device(kWorkspaceBytes));
  cublasLtHandle_t handle = nullptr;
  if (const cublasStatus_t status = lt.create(&handle); status != CUBLAS_STATUS_SUCCESS) {
    release_device(workspace);
    return failed_precondition(std::string("cuBLASLt does not start: ") + lt.status_string(status));
  }
  return std::unique_ptr<LargeGemm>(std::make_unique<CublasLtGemm>(lt, handle, workspace));
}

}  // namespace trireme::kernels::cuda

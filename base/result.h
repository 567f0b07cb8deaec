// Result<T>: a value or an Error, for everything that can fail because of the outside world.
//
// Bytes from outside, limits and lost peers are reported through Result; a broken invariant of our
// own is a CHECK (base/check.h). An Error carries a code, which is also the API error type, the log
// field and the metric label, and one sentence for a person. No exception crosses an interface of
// ours: adapters convert third-party ones.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/check.h"

namespace trireme {

enum class ErrorCode {
  kInvalidArgument,     // the input is wrong, and will be wrong again (HTTP 400)
  kNotFound,            // no such model, route, file or tensor (404)
  kAlreadyExists,       // a port, a name or an id is taken
  kUnauthenticated,     // no key, or an unknown one (401)
  kPermissionDenied,    // a known key without the right (403)
  kResourceExhausted,   // a limit is reached; state is unchanged (429 tenant, 503 capacity)
  kFailedPrecondition,  // right input, wrong moment or configuration
  kDeadlineExceeded,    // a deadline passed (408, or a late rank)
  kCancelled,           // the caller went away
  kUnavailable,         // a peer is lost or not there yet (503)
  kDataLoss,            // truncated or corrupt bytes
  kUnimplemented,       // said to be missing, never a silent no-op (501)
  kInternal,            // ours (500)
};

// The lower_snake_case name, e.g. "invalid_argument": metric label and log field.
std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string
      message;  // one sentence, no address, path of ours or stack in it when it may reach a client

  // "invalid_argument: message".
  std::string to_string() const;
};

inline Error invalid_argument(std::string message) {
  return {ErrorCode::kInvalidArgument, std::move(message)};
}
inline Error not_found(std::string message) { return {ErrorCode::kNotFound, std::move(message)}; }
inline Error resource_exhausted(std::string message) {
  return {ErrorCode::kResourceExhausted, std::move(message)};
}
inline Error failed_precondition(std::string message) {
  return {ErrorCode::kFailedPrecondition, std::move(message)};
}
inline Error unavailable(std::string message) {
  return {ErrorCode::kUnavailable, std::move(message)};
}
inline Error deadline_exceeded(std::string message) {
  return {ErrorCode::kDeadlineExceeded, std::move(message)};
}
inline Error data_loss(std::string message) { return {ErrorCode::kDataLoss, std::move(message)}; }
inline Error unimplemented(std::string message) {
  return {ErrorCode::kUnimplemented, std::move(message)};
}
inline Error internal_error(std::string message) {
  return {ErrorCode::kInternal, std::move(message)};
}

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}      // NOLINT(google-explicit-constructor)
  Result(Error error) : error_(std::move(error)) {}  // NOLINT(google-explicit-constructor)

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }

  T& value() & {
    CHECK(ok()) << error_.message;
    return *value_;
  }
  const T& value() const& {
    CHECK(ok()) << error_.message;
    return *value_;
  }
  T&& value() && {
    CHECK(ok()) << error_.message;
    return std::move(*value_);
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  const Error& error() const {
    CHECK(!ok());
    return error_;
  }

 private:
  std::optional<T> value_;
  Error error_;
};

// Success, or an Error.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error)  // NOLINT(google-explicit-constructor): `return Error{...}` is the point.
      : failed_(true), error_(std::move(error)) {}

  bool ok() const { return !failed_; }
  explicit operator bool() const { return ok(); }
  const Error& error() const {
    CHECK(!ok());
    return error_;
  }

 private:
  bool failed_ = false;
  Error error_;
};

using Status = Result<void>;

}  // namespace trireme

#define TRIREME_CONCAT_INNER(a, b) a##b
#define TRIREME_CONCAT(a, b) TRIREME_CONCAT_INNER(a, b)

// TRY(expr): returns the error of a Result to the caller.
#define TRY(expr)                                     \
  do {                                                \
    if (auto try_result = (expr); !try_result.ok()) { \
      return try_result.error();                      \
    }                                                 \
  } while (false)

// ASSIGN_OR_RETURN(auto x, expr): binds the value, or returns the error to the caller.
#define ASSIGN_OR_RETURN(decl, expr) \
  ASSIGN_OR_RETURN_INNER(TRIREME_CONCAT(result_, __LINE__), decl, expr)
#define ASSIGN_OR_RETURN_INNER(tmp, decl, expr) \
  auto tmp = (expr);                            \
  if (!tmp.ok()) {                              \
    return tmp.error();                         \
  }                                             \
  decl = std::move(tmp).value()

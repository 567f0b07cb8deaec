// CHECK: an invariant of ours, on in every build.
//
// A failed CHECK prints file, line, the condition, both operands and whatever was streamed behind it, and aborts: the
// supervisor restarts the process. Wrong input from outside is never a CHECK but a Result (base/result.h).
#pragma once

#include <sstream>

namespace trireme::check_internal {

// Collects the message; its destructor prints and aborts.
class Failure {
 public:
  Failure(const char* file, int line, const char* condition);
  [[noreturn]] ~Failure();
  Failure(const Failure&) = delete;
  Failure& operator=(const Failure&) = delete;
  std::ostream& stream() { return stream_; }

 private:
  std::ostringstream stream_;
};

struct Voidify {
  void operator&(std::ostream&) const {}
};

}  // namespace trireme::check_internal

#define CHECK(condition)                               \
  (__builtin_expect(static_cast<bool>(condition), 1))  \
      ? (void)0                                        \
      : ::trireme::check_internal::Voidify() &         \
            ::trireme::check_internal::Failure(__FILE__, __LINE__, #condition).stream()

#define CHECK_OP(a, op, b)                                                                    \
  if (const auto& check_a = (a); true)                                                        \
    if (const auto& check_b = (b); __builtin_expect(static_cast<bool>(check_a op check_b), 1)) { \
    } else                                                                                    \
      ::trireme::check_internal::Failure(__FILE__, __LINE__, #a " " #op " " #b).stream()      \
          << "(" << check_a << " vs " << check_b << ") "

#define CHECK_EQ(a, b) CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) CHECK_OP(a, <, b)
#define CHECK_LE(a, b) CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) CHECK_OP(a, >, b)
#define CHECK_GE(a, b) CHECK_OP(a, >=, b)

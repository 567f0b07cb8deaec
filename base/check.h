// CHECK: an invariant of ours, on in every build.
//
// A failed CHECK prints file, line, the condition, both operands and whatever was streamed behind
// it, and aborts: the supervisor restarts the process. Wrong input from outside is never a CHECK
// but a Result (base/result.h).
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

// nullptr when the comparison holds; else the condition with both operands, never freed: the
// process ends.
template <typename A, typename B, typename Compare>
inline const char* compare(const A& a, const B& b, Compare holds, const char* condition) {
  if (__builtin_expect(holds(a, b), 1)) return nullptr;
  std::ostringstream text;
  text << condition << " (" << a << " vs " << b << ")";
  return (new std::string(text.str()))->c_str();
}

}  // namespace trireme::check_internal

#define CHECK(condition)                              \
  (__builtin_expect(static_cast<bool>(condition), 1)) \
      ? (void)0                                       \
      : ::trireme::check_internal::Voidify() &        \
            ::trireme::check_internal::Failure(__FILE__, __LINE__, #condition).stream()

// `while` and not `if`, so that an `else` behind a CHECK belongs to the caller's own `if`.
#define CHECK_OP(a, op, b)                                              \
  while (const char* check_failed = ::trireme::check_internal::compare( \
             a, b,                                                      \
             [](const auto& check_x, const auto& check_y) {             \
               return static_cast<bool>(check_x op check_y);            \
             },                                                         \
             #a " " #op " " #b))                                        \
  ::trireme::check_internal::Failure(__FILE__, __LINE__, check_failed).stream()

#define CHECK_EQ(a, b) CHECK_OP(a, ==, b)
#define CHECK_NE(a, b) CHECK_OP(a, !=, b)
#define CHECK_LT(a, b) CHECK_OP(a, <, b)
#define CHECK_LE(a, b) CHECK_OP(a, <=, b)
#define CHECK_GT(a, b) CHECK_OP(a, >, b)
#define CHECK_GE(a, b) CHECK_OP(a, >=, b)

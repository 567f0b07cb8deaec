// Walks the tree of a template and writes its text.
//
// One object per render, on one thread. Bounded in steps, in the depth of evaluation and in the
// bytes that it makes, so that a template from anywhere can only fail. It has no way to reach
// anything but the values that it was given. Throws TemplateFailure.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/chat_template.h"
#include "text/jinja/ast.h"
#include "text/jinja/failure.h"
#include "text/value.h"

namespace trireme::text::jinja {

// Variables of one scope. A macro keeps the scope that it was defined in.
struct Frame {
  std::shared_ptr<Frame> parent;
  std::vector<std::pair<std::string, Value>> variables;
  void set(const std::string& name, Value value);
  const Value* find(std::string_view name) const;  // in this scope alone
};
using FramePtr = std::shared_ptr<Frame>;

// Arguments of a call, evaluated.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Interpreter {
 public:
  Interpreter(const RenderLimits& limits, int64_t now_seconds);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;

  // Runs a template with the given variables and returns what it wrote.
  Text run(const Body& body, std::vector<std::pair<std::string, Value>> variables);
  // Code the template marked with {% generation %}: byte ranges of the result.
  const std::vector<std::pair<size_t, size_t>>& generation_spans() const {
    return generation_spans_;
  }

  // For filters, tests, methods and functions.
  void charge(size_t work);  // counts steps
  Value make(Text text);     // a string, its size counted and bounded
  Value make(std::string bytes) { return make(Text{.bytes = std::move(bytes)}); }
  Value make_list(std::vector<Value> items);
  Value make_tuple(std::vector<Value> items);
  Value make_dict(Dict dict);
  std::vector<Value> iterate(const Value& value);  // what `for` would see
  std::vector<Value> unpack(const Value& value, size_t n);
  Value call(const Value& callee, Arguments arguments);
  Value attribute(const Value& value, const std::string& name);
  Value item(const Value& value, const Value& key);
  // An attribute path such as "a.b.0", as map(attribute=..) takes it.
  Value attribute_path(const Value& value, const Value& path);
  Value filter(const std::string& name, const Value& value, Arguments arguments);
  bool test(const std::string& name, const Value& value, const Arguments& arguments);
  Value binary(const std::string& op, const Value& left, const Value& right);
  bool compare(const std::string& op, const Value& left, const Value& right);
  bool less(const Value& left, const Value& right);
  bool contains(const Value& container, const Value& item);
  size_t length(const Value& value);
  void register_cycle(std::shared_ptr<Object> object) { owned_.push_back(std::move(object)); }
  int64_t now_seconds() const { return now_seconds_; }
  const RenderLimits& limits() const { return limits_; }

  // Runs a macro's or a call block's body.
  Value call_macro(const Stmt& macro, const FramePtr& closure, Arguments arguments);
  Value call_loop(const Stmt& loop, const FramePtr& scope, const Value& items, int depth);

 private:
  enum class Flow { kNormal, kBreak, kContinue };
  class Depth;

  Value eval(const Expr& expr);
  Value eval_inner(const Expr& expr);
  Value eval_name(const Expr& expr);
  Value eval_containers(const Expr& expr);
  Value eval_slice(const Expr& expr);
  Value eval_compare(const Expr& expr);
  Value eval_concat(const Expr& expr);
  Value eval_call(const Expr& expr);
  Value eval_condition(const Expr& expr);
  Value apply_filters(const Expr* chain, Value value);
  Arguments eval_arguments(const Expr& expr);
  Value slice(const Value& value, const Value& start, const Value& stop, const Value& step);
  Value object_attribute(const Value& value, const std::string& name);

  Flow exec(const Body& body);
  Flow exec(const Stmt& stmt);
  Flow exec_if(const Stmt& stmt);
  void exec_for(const Stmt& stmt);
  void run_loop(const Stmt& stmt, std::vector<Value> items, int depth);
  void exec_set(const Stmt& stmt);
  void exec_macro(const Stmt& stmt);
  void exec_call_block(const Stmt& stmt);
  void exec_with(const Stmt& stmt);
  void exec_generation(const Stmt& stmt);
  Text capture(const Body& body);  // in a scope of its own
  void assign(const Expr& target, const Value& value);
  void write(const Text& text);
  Value call_builtin(const std::string& name, const Arguments& arguments);
  FramePtr push_frame(FramePtr parent);
  void bind_parameters(const Stmt& macro, Arguments* arguments, Frame* frame);

  const RenderLimits limits_;
  const int64_t now_seconds_;
  uint64_t steps_ = 0;
  int depth_ = 0;
  FramePtr frame_;
  Text* out_ = nullptr;
  int captures_ = 0;  // how many captures are open; generation spans count at the top level only
  std::vector<std::pair<size_t, size_t>> generation_spans_;
  std::vector<std::shared_ptr<Object>> owned_;  // may refer to themselves: emptied at the end
  std::vector<FramePtr> captured_frames_;       // the same, for scopes that macros keep
};

}  // namespace trireme::text::jinja

// Statements: what writes, what binds names, what loops.
#include "text/jinja/interpreter.h"

#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/objects.h"

namespace trireme::text::jinja {

namespace {

constexpr size_t kBytesPerStep = 16;

}  // namespace

// Counts evaluations inside each other, and says the line of an error that does not know its own.
class Interpreter::Depth {
 public:
  explicit Depth(Interpreter* in) : in_(in) {
    if (++in_->depth_ > in_->limits_.max_depth) {
      fail_limit(
          fmt::format("the template nests evaluations deeper than {}", in_->limits_.max_depth));
    }
  }
  ~Depth() { --in_->depth_; }
  Depth(const Depth&) = delete;

 private:
  Interpreter* in_;
};

void Frame::set(const std::string& name, Value value) {
  for (auto& [known, slot] : variables) {
    if (known == name) {
      slot = std::move(value);
      return;
    }
  }
  variables.emplace_back(name, std::move(value));
}

const Value* Frame::find(std::string_view name) const {
  for (const auto& [known, value] : variables) {
    if (known == name) return &value;
  }
  return nullptr;
}

Interpreter::Interpreter(const RenderLimits& limits, int64_t now_seconds)
    : limits_(limits), now_seconds_(now_seconds) {}

Interpreter::~Interpreter() {
  // Values may refer to themselves only through these: cutting them here frees everything.
  for (const auto& object : owned_) {
    if (auto* ns = dynamic_cast<NamespaceObject*>(object.get())) ns->attributes.clear();
  }
  for (const FramePtr& frame : captured_frames_) frame->variables.clear();
}

void Interpreter::charge(size_t work) {
  steps_ += work;
  if (steps_ > limits_.max_steps) {
    fail_limit(fmt::format("the template takes more than {} steps", limits_.max_steps));
  }
}

Value Interpreter::make(Text text) {
  if (text.bytes.size() > limits_.max_output_bytes) {
    fail_limit(
        fmt::format("the template makes a text of more than {} bytes", limits_.max_output_bytes));
  }
  charge(1 + text.bytes.size() / kBytesPerStep);
  return Value::text(std::move(text));
}

namespace {

Value checked(Value value) {
  if (value.depth() > kMaxValueDepth) {
    fail_limit(fmt::format("the template nests values deeper than {}", kMaxValueDepth));
  }
  return value;
}

}  // namespace

Value Interpreter::make_list(std::vector<Value> items) {
  charge(1 + items.size());
  return checked(Value::list(std::move(items)));
}

Value Interpreter::make_tuple(std::vector<Value> items) {
  charge(1 + items.size());
  return checked(Value::tuple(std::move(items)));
}

Value Interpreter::make_dict(Dict dict) {
  charge(1 + dict.entries.size());
  return checked(Value::dict(std::move(dict)));
}

FramePtr Interpreter::push_frame(FramePtr parent) {
  auto frame = std::make_shared<Frame>();
  frame->parent = std::move(parent);
  return frame;
}

Text Interpreter::run(const Body& body, std::vector<std::pair<std::string, Value>> variables) {
  frame_ = push_frame(nullptr);
  for (auto& [name, value] : variables) frame_->set(name, std::move(value));
  frame_ = push_frame(frame_);
  Text out;
  out_ = &out;
  exec(body);
  frame_ = nullptr;
  return out;
}

void Interpreter::write(const Text& text) {
  if (out_->bytes.size() + text.bytes.size() > limits_.max_output_bytes) {
    fail_limit(fmt::format("the template writes more than {} bytes", limits_.max_output_bytes));
  }
  charge(text.bytes.size() / kBytesPerStep);
  append_text(text, out_);
}

Text Interpreter::capture(const Body& body) {
  Text text;
  Text* outer = out_;
  const FramePtr scope = frame_;
  out_ = &text;
  ++captures_;
  frame_ = push_frame(scope);
  exec(body);
  frame_ = scope;
  --captures_;
  out_ = outer;
  return text;
}

Interpreter::Flow Interpreter::exec(const Body& body) {
  for (const StmtPtr& stmt : body) {
    charge(1);
    if (const Flow flow = exec(*stmt); flow != Flow::kNormal) return flow;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::exec(const Stmt& stmt) {
  const Depth depth(this);
  try {
    switch (stmt.kind) {
      case StmtKind::kData:
        write({.bytes = stmt.text});
        break;
      case StmtKind::kOutput:
        write(to_text(eval(*stmt.expr)));
        break;
      case StmtKind::kIf:
        return exec_if(stmt);
      case StmtKind::kFor:
        exec_for(stmt);
        break;
      case StmtKind::kSet:
      case StmtKind::kSetBlock:
        exec_set(stmt);
        break;
      case StmtKind::kMacro:
        exec_macro(stmt);
        break;
      case StmtKind::kCallBlock:
        exec_call_block(stmt);
        break;
      case StmtKind::kFilterBlock:
        write(to_text(apply_filters(stmt.filter.get(), make(capture(stmt.body)))));
        break;
      case StmtKind::kWith:
        exec_with(stmt);
        break;
      case StmtKind::kGeneration:
        exec_generation(stmt);
        break;
      case StmtKind::kBreak:
        return Flow::kBreak;
      case StmtKind::kContinue:
        return Flow::kContinue;
    }
  } catch (TemplateFailure& failure) {
    if (failure.line == 0) failure.line = stmt.line;
    throw;
  }
  return Flow::kNormal;
}

Interpreter::Flow Interpreter::exec_if(const Stmt& stmt) {
  for (const auto& [condition, body] : stmt.branches) {
    if (truthy(eval(*condition))) return exec(body);
  }
  return exec(stmt.orelse);
}

void Interpreter::exec_for(const Stmt& stmt) { run_loop(stmt, iterate(eval(*stmt.expr)), 0); }

void Interpreter::run_loop(const Stmt& stmt, std::vector<Value> items, int depth) {
  const FramePtr scope = frame_;
  if (stmt.filter) {
    std::vector<Value> kept;
    for (Value& item : items) {
      charge(1);
      frame_ = push_frame(scope);
      assign(*stmt.target, item);
      if (truthy(eval(*stmt.filter))) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  if (items.empty()) {
    frame_ = push_frame(scope);
    exec(stmt.orelse);
    frame_ = scope;
    return;
  }
  auto loop = std::make_shared<LoopObject>();
  loop->stmt = &stmt;
  loop->scope = scope;
  loop->items = std::make_shared<const std::vector<Value>>(std::move(items));
  loop->depth = depth;
  const Value loop_value = Value::object(loop);
  const auto shared_items = loop->items;
  for (size_t i = 0; i < shared_items->size(); ++i) {
    charge(1);
    loop->index = i;
    frame_ = push_frame(scope);  // what one iteration sets, the next does not see
    assign(*stmt.target, (*shared_items)[i]);
    frame_->set("loop", loop_value);
    if (exec(stmt.body) == Flow::kBreak) break;
  }
  frame_ = scope;
}

Value Interpreter::call_loop(const Stmt& loop, const FramePtr& scope, const Value& items,
                             int depth) {
  if (!loop.recursive) fail("the loop is not marked as recursive");
  Text text;
  Text* outer = out_;
  const FramePtr saved = frame_;
  out_ = &text;
  ++captures_;
  frame_ = scope;
  run_loop(loop, iterate(items), depth);
  frame_ = saved;
  --captures_;
  out_ = outer;
  return make(std::move(text));
}

void Interpreter::assign(const Expr& target, const Value& value) {
  switch (target.kind) {
    case ExprKind::kName:
      frame_->set(target.name, value);
      return;
    case ExprKind::kTuple: {
      const std::vector<Value> items = unpack(value, target.args.size());
      for (size_t i = 0; i < items.size(); ++i) assign(*target.args[i], items[i]);
      return;
    }
    case ExprKind::kAttr: {
      const Value holder = eval(*target.args[0]);
      auto* ns = object_as<NamespaceObject>(holder);
      if (ns == nullptr) fail("cannot assign attribute on a value that is not a namespace");
      if (target.name.starts_with('_')) {
        fail(fmt::format("a namespace cannot have the attribute '{}', which begins with _",
                         target.name));
      }
      for (auto& [name, slot] : ns->attributes) {
        if (name == target.name) {
          slot = value;
          return;
        }
      }
      ns->attributes.emplace_back(target.name, value);
      return;
    }
    default:
      fail("cannot assign to this expression");
  }
}

void Interpreter::exec_set(const Stmt& stmt) {
  if (stmt.kind == StmtKind::kSet) {
    assign(*stmt.target, eval(*stmt.expr));
    return;
  }
  Value value = make(capture(stmt.body));
  if (stmt.filter) value = apply_filters(stmt.filter.get(), std::move(value));
  assign(*stmt.target, value);
}

void Interpreter::exec_macro(const Stmt& stmt) {
  auto macro = std::make_shared<MacroObject>();
  macro->macro = &stmt;
  macro->closure = frame_;
  captured_frames_.push_back(frame_);
  frame_->set(stmt.text, Value::object(std::move(macro)));
}

void Interpreter::exec_call_block(const Stmt& stmt) {
  auto caller = std::make_shared<MacroObject>();
  caller->macro = &stmt;
  caller->closure = frame_;
  captured_frames_.push_back(frame_);
  const Value callee = eval(*stmt.expr->args[0]);
  Arguments arguments = eval_arguments(*stmt.expr);
  arguments.named.emplace_back("caller", Value::object(std::move(caller)));
  write(to_text(call(callee, std::move(arguments))));
}

void Interpreter::exec_with(const Stmt& stmt) {
  const FramePtr scope = frame_;
  const FramePtr inner = push_frame(scope);
  for (const auto& [target, expr] : stmt.assignments) {
    Value value = eval(*expr);  // in the outer scope
    inner->set(target->name, std::move(value));
  }
  frame_ = inner;
  exec(stmt.body);
  frame_ = scope;
}

void Interpreter::exec_generation(const Stmt& stmt) {
  const size_t begin = out_->bytes.size();
  const FramePtr scope = frame_;
  frame_ = push_frame(scope);
  exec(stmt.body);
  frame_ = scope;
  if (captures_ == 0) generation_spans_.emplace_back(begin, out_->bytes.size());
}

void Interpreter::bind_parameters(const Stmt& macro, Arguments* arguments, Frame* frame) {
  const size_t n = macro.params.size();
  const size_t first_default = n - macro.defaults.size();
  for (size_t i = 0; i < n; ++i) {
    const std::string& name = macro.params[i];
    const auto named = std::find_if(arguments->named.begin(), arguments->named.end(),
                                    [&](const auto& argument) { return argument.first == name; });
    Value value;
    if (i < arguments->positional.size()) {
      value = arguments->positional[i];
    } else if (named != arguments->named.end()) {
      value = std::move(named->second);
      arguments->named.erase(named);
    } else if (i >= first_default) {
      value = eval(*macro.defaults[i - first_default]);
    } else {
      value = Value::undefined(fmt::format("parameter '{}' was not provided", name));
    }
    frame->set(name, std::move(value));
  }
  if (arguments->positional.size() > n && !macro.uses_varargs) {
    fail(fmt::format("macro '{}' takes not more than {} argument(s)", macro.text, n));
  }
  if (macro.uses_caller) {
    const auto caller =
        std::find_if(arguments->named.begin(), arguments->named.end(),
                     [](const auto& argument) { return argument.first == "caller"; });
    if (caller != arguments->named.end()) {
      frame->set("caller", std::move(caller->second));
      arguments->named.erase(caller);
    } else if (frame->find("caller") == nullptr) {
      frame->set("caller", Value::undefined("No caller defined"));
    }
  }
  if (!arguments->named.empty() && !macro.uses_kwargs) {
    fail(fmt::format("macro '{}' takes no keyword argument '{}'", macro.text,
                     arguments->named[0].first));
  }
}

Value Interpreter::call_macro(const Stmt& macro, const FramePtr& closure, Arguments arguments) {
  const FramePtr saved = frame_;
  frame_ = push_frame(closure);
  const size_t n = macro.params.size();
  bind_parameters(macro, &arguments, frame_.get());
  if (macro.uses_varargs) {
    std::vector<Value> rest;
    for (size_t i = n; i < arguments.positional.size(); ++i)
      rest.push_back(arguments.positional[i]);
    frame_->set("varargs", make_tuple(std::move(rest)));
  }
  if (macro.uses_kwargs) {
    Dict rest;
    for (auto& [name, value] : arguments.named) rest.set(Value::string(name), std::move(value));
    frame_->set("kwargs", make_dict(std::move(rest)));
  }
  Text text;
  Text* outer = out_;
  out_ = &text;
  ++captures_;
  exec(macro.body);
  --captures_;
  out_ = outer;
  frame_ = saved;
  return make(std::move(text));
}

Value Interpreter::eval(const Expr& expr) {
  const Depth depth(this);
  charge(1);
  try {
    return eval_inner(expr);
  } catch (TemplateFailure& failure) {
    if (failure.line == 0) failure.line = expr.line;
    throw;
  }
}

}  // namespace trireme::text::jinja

// Calling things: functions of the environment, macros, the loop; and the attributes of objects.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/objects.h"
#include "text/jinja/strftime.h"

namespace trireme::text::jinja {

namespace {

constexpr int64_t kMaxRange = 100000;  // as the reference's sandbox has it

Value make_range(const Arguments& args) {
  if (args.positional.empty() || args.positional.size() > 3 || !args.named.empty()) {
    fail("range expected 1 to 3 arguments");
  }
  int64_t values[3] = {0, 0, 1};
  for (size_t i = 0; i < args.positional.size(); ++i) {
    const Value& value = args.positional[i];
    if (value.is_undefined()) fail(value.reason());
    if (!value.is(Kind::kInt) && !value.is(Kind::kBool)) {
      fail("'" + type_name(value) + "' object cannot be interpreted as an integer");
    }
    values[i] = value.as_int();
  }
  auto range = std::make_shared<RangeObject>();
  range->start = args.positional.size() > 1 ? values[0] : 0;
  range->stop = args.positional.size() > 1 ? values[1] : values[0];
  range->step = values[2];
  if (range->step == 0) fail("range() arg 3 must not be zero");
  const auto distance = static_cast<__int128>(range->stop) - range->start;
  const auto count = (distance + range->step + (range->step > 0 ? -1 : 1)) / range->step;
  if (count > kMaxRange)
    fail(fmt::format("Range too big. The sandbox blocks ranges larger than {}.", kMaxRange));
  range->count = count > 0 && (distance > 0) == (range->step > 0) ? static_cast<size_t>(count) : 0;
  return Value::object(std::move(range));
}

Value make_namespace(Interpreter& in, const Arguments& args) {
  auto ns = std::make_shared<NamespaceObject>();
  const auto set = [&](const std::string& name, const Value& value) {
    if (name.starts_with('_'))
      fail(fmt::format("a namespace cannot have the attribute '{}', which begins with _", name));
    for (auto& [known, slot] : ns->attributes) {
      if (known == name) {
        slot = value;
        return;
      }
    }
    ns->attributes.emplace_back(name, value);
  };
  for (const Value& argument : args.positional) {
    if (!argument.is_dict()) fail("namespace() takes a mapping and keyword arguments");
    for (const auto& [key, value] : argument.as_dict().entries) {
      if (key.is_string()) set(key.str(), value);
    }
  }
  for (const auto& [name, value] : args.named) set(name, value);
  in.register_cycle(ns);
  return Value::object(std::move(ns));
}

Value make_dict_value(Interpreter& in, const Arguments& args) {
  Dict dict;
  if (args.positional.size() > 1) fail("dict expected at most 1 argument");
  if (args.positional.size() == 1) {
    const Value& source = args.positional[0];
    if (source.is_dict()) {
      dict = source.as_dict();
    } else {
      for (const Value& pair : in.iterate(source)) {
        const std::vector<Value> items = in.unpack(pair, 2);
        dict.set(items[0], items[1]);
      }
    }
  }
  for (const auto& [name, value] : args.named) dict.set(Value::string(name), value);
  return in.make_dict(std::move(dict));
}

Value loop_attribute(const LoopObject& loop, const std::string& name) {
  const auto n = static_cast<int64_t>(loop.items->size());
  const auto i = static_cast<int64_t>(loop.index);
  if (name == "index") return Value::integer(i + 1);
  if (name == "index0") return Value::integer(i);
  if (name == "revindex") return Value::integer(n - i);
  if (name == "revindex0") return Value::integer(n - i - 1);
  if (name == "first") return Value::boolean(i == 0);
  if (name == "last") return Value::boolean(i + 1 == n);
  if (name == "length") return Value::integer(n);
  if (name == "depth") return Value::integer(loop.depth + 1);
  if (name == "depth0") return Value::integer(loop.depth);
  if (name == "previtem") {
    return i > 0 ? (*loop.items)[loop.index - 1] : Value::undefined("there is no previous item");
  }
  if (name == "nextitem") {
    return i + 1 < n ? (*loop.items)[loop.index + 1] : Value::undefined("there is no next item");
  }
  return Value::undefined("'loop' has no attribute '" + name + "'");
}

Value call_loop_method(Interpreter& in, LoopObject* loop, const std::string& name,
                       const Arguments& args) {
  if (name == "cycle") {
    if (args.positional.empty()) fail("no items for cycling given");
    return args.positional[loop->index % args.positional.size()];
  }
  const Value now = in.make_tuple(args.positional);  // changed
  const bool same = loop->has_changed && equal(now, Value::tuple(loop->last_changed));
  loop->last_changed = args.positional;
  loop->has_changed = true;
  return Value::boolean(!same);
}

Value macro_attribute(Interpreter& in, const MacroObject& macro, const std::string& name) {
  if (name == "name") return Value::string(macro.macro->text);
  if (name == "caller") return Value::boolean(macro.macro->uses_caller);
  if (name == "catch_kwargs") return Value::boolean(macro.macro->uses_kwargs);
  if (name == "catch_varargs") return Value::boolean(macro.macro->uses_varargs);
  if (name == "arguments") {
    std::vector<Value> names;
    for (const std::string& param : macro.macro->params) names.push_back(Value::string(param));
    return in.make_tuple(std::move(names));
  }
  return Value::undefined("'macro' has no attribute '" + name + "'");
}

Value call_cycler(CyclerObject* cycler, const std::string& name) {
  const Value current = cycler->items[cycler->at];
  if (name == "next") cycler->at = (cycler->at + 1) % cycler->items.size();
  if (name == "reset") {
    cycler->at = 0;
    return Value::none();
  }
  return current;
}

}  // namespace

std::string NamespaceObject::print() const {
  Dict dict;
  for (const auto& [name, value] : attributes)
    dict.set(Value::string(name), value.is(Kind::kObject) ? Value::none() : value);
  return "<Namespace " + to_repr(Value::dict(std::move(dict))) + ">";
}

std::string LoopObject::print() const {
  return fmt::format("<LoopContext {}/{}>", index + 1, items->size());
}

std::string RangeObject::print() const {
  return step == 1 ? fmt::format("range({}, {})", start, stop)
                   : fmt::format("range({}, {}, {})", start, stop, step);
}

Value Interpreter::object_attribute(const Value& value, const std::string& name) {
  if (const auto* ns = object_as<NamespaceObject>(value)) {
    for (const auto& [known, slot] : ns->attributes) {
      if (known == name) return slot;
    }
    return Value::undefined("'namespace' has no attribute '" + name + "'");
  }
  const auto* loop = object_as<LoopObject>(value);
  const bool method =
      (loop != nullptr && (name == "cycle" || name == "changed")) ||
      (object_as<CyclerObject>(value) != nullptr && (name == "next" || name == "reset"));
  if (method) {
    auto bound = std::make_shared<MethodObject>();
    bound->self = value;
    bound->name = name;
    return Value::object(std::move(bound));
  }
  if (loop != nullptr) return loop_attribute(*loop, name);
  if (const auto* macro = object_as<MacroObject>(value))
    return macro_attribute(*this, *macro, name);
  if (auto* cycler = object_as<CyclerObject>(value); cycler != nullptr && name == "current") {
    return cycler->items[cycler->at];
  }
  return Value::undefined("'" + type_name(value) + " object' has no attribute '" + name + "'");
}

Value Interpreter::call(const Value& callee, Arguments arguments) {
  if (callee.is_undefined()) fail(callee.reason());
  if (const auto* macro = object_as<MacroObject>(callee)) {
    const FramePtr closure = macro->closure;
    return call_macro(*macro->macro, closure, std::move(arguments));
  }
  if (const auto* function = object_as<FunctionObject>(callee))
    return call_builtin(function->name, arguments);
  if (const auto* loop = object_as<LoopObject>(callee)) {
    if (arguments.positional.size() != 1) fail("loop() takes one argument");
    const FramePtr scope = loop->scope;
    return call_loop(*loop->stmt, scope, arguments.positional[0], loop->depth + 1);
  }
  if (auto* joiner = object_as<JoinerObject>(callee)) {
    const bool first = !joiner->used;
    joiner->used = true;
    return first ? Value::string("") : joiner->separator;
  }
  if (const auto* method = object_as<MethodObject>(callee)) {
    const Value self = method->self;
    const std::string name = method->name;
    if (auto* of_loop = object_as<LoopObject>(self))
      return call_loop_method(*this, of_loop, name, arguments);
    if (auto* of_cycler = object_as<CyclerObject>(self)) return call_cycler(of_cycler, name);
    return call_method(*this, self, name, arguments);
  }
  fail("'" + type_name(callee) + "' object is not callable");
}

Value Interpreter::call_builtin(const std::string& name, const Arguments& arguments) {
  if (name == "range") return make_range(arguments);
  if (name == "namespace") return make_namespace(*this, arguments);
  if (name == "dict") return make_dict_value(*this, arguments);
  if (name == "joiner") {
    auto joiner = std::make_shared<JoinerObject>();
    joiner->separator = ArgumentReader(arguments).value(0, "sep", Value::string(", "));
    return Value::object(std::move(joiner));
  }
  if (name == "cycler") {
    if (arguments.positional.empty()) fail("at least one item has to be provided");
    auto cycler = std::make_shared<CyclerObject>();
    cycler->items = arguments.positional;
    return Value::object(std::move(cycler));
  }
  const ArgumentReader args(arguments);
  if (name == "strftime_now") {
    return make(format_time(args.string(0, "format"), now_seconds_));
  }
  throw TemplateFailure{.message = to_text(args.value(0, "message")).bytes,
                        .raised = true};  // raise_exception
}

}  // namespace trireme::text::jinja

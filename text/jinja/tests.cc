// The tests behind `is`.
#include <fmt/format.h>

#include <cmath>
#include <unordered_map>

#include "text/jinja/objects.h"
#include "text/jinja/text_ops.h"

namespace trireme::text::jinja {

namespace {

using TestFunction = bool (*)(Interpreter& in, const Value& value, const Arguments& args);

const Value& operand(const Arguments& args) {
  if (args.positional.size() != 1) fail("the test takes one argument");
  return args.positional[0];
}

bool divisible(Interpreter& in, const Value& value, const Value& by) {
  return !truthy(in.binary("%", value, by));
}

template <int kRemainder>
bool parity(Interpreter& in, const Value& value, const Arguments&) {
  return equal(in.binary("%", value, Value::integer(2)), Value::integer(kRemainder));
}

template <char kFirst, char kSecond = 0>
bool compares(Interpreter& in, const Value& value, const Arguments& args) {
  static constexpr char kOp[] = {kFirst, kSecond, 0};
  return in.compare(kOp, value, operand(args));
}

bool is_iterable(const Value& v) {
  return v.is_undefined() || v.is_string() || v.is_sequence() || v.is_dict() ||
         object_as<RangeObject>(v) != nullptr;
}

const std::unordered_map<std::string_view, TestFunction>& all_tests() {
  using In = Interpreter;
  using A = Arguments;
  static const std::unordered_map<std::string_view, TestFunction> table = {
      {"defined", [](In&, const Value& v, const A&) { return !v.is_undefined(); }},
      {"undefined", [](In&, const Value& v, const A&) { return v.is_undefined(); }},
      {"none", [](In&, const Value& v, const A&) { return v.is_none(); }},
      {"boolean", [](In&, const Value& v, const A&) { return v.is(Kind::kBool); }},
      {"true", [](In&, const Value& v, const A&) { return v.is(Kind::kBool) && v.as_bool(); }},
      {"false", [](In&, const Value& v, const A&) { return v.is(Kind::kBool) && !v.as_bool(); }},
      {"integer",
       [](In&, const Value& v, const A&) { return v.is(Kind::kInt) || v.is(Kind::kBigInt); }},
      {"float", [](In&, const Value& v, const A&) { return v.is(Kind::kFloat); }},
      {"number", [](In&, const Value& v, const A&) { return v.is_number(); }},
      {"string", [](In&, const Value& v, const A&) { return v.is_string(); }},
      {"mapping", [](In&, const Value& v, const A&) { return v.is_dict(); }},
      {"sequence", [](In&, const Value& v, const A&) { return is_iterable(v); }},
      {"iterable", [](In&, const Value& v, const A&) { return is_iterable(v); }},
      {"callable", [](In&, const Value& v, const A&) { return is_callable(v); }},
      {"escaped",
       [](In&, const Value& v, const A&) { return v.is_string() && v.as_text().markup; }},
      {"lower", [](In&, const Value& v, const A&) { return is_cased_lower(to_text(v).bytes); }},
      {"upper", [](In&, const Value& v, const A&) { return is_cased_upper(to_text(v).bytes); }},
      {"odd", parity<1>},
      {"even", parity<0>},
      {"divisibleby",
       [](In& in, const Value& v, const A& a) { return divisible(in, v, operand(a)); }},
      {"sameas", [](In&, const Value& v, const A& a) { return v.same_object(operand(a)); }},
      {"in", [](In& in, const Value& v, const A& a) { return in.contains(operand(a), v); }},
      {"filter",
       [](In&, const Value& v, const A&) { return v.is_string() && filter_exists(v.str()); }},
      {"test", [](In&, const Value& v, const A&) { return v.is_string() && test_exists(v.str()); }},
      {"eq", compares<'=', '='>},
      {"equalto", compares<'=', '='>},
      {"==", compares<'=', '='>},
      {"ne", compares<'!', '='>},
      {"!=", compares<'!', '='>},
      {"lt", compares<'<'>},
      {"lessthan", compares<'<'>},
      {"<", compares<'<'>},
      {"gt", compares<'>'>},
      {"greaterthan", compares<'>'>},
      {">", compares<'>'>},
      {"le", compares<'<', '='>},
      {"<=", compares<'<', '='>},
      {"ge", compares<'>', '='>},
      {">=", compares<'>', '='>},
  };
  return table;
}

}  // namespace

bool test_exists(const std::string& name) { return all_tests().contains(name); }

bool Interpreter::test(const std::string& name, const Value& value, const Arguments& arguments) {
  const auto found = all_tests().find(name);
  if (found == all_tests().end()) fail(fmt::format("No test named '{}'.", name));
  charge(1);
  return found->second(*this, value, arguments);
}

}  // namespace trireme::text::jinja

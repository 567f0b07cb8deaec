// The filters by name, in three groups. Each is a function of the value and the call's arguments.
#pragma once

#include <span>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace trireme::text::jinja {

using FilterFunction = Value (*)(Interpreter& in, const Value& value, const Arguments& arguments);

struct FilterEntry {
  std::string_view name;
  FilterFunction function;
};

std::span<const FilterEntry> text_filters();      // upper, trim, replace ...
std::span<const FilterEntry> sequence_filters();  // map, select, sort, join ...
std::span<const FilterEntry> value_filters();     // default, int, round, tojson ...

// A string as a filter sees it: anything is turned into one.
Text soft_text(const Value& value);

}  // namespace trireme::text::jinja

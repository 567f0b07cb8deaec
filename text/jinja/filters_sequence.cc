// Filters of sequences and mappings.
#include <fmt/format.h>

#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/objects.h"
#include "text/jinja/text_ops.h"

namespace trireme::text::jinja {

namespace {

// The part of an item that a filter looks at: an attribute of it, in lower case unless case
// matters.
class KeyOf {
 public:
  KeyOf(Interpreter& in, Value attribute, bool case_sensitive)
      : in_(in), attribute_(std::move(attribute)), case_sensitive_(case_sensitive) {}

  Value operator()(const Value& item) const {
    if (attribute_.is_none()) return fold(item);
    if (!attribute_.is_string() || attribute_.str().find(',') == std::string::npos) {
      return fold(in_.attribute_path(item, attribute_));
    }
    std::vector<Value> parts;  // "a,b": by a, then by b
    const std::string comma = ",";
    for (const Text& path : split(attribute_.as_text(), &comma, -1, false)) {
      parts.push_back(fold(in_.attribute_path(item, Value::text(path))));
    }
    return in_.make_tuple(std::move(parts));
  }

 private:
  Value fold(const Value& value) const {
    return case_sensitive_ || !value.is_string() ? value : Value::text(lower(value.as_text()));
  }
  Interpreter& in_;
  Value attribute_;
  bool case_sensitive_;
};

// Sorts stably by key. Comparisons may fail, so that the sort must not depend on the comparator's
// good behaviour.
void sort_by_key(Interpreter& in, std::vector<Value>* items, const KeyOf& key, bool reverse) {
  std::vector<std::pair<Value, Value>> keyed;
  for (Value& item : *items) keyed.emplace_back(key(item), std::move(item));
  std::stable_sort(keyed.begin(), keyed.end(), [&](const auto& a, const auto& b) {
    in.charge(1);
    return reverse ? in.less(b.first, a.first) : in.less(a.first, b.first);
  });
  for (size_t i = 0; i < keyed.size(); ++i) (*items)[i] = std::move(keyed[i].second);
}

Value f_sort(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  std::vector<Value> items = in.iterate(v);
  const KeyOf key(in, args.value(2, "attribute", Value::none()),
                  args.boolean(1, "case_sensitive", false));
  sort_by_key(in, &items, key, args.boolean(0, "reverse", false));
  return in.make_list(std::move(items));
}

Value f_dictsort(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  if (!v.is_dict())
    fail(v.is_undefined() ? v.reason() : "dictsort needs a mapping, not " + type_name(v));
  const std::string by = args.string(1, "by", "key");
  if (by != "key" && by != "value") fail("You can only sort by either \"key\" or \"value\"");
  std::vector<Value> items;
  for (const auto& [name, value] : v.as_dict().entries)
    items.push_back(Value::tuple({name, value}));
  const KeyOf key(in, Value::integer(by == "key" ? 0 : 1),
                  args.boolean(0, "case_sensitive", false));
  sort_by_key(in, &items, key, args.boolean(2, "reverse", false));
  return in.make_list(std::move(items));
}

Value f_unique(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const KeyOf key(in, args.value(1, "attribute", Value::none()),
                  args.boolean(0, "case_sensitive", false));
  Dict seen;
  std::vector<Value> out;
  for (const Value& item : in.iterate(v)) {
    const Value k = key(item);
    in.charge(1);
    if (seen.find(k) != nullptr) continue;
    seen.set(k, Value::none());
    out.push_back(item);
  }
  return in.make_list(std::move(out));
}

Value extreme(Interpreter& in, const Value& v, const Arguments& a, bool want_less) {
  const ArgumentReader args(a);
  const KeyOf key(in, args.value(1, "attribute", Value::none()),
                  args.boolean(0, "case_sensitive", false));
  const std::vector<Value> items = in.iterate(v);
  if (items.empty()) return Value::undefined("No aggregated item, sequence was empty.");
  size_t best = 0;
  Value best_key = key(items[0]);
  for (size_t i = 1; i < items.size(); ++i) {
    const Value k = key(items[i]);
    if (want_less ? in.less(k, best_key) : in.less(best_key, k)) {
      best = i;
      best_key = k;
    }
  }
  return items[best];
}

Value f_min(Interpreter& in, const Value& v, const Arguments& a) { return extreme(in, v, a, true); }
Value f_max(Interpreter& in, const Value& v, const Arguments& a) {
  return extreme(in, v, a, false);
}

Value f_sum(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const Value attribute = args.value(0, "attribute", Value::none());
  Value total = args.value(1, "start", Value::integer(0));
  for (const Value& item : in.iterate(v)) {
    total = in.binary("+", total, attribute.is_none() ? item : in.attribute_path(item, attribute));
  }
  return total;
}

Value f_first(Interpreter& in, const Value& v, const Arguments&) {
  const std::vector<Value> items = in.iterate(v);
  return items.empty() ? Value::undefined("No first item, sequence was empty.") : items.front();
}

Value f_last(Interpreter& in, const Value& v, const Arguments&) {
  const std::vector<Value> items = in.iterate(v);
  return items.empty() ? Value::undefined("No last item, sequence was empty.") : items.back();
}

Value f_length(Interpreter& in, const Value& v, const Arguments&) {
  return Value::integer(static_cast<int64_t>(in.length(v)));
}

Value f_list(Interpreter& in, const Value& v, const Arguments&) {
  return in.make_list(in.iterate(v));
}

Value f_reverse(Interpreter& in, const Value& v, const Arguments&) {
  std::vector<Value> items = in.iterate(v);
  std::reverse(items.begin(), items.end());
  if (!v.is_string()) return in.make_list(std::move(items));
  Text out;
  for (const Value& item : items) append_text(item.as_text(), &out);
  return in.make(std::move(out));
}

Value f_join(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const Text separator = soft_text(args.value(0, "d", Value::string("")));
  const Value attribute = args.value(1, "attribute", Value::none());
  Text out;
  bool first = true;
  for (const Value& item : in.iterate(v)) {
    if (!first) append_text(separator, &out);
    first = false;
    append_text(soft_text(attribute.is_none() ? item : in.attribute_path(item, attribute)), &out);
    in.charge(1);
    if (out.bytes.size() > in.limits().max_output_bytes) break;  // make() refuses it
  }
  return in.make(std::move(out));
}

Value f_items(Interpreter& in, const Value& v, const Arguments&) {
  if (v.is_undefined()) return Value::list({});
  if (!v.is_dict()) fail("Can only get item pairs from a mapping.");
  std::vector<Value> items;
  for (const auto& [key, value] : v.as_dict().entries) items.push_back(in.make_tuple({key, value}));
  return in.make_list(std::move(items));
}

Value f_attr(Interpreter& in, const Value& v, const Arguments& a) {
  const std::string name = ArgumentReader(a).string(0, "name");
  if (v.is_dict()) return Value::undefined("'dict object' has no attribute '" + name + "'");
  return in.attribute(v, name);
}

Value f_batch(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const int64_t size = args.integer(0, "linecount");
  const Value fill = args.value(1, "fill_with", Value::none());
  if (size < 1 || size > 1 << 20) fail("batch needs a size of at least 1");
  std::vector<Value> out;
  std::vector<Value> row;
  for (const Value& item : in.iterate(v)) {
    if (static_cast<int64_t>(row.size()) == size)
      out.push_back(in.make_list(std::exchange(row, {})));
    row.push_back(item);
  }
  if (!row.empty()) {
    in.charge(static_cast<size_t>(size));
    while (!fill.is_none() && static_cast<int64_t>(row.size()) < size) row.push_back(fill);
    out.push_back(in.make_list(std::move(row)));
  }
  return in.make_list(std::move(out));
}

Value f_slice(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const int64_t n = args.integer(0, "slices");
  const Value fill = args.value(1, "fill_with", Value::none());
  if (n < 1 || n > 100000) fail("slice needs at least 1 part");
  const std::vector<Value> items = in.iterate(v);
  const size_t parts = static_cast<size_t>(n);
  const size_t each = items.size() / parts;
  const size_t longer = items.size() % parts;
  std::vector<Value> out;
  size_t at = 0;
  for (size_t i = 0; i < parts; ++i) {
    const size_t count = each + (i < longer ? 1 : 0);
    std::vector<Value> part(items.begin() + static_cast<ptrdiff_t>(at),
                            items.begin() + static_cast<ptrdiff_t>(at + count));
    at += count;
    if (!fill.is_none() && i >= longer) part.push_back(fill);
    out.push_back(in.make_list(std::move(part)));
  }
  return in.make_list(std::move(out));
}

Value f_groupby(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  const Value attribute = args.value(0, "attribute");
  const Value otherwise = args.value(1, "default", Value::none());
  const bool case_sensitive = args.boolean(2, "case_sensitive", false);
  std::vector<Value> keyed;  // (key, item)
  for (const Value& item : in.iterate(v)) {
    Value key = in.attribute_path(item, attribute);
    if (key.is_undefined() && !otherwise.is_none()) key = otherwise;
    keyed.push_back(in.make_tuple({key, item}));
  }
  const KeyOf key_of(in, Value::integer(0), case_sensitive);
  sort_by_key(in, &keyed, key_of, false);
  std::vector<Value> out;
  for (size_t begin = 0; begin < keyed.size();) {
    const Value key = key_of(keyed[begin]);
    std::vector<Value> group;
    size_t end = begin;
    for (; end < keyed.size() && equal(key_of(keyed[end]), key); ++end)
      group.push_back(keyed[end].items()[1]);
    out.push_back(in.make_tuple({keyed[begin].items()[0], in.make_list(std::move(group))}));
    begin = end;
  }
  return in.make_list(std::move(out));
}

// What is left of the arguments behind the name of a filter or test.
Arguments rest(const Arguments& a, size_t skip) {
  Arguments out;
  for (size_t i = skip; i < a.positional.size(); ++i) out.positional.push_back(a.positional[i]);
  out.named = a.named;
  return out;
}

Value f_map(Interpreter& in, const Value& v, const Arguments& a) {
  const ArgumentReader args(a);
  std::vector<Value> out;
  if (a.positional.empty()) {
    const Value attribute = args.value(9, "attribute");
    const Value otherwise = args.value(9, "default", Value::none());
    for (const Value& item : in.iterate(v)) {
      Value part = in.attribute_path(item, attribute);
      if (part.is_undefined() && !otherwise.is_none()) part = otherwise;
      out.push_back(std::move(part));
    }
    return in.make_list(std::move(out));
  }
  const std::string name = args.string(0, "filter");
  const Arguments inner = rest(a, 1);
  for (const Value& item : in.iterate(v)) out.push_back(in.filter(name, item, inner));
  return in.make_list(std::move(out));
}

// select and reject, by the item itself or by an attribute of it.
Value choose(Interpreter& in, const Value& v, const Arguments& a, bool wanted, bool by_attribute) {
  const size_t skip = by_attribute ? 1 : 0;
  const Value path = by_attribute ? ArgumentReader(a).value(0, "attribute") : Value();
  const bool has_test = a.positional.size() > skip;
  const std::string name = has_test ? ArgumentReader(a).string(skip, "test") : "";
  const Arguments inner = rest(a, skip + 1);
  std::vector<Value> out;
  for (const Value& item : in.iterate(v)) {
    const Value subject = by_attribute ? in.attribute_path(item, path) : item;
    if ((has_test ? in.test(name, subject, inner) : truthy(subject)) == wanted) out.push_back(item);
  }
  return in.make_list(std::move(out));
}

Value f_select(Interpreter& in, const Value& v, const Arguments& a) {
  return choose(in, v, a, true, false);
}
Value f_reject(Interpreter& in, const Value& v, const Arguments& a) {
  return choose(in, v, a, false, false);
}
Value f_selectattr(Interpreter& in, const Value& v, const Arguments& a) {
  return choose(in, v, a, true, true);
}
Value f_rejectattr(Interpreter& in, const Value& v, const Arguments& a) {
  return choose(in, v, a, false, true);
}

constexpr FilterEntry kFilters[] = {
    {"sort", f_sort},
    {"dictsort", f_dictsort},
    {"unique", f_unique},
    {"min", f_min},
    {"max", f_max},
    {"sum", f_sum},
    {"first", f_first},
    {"last", f_last},
    {"length", f_length},
    {"count", f_length},
    {"list", f_list},
    {"reverse", f_reverse},
    {"join", f_join},
    {"items", f_items},
    {"attr", f_attr},
    {"batch", f_batch},
    {"slice", f_slice},
    {"groupby", f_groupby},
    {"map", f_map},
    {"select", f_select},
    {"reject", f_reject},
    {"selectattr", f_selectattr},
    {"rejectattr", f_rejectattr},
};

}  // namespace

std::span<const FilterEntry> sequence_filters() { return kFilters; }

}  // namespace trireme::text::jinja

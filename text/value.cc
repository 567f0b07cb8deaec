#include "text/value.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace trireme::text {

Value Value::undefined(std::string why) {
  Value value;
  if (!why.empty()) value.shared_ = std::make_shared<std::string>(std::move(why));
  return value;
}

Value Value::boolean(bool b) {
  Value value(Kind::kBool);
  value.bits_.i = b ? 1 : 0;
  return value;
}

Value Value::integer(int64_t i) {
  Value value(Kind::kInt);
  value.bits_.i = i;
  return value;
}

Value Value::big_integer(std::string digits) {
  Value value(Kind::kBigInt);
  value.shared_ = std::make_shared<std::string>(std::move(digits));
  return value;
}

Value Value::floating(double f) {
  Value value(Kind::kFloat);
  value.bits_.f = f;
  return value;
}

Value Value::text(Text text) {
  Value value(Kind::kString);
  value.shared_ = std::make_shared<Text>(std::move(text));
  return value;
}

Value Value::string(std::string bytes) { return text({.bytes = std::move(bytes)}); }

Value Value::content(std::string bytes) {
  Text made{.bytes = std::move(bytes)};
  if (!made.bytes.empty()) made.content.emplace_back(0, made.bytes.size());
  return text(std::move(made));
}

namespace {

std::shared_ptr<Sequence> make_sequence(std::vector<Value> items) {
  auto sequence = std::make_shared<Sequence>();
  for (const Value& item : items) sequence->depth = std::max(sequence->depth, item.depth() + 1);
  sequence->items = std::move(items);
  return sequence;
}

}  // namespace

Value Value::list(std::vector<Value> items) {
  Value value(Kind::kList);
  value.shared_ = make_sequence(std::move(items));
  return value;
}

Value Value::tuple(std::vector<Value> items) {
  Value value(Kind::kTuple);
  value.shared_ = make_sequence(std::move(items));
  return value;
}

Value Value::dict(Dict dict) {
  Value value(Kind::kDict);
  value.shared_ = std::make_shared<Dict>(std::move(dict));
  return value;
}

Value Value::object(std::shared_ptr<Object> object) {
  Value value(Kind::kObject);
  value.shared_ = std::make_shared<std::shared_ptr<Object>>(std::move(object));
  return value;
}

double Value::as_double() const {
  if (kind_ == Kind::kFloat) return bits_.f;
  if (kind_ == Kind::kBigInt) return std::strtod(digits().c_str(), nullptr);
  return static_cast<double>(bits_.i);
}

const std::vector<Value>& Value::items() const {
  return static_cast<const Sequence*>(shared_.get())->items;
}

const Dict& Value::as_dict() const { return *static_cast<const Dict*>(shared_.get()); }

Object* Value::as_object() const {
  return static_cast<std::shared_ptr<Object>*>(shared_.get())->get();
}

std::shared_ptr<Object> Value::shared_object() const {
  return *static_cast<std::shared_ptr<Object>*>(shared_.get());
}

std::string Value::reason() const {
  return shared_ ? *static_cast<const std::string*>(shared_.get()) : std::string();
}

int Value::depth() const {
  if (is_sequence()) return static_cast<const Sequence*>(shared_.get())->depth;
  if (is_dict()) return as_dict().depth;
  return 0;
}

namespace {

constexpr size_t kIndexFrom = 12;  // below, a scan is faster than hashing

uint64_t hash_key(const Value& key) {
  switch (key.kind()) {
    case Kind::kString:
      return std::hash<std::string_view>{}(key.str());
    case Kind::kBool:
    case Kind::kInt:
    case Kind::kFloat:
    case Kind::kBigInt:
      return std::hash<double>{}(key.as_double());
    default:
      return 0;
  }
}

}  // namespace

void Dict::index_entry(size_t entry) {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_key(entries[entry].first) & mask;
  while (slots_[slot] >= 0) slot = (slot + 1) & mask;
  slots_[slot] = static_cast<int32_t>(entry);
}

size_t Dict::locate(const Value& key) const {
  if (slots_.empty()) {
    for (size_t i = 0; i < entries.size(); ++i) {
      if (equal(entries[i].first, key)) return i;
    }
    return entries.size();
  }
  const size_t mask = slots_.size() - 1;
  for (size_t slot = hash_key(key) & mask; slots_[slot] >= 0; slot = (slot + 1) & mask) {
    const auto entry = static_cast<size_t>(slots_[slot]);
    if (equal(entries[entry].first, key)) return entry;
  }
  return entries.size();
}

const Value* Dict::find(const Value& key) const {
  const size_t at = locate(key);
  return at < entries.size() ? &entries[at].second : nullptr;
}

const Value* Dict::find(std::string_view key) const {
  if (slots_.empty()) {
    for (const auto& [name, value] : entries) {
      if (name.is_string() && name.str() == key) return &value;
    }
    return nullptr;
  }
  return find(Value::string(std::string(key)));
}

void Dict::set(Value key, Value value) {
  depth = std::max({depth, key.depth() + 1, value.depth() + 1});
  if (const size_t at = locate(key); at < entries.size()) {
    entries[at].second = std::move(value);
    return;
  }
  entries.emplace_back(std::move(key), std::move(value));
  if (entries.size() < kIndexFrom) return;
  if (entries.size() * 2 > slots_.size()) {
    slots_.assign(std::max<size_t>(64, slots_.size() * 4), -1);
    for (size_t i = 0; i < entries.size(); ++i) index_entry(i);
  } else {
    index_entry(entries.size() - 1);
  }
}

bool truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone:
      return false;
    case Kind::kBool:
    case Kind::kInt:
      return value.as_int() != 0;
    case Kind::kFloat:
      return value.as_float() != 0;
    case Kind::kString:
      return !value.str().empty();
    case Kind::kList:
    case Kind::kTuple:
      return !value.items().empty();
    case Kind::kDict:
      return !value.as_dict().entries.empty();
    case Kind::kBigInt:
    case Kind::kObject:
      return true;
  }
  return false;
}

bool equal(const Value& a, const Value& b) {
  if (a.is_number() && b.is_number()) {
    if (a.is(Kind::kBigInt) && b.is(Kind::kBigInt)) return a.digits() == b.digits();
    if (a.is(Kind::kFloat) || b.is(Kind::kFloat)) return a.as_double() == b.as_double();
    return !a.is(Kind::kBigInt) && !b.is(Kind::kBigInt) && a.as_int() == b.as_int();
  }
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kString:
      return a.str() == b.str();
    case Kind::kList:
    case Kind::kTuple:
      return std::equal(a.items().begin(), a.items().end(), b.items().begin(), b.items().end(),
                        equal);
    case Kind::kDict: {
      const Dict& x = a.as_dict();
      const Dict& y = b.as_dict();
      return x.entries.size() == y.entries.size() &&
             std::all_of(x.entries.begin(), x.entries.end(), [&](const auto& entry) {
               const Value* other = y.find(entry.first);
               return other != nullptr && equal(entry.second, *other);
             });
    }
    case Kind::kObject:
      return a.as_object() == b.as_object();
    default:
      return true;  // both undefined or both None
  }
}

std::string type_name(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
      return "Undefined";
    case Kind::kNone:
      return "NoneType";
    case Kind::kBool:
      return "bool";
    case Kind::kInt:
    case Kind::kBigInt:
      return "int";
    case Kind::kFloat:
      return "float";
    case Kind::kString:
      return "str";
    case Kind::kList:
      return "list";
    case Kind::kTuple:
      return "tuple";
    case Kind::kDict:
      return "dict";
    case Kind::kObject:
      return value.as_object()->type_name();
  }
  return "object";
}

void append_text(const Text& from, Text* to) { append_text(from, 0, from.bytes.size(), to); }

void append_text(const Text& from, size_t begin, size_t end, Text* to) {
  const size_t shift = to->bytes.size();
  to->bytes.append(from.bytes, begin, end - begin);
  for (const auto& [first, last] : from.content) {
    const size_t low = std::max(first, begin);
    const size_t high = std::min(last, end);
    if (low >= high) continue;
    const size_t at = shift + low - begin;
    if (!to->content.empty() && to->content.back().second == at) {
      to->content.back().second = shift + high - begin;
    } else {
      to->content.emplace_back(at, shift + high - begin);
    }
  }
}

}  // namespace trireme::text

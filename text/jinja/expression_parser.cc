#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "text/jinja/failure.h"
#include "text/jinja/parser.h"

namespace trireme::text::jinja {

ExpressionParser::Nested::Nested(ExpressionParser* parser) : parser_(parser) {
  if (++parser_->depth_ > kMaxParseDepth) {
    --parser_->depth_;
    throw TemplateFailure{.message = fmt::format("nested deeper than {} levels", kMaxParseDepth),
                          .line = parser->peek().line,
                          .limit = true};
  }
}

bool ExpressionParser::skip_op(std::string_view op) {
  if (!is_op(op)) return false;
  next();
  return true;
}

bool ExpressionParser::skip_name(std::string_view name) {
  if (!is_name(name)) return false;
  next();
  return true;
}

void ExpressionParser::expect_op(std::string_view op) {
  if (!skip_op(op)) unexpected(fmt::format("'{}'", op));
}

std::string ExpressionParser::expect_name() {
  if (peek().type != Tok::kName) unexpected("a name");
  return next().text;
}

void ExpressionParser::unexpected(std::string_view wanted) const {
  const Token& token = peek();
  std::string found;
  switch (token.type) {
    case Tok::kEnd:
      found = "the end of the template";
      break;
    case Tok::kBlockEnd:
      found = "'%}'";
      break;
    case Tok::kVariableEnd:
      found = "'}}'";
      break;
    case Tok::kString:
      found = "a string";
      break;
    default:
      found = "'" + token.text.substr(0, 40) + "'";
      break;
  }
  fail(fmt::format("expected {}, found {}", wanted, found), token.line);
}

ExprPtr ExpressionParser::make(ExprKind kind, int line) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = line;
  return expr;
}

ExprPtr ExpressionParser::finish(ExprPtr expr) {
  const auto count = [&](const ExprPtr& child) {
    if (child) expr->depth = std::max(expr->depth, child->depth + 1);
  };
  for (const ExprPtr& child : expr->args) count(child);
  for (const auto& [name, child] : expr->kwargs) count(child);
  count(expr->star);
  count(expr->star_star);
  if (expr->depth > kMaxTreeHeight) {
    throw TemplateFailure{
        .message = "an expression is too long a chain", .line = expr->line, .limit = true};
  }
  return expr;
}

ExprPtr ExpressionParser::parse_expression() {
  const Nested nested(this);
  ExprPtr value = parse_or();
  while (is_name("if")) {
    ExprPtr condition = make(ExprKind::kCondition, next().line);
    condition->args.push_back(std::move(value));
    condition->args.push_back(parse_or());
    condition->args.push_back(skip_name("else") ? parse_expression() : nullptr);
    value = finish(std::move(condition));
  }
  return value;
}

ExprPtr ExpressionParser::parse_or() {
  ExprPtr left = parse_and();
  while (is_name("or")) {
    ExprPtr expr = make(ExprKind::kOr, next().line);
    expr->args.push_back(std::move(left));
    expr->args.push_back(parse_and());
    left = finish(std::move(expr));
  }
  return left;
}

ExprPtr ExpressionParser::parse_and() {
  ExprPtr left = parse_not();
  while (is_name("and")) {
    ExprPtr expr = make(ExprKind::kAnd, next().line);
    expr->args.push_back(std::move(left));
    expr->args.push_back(parse_not());
    left = finish(std::move(expr));
  }
  return left;
}

ExprPtr ExpressionParser::parse_not() {
  if (!is_name("not")) return parse_compare();
  const Nested nested(this);
  ExprPtr expr = make(ExprKind::kNot, next().line);
  expr->args.push_back(parse_not());
  return finish(std::move(expr));
}

ExprPtr ExpressionParser::parse_compare() {
  ExprPtr first = parse_sum();
  ExprPtr expr;
  while (true) {
    std::string op;
    for (const char* candidate : {"==", "!=", ">", ">=", "<", "<="}) {
      if (is_op(candidate)) op = candidate;
    }
    if (is_name("in")) op = "in";
    if (is_name("not") && peek(1).type == Tok::kName && peek(1).text == "in") {
      op = "not in";
      next();
    }
    if (op.empty()) break;
    const int line = next().line;
    if (!expr) {
      expr = make(ExprKind::kCompare, line);
      expr->args.push_back(std::move(first));
    }
    expr->ops.push_back(std::move(op));
    expr->args.push_back(parse_sum());
  }
  return expr ? finish(std::move(expr)) : std::move(first);
}

ExprPtr ExpressionParser::parse_sum() {
  ExprPtr left = parse_concat();
  while (is_op("+") || is_op("-")) {
    ExprPtr expr = make(ExprKind::kBinary, peek().line);
    expr->name = next().text;
    expr->args.push_back(std::move(left));
    expr->args.push_back(parse_concat());
    left = finish(std::move(expr));
  }
  return left;
}

ExprPtr ExpressionParser::parse_concat() {
  ExprPtr first = parse_product();
  if (!is_op("~")) return first;
  ExprPtr expr = make(ExprKind::kConcat, peek().line);
  expr->args.push_back(std::move(first));
  while (skip_op("~")) expr->args.push_back(parse_product());
  return finish(std::move(expr));
}

ExprPtr ExpressionParser::parse_product() {
  ExprPtr left = parse_power();
  while (is_op("*") || is_op("/") || is_op("//") || is_op("%")) {
    ExprPtr expr = make(ExprKind::kBinary, peek().line);
    expr->name = next().text;
    expr->args.push_back(std::move(left));
    expr->args.push_back(parse_power());
    left = finish(std::move(expr));
  }
  return left;
}

ExprPtr ExpressionParser::parse_power() {
  ExprPtr left = parse_unary();
  while (is_op("**")) {  // to the left, unlike Python
    ExprPtr expr = make(ExprKind::kBinary, peek().line);
    expr->name = next().text;
    expr->args.push_back(std::move(left));
    expr->args.push_back(parse_unary());
    left = finish(std::move(expr));
  }
  return left;
}

ExprPtr ExpressionParser::parse_unary(bool with_filter) {
  const Nested nested(this);
  ExprPtr value;
  if (is_op("-") || is_op("+")) {
    value = make(is_op("-") ? ExprKind::kNegative : ExprKind::kPositive, peek().line);
    next();
    value->args.push_back(parse_unary(false));
    value = finish(std::move(value));
  } else {
    value = parse_primary();
  }
  value = parse_postfix(std::move(value));
  return with_filter ? parse_filters(std::move(value)) : std::move(value);
}

ExprPtr ExpressionParser::parse_primary() {
  const Token token = peek();
  ExprPtr expr = make(ExprKind::kLiteral, token.line);
  switch (token.type) {
    case Tok::kName:
      next();
      if (token.text == "true" || token.text == "True") {
        expr->literal = Value::boolean(true);
      } else if (token.text == "false" || token.text == "False") {
        expr->literal = Value::boolean(false);
      } else if (token.text == "none" || token.text == "None") {
        expr->literal = Value::none();
      } else {
        expr->kind = ExprKind::kName;
        expr->name = token.text;
      }
      return expr;
    case Tok::kString: {
      std::string value;
      while (peek().type == Tok::kString) value += next().text;  // neighbours are one string
      expr->literal = Value::string(std::move(value));
      return expr;
    }
    case Tok::kInteger: {
      next();
      int64_t value = 0;
      const char* end = token.text.data() + token.text.size();
      const bool fits = std::from_chars(token.text.data(), end, value).ec == std::errc();
      expr->literal = fits ? Value::integer(value) : Value::big_integer(token.text);
      return expr;
    }
    case Tok::kFloat:
      next();
      expr->literal = Value::floating(std::strtod(token.text.c_str(), nullptr));
      return expr;
    default:
      break;
  }
  if (skip_op("(")) {
    if (skip_op(")")) return make(ExprKind::kTuple, token.line);
    expr = parse_tuple(true);
    expect_op(")");
    return expr;
  }
  if (is_op("[")) return parse_list();
  if (is_op("{")) return parse_dict();
  unexpected("an expression");
}

ExprPtr ExpressionParser::parse_list() {
  ExprPtr expr = make(ExprKind::kList, next().line);
  while (!is_op("]")) {
    if (!expr->args.empty()) expect_op(",");
    if (is_op("]")) break;
    expr->args.push_back(parse_expression());
  }
  expect_op("]");
  return finish(std::move(expr));
}

ExprPtr ExpressionParser::parse_dict() {
  ExprPtr expr = make(ExprKind::kDict, next().line);
  while (!is_op("}")) {
    if (!expr->args.empty()) expect_op(",");
    if (is_op("}")) break;
    expr->args.push_back(parse_expression());
    expect_op(":");
    expr->args.push_back(parse_expression());
  }
  expect_op("}");
  return finish(std::move(expr));
}

bool ExpressionParser::ends_tuple(std::string_view end_name) const {
  return peek().type == Tok::kVariableEnd || peek().type == Tok::kBlockEnd || is_op(")") ||
         is_op("=") || (!end_name.empty() && is_name(end_name)) || is_name("in");
}

ExprPtr ExpressionParser::parse_tuple(bool with_condition, std::string_view end_name) {
  const int line = peek().line;
  std::vector<ExprPtr> items;
  bool is_tuple = false;
  while (true) {
    if (!items.empty() && ends_tuple(end_name)) break;
    items.push_back(with_condition ? parse_expression() : parse_or());
    if (!skip_op(",")) break;
    is_tuple = true;
  }
  if (!is_tuple) return std::move(items[0]);
  ExprPtr expr = make(ExprKind::kTuple, line);
  expr->args = std::move(items);
  return finish(std::move(expr));
}

ExprPtr ExpressionParser::parse_postfix(ExprPtr expr) {
  while (true) {
    if (is_op(".")) {
      const int line = next().line;
      if (peek().type == Tok::kInteger) {  // x.0 is x[0]
        ExprPtr item = make(ExprKind::kItem, line);
        item->args.push_back(std::move(expr));
        item->args.push_back(parse_primary());
        expr = finish(std::move(item));
        continue;
      }
      ExprPtr attr = make(ExprKind::kAttr, line);
      attr->name = expect_name();
      attr->args.push_back(std::move(expr));
      expr = finish(std::move(attr));
    } else if (is_op("[")) {
      expr = parse_subscript(std::move(expr));
    } else if (is_op("(")) {
      ExprPtr call = make(ExprKind::kCall, peek().line);
      call->args.push_back(std::move(expr));
      parse_arguments(call.get());
      expr = finish(std::move(call));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_subscript(ExprPtr value) {
  const int line = next().line;
  ExprPtr bounds[3];
  int colons = 0;
  while (!is_op("]")) {
    if (is_op(":")) {
      next();
      if (++colons > 2) unexpected("']'");
    } else if (bounds[colons] == nullptr) {
      bounds[colons] = colons == 0 ? parse_tuple(true) : parse_expression();
    } else {
      unexpected("']'");
    }
  }
  next();
  ExprPtr expr = make(colons > 0 ? ExprKind::kSlice : ExprKind::kItem, line);
  if (colons == 0 && bounds[0] == nullptr) fail("a subscript is empty", line);
  expr->args.push_back(std::move(value));
  for (int i = 0; i < (colons > 0 ? 3 : 1); ++i) expr->args.push_back(std::move(bounds[i]));
  return finish(std::move(expr));
}

void ExpressionParser::parse_arguments(Expr* call) {
  expect_op("(");
  bool first = true;
  while (!is_op(")")) {
    if (!first) expect_op(",");
    first = false;
    if (is_op(")")) break;
    if (skip_op("*")) {
      if (call->star) unexpected("one *argument only");
      call->star = parse_expression();
    } else if (skip_op("**")) {
      if (call->star_star) unexpected("one **argument only");
      call->star_star = parse_expression();
    } else if (peek().type == Tok::kName && peek(1).type == Tok::kOperator && peek(1).text == "=") {
      std::string name = next().text;
      next();
      call->kwargs.emplace_back(std::move(name), parse_expression());
    } else {
      if (!call->kwargs.empty()) unexpected("a keyword argument");
      call->args.push_back(parse_expression());
    }
  }
  next();
}

ExprPtr ExpressionParser::parse_filters(ExprPtr expr) {
  while (true) {
    if (is_op("|")) {
      next();
      expr = parse_filter(std::move(expr));
    } else if (is_name("is")) {
      expr = parse_test(std::move(expr));
    } else if (is_op("(")) {
      ExprPtr call = make(ExprKind::kCall, peek().line);
      call->args.push_back(std::move(expr));
      parse_arguments(call.get());
      expr = finish(std::move(call));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::parse_filter(ExprPtr value) {
  ExprPtr filter = make(ExprKind::kFilter, peek().line);
  filter->name = expect_name();
  while (skip_op(".")) filter->name += "." + expect_name();
  filter->args.push_back(std::move(value));
  if (is_op("(")) parse_arguments(filter.get());
  return finish(std::move(filter));
}

ExprPtr ExpressionParser::parse_filter_chain() {
  ExprPtr chain = parse_filter(nullptr);
  while (skip_op("|")) chain = parse_filter(std::move(chain));
  return chain;
}

ExprPtr ExpressionParser::parse_test(ExprPtr value) {
  const int line = next().line;
  const bool negated = skip_name("not");
  ExprPtr test = make(ExprKind::kTest, line);
  test->name = expect_name();
  while (skip_op(".")) test->name += "." + expect_name();
  test->args.push_back(std::move(value));
  const Token& token = peek();
  const bool starts_value =
      token.type == Tok::kString || token.type == Tok::kInteger || token.type == Tok::kFloat ||
      is_op("[") || is_op("{") ||
      (token.type == Tok::kName && token.text != "else" && token.text != "or" &&
       token.text != "and" && token.text != "is" && token.text != "if" && token.text != "not" &&
       token.text != "in" && token.text != "recursive");
  if (is_op("(")) {
    parse_arguments(test.get());
  } else if (starts_value) {
    test->args.push_back(parse_postfix(parse_primary()));
  }
  test = finish(std::move(test));
  if (!negated) return test;
  ExprPtr expr = make(ExprKind::kNot, line);
  expr->args.push_back(std::move(test));
  return finish(std::move(expr));
}

}  // namespace trireme::text::jinja

// Builds the tree of a template: Jinja's grammar without inheritance, includes and imports.
//
// Bounded: nesting and tree height have limits, so that no walk over the tree can run out of stack.
// Throws TemplateFailure with the line.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"
#include "text/jinja/lexer.h"

namespace trireme::text::jinja {

inline constexpr int kMaxParseDepth = 200;  // brackets, blocks and operators inside each other
inline constexpr int kMaxTreeHeight = 400;  // of one expression

Body parse_template(std::string_view source);

// Parses expressions from a token list; the statement parser builds on it.
class ExpressionParser {
 public:
  explicit ExpressionParser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

 protected:
  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(at_ + ahead, tokens_.size() - 1)];
  }
  const Token& next() { return tokens_[at_ + 1 < tokens_.size() ? at_++ : at_]; }
  bool is_op(std::string_view op) const {
    return peek().type == Tok::kOperator && peek().text == op;
  }
  bool is_name(std::string_view name) const {
    return peek().type == Tok::kName && peek().text == name;
  }
  bool skip_op(std::string_view op);
  bool skip_name(std::string_view name);
  void expect_op(std::string_view op);
  std::string expect_name();
  [[noreturn]] void unexpected(std::string_view wanted) const;

  ExprPtr parse_expression();  // conditional and everything below
  ExprPtr parse_or();          // no conditional
  // One expression, or a tuple without brackets. `end_name` may end it.
  ExprPtr parse_tuple(bool with_condition, std::string_view end_name = {});
  // A chain `name(..) | name(..)` without a value in front, for filter and set blocks.
  ExprPtr parse_filter_chain();
  ExprPtr parse_postfix(ExprPtr expr);
  ExprPtr parse_primary();
  ExprPtr parse_unary(bool with_filter = true);
  static ExprPtr make(ExprKind kind, int line);
  static ExprPtr finish(ExprPtr expr);  // computes and checks the height

  // Counts nesting for its lifetime.
  class Nested {
   public:
    explicit Nested(ExpressionParser* parser);
    ~Nested() { --parser_->depth_; }
    Nested(const Nested&) = delete;

   private:
    ExpressionParser* parser_;
  };

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0;

 private:
  ExprPtr parse_and();
  ExprPtr parse_not();
  ExprPtr parse_compare();
  ExprPtr parse_sum();
  ExprPtr parse_concat();
  ExprPtr parse_product();
  ExprPtr parse_power();
  ExprPtr parse_filters(ExprPtr expr);
  ExprPtr parse_filter(ExprPtr value);
  ExprPtr parse_test(ExprPtr value);
  ExprPtr parse_subscript(ExprPtr value);
  ExprPtr parse_list();
  ExprPtr parse_dict();
  void parse_arguments(Expr* call);
  bool ends_tuple(std::string_view end_name) const;
};

}  // namespace trireme::text::jinja

#include "text/jinja/parser.h"

#include <fmt/format.h>

#include <algorithm>
#include <initializer_list>

#include "text/jinja/failure.h"

namespace trireme::text::jinja {

namespace {

using Names = std::initializer_list<std::string_view>;

// Statements, on top of the expressions.
class StatementParser : public ExpressionParser {
 public:
  using ExpressionParser::ExpressionParser;

  Body parse() {
    Body body = parse_body({});
    if (peek().type != Tok::kEnd) unexpected("the end of the template");
    return body;
  }

 private:
  static StmtPtr make_stmt(StmtKind kind, int line) {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = line;
    return stmt;
  }

  void expect_block_end() {
    if (peek().type != Tok::kBlockEnd) unexpected("'%}'");
    next();
  }

  bool at_block(Names names) const {
    return peek().type == Tok::kBlockBegin && peek(1).type == Tok::kName &&
           std::find(names.begin(), names.end(), peek(1).text) != names.end();
  }

  // Statements up to `{% name` for one of `ends`, which is not consumed.
  Body parse_body(Names ends) {
    const Nested nested(this);
    Body body;
    while (true) {
      const Token& token = peek();
      if (token.type == Tok::kEnd || at_block(ends)) return body;
      if (token.type == Tok::kData) {
        StmtPtr stmt = make_stmt(StmtKind::kData, token.line);
        stmt->text = next().text;
        body.push_back(std::move(stmt));
      } else if (token.type == Tok::kVariableBegin) {
        next();
        StmtPtr stmt = make_stmt(StmtKind::kOutput, token.line);
        stmt->expr = parse_tuple(true);
        if (peek().type != Tok::kVariableEnd) unexpected("'}}'");
        next();
        body.push_back(std::move(stmt));
      } else {
        next();
        body.push_back(parse_statement());
      }
    }
  }

  // The body of a block whose tag is done, and its end tag.
  Body parse_block(std::string_view end) {
    const int line = peek().line;
    Body body = parse_body({end});
    close_block(end, line);
    return body;
  }

  void close_block(std::string_view end, int line) {
    if (!at_block({end})) {
      if (peek().type == Tok::kEnd) {
        fail(fmt::format("a block is not closed by {{% {} %}}", end), line);
      }
      if (peek().type == Tok::kBlockBegin) next();
      unexpected(fmt::format("'{}'", end));
    }
    next();
    next();
    if (end == "endmacro" && peek().type == Tok::kName) next();  // may repeat the name
    expect_block_end();
  }

  StmtPtr parse_statement() {
    const int line = peek().line;
    if (peek().type != Tok::kName) unexpected("the name of a statement");
    const std::string name = next().text;
    if (name == "if") return parse_if(line);
    if (name == "for") return parse_for(line);
    if (name == "set") return parse_set(line);
    if (name == "macro") return parse_macro(line);
    if (name == "call") return parse_call(line);
    if (name == "filter") return parse_filter_block(line);
    if (name == "with") return parse_with(line);
    if (name == "generation") {
      expect_block_end();
      StmtPtr stmt = make_stmt(StmtKind::kGeneration, line);
      stmt->body = parse_block("endgeneration");
      return stmt;
    }
    if (name == "break" || name == "continue") {
      if (loops_ == 0) fail(fmt::format("'{}' stands outside a loop", name), line);
      expect_block_end();
      return make_stmt(name == "break" ? StmtKind::kBreak : StmtKind::kContinue, line);
    }
    for (const char* other :
         {"include", "import", "from", "extends", "block", "autoescape", "do", "trans"}) {
      if (name == other) fail(fmt::format("the statement '{}' is not supported", name), line);
    }
    fail(fmt::format("unknown statement '{}'", name), line);
  }

  StmtPtr parse_if(int line) {
    StmtPtr stmt = make_stmt(StmtKind::kIf, line);
    ExprPtr condition = parse_tuple(false);
    expect_block_end();
    while (true) {
      Body body = parse_body({"elif", "else", "endif"});
      stmt->branches.emplace_back(std::move(condition), std::move(body));
      if (!at_block({"elif"})) break;
      next();
      next();
      condition = parse_tuple(false);
      expect_block_end();
    }
    if (at_block({"else"})) {
      next();
      next();
      expect_block_end();
      stmt->orelse = parse_body({"endif"});
    }
    close_block("endif", line);
    return stmt;
  }

  StmtPtr parse_for(int line) {
    StmtPtr stmt = make_stmt(StmtKind::kFor, line);
    stmt->target = parse_target(false);
    if (!skip_name("in")) unexpected("'in'");
    stmt->expr = parse_tuple(false, "recursive");
    if (skip_name("if")) stmt->filter = parse_expression();
    stmt->recursive = skip_name("recursive");
    expect_block_end();
    ++loops_;
    stmt->body = parse_body({"else", "endfor"});
    --loops_;
    if (at_block({"else"})) {
      next();
      next();
      expect_block_end();
      stmt->orelse = parse_body({"endfor"});
    }
    close_block("endfor", line);
    return stmt;
  }

  // A name, a tuple of targets, or (for set) an attribute of a namespace.
  ExprPtr parse_target(bool with_namespace) {
    const Nested nested(this);
    const int line = peek().line;
    std::vector<ExprPtr> items;
    bool is_tuple = false;
    while (true) {
      if (!items.empty() && (is_op("=") || is_op(")") || is_name("in"))) break;
      items.push_back(parse_single_target(with_namespace));
      if (!skip_op(",")) break;
      is_tuple = true;
    }
    if (!is_tuple) return std::move(items[0]);
    ExprPtr tuple = make(ExprKind::kTuple, line);
    tuple->args = std::move(items);
    return finish(std::move(tuple));
  }

  ExprPtr parse_single_target(bool with_namespace) {
    if (skip_op("(")) {
      ExprPtr inner = parse_target(with_namespace);
      expect_op(")");
      return inner;
    }
    ExprPtr name = make(ExprKind::kName, peek().line);
    name->name = expect_name();
    for (const char* reserved : {"true", "false", "none", "True", "False", "None"}) {
      if (name->name == reserved) fail(fmt::format("cannot assign to '{}'", reserved), name->line);
    }
    if (!with_namespace || !skip_op(".")) return name;
    ExprPtr attr = make(ExprKind::kAttr, name->line);
    attr->name = expect_name();
    attr->args.push_back(std::move(name));
    return finish(std::move(attr));
  }

  StmtPtr parse_set(int line) {
    ExprPtr target = parse_target(true);
    if (skip_op("=")) {
      StmtPtr stmt = make_stmt(StmtKind::kSet, line);
      stmt->target = std::move(target);
      stmt->expr = parse_tuple(true);
      expect_block_end();
      return stmt;
    }
    StmtPtr stmt = make_stmt(StmtKind::kSetBlock, line);
    stmt->target = std::move(target);
    if (skip_op("|")) stmt->filter = parse_filter_chain();
    expect_block_end();
    stmt->body = parse_block("endset");
    return stmt;
  }

  void parse_params(Stmt* stmt) {
    expect_op("(");
    while (!is_op(")")) {
      if (!stmt->params.empty()) expect_op(",");
      if (is_op(")")) break;
      stmt->params.push_back(expect_name());
      if (skip_op("=")) {
        stmt->defaults.push_back(parse_expression());
      } else if (!stmt->defaults.empty()) {
        fail("a parameter without a default follows one with a default", stmt->line);
      }
    }
    next();
  }

  // The tokens of a body are scanned for the names that a call supplies besides the parameters.
  void parse_callable_body(Stmt* stmt, std::string_view end) {
    const size_t begin = at_;
    const int outer_loops = loops_;
    loops_ = 0;  // break does not reach out of a macro
    stmt->body = parse_block(end);
    loops_ = outer_loops;
    for (size_t i = begin; i < at_; ++i) {
      if (tokens_[i].type != Tok::kName) continue;
      stmt->uses_caller = stmt->uses_caller || tokens_[i].text == "caller";
      stmt->uses_varargs = stmt->uses_varargs || tokens_[i].text == "varargs";
      stmt->uses_kwargs = stmt->uses_kwargs || tokens_[i].text == "kwargs";
    }
  }

  StmtPtr parse_macro(int line) {
    StmtPtr stmt = make_stmt(StmtKind::kMacro, line);
    stmt->text = expect_name();
    parse_params(stmt.get());
    expect_block_end();
    parse_callable_body(stmt.get(), "endmacro");
    return stmt;
  }

  StmtPtr parse_call(int line) {
    StmtPtr stmt = make_stmt(StmtKind::kCallBlock, line);
    stmt->text = "caller";
    if (is_op("(")) parse_params(stmt.get());
    stmt->expr = parse_expression();
    if (stmt->expr->kind != ExprKind::kCall) fail("a call block needs a call", line);
    expect_block_end();
    parse_callable_body(stmt.get(), "endcall");
    return stmt;
  }

  StmtPtr parse_filter_block(int line) {
    StmtPtr stmt = make_stmt(StmtKind::kFilterBlock, line);
    stmt->filter = parse_filter_chain();
    expect_block_end();
    stmt->body = parse_block("endfilter");
    return stmt;
  }

  StmtPtr parse_with(int line) {
    StmtPtr stmt = make_stmt(StmtKind::kWith, line);
    while (peek().type != Tok::kBlockEnd) {
      if (!stmt->assignments.empty()) expect_op(",");
      ExprPtr target = parse_single_target(false);
      expect_op("=");
      stmt->assignments.emplace_back(std::move(target), parse_expression());
    }
    next();
    stmt->body = parse_block("endwith");
    return stmt;
  }

  int loops_ = 0;
};

}  // namespace

Body parse_template(std::string_view source) { return StatementParser(lex(source)).parse(); }

}  // namespace trireme::text::jinja

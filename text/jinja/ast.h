// The tree of a parsed template. Immutable after parsing; shared by renders on any number of
// threads.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/value.h"

namespace trireme::text::jinja {

struct Expr;
struct Stmt;
using ExprPtr = std::unique_ptr<Expr>;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

enum class ExprKind : uint8_t {
  kLiteral,  // literal
  kName,     // name
  kList,     // args
  kTuple,    // args
  kDict,     // args: key, value, key, value ...
  kAttr,     // args[0].name
  kItem,     // args[0][args[1]]
  kSlice,    // args[0][args[1]:args[2]:args[3]], each bound may be null
  kCall,     // args[0](args[1..], kwargs, *star, **star_star)
  kFilter,   // args[0] | name(args[1..], kwargs); args[0] is null in a filter block
  kTest,     // args[0] is name(args[1..], kwargs)
  kNot,
  kNegative,
  kPositive,
  kAnd,
  kOr,
  kCompare,    // args[0] ops[0] args[1] ops[1] args[2] ...
  kBinary,     // args[0] name args[1], name one of + - * / // % **
  kConcat,     // args[0] ~ args[1] ~ ...
  kCondition,  // args[0] if args[1] else args[2], the last may be null
};

struct Expr {
  ExprKind kind;
  int line;
  int depth = 1;  // height of the tree below
  std::string name;
  Value literal;
  std::vector<ExprPtr> args;
  std::vector<std::pair<std::string, ExprPtr>> kwargs;
  std::vector<std::string> ops;
  ExprPtr star;
  ExprPtr star_star;
};

enum class StmtKind : uint8_t {
  kData,         // text
  kOutput,       // expr
  kIf,           // branches, orelse
  kFor,          // target in expr if filter: body else orelse
  kSet,          // target = expr
  kSetBlock,     // target = body, through the filter chain expr if there is one
  kMacro,        // name(params): body
  kCallBlock,    // expr is the call; params, body become its caller
  kFilterBlock,  // body through the filter chain expr
  kWith,         // assignments: body
  kGeneration,   // body
  kBreak,
  kContinue,
};

struct Stmt {
  StmtKind kind;
  int line;
  std::string text;  // kData; the name of a macro
  ExprPtr expr;
  ExprPtr target;
  ExprPtr filter;
  bool recursive = false;
  std::vector<std::pair<ExprPtr, Body>> branches;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  std::vector<std::string> params;
  std::vector<ExprPtr> defaults;  // of the last params
  bool uses_caller = false;       // the body of a macro names `caller`, `varargs` or `kwargs`
  bool uses_varargs = false;
  bool uses_kwargs = false;
  Body body;
  Body orelse;
};

}  // namespace trireme::text::jinja

// How an error travels inside the template engine.
//
// Lexer, parser and interpreter throw TemplateFailure and unwind; ChatTemplate catches it and
// returns a Result. It never leaves this folder: a tree walker that tested a Result at each of its
// small steps would be mostly tests.
#pragma once

#include <string>
#include <utility>

namespace trireme::text::jinja {

struct TemplateFailure {
  std::string message;
  int line = 0;         // of the template, from 1; 0: not known yet
  bool raised = false;  // by the template itself, through raise_exception
  bool limit = false;   // steps, depth or size ran out
};

[[noreturn]] inline void fail(std::string message, int line = 0) {
  throw TemplateFailure{.message = std::move(message), .line = line};
}

[[noreturn]] inline void fail_limit(std::string message) {
  throw TemplateFailure{.message = std::move(message), .limit = true};
}

}  // namespace trireme::text::jinja

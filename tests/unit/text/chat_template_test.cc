#include "text/chat_template.h"

#include <gtest/gtest.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <set>

#include "tests/unit/text/tokenizer_goldens.h"

namespace trireme::text {
namespace {

// Cases that are known to differ, as "template #line". There are none.
const std::set<std::string> kKnownDifferences = {};

RenderRequest request_of(const Dict& golden) {
  RenderRequest request;
  request.messages = *golden.find("messages");
  request.tools = *golden.find("tools");
  request.documents = *golden.find("documents");
  request.add_generation_prompt = truthy(*golden.find("add_generation_prompt"));
  request.continue_final_message = truthy(*golden.find("continue_final_message"));
  for (const auto& [name, value] : golden.find("kwargs")->as_dict().entries) {
    request.variables.emplace_back(name.str(), value);
  }
  std::tm t{};
  strptime(golden.find("now")->str().c_str(), "%Y-%m-%dT%H:%M:%S", &t);
  request.now_seconds = timegm(&t);
  return request;
}

std::string difference(const Dict& golden, const Result<Rendered>& got) {
  if (const Value* want = golden.find("rendered")) {
    if (!got.ok()) return "error: " + got.error().message;
    return got->text == want->str() ? "" : "got:\n" + got->text + "\nwant:\n" + want->str();
  }
  if (got.ok()) return "rendered, but should fail with: " + golden.find("error")->str();
  const bool raised = golden.find("error_type")->str() == "TemplateError";
  return !raised || got.error().message == golden.find("error")->str()
             ? ""
             : "wrong error: " + got.error().message;
}

TEST(ChatTemplate, RendersAsTheReference) {
  int cases = 0;
  int templates = 0;
  const std::filesystem::path folder =
      std::string(TRIREME_SOURCE_DIR) + "/tests/golden/chat_templates";
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() != ".jinja") continue;
    ++templates;
    const std::string name = entry.path().stem();
    const auto chat = ChatTemplate::parse(read_all(entry.path()));
    ASSERT_TRUE(chat.ok()) << name << ": " << chat.error().message;
    std::ifstream file(folder / (name + ".cases.jsonl"));
    int number = 0;
    for (std::string line; std::getline(file, line);) {
      ++number;
      ++cases;
      const auto golden = value_from_json(line, true);
      ASSERT_TRUE(golden.ok()) << golden.error().message;
      const std::string id = name + " #" + std::to_string(number);
      if (kKnownDifferences.contains(id)) continue;
      EXPECT_EQ(difference(golden->as_dict(), chat->render(request_of(golden->as_dict()))), "")
          << id;
    }
  }
  EXPECT_EQ(templates, 17);
  EXPECT_EQ(cases, 659);
}

Result<Rendered> render(std::string_view source, std::string_view messages = "[]",
                        RenderLimits limits = {}) {
  auto chat = ChatTemplate::parse(source);
  if (!chat.ok()) return chat.error();
  RenderRequest request;
  request.messages = value_from_json(messages, true).value();
  request.variables.emplace_back("bos_token", Value::string("<s>"));
  return chat->render(request, limits);
}

std::string marked(const Rendered& rendered) {
  std::string out;
  size_t done = 0;
  for (const auto& [begin, end] : rendered.content_spans) {
    out += rendered.text.substr(done, begin - done) + "[" +
           rendered.text.substr(begin, end - begin) + "]";
    done = end;
  }
  return out + rendered.text.substr(done);
}

TEST(ChatTemplate, KnowsWhatCameFromTheRequest) {
  const std::string_view messages = R"([{"role": "user", "content": " <s>Hi "}])";
  const std::pair<const char*, const char*> cases[] = {
      {"{{ bos_token }}{{ messages[0].content }}.", "<s>[ <s>Hi ]."},
      {"{{ bos_token + messages[0].content | trim ~ '!' }}", "<s>[<s>Hi]!"},
      {"{{ '<s>%s|' | format(messages[0].content) }}", "<s>[ <s>Hi ]|"},
      {"{{ '<s>{}|'.format(messages[0].content) }}", "<s>[ <s>Hi ]|"},
      {"{{ ('<s>' ~ messages[0].content) | upper }}", "<S>[ <S>HI ]"},
      {"{{ messages[0].content.replace('Hi', '<s>') }}", "[ <s>]<s>[ ]"},
      {"{{ messages[0].content[1:4] ~ '<s>' }}", "[<s>]<s>"},
      {"{{ ['<s>', messages[0].content] | join('<s>') }}", "<s><s>[ <s>Hi ]"},
      {"{{ messages[0] | tojson }}", "{\"[role]\": \"[user]\", \"[content]\": \"[ <s>Hi ]\"}"},
      {"{% set x %}<s>{{ messages[0].content }}{% endset %}{{ x }}", "<s>[ <s>Hi ]"},
      {"{% macro m(t) %}<s>{{ t }}{% endmacro %}{{ m(messages[0].content) }}", "<s>[ <s>Hi ]"},
      {"{% for c in 'a' ~ messages[0].content.split('<s>')[1] %}{{ c }}{% endfor %}", "a[Hi ]"},
      {"{{ messages[0].content.split('H')[0] ~ '<s>' }}", "[ <s>]<s>"},
      {"{{ messages }}", "[{'[role]': '[user]', '[content]': '[ <s>Hi ]'}]"},
  };
  for (const auto& [source, want] : cases) {
    const auto got = render(source, messages);
    ASSERT_TRUE(got.ok()) << source << ": " << got.error().message;
    // Brackets that a list prints are not marks; the expected texts hold both.
    EXPECT_EQ(marked(*got), want) << source;
  }
}

TEST(ChatTemplate, GenerationSpans) {
  const auto got = render("a{% generation %}bc{% endgeneration %}d");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->generation_spans, (std::vector<std::pair<size_t, size_t>>{{1, 3}}));
}

TEST(ChatTemplate, ErrorsSayLineAndCause) {
  const std::pair<const char*, const char*> cases[] = {
      {"\n\n{% if %}", "line 3"},
      {"{{ 1 + }}", "expected an expression"},
      {"{% for x in y %}", "endfor"},
      {"{% endif %}", "endif"},
      {"\n{{ x.y }}", "line 2: 'x' is undefined"},
      {"{{ 'a", "never closed"},
      {"{{ ) }}", "unexpected ')'"},
      {"{% include 'x' %}", "not supported"},
      {"{% break %}", "outside a loop"},
      {"{{ 1 | nope }}", "No filter named 'nope'"},
      {"{{ 1 is nope }}", "No test named 'nope'"},
      {"{# open", "comment"},
      {"{% raw %}x", "raw"},
      {"{{ 1 // 0 }}", "modulo by zero"},
      {"{{ 9223372036854775807 + 1 }}", "64 bits"},
      {"{{ -9223372036854775807 - 2 }}", "64 bits"},
      {"{{ (-9223372036854775807 - 1) // -1 }}", "64 bits"},
      {"{{ 2 ** 64 }}", "64 bits"},
      {"{{ -(-9223372036854775807 - 1) }}", "64 bits"},
      {"{{ (-9223372036854775807 - 1) | abs }}", "64 bits"},
      {"{{ [9223372036854775807, 1] | sum }}", "64 bits"},
      {"{{ 9223372036854775807 | round(-19) }}", "64 bits"},
      {"{{ 1.5 | round(-9223372036854775807 - 1) }}", "absurd precision"},
      {"{{ '9223372036854775808' | int }}", "64 bits"},
      {"{{ 1e300 | int }}", "64 bits"},
      {"{{ -1e300 | filesizeformat }}", "64 bits"},
      {"{{ '%d' % 1e300 }}", "64 bits"},
      {"{{ 'a'.zfill(9223372036854775807) }}", "wider"},
      {"{% set true = 1 %}", "cannot assign"},
      {"{% macro m(a=1, b) %}{% endmacro %}", "without a default"},
      {"{{ [1] | sort(attribute='a') | list }}{{ [1, 'a'] | sort }}", "not supported between"},
  };
  for (const auto& [source, says] : cases) {
    const auto got = render(source);
    ASSERT_FALSE(got.ok()) << source;
    EXPECT_NE(got.error().message.find(says), std::string::npos)
        << source << ": " << got.error().message;
  }
  EXPECT_FALSE(ChatTemplate::parse("\xFF").ok());
  EXPECT_FALSE(ChatTemplate::parse(std::string(ChatTemplate::kMaxSourceBytes + 1, 'x')).ok());
}

// Numbers at the ends of 64 bits mean what they say.
TEST(ChatTemplate, ArithmeticAtTheEndsOfItsRange) {
  const std::pair<const char*, const char*> cases[] = {
      {"{{ 'abc' | truncate(9223372036854775807) }}", "abc"},
      {"{{ 'abcdef' | truncate(3, true, '', 9223372036854775807) }}", "abcdef"},
      {"{{ '-9223372036854775808' | int }}", "-9223372036854775808"},
      {"{{ '9223372036854775807' | int }}", "9223372036854775807"},
      {"{{ '--1' | int }}{{ '-' | int }}{{ '' | int }}", "000"},
      {"{{ range(-9223372036854775807 - 1, 9223372036854775807, 9223372036854775807) | list }}",
       "[-9223372036854775808, -1, 9223372036854775806]"},
      {"{{ 'a'.zfill(-9223372036854775807 - 1) }}", "a"},
      {"{{ 'abc'[-9223372036854775807 - 1:9223372036854775807] }}", "abc"},
      {"{{ 'abc'[::9223372036854775807] }}", "a"},
      {"{{ 'abc'.find('b', -9223372036854775807 - 1) }}", "1"},
      {"{{ (-9223372036854775807 - 1) % -1 }}", "0"},
  };
  for (const auto& [source, wanted] : cases) {
    const auto got = render(source);
    ASSERT_TRUE(got.ok()) << source << ": " << got.error().message;
    EXPECT_EQ(got->text, wanted) << source;
  }
}

std::string repeat(std::string_view piece, int n) {
  std::string out;
  for (int i = 0; i < n; ++i) out += piece;
  return out;
}

TEST(ChatTemplate, NothingRunsAway) {
  const std::string hostile[] = {
      "{{ " + repeat("(", 5000) + "1" + repeat(")", 5000) + " }}",
      "{{ " + repeat("[", 5000) + repeat("]", 5000) + " }}",
      "{{ " + repeat("not ", 100000) + "1 }}",
      "{{ " + repeat("-", 100000) + "1 }}",
      "{{ 1" + repeat("+1", 100000) + " }}",
      "{{ x" + repeat(".a", 100000) + " }}",
      "{{ 1" + repeat("|abs", 100000) + " }}",
      repeat("{% if 1 %}", 5000) + repeat("{% endif %}", 5000),
      "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
      "{% macro m(n) %}{{ m(n) ~ m(n) }}{% endmacro %}{{ m(1) }}",
      "{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}",
      "{% for a in range(100000) %}{{ 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx' "
      "* 10000 }}{% endfor %}",
      "{{ 'a' * 1000000000000 }}",
      "{{ [0] * 1000000000000 }}",
      "{{ 'a' * 9223372036854775807 }}",
      "{{ range(9223372036854775807) }}",
      "{{ range(-9223372036854775807, 9223372036854775807) }}",
      "{{ '%1000000000d' % 1 }}",
      "{{ '{:1000000000}'.format(1) }}",
      "{{ 'a'.ljust(1000000000) }}",
      "{{ 'a' | center(1000000000) }}",
      "{% set ns = namespace(x='a') %}{% for i in range(100) %}{% set ns.x = ns.x ~ ns.x %}{% "
      "endfor %}",
      "{% set ns = namespace(x=[]) %}{% for i in range(100000) %}{% set ns.x = [ns.x] %}{% endfor "
      "%}",
      "{% set ns = namespace(x=[1]) %}{% for i in range(100) %}{% set ns.x = ns.x + ns.x %}{% "
      "endfor %}",
      "{% set ns = namespace(x='ab') %}{% for i in range(100) %}{% set ns.x = ns.x.replace('a', "
      "'aa') ~ ns.x %}{% endfor %}",
      "{% for i in [1] recursive %}{{ loop([1]) }}{% endfor %}",
  };
  for (const std::string& source : hostile) {
    const auto got = render(source, "[]", {.max_steps = 300000});
    ASSERT_FALSE(got.ok()) << source.substr(0, 80);
  }
}

TEST(ChatTemplate, ValuesThatReferToThemselvesAreFreed) {
  // Leaks would show under the address sanitizer.
  const auto got = render(
      "{% set ns = namespace() %}{% set ns.self = ns %}{% macro m() %}{{ m }}{% endmacro %}"
      "{% for x in [1] %}{% macro n() %}{{ x }}{% endmacro %}{% set ns.n = n %}{% endfor %}{{ "
      "ns.n() }}");
  ASSERT_TRUE(got.ok()) << got.error().message;
  EXPECT_EQ(got->text, "1");
}

TEST(ChatTemplate, BreakStopsTheRightLoop) {
  const auto got = render(
      "{% for a in [1,2] %}{% for b in [1,2,3] %}{% if b == 2 %}{% break %}{% endif %}{{ a }}{{ b "
      "}} {% endfor %}"
      "{% endfor %}");
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->text, "11 21 ");
}

// Random edits of real templates: parsed or refused, rendered or refused.
TEST(ChatTemplate, MutatedTemplatesNeverCrash) {
  uint32_t state = 1;
  const auto random = [&] { return state = state * 1664525u + 1013904223u; };
  for (const char* name : {"harmony", "strings_logic", "whitespace", "exotic"}) {
    const std::string good = read_all(std::string(TRIREME_SOURCE_DIR) +
                                      "/tests/golden/chat_templates/" + name + ".jinja");
    for (int round = 0; round < 150; ++round) {
      std::string bad = good;
      for (int i = 0; i < 3; ++i) {
        const size_t at = (random() >> 8) % bad.size();
        if (random() % 2 == 0) {
          bad.erase(at, (random() >> 8) % 20);
        } else {
          bad.insert(at, std::string(1, "{}%#()[]|'\"-.,~* \n0ax"[(random() >> 8) % 22]));
        }
      }
      const auto got = render(bad, R"([{"role": "user", "content": "Hi"}])", {.max_steps = 100000});
      EXPECT_TRUE(got.ok() || !got.error().message.empty());
    }
  }
}

}  // namespace
}  // namespace trireme::text

// What both ends of the step link share: the address and its text form.
#include "parallel/wire/zmq_step_link.h"

#include <fmt/format.h>

#include <vector>

#include "parallel/wire/text_rules.h"

namespace trireme::wire {
namespace {

constexpr std::string_view kPrefix = "trireme-step/1";

}  // namespace

std::string StepLinkAddress::to_string() const {
  // Neither endpoints nor Z85 keys hold a space.
  return fmt::format("{} {} {} {} {} {}", kPrefix, data_endpoint, heartbeat_endpoint,
                     server_public_key, client_public_key, client_secret_key);
}

Result<StepLinkAddress> StepLinkAddress::parse(std::string_view text) {
  const Error wrong = invalid_argument("the coordinator's address is none: it was cut or altered");
  if (text.size() > 1024 || !is_printable(text)) return wrong;
  std::vector<std::string> words;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    words.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  if (words.size() != 6 || words[0] != kPrefix) return wrong;
  for (size_t i = 3; i < 6; ++i) {
    if (words[i].size() != 40) return wrong;
  }
  return StepLinkAddress{words[1], words[2], words[3], words[4], words[5]};
}

}  // namespace trireme::wire

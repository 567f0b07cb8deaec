// tokenizer.json: decoder and post-processor.
#include <algorithm>

#include "text/tokenize/json_parts.h"

namespace trireme::text {

namespace {

using Kind = DecodeStep::Kind;

// Reads a decoder's steps in order; what follows the joining of tokens works on the whole text.
class DecoderReader {
 public:
  Status add(const Json& node) {
    ASSIGN_OR_RETURN(const std::string type, get_string(node, "type"));
    if (type == "Fuse") {
      joined_ = true;
      return {};
    }
    if (joined_ && type != "Strip") return misplaced(type);
    if (config_.byte_fallback && !joined_) return misplaced(type);
    if (type == "ByteLevel") {
      config_.byte_level = joined_ = true;
      return {};
    }
    if (type == "ByteFallback") {
      config_.byte_fallback = true;
      return {};
    }
    if (type == "Strip") return strip(node);
    if (type == "Replace") return replace(node);
    if (type == "Metaspace") return metaspace(node);
    if (type == "WordPiece") return word_piece(node);
    if (type == "BPEDecoder") return bpe(node);
    if (type == "CTC") return ctc(node);
    return unimplemented(fmt::format("the decoder {} is not supported", type));
  }
  DecoderConfig take() { return std::move(config_); }

 private:
  static Error misplaced(const std::string& type) {
    return unimplemented(
        fmt::format("the decoder {} behind one that joins tokens is not supported", type));
  }

  Status strip(const Json& node) {
    ASSIGN_OR_RETURN(std::string content, get_string(node, "content"));
    ASSIGN_OR_RETURN(const int64_t start, get_int(node, "start", 0, 1024));
    ASSIGN_OR_RETURN(const int64_t stop, get_int(node, "stop", 0, 1024));
    if (content.empty()) return invalid_argument("a Strip has no character to strip");
    if (!joined_) {
      config_.steps.push_back({.kind = Kind::kStrip,
                               .from = std::move(content),
                               .start = static_cast<uint32_t>(start),
                               .stop = static_cast<uint32_t>(stop)});
      return {};
    }
    if (stripped_ || content.size() != 1) {
      return unimplemented("only one Strip, of an ASCII character, of the whole text is supported");
    }
    stripped_ = true;
    config_.strip_start = config_.strip_stop = content[0];
    config_.strip_start_count = static_cast<uint32_t>(start);
    config_.strip_stop_count = static_cast<uint32_t>(stop);
    return {};
  }

  Status replace(const Json& node) {
    ASSIGN_OR_RETURN(JsonPattern pattern, read_pattern(node));
    ASSIGN_OR_RETURN(std::string content, get_string(node, "content"));
    if (pattern.text.empty()) return invalid_argument("a Replace has an empty pattern");
    DecodeStep step{.kind = Kind::kReplace, .to = std::move(content)};
    if (pattern.is_regex) {
      ASSIGN_OR_RETURN(Regex regex, Regex::compile(pattern.text));
      step.kind = Kind::kReplaceRegex;
      step.regex = std::make_shared<const Regex>(std::move(regex));
    } else {
      step.from = std::move(pattern.text);
    }
    config_.steps.push_back(std::move(step));
    return {};
  }

  Status metaspace(const Json& node) {
    DecodeStep step{.kind = Kind::kMetaspace};
    ASSIGN_OR_RETURN(step.from, get_string(node, "replacement", "\xE2\x96\x81"));
    ASSIGN_OR_RETURN(const PrependScheme scheme, read_prepend_scheme(node));
    if (step.from.empty()) return invalid_argument("a Metaspace has an empty replacement");
    step.flag = scheme != PrependScheme::kNever;
    config_.steps.push_back(std::move(step));
    return {};
  }

  Status word_piece(const Json& node) {
    DecodeStep step{.kind = Kind::kWordPiece};
    ASSIGN_OR_RETURN(step.from, get_string(node, "prefix", "##"));
    ASSIGN_OR_RETURN(step.flag, get_bool(node, "cleanup", true));
    config_.steps.push_back(std::move(step));
    return {};
  }

  Status bpe(const Json& node) {
    DecodeStep step{.kind = Kind::kBpeSuffix};
    ASSIGN_OR_RETURN(step.from, get_string(node, "suffix", "</w>"));
    if (step.from.empty()) return invalid_argument("a BPEDecoder has an empty suffix");
    config_.steps.push_back(std::move(step));
    return {};
  }

  Status ctc(const Json& node) {
    if (!config_.steps.empty()) {
      return unimplemented("a CTC decoder behind other decoders is not supported");
    }
    DecodeStep step{.kind = Kind::kCtc};
    ASSIGN_OR_RETURN(step.from, get_string(node, "pad_token", "<pad>"));
    ASSIGN_OR_RETURN(step.to, get_string(node, "word_delimiter_token", "|"));
    ASSIGN_OR_RETURN(step.flag, get_bool(node, "cleanup", true));
    config_.steps.push_back(std::move(step));
    return {};
  }

  DecoderConfig config_;
  bool joined_ = false;    // the tokens are one text by now
  bool stripped_ = false;  // of which something was stripped
};

// ["token", id] of the Bert and Roberta processors.
Result<int32_t> read_token_pair(const Json& node, const char* key) {
  const Json& pair = get(node, key);
  if (!pair.is_array() || pair.size() != 2 || !pair[1].is_number_integer()) {
    return invalid_argument(fmt::format("\"{}\" is not a token and its id", key));
  }
  const auto id = pair[1].get<int64_t>();
  if (id < 0 || id >= kMaxVocab)
    return invalid_argument(fmt::format("the id of \"{}\" is out of range", key));
  return static_cast<int32_t>(id);
}

Status add_template(const Json& node, PostProcessor* post) {
  const Json& single = get(node, "single");
  if (!single.is_array() || single.size() > kMaxJsonSteps)
    return invalid_argument("\"single\" is not a short list");
  bool seen_text = false;
  for (const Json& part : single) {
    if (!get(part, "Sequence").is_null()) {
      if (seen_text) return invalid_argument("\"single\" names its sequence twice");
      seen_text = true;
      continue;
    }
    ASSIGN_OR_RETURN(const std::string name, get_string(get(part, "SpecialToken"), "id"));
    const Json& ids = get(get(get(node, "special_tokens"), name), "ids");
    if (!ids.is_array() || ids.size() > kMaxJsonSteps) {
      return invalid_argument(fmt::format("the template's token \"{}\" has no ids", name));
    }
    for (const Json& id : ids) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= kMaxVocab) {
        return invalid_argument(fmt::format("the template's token \"{}\" has a wrong id", name));
      }
      (seen_text ? post->suffix : post->prefix).push_back(id.get<int32_t>());
    }
  }
  return {};
}

Status add_post_processor(const Json& node, const std::string& type, PostProcessor* post) {
  if (type == "TemplateProcessing") return add_template(node, post);
  if (type == "ByteLevel" || type == "RobertaProcessing") {
    ASSIGN_OR_RETURN(const bool trim, get_bool(node, "trim_offsets", true));
    ASSIGN_OR_RETURN(const bool prefix, get_bool(node, "add_prefix_space", true));
    if (trim) {
      post->trim_offsets = true;
      post->add_prefix_space = prefix;
    }
    if (type == "ByteLevel") return {};
  }
  if (type == "BertProcessing" || type == "RobertaProcessing") {
    ASSIGN_OR_RETURN(const int32_t cls, read_token_pair(node, "cls"));
    ASSIGN_OR_RETURN(const int32_t sep, read_token_pair(node, "sep"));
    post->prefix.push_back(cls);
    post->suffix.push_back(sep);
    return {};
  }
  return unimplemented(fmt::format("the post-processor {} is not supported", type));
}

}  // namespace

Result<DecoderConfig> read_decoder(const Json& node) {
  ASSIGN_OR_RETURN(const StepNodes nodes, flatten_steps(node, "decoders"));
  DecoderReader reader;
  for (const Json* step : nodes) TRY(reader.add(*step));
  DecoderConfig config = reader.take();
  config.join_with_spaces = node.is_null();
  return config;
}

Result<PostProcessor> read_post_processor(const Json& node) {
  ASSIGN_OR_RETURN(const StepNodes nodes, flatten_steps(node, "processors"));
  PostProcessor post;
  for (const Json* step : nodes) {
    ASSIGN_OR_RETURN(const std::string type, get_string(*step, "type"));
    // Each puts its tokens around those of the ones before.
    PostProcessor next;
    TRY(add_post_processor(*step, type, &next));
    next.prefix.insert(next.prefix.end(), post.prefix.begin(), post.prefix.end());
    next.suffix.insert(next.suffix.begin(), post.suffix.begin(), post.suffix.end());
    if (!next.trim_offsets) {
      next.trim_offsets = post.trim_offsets;
      next.add_prefix_space = post.add_prefix_space;
    }
    post = std::move(next);
  }
  return post;
}

}  // namespace trireme::text

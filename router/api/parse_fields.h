// The parts of request parsing that chat, completions and tokenize share. For .cc files of
// router/api alone.
#pragma once

#include "router/api/field_reader.h"
#include "router/api/request.h"

namespace trireme::router {

// The body as a JSON object within the limits.
std::optional<ApiError> parse_body(std::string_view body, const LimitConfig& limits, Json* object);

// Fails where a field asks for what is not served and would change the answer.
void refuse_unserved_fields(FieldReader& reader);

// model, n, sampling, stops, stream and the like.
void read_common_fields(FieldReader& reader, const RequestBounds& bounds,
                        GenerationRequest* request);
// messages, tools, documents and the template's own switches.
void read_chat_fields(FieldReader& reader, const RequestBounds& bounds, GenerationRequest* request);

}  // namespace trireme::router

// Every limit on what may come over the wire. The codec holds them on both sides: a sender is told
// with an error, a receiver drops the frame. They are far above what one honest cluster sends and
// far below what would hurt a process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace trireme::wire {

inline constexpr size_t kMaxMessageBytes = 64 << 20;  // one encoded message
inline constexpr size_t kMaxNameBytes = 256;       // replica, model, tenant, trace, salt, operation
inline constexpr size_t kMaxSentenceBytes = 4096;  // reasons, error messages, plan descriptions
inline constexpr size_t kMaxTokensPerSequence = 4 << 20;  // of one Submit or SequenceStart
inline constexpr size_t kMaxUpdatesPerBatch = 1 << 16;    // sequences with news in one step
inline constexpr size_t kMaxTokensPerUpdate = 1 << 16;
inline constexpr size_t kMaxStopTokenIds = 4096;
inline constexpr size_t kMaxLogitBias = 1 << 16;
inline constexpr size_t kMaxAllowedTokenIds = 1 << 21;  // at most a vocabulary
inline constexpr size_t kMaxBannedTokenIds = 8192;
inline constexpr int32_t kMaxTopLogprobs = 256;  // per position
inline constexpr size_t kMaxEmbeddingWidth = 1 << 16;
inline constexpr size_t kMaxLogprobPositions = kMaxTokensPerSequence;
inline constexpr size_t kMaxSequencesPerStep = 1 << 16;  // starts, spans, releases, outputs: each
inline constexpr size_t kMaxBlocksPerStep = 1 << 22;     // new KV blocks of all spans together
inline constexpr size_t kMaxKvGroups = 64;               // block tables of a sequence
inline constexpr int32_t kMaxRanks = 1 << 14;
inline constexpr size_t kMaxLayers = 1 << 10;   // of a model
inline constexpr size_t kMaxExperts = 1 << 12;  // of a layer

}  // namespace trireme::wire

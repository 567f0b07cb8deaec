// ExplainLog: why each of the last requests went where it went, for /v1/routing/explain/{id}.
//
// A bounded ring; the oldest record goes first. Not thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <vector>

namespace trireme::router {

struct ExplainCandidate {
  std::string replica;
  bool usable = false;
  std::string why_not;
  int64_t load = 0;
  int64_t matched_tokens = 0;
  double score = 0;
};

struct ExplainRecord {
  std::string trace;  // x-request-id
  uint64_t job = 0;
  int64_t unix_ns = 0;
  std::string reason;  // first, retry, resume
  std::string chosen;  // replica
  int64_t prompt_tokens = 0;
  int64_t emitted_tokens = 0;  // before this attempt
  int64_t waited_ns = 0;       // in the router's queue
  std::vector<ExplainCandidate> candidates;
};

class ExplainLog {
 public:
  static constexpr size_t kMaxRecords = 2048;

  void add(ExplainRecord record) {
    if (records_.size() >= kMaxRecords) records_.pop_front();
    records_.push_back(std::move(record));
  }
  // In the order of time; empty where nothing is known of the id.
  std::vector<const ExplainRecord*> find(const std::string& trace) const {
    std::vector<const ExplainRecord*> found;
    for (const ExplainRecord& record : records_) {
      if (record.trace == trace) found.push_back(&record);
    }
    return found;
  }

 private:
  std::deque<ExplainRecord> records_;
};

}  // namespace trireme::router

// Passes on to another PeerSum; what a test wants to see or to go wrong, it overrides.
#pragma once

#include <memory>
#include <span>
#include <utility>

#include "kernels/peer_sum.h"

namespace trireme::kernels::testing {

class PeerSumWrapper : public PeerSum {
 public:
  explicit PeerSumWrapper(std::unique_ptr<PeerSum> inner) : inner_(std::move(inner)) {}

  PeerOffer offer() const override { return inner_->offer(); }
  Status connect(std::span<const PeerOffer> offers) override { return inner_->connect(offers); }
  bool takes(const AddRmsNormArgs& args) const override { return inner_->takes(args); }
  void add_rms_norm(const AddRmsNormArgs& args, Stream stream) override {
    inner_->add_rms_norm(args, stream);
  }
  void set_patience_ns(int64_t ns) override { inner_->set_patience_ns(ns); }
  void abort() override { inner_->abort(); }
  bool gave_up() const override { return inner_->gave_up(); }

 protected:
  std::unique_ptr<PeerSum> inner_;
};

}  // namespace trireme::kernels::testing

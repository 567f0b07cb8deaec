// The CURVE keys of a cluster on disk: made on the first start, read on every later one.
//
//   <state_dir>/curve/router.key        key pair of the routers (CURVE servers)
//   <state_dir>/curve/replica.key       key pair of the replicas (CURVE clients)
//   <state_dir>/curve/allowed_replicas  public keys that a router lets in, one `allow <key>
//   <comment>` per line
//
// The folder is 0700, the files 0600. Several processes may make them at once: all end with the
// same keys. A key file that others can read is refused, never repaired in silence. Thread-safe; no
// state outlives a call.
#pragma once

#include <string>

#include "base/result.h"
#include "parallel/wire/endpoints.h"

namespace trireme::wire {

struct KeyRing {
  CurveServer server;  // for RouterEndpoint::bind
  CurveClient client;  // for ReplicaEndpoint::connect
};

// permission_denied: a file that others can read. data_loss: a file that holds no key.
// failed_precondition: no access.
Result<KeyRing> load_or_create_keys(const std::string& state_dir);

// A fresh pair, Z85.
struct CurvePair {
  std::string public_key;
  std::string secret_key;
};
Result<CurvePair> make_curve_pair();

}  // namespace trireme::wire

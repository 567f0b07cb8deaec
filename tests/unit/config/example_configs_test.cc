// Every file of configs/ loads, says what its name says, and together they explain every key.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "base/cluster_config.h"
#include "base/yaml.h"

namespace trireme {
namespace {

namespace fs = std::filesystem;

const fs::path kFolder = fs::path(TRIREME_SOURCE_DIR) / "configs";

ClusterConfig load(const char* name) {
  Result<ClusterConfig> config = load_cluster_config((kFolder / name).string());
  EXPECT_TRUE(config.ok()) << config.error().message;
  return config.ok() ? *config : ClusterConfig();
}

TEST(ExampleConfigs, EveryFileLoads) {
  int n_files = 0;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".yaml") continue;
    ++n_files;
    const auto config = load_cluster_config(entry.path().string());
    EXPECT_TRUE(config.ok()) << config.error().message;
  }
  EXPECT_GE(n_files, 6);
}

TEST(ExampleConfigs, Demo) {
  const ClusterConfig config = load("demo.yaml");
  EXPECT_EQ(config.replicas.count, 2);
  EXPECT_EQ(config.replicas.tp, 2);
  EXPECT_EQ(config.replicas.pp, 2);
  EXPECT_EQ(fs::path(config.model.path),
            fs::absolute(kFolder / "models/trireme-demo").lexically_normal());
}

TEST(ExampleConfigs, Laptop) {
  const ClusterConfig config = load("laptop.yaml");
  EXPECT_EQ(config.replicas.count * config.replicas.tp * config.replicas.pp, 1);
  EXPECT_EQ(config.replicas.collective, "inproc");
}

TEST(ExampleConfigs, OneNodeOfEightGpus) {
  const ClusterConfig config = load("one_node_8_gpus.yaml");
  EXPECT_EQ(config.replicas.tp * config.replicas.pp, 8);
  EXPECT_EQ(config.replicas.backend, "cuda");
}

TEST(ExampleConfigs, Llama405bOnTwoNodes) {
  const ClusterConfig config = load("llama_405b_2x8.yaml");
  EXPECT_EQ(config.replicas.tp, 8);
  EXPECT_EQ(config.replicas.pp, 2);
  EXPECT_EQ(config.replicas.hosts.size(), 2u);
  EXPECT_EQ(config.replicas.stage_layers, (std::vector<int>{63, 63}));
}

TEST(ExampleConfigs, Fleet) {
  const ClusterConfig config = load("fleet_3_replicas_2_routers.yaml");
  EXPECT_EQ(config.replicas.count, 3);
  EXPECT_EQ(config.router.count, 2);
  EXPECT_FALSE(config.keys.empty());
}

TEST(ExampleConfigs, KeysLimitsPricesShowTheDefaults) {
  ClusterConfig config = load("keys_limits_prices.yaml");
  EXPECT_EQ(config.keys.size(), 3u);
  ClusterConfig defaults;
  defaults.model = config.model;
  defaults.keys = config.keys;
  EXPECT_EQ(to_yaml(config), to_yaml(defaults));
}

// Names of all keys, the list entries' included.
void collect(const yaml::Node& node, std::set<std::string>& names) {
  for (const yaml::Node::Entry& entry : node.entries) {
    if (entry.value.kind != yaml::Node::Kind::kMapping) names.insert(entry.key);
    collect(entry.value, names);
  }
  for (const yaml::Node& item : node.items) collect(item, names);
}

TEST(ExampleConfigs, EveryKeyIsExplainedSomewhere) {
  ClusterConfig full;
  full.keys.resize(1);
  std::set<std::string> names;
  collect(yaml::parse(to_yaml(full)).value(), names);
  names.erase("keys");  // explained entry by entry
  std::set<std::string> explained;
  for (const auto& entry : fs::directory_iterator(kFolder)) {
    if (entry.path().extension() != ".yaml") continue;
    std::ifstream file(entry.path());
    std::string line;
    std::string before;
    while (std::getline(file, line)) {
      const size_t key = line.find_first_not_of(" -");
      const size_t colon = line.find(':');
      const bool comment_before = before.find_first_not_of(' ') != std::string::npos &&
                                  before[before.find_first_not_of(' ')] == '#';
      if (key != std::string::npos && colon != std::string::npos &&
          (line.find(" #") != std::string::npos || comment_before)) {
        explained.insert(line.substr(key, colon - key));
      }
      before = line;
    }
  }
  std::vector<std::string> missing;
  std::set_difference(names.begin(), names.end(), explained.begin(), explained.end(),
                      std::back_inserter(missing));
  EXPECT_EQ(missing, std::vector<std::string>());
  EXPECT_GT(names.size(), 70u);
}

}  // namespace
}  // namespace trireme

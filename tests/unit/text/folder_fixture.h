// A model folder of one test, empty at its start and gone at its end.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace trireme::text {

class FolderTest : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    folder_ = std::filesystem::path(testing::TempDir()) /
              (std::string(test->test_suite_name()) + "_" + test->name());
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(folder_ / name, std::ios::binary) << text;
  }
  // A file of the golden tokenizers.
  static std::string golden(const std::string& name) {
    return std::string(TRIREME_SOURCE_DIR) + "/tests/golden/tokenizers/" + name;
  }

  std::filesystem::path folder_;
};

}  // namespace trireme::text

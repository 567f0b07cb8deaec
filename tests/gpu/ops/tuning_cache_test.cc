// The file of measured algorithms: what is written is read, and what is broken is passed over. On
// the CPU alone.
#include "kernels/cuda/tuning_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>
#include <thread>

namespace trireme::kernels::cuda {
namespace {

namespace fs = std::filesystem;

class TuningFile : public ::testing::Test {
 protected:
  void SetUp() override {
    path_ = (fs::temp_directory_path() / ("trireme-tuning-" + std::to_string(getpid()))).string();
    fs::remove(path_);
  }
  void TearDown() override { fs::remove(path_); }

  void write(const std::string& text) const { std::ofstream(path_, std::ios::binary) << text; }
  std::string text() const {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string path_;
};

ProductShape shape_of(int64_t rows, int64_t outs) {
  return {.rows = rows, .outs = outs, .ins = 4096, .x_stride = 4096, .out_stride = outs};
}

constexpr AlgorithmRecord kOne = {1, 2, 3, 0xffffffffffffffff, 0, 0xdeadbeef, 7, 8};
constexpr AlgorithmRecord kTwo = {9, 9, 9, 9, 9, 9, 9, 9};

TEST_F(TuningFile, WhatOneStartMeasuresTheNextFinds) {
  {
    TuningCache cache(path_, "NVIDIA H200", 130002);
    EXPECT_FALSE(cache.find(shape_of(64, 4096)).has_value());
    cache.put(shape_of(64, 4096), kOne, 1.5e-5);
    cache.put(shape_of(64, 512), kTwo, 2e-6);
    EXPECT_EQ(cache.find(shape_of(64, 4096)), kOne);
  }
  const TuningCache next(path_, "NVIDIA H200", 130002);
  EXPECT_EQ(next.find(shape_of(64, 4096)), kOne);
  EXPECT_EQ(next.find(shape_of(64, 512)), kTwo);
  EXPECT_FALSE(next.find(shape_of(72, 512)).has_value());
  ProductShape bf16 = shape_of(64, 512);
  bf16.out_is_bf16 = true;
  EXPECT_FALSE(next.find(bf16).has_value());
  EXPECT_FALSE(TuningCache(path_, "NVIDIA H100", 130002).find(shape_of(64, 512)).has_value());
  EXPECT_FALSE(TuningCache(path_, "NVIDIA H200", 130003).find(shape_of(64, 512)).has_value());
}

TEST_F(TuningFile, RanksThatShareItKeepEachOthersNews) {
  TuningCache first(path_, "a", 1);
  TuningCache second(path_, "b", 1);
  first.put(shape_of(64, 1), kOne, 0.1);
  second.put(shape_of(64, 2), kTwo, 0.1);
  first.put(shape_of(64, 3), kOne, 0.1);
  const TuningCache::Parsed all = TuningCache::parse(text());
  EXPECT_EQ(all.entries.size(), 3u);
  EXPECT_EQ(all.n_bad_lines, 0);
}

TEST_F(TuningFile, BrokenLinesAreCountedAndTheOthersRead) {
  TuningCache cache(path_, "NVIDIA H200", 1);
  cache.put(shape_of(64, 1), kOne, 0.1);
  const std::string good = text();
  write(good + "half a line\nNVIDIA H200\t1\t64\t2\t4096\t4096\t2\t7\t0.0.0.0.0.0.0.0\t0.1\n" +
        "NVIDIA H200\t1\t64\t2\t4096\t4096\t2\t0\t0.0.0.0.0.0.0\t0.1\n" +
        "NVIDIA H200\t1\t64\t2\t4096\t4096\t2\t0\t0.0.0.0.0.0.0.xyz\t0.1\n");
  EXPECT_EQ(TuningCache::parse(text()).n_bad_lines, 4);
  const TuningCache again(path_, "NVIDIA H200", 1);
  EXPECT_EQ(again.find(shape_of(64, 1)), kOne);
  EXPECT_FALSE(again.find(shape_of(64, 2)).has_value());
}

TEST_F(TuningFile, AnotherFormatOrRubbishIsAnEmptyFile) {
  write("trireme product algorithms, format 2\nx\n");
  EXPECT_TRUE(TuningCache::parse(text()).entries.empty());
  EXPECT_EQ(TuningCache::parse(text()).n_bad_lines, 1);
  EXPECT_EQ(TuningCache::parse("").n_bad_lines, 0);
  std::mt19937 random(3);
  for (int round = 0; round < 200; ++round) {
    std::string rubbish = round % 2 == 0 ? "trireme product algorithms, format 1\n" : "";
    for (int i = 0; i < 300; ++i) rubbish += static_cast<char>(random() % 256);
    EXPECT_TRUE(TuningCache::parse(rubbish).entries.empty());
  }
  write(std::string(1000, '\0'));
  TuningCache cache(path_, "a", 1);
  cache.put(shape_of(64, 1), kOne, 0.1);
  EXPECT_EQ(TuningCache(path_, "a", 1).find(shape_of(64, 1)), kOne) << "it is written anew";
}

TEST_F(TuningFile, AnyCutOfAFileIsRead) {
  TuningCache cache(path_, "NVIDIA H200", 1);
  for (int i = 1; i < 9; ++i) cache.put(shape_of(64, i), kOne, 0.1);
  const std::string whole = text();
  for (size_t n = 0; n <= whole.size(); ++n) {
    EXPECT_LE(TuningCache::parse(whole.substr(0, n)).entries.size(), 8u);
  }
  EXPECT_EQ(TuningCache::to_text(TuningCache::parse(whole).entries), whole);
}

TEST_F(TuningFile, AFileThatCannotBeWrittenIsNoError) {
  TuningCache cache("/no/such/folder/file", "a", 1);
  cache.put(shape_of(64, 1), kOne, 0.1);
  cache.put(shape_of(64, 2), kOne, 0.1);
  EXPECT_EQ(cache.find(shape_of(64, 2)), kOne);
  TuningCache nowhere("", "a", 1);
  nowhere.put(shape_of(64, 1), kTwo, 0.1);
  EXPECT_EQ(nowhere.find(shape_of(64, 1)), kTwo);
}

TEST(RowBucket, GrowsWithTheRowsAndStaysNearThem) {
  int64_t last = 0;
  for (int64_t rows = 1; rows <= 20000; ++rows) {
    const int64_t bucket = row_bucket(rows);
    ASSERT_GE(bucket, rows);
    ASSERT_GE(bucket, last);
    ASSERT_EQ(row_bucket(bucket), bucket) << rows;
    if (rows > 64) {
      ASSERT_LE(bucket, rows + rows / 4) << rows;
    }
    last = bucket;
  }
  EXPECT_EQ(row_bucket(17), 24);
  EXPECT_EQ(row_bucket(64), 64);
  EXPECT_EQ(row_bucket(2048), 2048);
}

}  // namespace
}  // namespace trireme::kernels::cuda

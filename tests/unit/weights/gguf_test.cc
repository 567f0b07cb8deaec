// The GGUF container: what is read, and what is said of files that lie.
#include "base/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "tests/unit/weights/file_builders.h"

namespace trireme::worker {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

GgufBuilder small_file() {
  GgufBuilder file;
  file.text("general.architecture", "llama")
      .u32("n", 7)
      .f32("x", 0.5f)
      .flag("on", true)
      .texts("words", {"a", "bc"})
      .f32s("reals", {1, -2})
      .i32s("wholes", {3, -4})
      .f32_tensor("one", {2, 3}, {1, 2, 3, 4, 5, 6})
      .f32_tensor("two", {4}, {7, 8, 9, 10});
  return file;
}

std::string parse_error(const GgufBuilder& file) {
  const auto part = parse_gguf(file.bytes());
  return part.ok() ? "accepted" : part.error().message;
}

TEST(Gguf, ReadsMetadataAndTensors) {
  const TempDir dir;
  write_file(dir / "m.gguf", small_file().bytes());
  const auto opened = Gguf::open(dir / "m.gguf");
  ASSERT_TRUE(opened.ok()) << opened.error().message;
  const Gguf& gguf = **opened;
  EXPECT_EQ(*gguf.string("general.architecture"), "llama");
  EXPECT_EQ(*gguf.integer("n", 0, 10), 7);
  EXPECT_EQ(*gguf.number("x", 0, 1), 0.5);
  EXPECT_EQ(*gguf.number("n", 0, 10), 7);
  EXPECT_EQ(*gguf.boolean_or("on", false), true);
  EXPECT_EQ(*gguf.boolean_or("absent", true), true);
  EXPECT_EQ(*gguf.integer_or("absent", 0, 1, 5), 5);
  EXPECT_THAT(**gguf.strings("words"), ElementsAre("a", "bc"));
  EXPECT_THAT(**gguf.numbers("reals"), ElementsAre(1, -2));
  EXPECT_THAT(**gguf.integers("wholes"), ElementsAre(3, -4));
  EXPECT_EQ(*gguf.strings("absent"), nullptr);
  const GgufTensor* two = gguf.find_tensor("two");
  ASSERT_NE(two, nullptr);
  EXPECT_THAT(two->shape, ElementsAre(4));
  EXPECT_THAT(gguf.find_tensor("one")->shape, ElementsAre(2, 3));
  const auto data = gguf.data(*two);
  ASSERT_TRUE(data.ok());
  EXPECT_EQ(std::string(*data, 16), bytes_of(std::vector<float>{7, 8, 9, 10}));
  // Wrong types and ranges name the key.
  EXPECT_THAT(gguf.integer("x", 0, 1).error().message, HasSubstr("\"x\""));
  EXPECT_THAT(gguf.integer("n", 0, 6).error().message, AllOf(HasSubstr("\"n\""), HasSubstr("7")));
  EXPECT_THAT(gguf.string("n").error().message, HasSubstr("\"n\""));
  EXPECT_THAT(gguf.strings("wholes").error().message, HasSubstr("\"wholes\""));
  EXPECT_THAT(gguf.numbers("n").error().message, HasSubstr("\"n\""));
  EXPECT_THAT(gguf.boolean_or("n", true).error().message, HasSubstr("\"n\""));
  EXPECT_THAT(gguf.integer("absent", 0, 1).error().message, HasSubstr("missing"));
}

TEST(Gguf, EveryShorterFileIsAnError) {
  // Of the second file even the padding before data that has no bytes (a fuzzer's find).
  GgufBuilder empty;
  empty.text("general.architecture", "llama").tensor("none", {0, 32}, 2, "");
  for (const std::string& bytes : {small_file().bytes(), empty.bytes()}) {
    ASSERT_TRUE(parse_gguf(bytes).ok());
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_FALSE(parse_gguf(std::string_view(bytes).substr(0, size)).ok()) << size;
    }
  }
}

TEST(Gguf, HeadersThatLie) {
  GgufBuilder file = small_file();
  file.version = 1;
  EXPECT_THAT(parse_error(file), HasSubstr("version 1"));
  file.version = 0x03000000;
  EXPECT_THAT(parse_error(file), HasSubstr("big-endian"));
  file = small_file();
  file.claimed_tensors = int64_t{1} << 40;
  EXPECT_THAT(parse_error(file), HasSubstr("tensors"));
  file.claimed_tensors = 3;
  EXPECT_NE(parse_error(file), "accepted");
  file = small_file();
  file.claimed_keys = 8;
  EXPECT_NE(parse_error(file), "accepted");
  EXPECT_THAT(parse_error(small_file().u32("n", 8)), AllOf(HasSubstr("\"n\""), HasSubstr("twice")));
  EXPECT_THAT(parse_error(small_file().raw("odd", 13, "x")), HasSubstr("\"odd\""));
  EXPECT_THAT(parse_error(small_file().raw("maybe", 7, "\2")), HasSubstr("\"maybe\""));
  EXPECT_THAT(parse_error(small_file().raw("huge", 10, u64_bytes(UINT64_MAX))),
              AllOf(HasSubstr("\"huge\""), HasSubstr("range")));
  EXPECT_THAT(parse_error(small_file().raw("long", 8, u64_bytes(UINT64_MAX))),
              HasSubstr("\"long\""));
  EXPECT_THAT(parse_error(small_file().raw("list", 9, u32_bytes(4) + u64_bytes(uint64_t{1} << 62))),
              HasSubstr("\"list\""));
  EXPECT_THAT(parse_error(small_file().raw("list", 9, u32_bytes(4) + u64_bytes(1 << 20))),
              HasSubstr("\"list\""));
  EXPECT_THAT(parse_error(small_file().raw("nested", 9, u32_bytes(9) + u64_bytes(0))),
              HasSubstr("\"nested\""));
  EXPECT_THAT(parse_error(small_file().raw(std::string("\xff\xfe"), 4, u32_bytes(1))),
              HasSubstr("UTF-8"));
  EXPECT_THAT(parse_error(small_file().u32("general.alignment", 48)), HasSubstr("alignment"));
  EXPECT_THAT(parse_error(small_file().u32("general.alignment", 0)), HasSubstr("alignment"));
}

TEST(Gguf, TensorsThatLie) {
  EXPECT_THAT(parse_error(small_file().f32_tensor("one", {1}, {1})),
              AllOf(HasSubstr("\"one\""), HasSubstr("twice")));
  EXPECT_THAT(parse_error(small_file().tensor("t", {1, 33}, 2, std::string(18, 'x'))),
              AllOf(HasSubstr("\"t\""), HasSubstr("Q4_0")));
  EXPECT_THAT(parse_error(small_file().tensor("t", {1}, 16, "xxxx")),
              AllOf(HasSubstr("\"t\""), HasSubstr("type 16")));
  EXPECT_THAT(parse_error(small_file().tensor("t", {1, 1, 1, 1, 1}, 0, "xxxx")),
              AllOf(HasSubstr("\"t\""), HasSubstr("5 dimensions")));
  EXPECT_THAT(parse_error(small_file().tensor("t", {}, 0, "xxxx")), HasSubstr("\"t\""));
  EXPECT_THAT(
      parse_error(small_file().tensor("t", {int64_t{1} << 32, int64_t{1} << 32}, 0, "xxxx")),
      AllOf(HasSubstr("\"t\""), HasSubstr("absurd")));
  EXPECT_THAT(parse_error(small_file().tensor("t", {INT64_MAX}, 0, "xxxx")), HasSubstr("absurd"));
  EXPECT_THAT(parse_error(small_file().tensor("t", {-1}, 0, "xxxx")), HasSubstr("absurd"));
  EXPECT_THAT(parse_error(small_file().tensor("t", {1000}, 0, "xxxx")),
              AllOf(HasSubstr("\"t\""), HasSubstr("4000 bytes")));
  GgufBuilder file = small_file();
  file.forced_offsets = {{1, 0}};
  EXPECT_THAT(parse_error(file), HasSubstr("overlaps"));
  file.forced_offsets = {{1, 33}};
  EXPECT_THAT(parse_error(file), AllOf(HasSubstr("\"two\""), HasSubstr("aligned")));
  file.forced_offsets = {{1, uint64_t{1} << 63}};
  EXPECT_THAT(parse_error(file), AllOf(HasSubstr("\"two\""), HasSubstr("claims")));
  GgufBuilder swapped;
  swapped.f32_tensor("a", {8}, std::vector<float>(8, 1))
      .f32_tensor("b", {8}, std::vector<float>(8, 2));
  swapped.forced_offsets = {{0, 32}, {1, 0}};
  EXPECT_EQ(parse_error(swapped), "accepted");  // any order
  file = small_file();
  file.forced_offsets = {{1, 96}};
  EXPECT_NE(parse_error(file), "accepted");
  EXPECT_THAT(parse_gguf(small_file().bytes() + std::string(64, 'x')).error().message,
              HasSubstr("belong to no tensor"));
  // A tensor without elements takes no room.
  EXPECT_EQ(parse_error(small_file().tensor("none", {0, 32}, 2, "")), "accepted");
}

TEST(Gguf, SplitFilesAreReadFromAnyPart) {
  const TempDir dir;
  const auto part = [](int index, int count) {
    GgufBuilder file;
    if (index == 0) file.text("general.architecture", "llama");
    file.raw("split.no", 2, bytes_of(std::vector<uint16_t>{static_cast<uint16_t>(index)}));
    file.raw("split.count", 2, bytes_of(std::vector<uint16_t>{static_cast<uint16_t>(count)}));
    file.raw("split.tensors.count", 5, bytes_of(std::vector<int32_t>{2}));
    file.f32_tensor("t" + std::to_string(index), {1}, {static_cast<float>(index)});
    return file.bytes();
  };
  const std::string first = dir / "m-00001-of-00002.gguf";
  const std::string second = dir / "m-00002-of-00002.gguf";
  write_file(first, part(0, 2));
  EXPECT_THAT(Gguf::open(first).error().message, HasSubstr("m-00002-of-00002.gguf"));
  write_file(second, part(1, 2));
  for (const std::string& path : {first, second}) {
    const auto gguf = Gguf::open(path);
    ASSERT_TRUE(gguf.ok()) << gguf.error().message;
    EXPECT_EQ((*gguf)->tensors().size(), 2u);
    EXPECT_TRUE((*gguf)->has("general.architecture"));
    const auto data = (*gguf)->data(*(*gguf)->find_tensor("t1"));
    EXPECT_EQ(std::string(*data, 4), bytes_of(std::vector<float>{1}));
  }
  EXPECT_EQ(**find_gguf(dir.path()), first);
  EXPECT_EQ(**find_gguf(second), first);
  // A part that says it is another one, a tensor in both, and one that is missing.
  write_file(second, part(0, 2));
  EXPECT_THAT(Gguf::open(first).error().message, HasSubstr("part 1 of 2"));
  write_file(second, part(1, 3));
  EXPECT_THAT(Gguf::open(first).error().message, HasSubstr("part 2 of 3"));
  GgufBuilder again;
  again.u32("split.no", 1).u32("split.count", 2).f32_tensor("t0", {1}, {1});
  write_file(second, again.bytes());
  EXPECT_THAT(Gguf::open(first).error().message, HasSubstr("\"t0\""));
  GgufBuilder few;
  few.u32("split.no", 1).u32("split.count", 2);
  write_file(second, few.bytes());
  EXPECT_THAT(Gguf::open(first).error().message, HasSubstr("announces 2"));
}

TEST(Gguf, WhichFileAPathMeans) {
  const TempDir dir;
  EXPECT_FALSE(find_gguf(dir.path())->has_value());
  EXPECT_FALSE(find_gguf(dir / "config.json")->has_value());
  write_file(dir / "a.gguf", small_file().bytes());
  EXPECT_EQ(**find_gguf(dir.path()), dir / "a.gguf");
  EXPECT_EQ(**find_gguf(dir / "a.gguf"), dir / "a.gguf");
  write_file(dir / "b.gguf", small_file().bytes());
  EXPECT_THAT(find_gguf(dir.path()).error().message, HasSubstr("a.gguf, b.gguf"));
  write_file(dir / "model.safetensors", "");
  EXPECT_FALSE(find_gguf(dir.path())->has_value());  // the original wins
}

TEST(Gguf, AFileThatShrinksIsNotRead) {
  const TempDir dir;
  write_file(dir / "m.gguf", small_file().bytes());
  const auto gguf = Gguf::open(dir / "m.gguf");
  ASSERT_TRUE(gguf.ok());
  std::filesystem::resize_file(dir / "m.gguf", 100);
  const auto data = (*gguf)->data(*(*gguf)->find_tensor("two"));
  ASSERT_FALSE(data.ok());
  EXPECT_EQ(data.error().code, ErrorCode::kDataLoss);
  EXPECT_THAT(data.error().message, AllOf(HasSubstr("\"two\""), HasSubstr("shrunk")));
}

TEST(Gguf, WhatIsNoGguf) {
  const TempDir dir;
  write_file(dir / "m.gguf", "PK\3\4 something else");
  EXPECT_THAT(Gguf::open(dir / "m.gguf").error().message,
              AllOf(HasSubstr("m.gguf"), HasSubstr("GGUF")));
  write_file(dir / "m.gguf", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n");
  EXPECT_THAT(Gguf::open(dir / "m.gguf").error().message, HasSubstr("git-lfs"));
  write_file(dir / "empty.gguf", "");
  EXPECT_FALSE(Gguf::open(dir / "empty.gguf").ok());
  EXPECT_EQ(Gguf::open(dir / "absent.gguf").error().code, ErrorCode::kNotFound);
  EXPECT_FALSE(Gguf::open(dir.path()).ok());
}

}  // namespace
}  // namespace trireme::worker

#include "easy_diffusion/io/idx.hpp"

#include <span>
#include <string>

#include "io/file_tools.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

std::string refused(const std::string& bytes) {
  const auto path = spill(scratch_folder("idx_bad") / "bad-idx", bytes);
  const std::string message = refusal<FormatError>([&] { static_cast<void>(io::read_idx(path)); });
  CHECK_THAT(message, ContainsSubstring(path.string()));
  return message;
}

std::string counting(std::size_t bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes; ++i) text += static_cast<char>(static_cast<unsigned char>(i % 251));
  return text;
}

}  // namespace

TEST_CASE("IDX: plain and gzipped files are read alike", "[io]") {
  const auto folder = scratch_folder("idx");
  const std::string text = idx_file(8, {3, 5, 7}, counting(105));
  const std::string halves = gzip(text.substr(0, 40)) + gzip(text.substr(40));  // two members, one after the other
  for (const std::string& bytes : {text, gzip(text), halves}) {
    const auto x = io::read_idx(spill(folder / "a", bytes));
    CHECK(x.shape() == Shape{3, 5, 7});
    for (std::int64_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == i % 251);
  }
  CHECK(io::read_idx(spill(folder / "a", idx_file(8, {0}, ""))).shape() == Shape{0});
  CHECK(io::read_idx(spill(folder / "a", idx_file(8, {1, 1, 1, 1, 1, 1}, "x"))).shape() == Shape{1, 1, 1, 1, 1, 1});
  // More than is read at once.
  const std::string large = idx_file(8, {3'000'000}, counting(3'000'000));
  const auto x = io::read_idx(spill(folder / "a", gzip(large)));
  REQUIRE(x.size() == 3'000'000);
  CHECK(x[2'999'999] == 2'999'999 % 251);
}

TEST_CASE("IDX: gzip members and the zeros between and behind them", "[io]") {
  const std::string text = idx_file(8, {3, 5, 7}, counting(105));
  const std::string zeros(777, '\0');
  const std::string first = gzip(text.substr(0, 40));
  const std::string second = gzip(text.substr(40));
  for (const std::string& bytes :
       {gzip(text) + zeros, first + second + zeros, first + zeros + second, gzip("") + gzip(text),
        gzip(text) + gzip("") + std::string(1, '\0'), first + gzip("") + zeros + second + zeros}) {
    const auto x = io::read_idx(std::as_bytes(std::span(bytes)), "memory");
    CHECK(x.shape() == Shape{3, 5, 7});
    for (std::int64_t i = 0; i < x.size(); ++i) REQUIRE(x[i] == i % 251);
  }
  CHECK_THAT(refused(gzip(text) + zeros + "x"), ContainsSubstring("1 bytes after the gzip stream"));
  CHECK_THAT(refused(first + zeros), ContainsSubstring("ends early: shape [3, 5, 7]"));
  CHECK_THAT(refused(first + zeros + second.substr(0, second.size() - 1)),
             ContainsSubstring("the gzip stream ends early"));
}

TEST_CASE("IDX: malformed files are refused in one line", "[io]") {
  CHECK_THAT(refused(""), ContainsSubstring("ends within the header"));
  CHECK_THAT(refused(std::string("\0\0\x08", 3)), ContainsSubstring("ends within the header"));
  CHECK_THAT(refused(std::string("\0\0\x08\x03\0\0", 6)), ContainsSubstring("ends within the header"));
  CHECK_THAT(refused("PK\x03\x04 something else"),
             ContainsSubstring("expected it to start with 00 00 08 and the rank, got 50 4b 03 04"));
  CHECK_THAT(refused(std::string("\0\0\x08\0", 4)), ContainsSubstring("got 00 00 08 00"));
  CHECK_THAT(refused(idx_file(13, {2}, std::string(8, '\0'))),
             ContainsSubstring("expected elements of type 08 (unsigned bytes), got 0d"));
  CHECK_THAT(refused(idx_file(8, {1, 1, 1, 1, 1, 1, 1}, "x")), ContainsSubstring("rank of at most 6, got 7"));
  CHECK_THAT(refused(idx_file(8, {3}, "ab")), ContainsSubstring("ends early: shape [3]: expected 3 elements, got 2"));
  CHECK_THAT(refused(idx_file(8, {3}, "abcd")), ContainsSubstring("data after the last element: expected 3 bytes"));
  CHECK_THAT(refused(idx_file(8, {60000, 28, 28}, "ab")), ContainsSubstring("expected 47040000 elements, got 2"));
  CHECK_THAT(refused(idx_file(8, {UINT32_MAX, UINT32_MAX, UINT32_MAX}, "ab")), ContainsSubstring("overflows"));
  CHECK_THAT(refused(idx_file(8, {UINT32_MAX, 1u << 25}, "ab")),
             ContainsSubstring("expected 144115188042301440 elements, got 2"));
}

TEST_CASE("IDX: damaged gzip streams are refused in one line", "[io]") {
  const std::string text = idx_file(8, {100, 100}, counting(10'000));
  const std::string good = gzip(text);
  for (const std::size_t size :
       {std::size_t{2}, std::size_t{5}, std::size_t{15}, good.size() / 2, good.size() - 8, good.size() - 1}) {
    const std::string message = refused(good.substr(0, size));
    CHECK_THAT(message, ContainsSubstring("the gzip stream ends early"));
  }
  std::string wrong_sum = good;
  wrong_sum[good.size() - 6] = static_cast<char>(wrong_sum[good.size() - 6] ^ 1);
  CHECK_THAT(refused(wrong_sum), ContainsSubstring("the gzip stream is damaged: incorrect data check"));
  std::string wrong_method = good;
  wrong_method[2] = 9;
  CHECK_THAT(refused(wrong_method), ContainsSubstring("the gzip stream is damaged"));
  CHECK_THAT(refused(good + "tail"), ContainsSubstring("4 bytes after the gzip stream"));
  CHECK_THAT(refused(gzip(text + "more")), ContainsSubstring("data after the last element"));
  CHECK_THAT(refused(gzip(text.substr(0, 5000))),
             ContainsSubstring("ends early: shape [100, 100]: expected 10000 elements"));
}

TEST_CASE("IDX: a mutated file is read or refused", "[io][fuzz]") {
  const auto folder = scratch_folder("idx_fuzz");
  const std::string plain = idx_file(8, {3, 5}, counting(15));
  const std::string packed = gzip(plain);
  Dice dice(3);
  int read = 0;
  for (int round = 0; round < 3000; ++round) {
    try {
      read += io::read_idx(spill(folder / "bad", mutated(round % 2 == 0 ? plain : packed, dice))).size() > 0 ? 1 : 0;
    } catch (const Error&) {}
  }
  CHECK(read < 3000);
}

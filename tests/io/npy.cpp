#include "easy_diffusion/io/npy.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <span>
#include <string>

#include "io/file_tools.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

std::string npy(int version, const std::string& header, const std::string& data) {
  return "\x93NUMPY" + std::string{static_cast<char>(version), '\0'} +
         little_endian(header.size(), version == 1 ? 2 : 4) + header + data;
}

std::string refused(const std::string& bytes) {
  const auto path = spill(scratch_folder("npy_bad") / "bad.npy", bytes);
  const std::string message = refusal<FormatError>([&] { static_cast<void>(io::read_npy<float>(path)); });
  CHECK_THAT(message, ContainsSubstring(path.string()));
  return message;
}

std::string dictionary(const std::string& descr, const std::string& order, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}

template <class T>
void check_round_trip(const Tensor<T>& x) {
  const auto path = scratch_folder("npy") / "a.npy";
  io::write_npy(path, x);
  const Tensor<T> y = io::read_npy<T>(path);
  CHECK(y.shape() == x.shape());
  CHECK(std::equal(x.begin(), x.end(), y.begin()));
  CHECK(std::filesystem::file_size(path) % 64 == static_cast<std::uintmax_t>(x.size()) * sizeof(T) % 64);
}

}  // namespace

TEST_CASE("npy: what is written is read", "[io]") {
  check_round_trip(Tensor<float>({2, 3}, {1.0F, 2.0F, 3.0F, -4.0F, 5.5F, 6.0F}));
  check_round_trip(Tensor<double>({1}, 0.1));
  check_round_trip(Tensor<std::int64_t>({2}, {INT64_MIN, INT64_MAX}));
  check_round_trip(Tensor<std::uint8_t>({1, 1, 1, 1, 1, 3}, {0, 127, 255}));
  check_round_trip(Tensor<std::int32_t>({3, 0}));
  check_round_trip(Tensor<float>(Shape{}, 3.0F));
  const auto path = scratch_folder("npy") / "a.npy";
  io::write_npy(path, Tensor<float>({2, 3}, 0.5F));
  CHECK_THAT(slurp(path), ContainsSubstring("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }"));
  io::write_npy(path, Tensor<std::uint8_t>({4}));
  CHECK_THAT(slurp(path), ContainsSubstring("{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }"));
  CHECK(io::read_npy<std::int64_t>(path).size() == 4);
  CHECK_THAT(refusal<ValueError>([&] { io::write_npy(path, Tensor<float>()); }), ContainsSubstring("is empty"));
}

TEST_CASE("npy: files of other writers", "[io]") {
  const auto folder = scratch_folder("npy_foreign");
  const std::string six("\0\1\2\3\4\5", 6);
  for (const int version : {1, 2, 3}) {
    const auto x =
        io::read_npy<std::int64_t>(spill(folder / "a", npy(version, dictionary("|u1", "False", "(2, 3)"), six)));
    CHECK(x.shape() == Shape{2, 3});
    CHECK(x(1, 0) == 3);
  }
  const auto y = io::read_npy<std::uint8_t>(spill(folder / "a", npy(1, dictionary("|u1", "True", "(2, 3)"), six)));
  CHECK(y.shape() == Shape{2, 3});
  for (std::int64_t i = 0; i < 2; ++i)
    for (std::int64_t j = 0; j < 3; ++j) CHECK(y(i, j) == i + 2 * j);
  std::string data;
  for (int i = 0; i < 24; ++i) data += static_cast<char>(i);
  const auto z = io::read_npy<std::uint8_t>(spill(folder / "a", npy(1, dictionary("|u1", "True", "(2, 3, 4)"), data)));
  for (std::int64_t i = 0; i < 2; ++i)
    for (std::int64_t j = 0; j < 3; ++j)
      for (std::int64_t k = 0; k < 4; ++k) CHECK(z(i, j, k) == i + 2 * j + 6 * k);
  const auto half =
      io::read_npy<float>(spill(folder / "a", npy(1, dictionary("<f2", "False", "(1,)"), little_endian(0x3E00, 2))));
  CHECK(half[0] == 1.5F);
  const auto flag = io::read_npy<std::uint8_t>(
      spill(folder / "a", npy(1, "{\"shape\":(), \"fortran_order\":False,\"descr\":\"|b1\"}", "\1")));
  CHECK(flag[0] == 1);
}

TEST_CASE("npy: any order of bytes, in every version of the format", "[io]") {
  const auto folder = scratch_folder("npy_orders");
  for (const int version : {1, 2, 3}) {
    for (const char* mark : {"<", ">", "=", "|", ""}) {
      INFO(version << " '" << mark << "'");
      const auto descr = [&](const char* type) { return mark + std::string(type); };
      const auto bytes = [&](const char* type, const std::string& data) {
        return spill(folder / "a", npy(version, dictionary(descr(type), "False", "(2,)"), data));
      };
      // Numbers of one byte have no order, whatever is said of it.
      CHECK(io::read_npy<std::uint8_t>(bytes("u1", "\x01\xFE"))[1] == 254);
      CHECK(io::read_npy<std::int8_t>(bytes("i1", "\x01\xFE"))[1] == -2);
      CHECK(io::read_npy<std::uint8_t>(bytes("b1", std::string("\x00\x01", 2)))[1] == 1);
      if (*mark == '|') continue;
      const auto laid = [&](std::uint64_t value, int size) {
        return *mark == '>' ? big_endian(value, size) : little_endian(value, size);
      };
      CHECK(io::read_npy<std::int16_t>(bytes("i2", laid(1, 2) + laid(0xFFFE, 2)))[1] == -2);
      CHECK(io::read_npy<std::int64_t>(bytes("u4", laid(1, 4) + laid(0x01020304, 4)))[1] == 0x01020304);
      CHECK(io::read_npy<float>(bytes("f4", laid(0, 4) + laid(0x40490FDB, 4)))[1] == 3.14159274F);
      CHECK(io::read_npy<double>(bytes("f8", laid(0, 8) + laid(0x3FF8000000000000, 8)))[1] == 1.5);
    }
  }
  // As Python 2 wrote whole numbers; and the bytes themselves.
  const std::string python2 = npy(1, dictionary("|u1", "False", "(2L, 1L)"), "ab");
  const auto x = io::read_npy<std::uint8_t>(std::as_bytes(std::span(python2)), "memory");
  CHECK(x.shape() == Shape{2, 1});
  CHECK_THAT(refusal<FormatError>(
                 [&] { static_cast<void>(io::read_npy<float>(std::as_bytes(std::span(python2)), "memory")); }),
             ContainsSubstring("memory: expected a floating-point type, got U8"));
}

TEST_CASE("npy: malformed files are refused in one line", "[io]") {
  const std::string four(4, '\0');
  CHECK_THAT(refused(""), ContainsSubstring("not an npy file"));
  CHECK_THAT(refused("\x93NUMPX"), ContainsSubstring("not an npy file"));
  CHECK_THAT(refused("\x93NUMPY"), ContainsSubstring("ends within the header"));
  CHECK_THAT(refused(npy(4, dictionary("<f4", "False", "(1,)"), four)), ContainsSubstring("got 4.0"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(1,)"), four).substr(0, 30)), ContainsSubstring("ends early"));
  CHECK_THAT(refused(npy(2, "", "").replace(8, 4, "\xFF\xFF\xFF\xFF")),
             ContainsSubstring("expected a header of 4294967295 bytes"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(1,)"), "abc")),
             ContainsSubstring("shape [1]: expected 4 bytes of data, got 3"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(1,)"), "abcde")),
             ContainsSubstring("expected 4 bytes of data, got 5"));
  for (const char* descr : {"|O", "|f4", ">c8", "<U1", "", "<", "f", "<<f4"})
    CHECK_THAT(refused(npy(1, dictionary(descr, "False", "(1,)"), four)),
               ContainsSubstring("numbers such as <f4, <f8, <i8 or |u1, got '" + std::string(descr) + "'"));
  CHECK_THAT(refused(npy(1, dictionary("<i4", "False", "(1,)"), four)),
             ContainsSubstring("expected a floating-point type, got I32"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "false", "(1,)"), four)), ContainsSubstring("expected True or False"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(-1,)"), four)),
             ContainsSubstring("expected an extent, got '-'"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(4294967296, 4294967296)"), four)),
             ContainsSubstring("overflows"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(99999999999999999999,)"), four)),
             ContainsSubstring("a smaller extent"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(1,1,1,1,1,1,1)"), four)),
             ContainsSubstring("more than 6 extents"));
  CHECK_THAT(refused(npy(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}", four)),
             ContainsSubstring("structured types are not supported"));
  CHECK_THAT(refused(npy(1, "{'descr': '<f4', 'shape': (1,)}", four)),
             ContainsSubstring("each of descr, fortran_order and shape once"));
  CHECK_THAT(refused(npy(1, "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (1,)}", four)),
             ContainsSubstring("once"));
  CHECK_THAT(refused(npy(1, dictionary("<f4", "False", "(1,)") + "x", four)),
             ContainsSubstring("expected the end of the header, got 'x'"));
}

TEST_CASE("npy: a mutated file is read or refused", "[io][fuzz]") {
  const auto folder = scratch_folder("npy_fuzz");
  const std::string plain = npy(1, dictionary("<f4", "True", "(2, 3)"), std::string(24, '\x3F'));
  Dice dice(5);
  int read = 0;
  for (int round = 0; round < 3000; ++round) {
    try {
      read += io::read_npy<float>(spill(folder / "bad", mutated(plain, dice))).size() > 0 ? 1 : 0;
    } catch (const Error&) {}
  }
  CHECK(read > 0);
  CHECK(read < 3000);
}

#include "easy_diffusion/io/safetensors.hpp"

#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>
#include <unistd.h>

#include "easy_diffusion/core/tensor.hpp"

#include "io/file_tools.hpp"
#include "support/skip.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using io::SafetensorsFile;

namespace {

std::string safetensors(const std::string& header, const std::string& data) {
  return little_endian(header.size(), 8) + header + data;
}

/// What the refusal of a file with that header and so many bytes of data says.
std::string refused(const std::string& header, std::size_t data_bytes) {
  const auto path =
      spill(scratch_folder("safetensors_bad") / "bad.safetensors", safetensors(header, std::string(data_bytes, '\0')));
  const std::string message = refusal<FormatError>([&] { static_cast<void>(SafetensorsFile::open(path)); });
  CHECK_THAT(message, ContainsSubstring(path.string()));
  return message;
}

std::string refused_bytes(const std::string& bytes) {
  const auto path = spill(scratch_folder("safetensors_bad") / "bad.safetensors", bytes);
  const std::string message = refusal<FormatError>([&] { static_cast<void>(SafetensorsFile::open(path)); });
  CHECK_THAT(message, ContainsSubstring(path.string()));
  return message;
}

/// A tensor of two floats in a header.
std::string two_floats(const std::string& name, int begin, int end) {
  return "\"" + name + R"(":{"dtype":"F32","shape":[2],"data_offsets":[)" + std::to_string(begin) + "," +
         std::to_string(end) + "]}";
}

}  // namespace

TEST_CASE("safetensors: what is written is read", "[io]") {
  const auto path = scratch_folder("safetensors") / "a.safetensors";
  const Tensor<float> f({2, 3}, {1.0F, -2.5F, 3e-30F, 0.0F, 5.0F, 6.0F});
  const Tensor<double> d({2}, {0.1, -1e300});
  const Tensor<std::int64_t> i({3}, {INT64_MIN, 0, INT64_MAX});
  const Tensor<std::uint8_t> u({5}, {0, 1, 2, 254, 255});
  const Tensor<std::int32_t> j({1}, {-7});
  const Tensor<float> scalar(Shape{}, 4.0F);
  const Tensor<float> nothing(Shape{3, 0, 2});
  const io::Metadata metadata = {{"step", "100"}, {"text", "\"quoted\" \\ \n \x01 \xC3\xA4 \xE7\x8C\xAB"}, {"", ""}};
  io::write_safetensors(
      path, {{"u", u}, {"f", f.view()}, {"nothing", nothing}, {"d", d}, {"i", i}, {"j", j}, {"a \"b\"", scalar}},
      metadata);

  const SafetensorsFile file = SafetensorsFile::open(path);
  CHECK(file.names() == std::vector<std::string>{"u", "f", "nothing", "d", "i", "j", "a \"b\""});
  CHECK(file.metadata() == metadata);
  CHECK(file.metadata("step") == "100");
  CHECK(file.contains("f"));
  CHECK_FALSE(file.contains("g"));
  CHECK(file.shape("f") == Shape{2, 3});
  CHECK(file.dtype("f") == io::ElementType::f32);
  CHECK(io::to_string(file.dtype("i")) == "I64");
  CHECK(file.shape("a \"b\"").rank() == 0);
  CHECK(file.read<float>("a \"b\"")[0] == 4.0F);
  CHECK(file.read<float>("nothing").shape() == Shape{3, 0, 2});
  const auto same = [](const auto& a, const auto& b) {
    return a.shape() == b.shape() && std::equal(a.begin(), a.end(), b.begin());
  };
  CHECK(same(file.read<float>("f"), f));
  CHECK(same(file.read<double>("f"), Tensor<double>::copy_of(f.view())));
  CHECK(same(file.read<double>("d"), d));
  CHECK(file.read<float>("d")[0] == 0.1F);
  CHECK(same(file.read<std::int64_t>("i"), i));
  CHECK(same(file.read<std::uint8_t>("u"), u));
  CHECK(same(file.read<std::int64_t>("u"), Tensor<std::int64_t>::copy_of(u.view())));
  CHECK(file.read<std::int64_t>("j")[0] == -7);

  // The layout that others rely on: eight bytes of length, a header that ends at a multiple of eight.
  const std::string bytes = slurp(path);
  const auto length = static_cast<std::size_t>(static_cast<unsigned char>(bytes[0])) +
                      256 * static_cast<std::size_t>(static_cast<unsigned char>(bytes[1]));
  CHECK(length % 8 == 0);
  CHECK(bytes[8] == '{');
  const auto json = nlohmann::json::parse(bytes.substr(8, length));
  CHECK(json["f"]["dtype"] == "F32");
  CHECK(json["f"]["shape"] == std::vector<int>{2, 3});
  CHECK(json["f"]["data_offsets"] == std::vector<int>{5, 29});
  CHECK(json["__metadata__"]["text"] == metadata.at("text"));
}

TEST_CASE("safetensors: bytes are frozen", "[io]") {
  const auto path = scratch_folder("safetensors_frozen") / "a.safetensors";
  const Tensor<float> x({1, 2}, {1.0F, 2.0F});
  io::write_safetensors(path, {{"x", x}}, {{"k", "v"}});
  const std::string header = R"({"__metadata__":{"k":"v"},"x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  CHECK(slurp(path) == safetensors(padded, std::string("\0\0\x80\x3F\0\0\0\x40", 8)));
  io::write_safetensors(path, std::vector<io::SafetensorsEntry>{});
  CHECK(slurp(path) == safetensors("{}      ", ""));
  CHECK(SafetensorsFile::open(path).names().empty());
}

TEST_CASE("safetensors: files of other writers", "[io]") {
  const auto folder = scratch_folder("safetensors_foreign");
  // Not aligned, out of order in the header, with white space and escapes.
  const auto path = spill(folder / "a", safetensors(R"({ "b" : {"data_offsets":[1,9],"shape":[ 2 ],"dtype":"F32"},
                      "\u00e4\ud83d\ude00\/\n" : {"dtype":"U8","shape":[1],"data_offsets":[0,1]}}  )",
                                                    std::string("\x07\0\0\x80\x3F\0\0\0\x40", 9)));
  const auto file = SafetensorsFile::open(path);
  CHECK(file.names() == std::vector<std::string>{"\xC3\xA4\xF0\x9F\x98\x80/\n", "b"});
  CHECK(file.read<float>("b")[1] == 2.0F);
  CHECK(file.read<std::uint8_t>("\xC3\xA4\xF0\x9F\x98\x80/\n")[0] == 7);
}

TEST_CASE("safetensors: half precision", "[io]") {
  const auto folder = scratch_folder("safetensors_half");
  std::string data;
  for (const unsigned bits : {0x3C00U, 0xC000U, 0x7BFFU, 0x0001U, 0x8000U, 0x03FFU, 0x0400U, 0x7C00U, 0xFC00U, 0x7E00U})
    data += little_endian(bits, 2);
  for (const unsigned bits : {0x3F80U, 0xC020U, 0x7F80U, 0x0001U}) data += little_endian(bits, 2);
  const auto file = SafetensorsFile::open(
      spill(folder / "a", safetensors(R"({"h":{"dtype":"F16","shape":[10],"data_offsets":[0,20]},)"
                                      R"("b":{"dtype":"BF16","shape":[4],"data_offsets":[20,28]}})",
                                      data)));
  const auto h = file.read<double>("h");
  CHECK(h[0] == 1.0);
  CHECK(h[1] == -2.0);
  CHECK(h[2] == 65504.0);
  CHECK(h[3] == std::ldexp(1.0, -24));
  CHECK((h[4] == 0.0 && std::signbit(h[4])));
  CHECK(h[5] == std::ldexp(1023.0, -24));
  CHECK(h[6] == std::ldexp(1.0, -14));
  CHECK(h[7] == std::numeric_limits<double>::infinity());
  CHECK(h[8] == -std::numeric_limits<double>::infinity());
  CHECK(std::isnan(h[9]));
  const auto b = file.read<float>("b");
  CHECK(b[0] == 1.0F);
  CHECK(b[1] == -2.5F);
  CHECK(std::isinf(b[2]));
  CHECK(b[3] == std::ldexp(1.0F, -133));
}

TEST_CASE("safetensors: half precision is written to the nearest number", "[io]") {
  const double inf = std::numeric_limits<double>::infinity();
  const auto half = [](double value) { return static_cast<double>(io::Float16(value)); };
  const auto brain = [](double value) { return static_cast<double>(io::BFloat16(value)); };
  // Every number of both types comes back, infinities and signs with them.
  for (unsigned bits = 0; bits < 0x10000U; ++bits) {
    io::Float16 h;
    h.bits = static_cast<std::uint16_t>(bits);
    io::BFloat16 b;
    b.bits = static_cast<std::uint16_t>(bits);
    if (const auto value = static_cast<double>(h); std::isnan(value) ? !std::isnan(half(value)) : io::Float16(value).bits != bits)
      FAIL_CHECK("F16 " << bits);
    if (const auto value = static_cast<double>(b); std::isnan(value) ? !std::isnan(brain(value)) : io::BFloat16(value).bits != bits)
      FAIL_CHECK("BF16 " << bits);
  }
  CHECK(half(1 + 0x1p-11) == 1.0);  // ties to even
  CHECK(half(1 + 0x3p-11) == 1 + 0x1p-9);
  CHECK(half(1 + 0x1.001p-11) == 1 + 0x1p-10);
  CHECK(half(65519.99) == 65504.0);
  CHECK(half(65520.0) == inf);
  CHECK(half(-1e300) == -inf);
  CHECK(half(0x1p-25) == 0.0);
  CHECK(half(0x1.01p-25) == 0x1p-24);
  CHECK(half(0x1.ffep-15) == 0x1p-14);  // rounds up into the normal numbers
  CHECK(brain(1 + 0x1p-8) == 1.0);
  CHECK(brain(1 + 0x3p-8) == 1 + 0x1p-6);
  CHECK(brain(3.4e38) == inf);
  CHECK(brain(-0x1p-140) == 0.0);

  const auto path = scratch_folder("safetensors_half_written") / "a";
  const Tensor<float> x({2, 2}, {1.0F, -2.5F, 1e-3F, 70000.0F});
  const auto exact = Tensor<double>::copy_of(x.view());
  const auto h = Tensor<io::Float16>::copy_of(std::as_const(exact).view());
  const auto b = Tensor<io::BFloat16>::copy_of(std::as_const(exact).view());
  io::write_safetensors(path, {{"h", h}, {"b", b}});
  const auto file = SafetensorsFile::open(path);
  CHECK(file.dtype("h") == io::ElementType::f16);
  CHECK(file.dtype("b") == io::ElementType::bf16);
  CHECK(file.bytes("h").size() == 8);
  CHECK(file.read<float>("h")[1] == -2.5F);
  CHECK(std::abs(file.read<double>("h")[2] - 1e-3) < 5e-7);
  CHECK(std::isinf(file.read<float>("h")[3]));
  CHECK(file.read<float>("b")[3] == 70144.0F);
}

TEST_CASE("safetensors: what a tensor is not", "[io]") {
  const auto path = scratch_folder("safetensors_types") / "a.safetensors";
  const Tensor<float> x({3}, {1.0F, std::nanf(""), 2.0F});
  const Tensor<std::int64_t> n({2}, {1, 2});
  const Tensor<double> big({1}, 1e300);
  io::write_safetensors(path, {{"x", x}, {"n", n}, {"big", big}});
  const auto file = SafetensorsFile::open(path);
  CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(file.read<float>("y")); }),
             ContainsSubstring(path.string() + ": tensor 'y' is missing"));
  CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(file.metadata("step")); }),
             ContainsSubstring(path.string() + ": metadata 'step' is missing"));
  CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(file.read<float>("n")); }),
             ContainsSubstring("tensor 'n': expected a floating-point type, got I64"));
  CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(file.read<std::int64_t>("x")); }),
             ContainsSubstring("tensor 'x': expected an integer type that fits into I64, got F32"));
  CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(file.read<std::int32_t>("n")); }),
             ContainsSubstring("fits into I32, got I64"));
  Tensor<float> wrong({2});
  CHECK_THAT(refusal<FormatError>([&] { file.read_into("x", wrong.view()); }),
             ContainsSubstring("tensor 'x': expected shape [2], got [3]"));

  CHECK(std::isnan(file.read<float>("x")[1]));
  CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(file.read<float>("x", io::Finite::required)); }),
             ContainsSubstring(path.string() + ": tensor 'x': expected finite numbers, got nan at element 1"));
  CHECK_THAT(refusal<FormatError>([&] { file.require_finite(); }), ContainsSubstring("tensor 'x'"));
  CHECK(file.read<double>("big", io::Finite::required)[0] == 1e300);
  CHECK_THAT(refusal<FormatError>([&] { static_cast<void>(file.read<float>("big", io::Finite::required)); }),
             ContainsSubstring("got inf at element 0"));
}

TEST_CASE("safetensors: a tensor that this library does not have stands in no one's way", "[io]") {
  const std::string header = R"({"__metadata__":null,"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                             R"("new":{"dtype":"F4","shape":[4],"data_offsets":[8,10]},)"
                             R"("deep":{"dtype":"F32","shape":[1,1,1,1,1,1,1],"data_offsets":[10,14]},)"
                             R"("none":{"dtype":"F32","shape":[18446744073709551615,0],"data_offsets":[14,14]}})";
  const std::string bytes = safetensors(header, std::string(14, '\0'));
  const auto file = SafetensorsFile::in_memory(std::as_bytes(std::span(bytes)), "memory");
  CHECK(file.names() == std::vector<std::string>{"x", "new", "deep", "none"});
  CHECK(file.metadata().empty());
  CHECK(file.is_usual("x"));
  CHECK(file.read<float>("x").shape() == Shape{2});
  CHECK_NOTHROW(file.require_finite());
  CHECK(file.bytes("new").size() == 2);
  const auto asked = [&](const char* name) {
    CHECK_FALSE(file.is_usual(name));
    CHECK_THROWS_AS(file.shape(name), FormatError);
    CHECK_THROWS_AS(file.dtype(name), FormatError);
    return refusal<FormatError>([&] { static_cast<void>(file.read<float>(name)); });
  };
  CHECK_THAT(asked("new"), ContainsSubstring("memory: tensor 'new': unknown dtype 'F4'"));
  CHECK_THAT(asked("deep"), ContainsSubstring("expected at most 6 extents, got 7"));
  CHECK_THAT(asked("none"), ContainsSubstring("too large"));
}

TEST_CASE("safetensors: malformed files are refused in one line", "[io]") {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})";
  CHECK_THAT(refused_bytes(""), ContainsSubstring("at least 8 bytes, got 0"));
  CHECK_THAT(refused_bytes("1234567"), ContainsSubstring("at least 8 bytes, got 7"));
  CHECK_THAT(refused_bytes(little_endian(100'000'001, 8) + "{}"),
             ContainsSubstring("at most 100000000 bytes, got 100000001"));
  CHECK_THAT(refused_bytes(little_endian(UINT64_MAX, 8) + "{}"), ContainsSubstring("got 18446744073709551615"));
  CHECK_THAT(refused_bytes(little_endian(3, 8) + "{}"), ContainsSubstring("expected a header of 3 bytes, got 2"));
  CHECK_THAT(refused_bytes(little_endian(0, 8)), ContainsSubstring("expected '{', got its end"));
  CHECK_THAT(refused_bytes(safetensors(good, std::string(8, '\0')).substr(0, 20)), ContainsSubstring("ends early"));

  CHECK_THAT(refused(good, 7), ContainsSubstring("tensor 'a' reaches past the end of the file: expected at least 8"));
  CHECK_THAT(refused(good, 9), ContainsSubstring("data after the last tensor: expected 8 bytes of data, got 9"));
  CHECK_THAT(refused(" {}", 0), ContainsSubstring("byte 0: expected '{', got ' '"));
  CHECK_THAT(refused("{} x", 0), ContainsSubstring("byte 3: expected the end of the header, got 'x'"));
  CHECK_THAT(refused("[]", 0), ContainsSubstring("expected '{', got '['"));
  CHECK_THAT(refused("{\"a\":1}", 0), ContainsSubstring("expected '{', got '1'"));
  CHECK_THAT(refused("{\"a\"", 0), ContainsSubstring("expected ':', got its end"));
  CHECK_THAT(refused("{\"a", 0), ContainsSubstring("expected the rest of a string"));
  CHECK_THAT(refused("{\"\n\":{}}", 0), ContainsSubstring("expected the rest of a string, got '\\x0a'"));
  CHECK_THAT(refused("{\"\\q\":{}}", 0), ContainsSubstring("expected an escaped character"));
  CHECK_THAT(refused("{\"\\ud800\":{}}", 0), ContainsSubstring("second half of a surrogate pair"));
  CHECK_THAT(refused("{\"\\udc00\":{}}", 0), ContainsSubstring("first half of a surrogate pair"));
  CHECK_THAT(refused("{\"\xC0\x80\":{}}", 0), ContainsSubstring("expected UTF-8"));
  CHECK_THAT(refused("{\"\xFF\":{}}", 0), ContainsSubstring("expected UTF-8"));
  CHECK_THAT(refused(std::string("{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},}"), 8),
             ContainsSubstring("expected a string, got '}'"));
  CHECK_THAT(refused("{" + two_floats("a", 0, 8) + "," + two_floats("a", 8, 16) + "}", 16),
             ContainsSubstring("tensor 'a' is there twice"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("tensor 'a': dtype is there twice"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","data_offsets":[0,8]}})", 8),
             ContainsSubstring("tensor 'a': shape is missing"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[2],"offsets":[0,8]}})", 8), ContainsSubstring("got 'offsets'"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F64","shape":[2],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("tensor 'a': F64 [2]: expected 16 bytes, got 8"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[-2],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("expected a natural number, got '-'"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[2.0],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("expected ']', got '.'"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[02],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("leading zeros"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":["2"],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("expected a natural number"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[99999999999999999999],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("below 2^64"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("tensor 'a': "));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8]}})", 8),
             ContainsSubstring("overflows"));
  CHECK_THAT(refused(R"({"a":{"dtype":"U8","shape":[1,1,1,1,1,1,2],"data_offsets":[0,1]}})", 1),
             ContainsSubstring("U8 [1, 1, 1, 1, 1, 1, 2]: expected 2 bytes, got 1"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F4","shape":[2],"data_offsets":[0,9]}})", 8),
             ContainsSubstring("reaches past the end of the file"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[8,0]}})", 8),
             ContainsSubstring("begin <= end"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}})", 8),
             ContainsSubstring("[begin, end]"));
  CHECK_THAT(refused("{" + two_floats("a", 0, 8) + "," + two_floats("b", 4, 12) + "}", 12),
             ContainsSubstring("tensor 'b' overlaps the one before it: expected offset 8, got 4"));
  CHECK_THAT(refused("{" + two_floats("a", 0, 8) + "," + two_floats("b", 0, 8) + "}", 8),
             ContainsSubstring("overlaps"));
  CHECK_THAT(refused("{" + two_floats("a", 0, 8) + "," + two_floats("b", 12, 20) + "}", 20),
             ContainsSubstring("tensor 'b' leaves a gap behind the one before it: expected offset 8, got 12"));
  CHECK_THAT(refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})", 12),
             ContainsSubstring("expected offset 0, got 4"));
  CHECK_THAT(
      refused(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[18446744073709551608,18446744073709551615]}})", 8),
      ContainsSubstring("expected 8 bytes, got 7"));
  CHECK_THAT(refused(R"({"__metadata__":{"a":1}})", 0), ContainsSubstring("expected a string, got '1'"));
  CHECK_THAT(refused(R"({"__metadata__":{"a":"1","a":"2"}})", 0), ContainsSubstring("__metadata__ has 'a' twice"));
  CHECK_THAT(refused(R"({"__metadata__":{},"__metadata__":{}})", 0), ContainsSubstring("__metadata__ is there twice"));
  CHECK_THAT(refused(std::string(200'000, '{'), 0), ContainsSubstring("expected a string"));
  // A hostile name does not spread over lines or pages.
  CHECK_THAT(refused("{\"" + std::string(10'000, 'n') + "\\u000a\":{}}", 0), ContainsSubstring("nnn...'"));
  CHECK_THAT(refused(R"({"a\nb":{}})", 0), ContainsSubstring("tensor 'a\\x0ab': dtype is missing"));
}

TEST_CASE("safetensors: files that cannot be opened are named", "[io]") {
  const auto folder = scratch_folder("safetensors_open");
  const auto open = [](const std::filesystem::path& path) {
    return refusal<IoError>([&] { static_cast<void>(SafetensorsFile::open(path)); });
  };
  CHECK_THAT(open(folder / "none"),
             ContainsSubstring((folder / "none").string() + ": cannot open: No such file or directory"));
  CHECK_THAT(open(folder), ContainsSubstring(folder.string() + ": expected a file, got a folder"));
  CHECK_THAT(open("/dev/null"), ContainsSubstring("/dev/null: expected a regular file"));
  if (::geteuid() != 0) {
    const auto closed = spill(folder / "closed", "x");
    std::filesystem::permissions(closed, std::filesystem::perms::none);
    CHECK_THAT(open(closed), ContainsSubstring("Permission denied"));
  } else {
    skip("a file without permissions: root may read it");
  }
}

TEST_CASE("safetensors: what is not written", "[io]") {
  const auto folder = scratch_folder("safetensors_write");
  const auto path = spill(folder / "a", "old");
  const Tensor<float> x({1}, 1.0F);
  const auto refused_entries = [&](const std::vector<io::SafetensorsEntry>& entries,
                                   const io::Metadata& metadata = {}) {
    return refusal<ValueError>([&] { io::write_safetensors(path, entries, metadata); });
  };
  CHECK_THAT(refused_entries({{"x", x}, {"x", x}}), ContainsSubstring("tensor 'x': the name is there twice"));
  CHECK_THAT(refused_entries({{"__metadata__", x}}), ContainsSubstring("the name is reserved"));
  CHECK_THAT(refused_entries({{"\xFF", x}}), ContainsSubstring("not UTF-8"));
  CHECK_THAT(refused_entries({{"x", TensorView<const float>()}}), ContainsSubstring("the tensor is empty"));
  CHECK_THAT(refused_entries({}, {{"k", "\x80"}}), ContainsSubstring("metadata 'k' is not UTF-8"));
  CHECK(slurp(path) == "old");
  CHECK(listing(folder) == std::vector<std::string>{"a"});
}

TEST_CASE("safetensors: a mutated file is read or refused", "[io][fuzz]") {
  const auto folder = scratch_folder("safetensors_fuzz");
  const Tensor<float> f({2, 3}, {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F});
  const Tensor<std::uint8_t> u({3}, {1, 2, 3});
  io::write_safetensors(folder / "good", {{"f", f}, {"u", u}, {"name \xC3\xA4\n", f}}, {{"key", "text \" \\"}});
  const std::string good = slurp(folder / "good");
  Dice dice(7);
  int opened = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = mutated(good, dice);
    if (round % 2 == 1 && bytes.size() > 8) bytes = little_endian(bytes.size() - 8, 8) + bytes.substr(8);  // all header
    if (round % 2 == 0 && bytes.size() > 8) bytes.replace(0, 8, good, 0, 8);
    const auto path = spill(folder / "bad", bytes);
    try {
      const auto file = SafetensorsFile::open(path);
      ++opened;
      for (const std::string& name : file.names()) {
        try {
          static_cast<void>(file.read<float>(name));
        } catch (const FormatError&) {}
      }
      // Whatever is accepted here must be JSON.
      std::uint64_t length = 0;
      for (int i = 7; i >= 0; --i)
        length = 256 * length + static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
      CHECK(nlohmann::json::accept(bytes.substr(8, length)));
    } catch (const Error&) {}
  }
  CHECK(opened > 0);
  CHECK(opened < 3000);
}

// Files that people give in place of another: named as what they are, with what to do.

#include "easy_diffusion/io/detail/file_kind.hpp"

#include <span>
#include <string>

#include "easy_diffusion/io/idx.hpp"
#include "easy_diffusion/io/npy.hpp"
#include "easy_diffusion/io/safetensors.hpp"

#include "io/file_tools.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using std::string_literals::operator""s;

namespace {

struct Wrong {
  const char* what;
  std::string bytes;
  const char* said;
};

const std::string lfs =
    "version https://git-lfs.github.com/spec/v1\noid "
    "sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393\nsize 12345\n";

const std::vector<Wrong>& wrong_files() {
  static const std::vector<Wrong> all = {
      {"PyTorch",
       "PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x12\x00"s +
           "archive/data.pkl",
       "a file of PyTorch"},
      {"PyTorch before 1.6", "\x80\x02\x8a\x0al\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\x02M\xe9\x03."s,
       "pickled Python objects"},
      {"npz",
       "PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00\x21\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x09\x00\x00\x00"s +
           "arr_0.npy",
       "an npz archive of NumPy"},
      {"zip", "PK\x03\x04\x14\x00\x00\x00\x00\x00"s + std::string(20, '\0') + "weights.bin",
       "a zip archive: unpack it"},
      {"HTML", "\n<!DOCTYPE html>\n<html><head><title>Sign in</title>", "a page of HTML"},
      {"HTML without a document type", "<HTML><body>404</body>", "download the file again"},
      {"XML", "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code></Error>", "a text in XML"},
      {"LFS", lfs, "git lfs pull"},
      {"GGUF", "GGUF\x03\x00\x00\x00\x23\x01\x00\x00\x00\x00\x00\x00"s, "a GGUF file"},
      {"ONNX",
       "\x08\x07\x12\x07pytorch\x1a\x05"
       "1.9:"s,
       "an ONNX model"},
      {"HDF5", "\x89HDF\r\n\x1a\n\x00\x00\x00\x00\x00\x08\x08\x00"s, "an HDF5 file"},
      {"bzip2", "BZh91AY&SY", "bunzip2"},
      {"xz",
       "\xFD"
       "7zXZ\x00\x00\x04"s,
       "unxz"},
      {"zstd", "\x28\xB5\x2F\xFD\x24\x05\x29\x00"s, "unzstd"},
      {"tar",
       "weights/" + std::string(249, '\0') +
           "ustar\x00"
           "00"s +
           std::string(248, '\0'),
       "tar -xf"},
      {"JSON", "{\n  \"architecture\": \"UNet\"\n}\n", "a JSON text"},
      {"index", "{\"metadata\": {}, \"weight_map\": {\"a\": \"model-00001-of-00002.safetensors\"}}",
       "the index of weights"},
      {"text", "Please ask for access.\n", "a text"},
      {"PNG", "\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"s, "a PNG picture"},
      {"zeros", std::string(5000, '\0'), "zero bytes"},
  };
  return all;
}

template <class Read>
std::string refused(const std::filesystem::path& path, Read&& read) {
  const std::string message = refusal<FormatError>([&] { read(path); });
  CHECK_THAT(message, ContainsSubstring(path.string()));
  return message;
}

}  // namespace

TEST_CASE("a file of another kind is named as what it is", "[io][kind]") {
  const auto folder = scratch_folder("file_kind");
  for (const Wrong& wrong : wrong_files()) {
    INFO(wrong.what);
    const auto path = spill(folder / "wrong", wrong.bytes);
    CHECK_THAT(refused(path, [](const auto& p) { static_cast<void>(io::SafetensorsFile::open(p)); }),
               ContainsSubstring(wrong.said));
    CHECK_THAT(refused(path, [](const auto& p) { static_cast<void>(io::read_npy<float>(p)); }),
               ContainsSubstring(wrong.said));
    CHECK_THAT(refused(path, [](const auto& p) { static_cast<void>(io::read_idx(p)); }), ContainsSubstring(wrong.said));
  }
  const auto packed = spill(folder / "wrong", gzip("something"));
  CHECK_THAT(refused(packed, [](const auto& p) { static_cast<void>(io::SafetensorsFile::open(p)); }),
             ContainsSubstring("a gzip file: unpack it"));
}

TEST_CASE("the library's own files in place of each other", "[io][kind]") {
  const auto folder = scratch_folder("file_kind_own");
  const Tensor<float> x({2}, 1.0F);
  io::write_npy(folder / "npy", x);
  io::write_safetensors(folder / "safetensors", {{"x", x}});
  spill(folder / "idx", idx_file(8, {3}, "abc"));
  const auto as_safetensors = [](const auto& p) { static_cast<void>(io::SafetensorsFile::open(p)); };
  CHECK_THAT(refused(folder / "npy", as_safetensors),
             ContainsSubstring("expected a safetensors file, got an npy array"));
  CHECK_THAT(refused(folder / "idx", as_safetensors), ContainsSubstring("got an IDX file"));
  const auto as_npy = [](const auto& p) { static_cast<void>(io::read_npy<float>(p)); };
  CHECK_THAT(refused(folder / "safetensors", as_npy), ContainsSubstring("it is a safetensors file"));
  CHECK_THAT(refused(folder / "idx", as_npy), ContainsSubstring("it is an IDX file"));
  CHECK_THAT(refused(folder / "safetensors", [](const auto& p) { static_cast<void>(io::read_idx(p)); }),
             ContainsSubstring("it is a safetensors file"));
}

TEST_CASE("what is not known is not guessed", "[io][kind]") {
  const std::string noise("\x9d\x13\x88\x42\x00\x01\xfe\xdc\xba", 9);
  CHECK(io::detail::known_kind(std::as_bytes(std::span(noise))).empty());
}

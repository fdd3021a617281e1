// Pictures with captions: each line of the input is a text of the file's metadata.
#include <array>
#include <string_view>

#include "easy_diffusion/data/caption_dataset.hpp"

#include "support.hpp"

namespace {

/// The bytes of a safetensors file of one picture or two, with that metadata.
std::string file_of(const std::array<std::string_view, 6>& texts) {
  using easy_diffusion::io::detail::json_string;
  constexpr std::array<const char*, 6> keys = {"names.en",    "keywords.en", "names.zh",
                                               "keywords.zh", "ids",         "class_names"};
  std::string metadata = "\"format\":" + json_string(easy_diffusion::data::detail::caption_format) + ",\"source\":\"\"";
  for (std::size_t i = 0; i < keys.size(); ++i)
    if (!texts[i].empty()) metadata += "," + json_string(keys[i]) + ":" + json_string(texts[i]);
  const std::string header = "{\"__metadata__\":{" + metadata +
                             R"(},"images":{"dtype":"U8","shape":[2,1,1,1],"data_offsets":[0,2]},)" +
                             R"("labels":{"dtype":"U8","shape":[2],"data_offsets":[2,4]}})";
  std::string file;
  for (std::size_t i = 0; i < 8; ++i) file += static_cast<char>(static_cast<unsigned char>(header.size() >> (8 * i)));
  return file + header + std::string("\x10\x20\x00\x00", 4);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace easy_diffusion;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  std::array<std::string_view, 6> texts;
  for (std::string_view& each : texts) {
    const std::size_t end = text.find('\n');
    each = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  const std::string bytes = file_of(texts);
  fuzz::read_or_refuse([&] {
    const auto set = data::load_caption_dataset(io::SafetensorsFile::in_memory(std::as_bytes(std::span(bytes)), "set"));
    set.validate();
  });
  return 0;
}

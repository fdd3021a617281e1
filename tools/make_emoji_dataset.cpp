/// Makes a data set of pictures with captions from what Debian has: the emoji of Noto Color Emoji, with names and
/// keywords in any language of Unicode's CLDR. Leaves emoji.safetensors, which --data of the training programs reads.

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "easy_diffusion/core/error.hpp"
#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/data/caption_dataset.hpp"
#include "easy_diffusion/data/framing.hpp"
#include "easy_diffusion/io/grid.hpp"
#include "easy_diffusion/io/image.hpp"
#include "support/options.hpp"

#include "emoji/annotations.hpp"
#include "emoji/emoji_font.hpp"
#include "emoji/emoji_list.hpp"

namespace ed = easy_diffusion;
namespace ex = easy_diffusion::examples;

namespace {

constexpr const char* source =
    "Pictures: Noto Color Emoji, Copyright Google Inc., SIL Open Font License 1.1. Names, keywords and groups: Unicode "
    "CLDR and emoji-test.txt, Copyright Unicode, Inc., Unicode Data Files and Software License.";

std::vector<std::string> split(const std::string& option, const std::string& text) {
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string_view part = ed::emoji::detail::trimmed(std::string_view(text).substr(at, comma - at));
    if (part.empty()) throw ed::ValueError(option + ": expected names with commas between them, got '" + text + "'");
    parts.emplace_back(part);
    at = comma + 1;
  }
  return parts;
}

/// Which of the groups are asked for. \throw ValueError naming those that there are
std::vector<bool> chosen_groups(const std::vector<std::string>& groups, const std::string& text) {
  if (text == "all") return std::vector<bool>(groups.size(), true);
  std::vector<bool> chosen(groups.size(), false);
  for (const std::string& name : split("--groups", text)) {
    const auto found = std::find(groups.begin(), groups.end(), name);
    if (found == groups.end()) {
      std::string all;
      for (const std::string& group : groups) all += ", " + group;
      throw ed::ValueError("--groups: expected all" + all + ", got '" + name + "'");
    }
    chosen[static_cast<std::size_t>(found - groups.begin())] = true;
  }
  return chosen;
}

void program(ex::CommandLine& line) {
  std::string font_path = "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf";
  std::string annotations_path = "/usr/share/unicode/cldr/common";
  std::string list_path = "/usr/share/unicode/emoji/emoji-test.txt";
  std::string groups = "all";
  std::string languages = "en,zh";
  std::int64_t size = 32;
  bool sheet = false;
  line.describe(
      "Makes emoji.safetensors: colour pictures of emoji with their names and keywords, the groups as classes.\n"
      "Taken is each emoji of a single code point that the font can draw and every language has a name for.");
  line.add<std::int64_t>("--size", size, "height and width of the pictures", 8, 128);
  line.add("--groups", groups, "groups of Unicode's list, with commas between them, such as 'Food & Drink'");
  line.add("--languages", languages, "of the captions, with commas between them");
  line.add("--font", font_path, "font of colour bitmaps (package fonts-noto-color-emoji)");
  line.add("--annotations", annotations_path, "folder of annotations/en.xml and so on (package unicode-cldr-core)");
  line.add("--emoji-test", list_path, "Unicode's list of emoji (package unicode-data)");
  line.add("--sheet", sheet, "also draw all pictures side by side: emoji.png");
  line.results_are_files = true;
  line.parse();
  if (line.smoke && !line.given("--groups")) groups = "Food & Drink";

  const ed::emoji::EmojiList list = ed::emoji::read_emoji_list(list_path);
  const std::vector<bool> chosen = chosen_groups(list.groups, groups);
  std::map<std::string, ed::emoji::Annotations> annotations;
  for (const std::string& language : split("--languages", languages))
    annotations[language] = ed::emoji::read_annotations(annotations_path, language);
  ed::emoji::EmojiFont font(font_path);

  ed::data::CaptionDataset set;
  set.source = source;
  std::vector<std::int64_t> class_of(list.groups.size(), -1);
  std::vector<std::int64_t> pictures_of;
  std::vector<std::uint8_t> pixels;
  std::int64_t without_picture = 0;
  std::int64_t without_name = 0;
  for (const ed::emoji::Emoji& emoji : list.emoji) {
    if (!chosen[emoji.group]) continue;
    if (!std::all_of(annotations.begin(), annotations.end(),
                     [&](const auto& language) { return language.second.contains(emoji.text); })) {
      ++without_name;
      continue;
    }
    const auto picture = font.picture(emoji.code);
    if (!picture) {
      ++without_picture;
      continue;
    }
    const auto bytes = ed::data::framed(*picture, {.size = size, .framing = ed::data::Framing::fit});
    pixels.insert(pixels.end(), bytes.begin(), bytes.end());
    std::int64_t& number = class_of[emoji.group];
    if (number < 0) {
      number = static_cast<std::int64_t>(pictures_of.size());
      pictures_of.push_back(0);
      set.pictures.class_names.push_back(list.groups[emoji.group]);
    }
    ++pictures_of[static_cast<std::size_t>(number)];
    set.pictures.labels.push_back(number);
    set.ids.push_back(emoji.text);
    for (const auto& [language, captions] : annotations) set.captions[language].push_back(captions.at(emoji.text));
  }
  if (set.ids.empty()) throw ed::FormatError("no emoji of these groups has a picture, and a name in each language");

  const std::filesystem::path file = line.out / "emoji.safetensors";
  set.pictures.name = file.string();
  set.pictures.images = ed::Tensor<std::uint8_t>({static_cast<std::int64_t>(set.ids.size()), size, size, 3});
  std::copy(pixels.begin(), pixels.end(), set.pictures.images.begin());
  ed::data::save_caption_dataset(file, set);
  for (std::size_t i = 0; i < pictures_of.size(); ++i)
    std::printf("%6lld  %s\n", static_cast<long long>(pictures_of[i]), ex::printable(set.pictures.class_names[i]).c_str());
  std::printf("%6zu  pictures of %lldx%lld with captions (%s): %s\n", set.ids.size(), static_cast<long long>(size),
              static_cast<long long>(size), ex::printable(languages).c_str(), ex::printable(file).c_str());
  if (without_picture + without_name > 0)
    std::printf("%6lld  left out: %lld without a name, %lld without a picture\n",
                static_cast<long long>(without_picture + without_name), static_cast<long long>(without_name),
                static_cast<long long>(without_picture));
  if (sheet) ed::io::save_png(line.out / "emoji.png", ed::io::make_grid(set.pictures.images));
}

}  // namespace

int main(int argc, char** argv) { return ex::run_main(argc, argv, program); }

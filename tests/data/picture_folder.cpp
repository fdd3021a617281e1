#include "easy_diffusion/data/picture_folder.hpp"

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include <sys/stat.h>

#include "easy_diffusion/core/parallel.hpp"

#include "data/pictures.hpp"
#include "io/picture_files.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;
using data::load_picture_folder;

namespace {

std::string refused(const std::filesystem::path& folder, const data::PictureOptions& options = {.size = 4}) {
  return refusal<Error>([&] { static_cast<void>(load_picture_folder(folder, options)); });
}

/// The first byte of each picture.
std::vector<int> shades(const data::ImageDataset& set) {
  std::vector<int> result;
  for (std::int64_t n = 0; n < set.size(); ++n) result.push_back(set.images(n, 0, 0, 0));
  return result;
}

}  // namespace

TEST_CASE("picture folders: sorted by bytes, whatever kind and size, and nothing but pictures", "[data]") {
  const auto folder = scratch_folder("folder_sorted");
  io::save_png(folder / "b.png", plain(4, 4, 3, 1));
  io::save_png(folder / "a10.png", plain(9, 5, 1, 2));
  io::save_png(folder / "a9.PNG", plain(8, 8, 2, 255));
  io::save_png(folder / "Z.jpg", plain(5, 4, 4, 255));  // a PNG all the same
  spill(folder / "\xE7\x8C\xAB.pgm", "P5 4 4 255\n" + std::string(16, '\x05'));
  spill(folder / "notes.txt", "no picture");
  spill(folder / "labels", "none either");
  spill(folder / ".hidden.png", "damaged");
  made(folder / ".thumbnails");
  const auto set = load_picture_folder(folder, {.size = 4});
  CHECK(set.images.shape() == Shape{5, 4, 4, 3});
  CHECK(shades(set) == std::vector<int>{255, 2, 255, 1, 5});
  CHECK(set.labels.empty());
  CHECK(set.class_names.empty());
  CHECK(set.name == folder.string());
  CHECK(set.left_out == std::vector<std::string>{".hidden.png", ".thumbnails/", "labels", "notes.txt"});
  CHECK(load_picture_folder(folder, {.size = 3, .channels = 1}).images.shape() == Shape{5, 3, 3, 1});
}

TEST_CASE("picture folders: a folder for each class", "[data]") {
  const auto folder = scratch_folder("folder_classes");
  made(folder / "dog");
  io::save_png(made(folder / "dog") / "1.png", plain(4, 4, 3, 1));
  io::save_png(made(folder / "\xE7\x8C\xAB") / "1.png", plain(4, 4, 3, 2));
  io::save_png(made(folder / "Bird") / "2.png", plain(4, 4, 3, 4));
  io::save_png(folder / "Bird" / "1.png", plain(4, 4, 3, 3));
  const auto set = load_picture_folder(folder, {.size = 4});
  CHECK(set.class_names == std::vector<std::string>{"Bird", "dog", "\xE7\x8C\xAB"});
  CHECK(set.labels == std::vector<std::int64_t>{0, 0, 1, 2});
  CHECK(shades(set) == std::vector<int>{3, 4, 1, 2});
}

TEST_CASE("picture folders: pictures are known by their content, and what is left out is named", "[data]") {
  const auto folder = scratch_folder("folder_content");
  for (const char* name : {"a.jfif", "b.JPE", "c", "d.tmp", "e.pbm"}) io::save_png(folder / name, plain(4, 4, 3, 7));
  spill(folder / "f.dat", "P1 4 4\n" + std::string(16, '1'));
  spill(folder / "notes", "BM is how a bitmap starts, and P1 a picture of bits");
  spill(folder / "P1.txt", "P1");
  spill(folder / "empty", "");
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  std::filesystem::create_symlink("nowhere", folder / "link");
  const auto set = load_picture_folder(folder, {.size = 4});
  CHECK(shades(set) == std::vector<int>{7, 7, 7, 7, 7, 0});
  CHECK(set.left_out == std::vector<std::string>{"P1.txt", "empty", "link", "notes", "pipe"});

  const auto classes = scratch_folder("folder_content_classes");
  io::save_png(made(classes / "a") / "1.png", plain(4, 4, 3, 1));
  io::save_png(made(classes / "b.png") / "1.png", plain(4, 4, 3, 2));  // a folder, whatever it is called
  spill(classes / "README.md", "about");
  spill(classes / "a" / "notes.txt", "about a");
  const auto named = load_picture_folder(classes, {.size = 4});
  CHECK(named.class_names == std::vector<std::string>{"a", "b.png"});
  CHECK(named.left_out == std::vector<std::string>{"README.md", "a/notes.txt"});
}

TEST_CASE("picture folders: turned upright, or as they are stored", "[data]") {
  const auto folder = scratch_folder("folder_upright");
  Tensor<std::uint8_t> pixels({16, 16, 3});
  for (std::int64_t y = 0; y < 16; ++y)
    for (std::int64_t x = 0; x < 16; ++x)
      for (std::int64_t c = 0; c < 3; ++c) pixels(y, x, c) = x < 8 ? 10 : 240;
  spill(folder / "a.jpg", jpeg(pixels, false, exif_segment(exif(6, true))));
  const auto upright = load_picture_folder(folder, {.size = 16}).images;
  const auto stored = load_picture_folder(folder, {.size = 16, .upright = false}).images;
  // A quarter turn clockwise: what was left is above.
  CHECK((upright(0, 2, 12, 0) < 60 && upright(0, 12, 2, 0) > 190));
  CHECK((stored(0, 2, 12, 0) > 190 && stored(0, 12, 2, 0) < 60));
}

TEST_CASE("picture folders: memory is bounded for all threads together", "[data]") {
  const auto folder = scratch_folder("folder_memory");
  for (int i = 0; i < 12; ++i) io::save_png(folder / (std::to_string(i) + ".png"), plain(10, 10, 3, i));
  const int before = num_threads();
  set_num_threads(4);
  const std::int64_t one = 10 * 10 * 3 * 5;  // just enough for one of them
  CHECK(load_picture_folder(folder, {.size = 5, .max_bytes = one}).size() == 12);
  CHECK_THAT(refused(folder, {.size = 5, .max_bytes = one - 1}),
             ContainsSubstring(".png: expected a picture that takes"));
  set_num_threads(before);
  CHECK_THAT(refused(folder, {.size = 5, .max_bytes = 0}), ContainsSubstring("max_bytes"));
}

TEST_CASE("picture folders: the same bytes for any number of threads", "[data]") {
  const auto folder = scratch_folder("folder_threads");
  for (int i = 0; i < 23; ++i)
    io::save_png(folder / (std::to_string(i) + ".png"), speckled({20 + i, 31, 3}, static_cast<std::uint64_t>(i)));
  const int before = num_threads();
  set_num_threads(1);
  const auto one = load_picture_folder(folder, {.size = 12});
  set_num_threads(3);
  const auto three = load_picture_folder(folder, {.size = 12});
  set_num_threads(before);
  CHECK(std::equal(one.images.begin(), one.images.end(), three.images.begin(), three.images.end()));
  CHECK(data::fingerprint(one) == data::fingerprint(three));
  // Picture 2.png is the sixteenth of 0, 1, 10 ... 19, 2.
  const auto third = data::framed(as_numbers(speckled({22, 31, 3}, 2)), {.size = 12});
  CHECK(std::equal(third.begin(), third.end(), one.images.data() + 12 * third.size()));
}

TEST_CASE("picture folders: refusals name what is wrong", "[data]") {
  const auto folder = scratch_folder("folder_bad");
  CHECK_THAT(refused(folder / "none"),
             ContainsSubstring((folder / "none").string()) && ContainsSubstring("there is none"));
  CHECK_THAT(refused(spill(folder / "file.png", "x")), ContainsSubstring("expected a folder of pictures, got a file"));
  std::filesystem::remove(folder / "file.png");
  CHECK_THAT(refused(folder), ContainsSubstring(folder.string() + ": expected pictures (PNG"));
  spill(folder / "notes.txt", "x");
  CHECK_THAT(refused(folder), ContainsSubstring("there is none in it"));

  io::save_png(folder / "good.png", plain(4, 4, 3, 1));
  const auto bad = folder / "bad.png";
  const auto refused_file = [&](const std::string& bytes) {
    spill(bad, bytes);
    const std::string message = refused(folder);
    CHECK_THAT(message, ContainsSubstring(bad.string()));
    return message;
  };
  CHECK_THAT(refused_file(""), ContainsSubstring("empty file"));
  CHECK_THAT(refused_file("no picture at all"), ContainsSubstring("expected a picture"));
  const std::string whole = slurp(folder / "good.png");
  CHECK_THAT(refused_file(whole.substr(0, whole.size() / 2)), ContainsSubstring("ends early"));
  io::save_png(bad, plain(1, 1, 3, 0));
  CHECK_THAT(refused(folder), ContainsSubstring(bad.string() + ": expected a picture that grows by at most") &&
                                  ContainsSubstring("got 1 x 1"));
  std::filesystem::remove(bad);
  CHECK(load_picture_folder(folder, {.size = 4}).size() == 1);
  CHECK_THAT(refused(folder, {.size = 0}), ContainsSubstring("size"));

  std::filesystem::create_symlink(folder / "nowhere.png", bad);
  CHECK_THAT(refused(folder), ContainsSubstring(bad.string() + ": cannot open"));
  std::filesystem::remove(bad);
  spill(folder / "new.WebP", "RIFF");
  CHECK_THAT(refused(folder), ContainsSubstring("new.WebP: expected PNG") && ContainsSubstring("another kind"));
  std::filesystem::remove(folder / "new.WebP");
  spill(folder / "photo", std::string("RIFF\x10\0\0\0WEBPVP8 ", 16));
  CHECK_THAT(refused(folder), ContainsSubstring("photo: expected PNG") && ContainsSubstring("got a WebP picture"));
  std::filesystem::remove(folder / "photo");

  made(folder / "cats");
  CHECK_THAT(refused(folder), ContainsSubstring("got both: good.png and the folder cats"));
  std::filesystem::remove(folder / "good.png");
  CHECK_THAT(refused(folder), ContainsSubstring((folder / "cats").string() + ": expected pictures of the class cats"));
  made(folder / "cats" / "young");
  CHECK_THAT(refused(folder),
             ContainsSubstring((folder / "cats" / "young").string()) && ContainsSubstring("got a folder"));
  std::filesystem::remove_all(folder / "cats");
  made(folder / "\xFF");
  CHECK_THAT(refused(folder), ContainsSubstring("is not UTF-8"));
}

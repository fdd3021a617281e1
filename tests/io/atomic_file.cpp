#include "easy_diffusion/io/atomic_file.hpp"

#include <csignal>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "easy_diffusion/core/tensor.hpp"
#include "easy_diffusion/io/gif.hpp"
#include "easy_diffusion/io/grid.hpp"
#include "easy_diffusion/io/npy.hpp"
#include "easy_diffusion/io/safetensors.hpp"

#include "io/file_tools.hpp"
#include "support/skip.hpp"

using namespace easy_diffusion;
using namespace easy_diffusion::test;

namespace {

/// No file may grow beyond so many bytes: a write then fails as it does on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_signal_(std::signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &old_);
    rlimit limit = old_;
    limit.rlim_cur = bytes;
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, old_signal_);
  }

 private:
  rlimit old_{};
  void (*old_signal_)(int);
};

template <class F>
std::string refusal_on_full_disk(F&& f) {
  std::string message;
  {
    const FileSizeLimit limit(10'000);
    try {
      f();
    } catch (const IoError& error) { message = error.what(); }
  }
  return message;
}

}  // namespace

TEST_CASE("a file is replaced as a whole", "[io]") {
  const auto folder = scratch_folder("atomic");
  const auto path = folder / "a.txt";
  io::write_file(path, "first");
  CHECK(slurp(path) == "first");
  {
    io::AtomicFile file(path);
    file.write(std::string_view("sec"));
    CHECK(slurp(path) == "first");
    file.write(std::string_view("ond"));
    file.commit();
  }
  CHECK(slurp(path) == "second");
  CHECK(listing(folder) == std::vector<std::string>{"a.txt"});

  const mode_t mask = ::umask(0);
  ::umask(mask);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == (0666U & ~mask));
}

TEST_CASE("a file of this folder, named without it", "[io]") {
  const auto folder = scratch_folder("atomic_here");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder);
  io::write_file("bare.txt", "text");
  std::filesystem::current_path(before);
  CHECK(slurp(folder / "bare.txt") == "text");
}

TEST_CASE("without a commit the old file stays and nothing else does", "[io]") {
  const auto folder = scratch_folder("atomic_abandoned");
  const auto path = spill(folder / "a.txt", "old");
  {
    io::AtomicFile file(path);
    file.write(std::string_view("new"));
    CHECK(listing(folder).size() == 2);
  }
  CHECK(slurp(path) == "old");
  CHECK(listing(folder) == std::vector<std::string>{"a.txt"});
}

TEST_CASE("a full disk leaves the old file, whatever is written", "[io]") {
  const auto folder = scratch_folder("atomic_full");
  const auto path = spill(folder / "a", "old");
  const Tensor<float> large({100, 32, 32, 1}, 0.5F);
  Tensor<float> noise({1, 200, 200, 3});
  Dice dice(1);
  for (float& value : noise) value = static_cast<float>(dice(256)) / 255.0F;

  const std::vector<std::string> messages = {
      refusal_on_full_disk([&] { io::write_file(path, std::string(1 << 20, 'x')); }),
      refusal_on_full_disk([&] {
        io::write_safetensors(path, {{"large", large}});
      }),
      refusal_on_full_disk([&] { io::write_npy(path, large); }),
      refusal_on_full_disk([&] { io::save_png(path, noise); }),
      refusal_on_full_disk([&] { io::save_grid(path, noise); }),
      refusal_on_full_disk([&] { io::save_gif(path, noise); }),
  };
  for (const std::string& message : messages) {
    CHECK_THAT(message, ContainsSubstring(path.string() + ": cannot write: "));
    CHECK_THAT(message, ContainsSubstring("File too large"));
  }
  CHECK(slurp(path) == "old");
  CHECK(listing(folder) == std::vector<std::string>{"a"});
}

TEST_CASE("a kill in the middle leaves the old file, and the next write tidies up", "[io]") {
  const auto folder = scratch_folder("atomic_killed");
  const auto path = spill(folder / "a.txt", "old");
  const pid_t child = ::fork();
  if (child == 0) {
    io::AtomicFile file(path);
    file.write(std::string_view("half of something much longer"));
    ::kill(::getpid(), SIGKILL);
  }
  REQUIRE(child > 0);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WIFSIGNALED(status));
  CHECK(slurp(path) == "old");
  CHECK(listing(folder).size() == 2);
  io::write_file(path, "new");
  CHECK(slurp(path) == "new");
  CHECK(listing(folder) == std::vector<std::string>{"a.txt"});
}

TEST_CASE("two writers of one file do not mix", "[io]") {
  const auto folder = scratch_folder("atomic_twice");
  const auto path = folder / "a.txt";
  io::AtomicFile first(path);
  first.write(std::string_view("first"));
  CHECK_THAT(refusal<IoError>([&] { io::write_file(path, "second"); }),
             ContainsSubstring(path.string()) && ContainsSubstring("another program is writing it"));
  first.commit();
  CHECK(slurp(path) == "first");
  io::write_file(path, "second");
  CHECK(slurp(path) == "second");
}

TEST_CASE("places that cannot be written are named", "[io]") {
  const auto folder = scratch_folder("atomic_places");
  const auto missing = folder / "missing" / "a.txt";
  CHECK_THAT(refusal<IoError>([&] { io::write_file(missing, "x"); }),
             ContainsSubstring(missing.string()) && ContainsSubstring("No such file or directory"));
  CHECK_THAT(refusal<IoError>([&] { io::write_file(folder, "x"); }),
             ContainsSubstring(folder.string()) && ContainsSubstring("is a folder"));
  CHECK_THAT(refusal<IoError>([] { io::write_file("/dev/full", "x"); }),
             ContainsSubstring("/dev/full: cannot write: it is not a regular file"));
  const auto file = spill(folder / "file", "x");
  CHECK_THAT(refusal<IoError>([&] { io::write_file(file / "a.txt", "x"); }), ContainsSubstring("Not a directory"));
  if (::geteuid() != 0) {
    std::filesystem::create_directory(folder / "closed");
    std::filesystem::permissions(folder / "closed", std::filesystem::perms::owner_read);
    CHECK_THAT(refusal<IoError>([&] { io::write_file(folder / "closed" / "a", "x"); }),
               ContainsSubstring("Permission denied"));
    std::filesystem::permissions(folder / "closed", std::filesystem::perms::owner_all);
  } else {
    skip("a folder without permissions: root may write there");
  }
}

TEST_CASE("a symbolic link is followed, not replaced", "[io]") {
  const auto folder = scratch_folder("atomic_link");
  spill(folder / "real", "old");
  std::filesystem::create_symlink("real", folder / "link");
  io::write_file(folder / "link", "new");
  CHECK(slurp(folder / "real") == "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
}

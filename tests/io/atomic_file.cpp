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

TEST_CASE("two writers of one file do not mix, and the last one stays", "[io]") {
  const auto folder = scratch_folder("atomic_twice");
  const auto path = folder / "a.txt";
  io::AtomicFile first(path);
  first.write(std::string_view("fir"));
  io::AtomicFile second(path);
  second.write(std::string_view("second"));
  first.write(std::string_view("st"));
  CHECK(listing(folder).size() == 2);
  second.commit();
  CHECK(slurp(path) == "second");
  first.commit();
  CHECK(slurp(path) == "first");
  CHECK(listing(folder) == std::vector<std::string>{"a.txt"});
}

TEST_CASE("many processes that write one file leave a whole one", "[io]") {
  const auto folder = scratch_folder("atomic_many");
  const auto path = folder / "a";
  std::vector<pid_t> children;
  for (int i = 0; i < 4; ++i) {
    const pid_t child = ::fork();
    if (child == 0) {
      try {
        for (int round = 0; round < 10; ++round) io::write_file(path, std::string(100'000, static_cast<char>('a' + i)));
        ::_exit(0);
      } catch (...) { ::_exit(1); }
    }
    REQUIRE(child > 0);
    children.push_back(child);
  }
  for (const pid_t child : children) {
    int status = 0;
    REQUIRE(::waitpid(child, &status, 0) == child);
    CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  }
  const std::string text = slurp(path);
  CHECK(text.size() == 100'000);
  CHECK(text == std::string(text.size(), text[0]));
  CHECK(listing(folder) == std::vector<std::string>{"a"});
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

TEST_CASE("a file that is replaced keeps its mode and its owner", "[io]") {
  const auto folder = scratch_folder("atomic_mode");
  const auto path = spill(folder / "secret", "old");
  struct stat status {};
  for (const mode_t mode : {0600U, 0640U, 0664U, 0755U, 0200U}) {
    REQUIRE(::chmod(path.c_str(), mode) == 0);
    io::write_file(path, "new");
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK((status.st_mode & 07777U) == mode);
  }
  REQUIRE(::chmod(path.c_str(), 0600) == 0);
  {
    // Nobody else may read it while it is made either.
    io::AtomicFile file(path);
    REQUIRE(::stat(file.temporary().c_str(), &status) == 0);
    CHECK((status.st_mode & 07777U) == 0600U);
  }
  if (::geteuid() == 0) {
    REQUIRE(::chown(path.c_str(), 1234, 4321) == 0);
    io::write_file(path, "newer");
    REQUIRE(::stat(path.c_str(), &status) == 0);
    CHECK(status.st_uid == 1234);
    CHECK(status.st_gid == 4321);
    CHECK((status.st_mode & 07777U) == 0600U);
  } else {
    REQUIRE(::chmod(path.c_str(), 0400) == 0);
    CHECK_THAT(refusal<IoError>([&] { io::write_file(path, "x"); }), ContainsSubstring("Permission denied"));
  }
}

TEST_CASE("files that happen to have a temporary's name stay", "[io]") {
  const auto folder = scratch_folder("atomic_bystanders");
  const auto path = folder / "run";
  const std::vector<std::string> names = {"run.tmp", ".run.tmp", ".run.partial", "run.partial"};
  for (const std::string& name : names) spill(folder / name, name);
  // A link to what must not be overwritten, a hard one too.
  const auto precious = spill(folder / "precious", "precious");
  std::filesystem::create_hard_link(precious, folder / "linked.tmp");
  std::filesystem::create_symlink(precious, folder / "pointing.tmp");
  for (const char* name : {"run", "linked", "pointing"}) io::write_file(folder / name, "new");
  for (const std::string& name : names) CHECK(slurp(folder / name) == name);
  CHECK(slurp(precious) == "precious");
  CHECK(std::filesystem::hard_link_count(precious) == 2);
  CHECK(std::filesystem::is_symlink(folder / "pointing.tmp"));
}

TEST_CASE("what killed writers left goes, and what is being written does not", "[io]") {
  const auto folder = scratch_folder("atomic_tidy");
  const auto abandoned = spill(folder / ".a.abc123.easy_diffusion.partial", "half");
  spill(folder / "precious", "precious");
  std::filesystem::create_hard_link(folder / "precious", folder / ".b.abc123.easy_diffusion.partial");
  std::filesystem::create_symlink("precious", folder / ".c.abc123.easy_diffusion.partial");
  int ready[2];
  int done[2];
  REQUIRE(::pipe(ready) == 0);
  REQUIRE(::pipe(done) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    int code = 1;
    try {
      io::AtomicFile file(folder / "other");
      file.write(std::string_view("other"));
      char byte = 'x';
      if (::write(ready[1], &byte, 1) == 1 && ::read(done[0], &byte, 1) == 1) {
        file.commit();
        code = 0;
      }
    } catch (...) {}
    ::_exit(code);
  }
  REQUIRE(child > 0);
  char byte = 0;
  REQUIRE(::read(ready[0], &byte, 1) == 1);
  io::write_file(folder / "new", "new");
  REQUIRE(::write(done[1], &byte, 1) == 1);
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  for (const int descriptor : {ready[0], ready[1], done[0], done[1]}) ::close(descriptor);
  CHECK(slurp(folder / "other") == "other");
  CHECK_FALSE(std::filesystem::exists(abandoned));
  CHECK(std::filesystem::exists(folder / ".b.abc123.easy_diffusion.partial"));
  CHECK(std::filesystem::is_symlink(folder / ".c.abc123.easy_diffusion.partial"));
  CHECK(slurp(folder / "precious") == "precious");
}

TEST_CASE("names as long as the system allows", "[io]") {
  const auto folder = scratch_folder("atomic_long");
  const auto path = folder / std::string(255, 'x');
  io::write_file(path, "first");
  io::write_file(path, "second");
  CHECK(slurp(path) == "second");
  CHECK_THAT(refusal<IoError>([&] { io::write_file(folder / std::string(256, 'x'), "x"); }),
             ContainsSubstring("File name too long"));
}

TEST_CASE("links: to nothing yet, to a link, to themselves", "[io]") {
  const auto folder = scratch_folder("atomic_links");
  std::filesystem::create_directory(folder / "elsewhere");
  std::filesystem::create_symlink("elsewhere/target", folder / "second");
  std::filesystem::create_symlink("second", folder / "first");
  io::write_file(folder / "first", "new");
  CHECK(slurp(folder / "elsewhere" / "target") == "new");
  CHECK(std::filesystem::is_symlink(folder / "first"));
  CHECK(std::filesystem::is_symlink(folder / "second"));
  CHECK(listing(folder / "elsewhere") == std::vector<std::string>{"target"});
  std::filesystem::create_symlink("loop", folder / "loop");
  CHECK_THAT(refusal<IoError>([&] { io::write_file(folder / "loop", "x"); }), ContainsSubstring("loop: cannot write"));
}

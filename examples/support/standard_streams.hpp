/// \file
/// Standard input, output and error as a program may find them: closed, full, or read by nobody.
#pragma once

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <string>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

namespace easy_diffusion::examples {

/// To be called first of all. Descriptors 0, 1 and 2 that are closed are opened on /dev/null: otherwise the next file that is
/// opened would get the number, and what is printed would land in it. Printing to a pipe that nobody reads, and writing a file
/// beyond the caller's limit, fail instead of ending the program.
inline void prepare_standard_streams() {
  for (const int descriptor : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) {
    if (::fcntl(descriptor, F_GETFD) != -1 || errno != EBADF) continue;
    // The lowest free number is this one. Where there is no /dev/null, anything that cannot be written to will do.
    if (::open("/dev/null", descriptor == STDIN_FILENO ? O_RDONLY : O_WRONLY) == -1)
      static_cast<void>(::open("/", O_RDONLY | O_DIRECTORY));
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);
}

/// To be called at the end. \return why some of what was printed has not arrived; empty where all has, and where its reader
/// did not want more
[[nodiscard]] inline std::string printing_failure() {
  errno = 0;
  const bool flushed = std::fflush(stdout) == 0;
  const int error = errno;
  if (flushed && std::ferror(stdout) == 0) return {};
  // Where it failed long ago, the pipe itself still knows that it has no reader.
  struct pollfd output {STDOUT_FILENO, POLLOUT, 0};
  if ((!flushed && error == EPIPE) || (::poll(&output, 1, 0) == 1 && (output.revents & POLLERR) != 0)) return {};
  return flushed || error == 0 ? "not all of it could be written" : std::generic_category().message(error);
}

}  // namespace easy_diffusion::examples

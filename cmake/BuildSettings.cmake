# Settings of this project's own build. Nothing here reaches a program that merely links to the library:
# warnings travel by a target that only our own programs use, the rest are options of this build.

if(easy_diffusion_is_top AND NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Kind of build" FORCE)
endif()

if(EASY_DIFFUSION_NATIVE AND EASY_DIFFUSION_HAS_MARCH_NATIVE)
  add_compile_options(-march=native)
endif()

if(EASY_DIFFUSION_SANITIZE)
  add_compile_options(-fsanitize=${EASY_DIFFUSION_SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${EASY_DIFFUSION_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
    add_compile_options("-fsanitize-ignorelist=${CMAKE_CURRENT_LIST_DIR}/sanitizer_ignorelist.txt")
  endif()
endif()

add_library(easy_diffusion_warnings INTERFACE)
target_compile_options(easy_diffusion_warnings INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Wold-style-cast -Wunused -Woverloaded-virtual
  -Wdouble-promotion -Wimplicit-fallthrough
  $<$<BOOL:${EASY_DIFFUSION_WERROR}>:-Werror>)
# False alarms of g++ 12 inside std::string and std::initializer_list (its bugs 105329 and 105562); clang and the
# sanitizers look after these two.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(easy_diffusion_warnings INTERFACE -Wno-restrict -Wno-maybe-uninitialized)
endif()

# g++ 12 and 13 see overlapping and endless copies in `"text" + std::string` (GCC bugs 105329 and 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 14)
  target_compile_options(easy_diffusion_warnings INTERFACE -Wno-restrict -Wno-stringop-overflow -Wno-array-bounds)
endif()

# ccache: paths are taken relative to this folder and the working directory is left out, so that another
# checkout finds the same objects; "native" means another thing on another processor, so what the compiler
# makes of it names a part of the cache of its own.
if(EASY_DIFFUSION_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  find_program(EASY_DIFFUSION_CCACHE_PROGRAM ccache)
  mark_as_advanced(EASY_DIFFUSION_CCACHE_PROGRAM)
  if(EASY_DIFFUSION_CCACHE_PROGRAM)
    set(launcher "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=1
        "CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime")
    if(EASY_DIFFUSION_NATIVE AND EASY_DIFFUSION_HAS_MARCH_NATIVE)
      execute_process(
        COMMAND "${CMAKE_CXX_COMPILER}" -march=native -dM -E -x c++ /dev/null
        OUTPUT_VARIABLE native_macros ERROR_QUIET)
      string(SHA1 native_hash "${native_macros}")
      string(SUBSTRING "${native_hash}" 0 12 native_hash)
      list(APPEND launcher "CCACHE_NAMESPACE=native-${native_hash}")
    endif()
    list(APPEND launcher "${EASY_DIFFUSION_CCACHE_PROGRAM}")
    set(CMAKE_CXX_COMPILER_LAUNCHER "${launcher}")
    if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
      set(easy_diffusion_pch_options -fpch-preprocess)
    else()
      set(easy_diffusion_pch_options "SHELL:-Xclang -fno-pch-timestamp")
    endif()
  endif()
endif()

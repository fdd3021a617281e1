# What the library stands on. Each dependency becomes one target, easy_diffusion_dependency_<name>, that
# stands for the installed package where there is one, and otherwise for a release that FetchContent
# downloads and checks against the hash written here.
#
# EASY_DIFFUSION_FETCH names dependencies (or ALL) to download even where a package is installed.
# FETCHCONTENT_SOURCE_DIR_<NAME> points to sources already on this machine.

include(FetchContent)
set(EASY_DIFFUSION_FETCH "" CACHE STRING "Dependencies to download although installed: names, or ALL")

# Third-party projects are only unpacked: SOURCE_SUBDIR names no folder of theirs, so their own CMake files
# never run, and every target below is ours.
function(easy_diffusion_download name url hash)
  message(STATUS "easy_diffusion: ${name} is not installed (or not new enough); using ${url}")
  set(timestamps)
  if(CMAKE_VERSION VERSION_GREATER_EQUAL 3.24)
    set(timestamps DOWNLOAD_EXTRACT_TIMESTAMP OFF)
  endif()
  FetchContent_Declare(${name} URL "${url}" URL_HASH SHA256=${hash} SOURCE_SUBDIR no-such-folder ${timestamps})
  FetchContent_MakeAvailable(${name})
  FetchContent_GetProperties(${name})
  set(${name}_SOURCE_DIR "${${name}_SOURCE_DIR}" PARENT_SCOPE)
  set_property(GLOBAL APPEND PROPERTY easy_diffusion_downloaded ${name})
endfunction()

# Sets <name>_installed_wanted in the calling scope: whether an installed package may be used.
macro(easy_diffusion_dependency name)
  add_library(easy_diffusion_dependency_${name} INTERFACE)
  set(${name}_installed_wanted ON)
  if("${name}" IN_LIST EASY_DIFFUSION_FETCH OR "ALL" IN_LIST EASY_DIFFUSION_FETCH)
    set(${name}_installed_wanted OFF)
  endif()
endmacro()

# --- Eigen ---------------------------------------------------------------------------------------------------
easy_diffusion_dependency(eigen)
if(eigen_installed_wanted)
  find_package(Eigen3 QUIET NO_MODULE)
endif()
if(TARGET Eigen3::Eigen AND Eigen3_VERSION VERSION_GREATER_EQUAL 3.4)
  target_link_libraries(easy_diffusion_dependency_eigen INTERFACE Eigen3::Eigen)
else()
  easy_diffusion_download(eigen
    https://gitlab.com/libeigen/eigen/-/archive/3.4.0/eigen-3.4.0.tar.bz2
    b4c198460eba6f28d34894e3a5710998818515104d6e74e5cc331ce31e46e626)
  target_include_directories(easy_diffusion_dependency_eigen SYSTEM INTERFACE "${eigen_SOURCE_DIR}")
endif()

# --- xsimd ---------------------------------------------------------------------------------------------------
# Version 8.0 brought the interface that is used here; Ubuntu 22.04 still has version 7.
easy_diffusion_dependency(xsimd)
if(xsimd_installed_wanted)
  find_package(xsimd QUIET)
endif()
if(TARGET xsimd AND xsimd_VERSION VERSION_GREATER_EQUAL 8.1)
  # Only its folder: the target of Debian's package also links a library that the package does not bring.
  target_include_directories(easy_diffusion_dependency_xsimd SYSTEM INTERFACE
    $<TARGET_PROPERTY:xsimd,INTERFACE_INCLUDE_DIRECTORIES>)
else()
  easy_diffusion_download(xsimd
    https://github.com/xtensor-stack/xsimd/archive/13.0.0.tar.gz
    8bdbbad0c3e7afa38d88d0d484d70a1671a1d8aefff03f4223ab2eb6a41110a3)
  # Found before an older version in a standard place: the compiler searches those last.
  target_include_directories(easy_diffusion_dependency_xsimd SYSTEM INTERFACE "${xsimd_SOURCE_DIR}/include")
endif()

# --- stb -----------------------------------------------------------------------------------------------------
# No CMake package. Headers are included by their bare names: <stb_image.h>.
easy_diffusion_dependency(stb)
if(stb_installed_wanted)
  find_path(EASY_DIFFUSION_STB_INCLUDE_DIR stb_image_write.h PATH_SUFFIXES stb)
  mark_as_advanced(EASY_DIFFUSION_STB_INCLUDE_DIR)
endif()
if(stb_installed_wanted AND EASY_DIFFUSION_STB_INCLUDE_DIR)
  target_include_directories(easy_diffusion_dependency_stb SYSTEM INTERFACE "${EASY_DIFFUSION_STB_INCLUDE_DIR}")
else()
  easy_diffusion_download(stb
    https://github.com/nothings/stb/archive/8b5f1f37b5b75829fc72d38e7b5d4bcbf8a26d55.zip
    93a16ee3e866e719feec459f6f132cce932c5ec751eb38e3ec1975f911353d2e)
  target_include_directories(easy_diffusion_dependency_stb SYSTEM INTERFACE "${stb_SOURCE_DIR}")
endif()

# --- nlohmann-json -------------------------------------------------------------------------------------------
easy_diffusion_dependency(json)
if(json_installed_wanted)
  find_package(nlohmann_json 3.9 QUIET)
endif()
if(TARGET nlohmann_json::nlohmann_json)
  target_link_libraries(easy_diffusion_dependency_json INTERFACE nlohmann_json::nlohmann_json)
else()
  easy_diffusion_download(json
    https://github.com/nlohmann/json/releases/download/v3.11.3/json.tar.xz
    d6c65aca6b1ed68e7a182f4757257b107ae403032760ed6ef121c9d55e81757d)
  target_include_directories(easy_diffusion_dependency_json SYSTEM INTERFACE "${json_SOURCE_DIR}/include")
endif()

# --- zlib ----------------------------------------------------------------------------------------------------
easy_diffusion_dependency(zlib)
if(zlib_installed_wanted)
  find_package(ZLIB QUIET)
endif()
if(TARGET ZLIB::ZLIB)
  target_link_libraries(easy_diffusion_dependency_zlib INTERFACE ZLIB::ZLIB)
else()
  easy_diffusion_download(zlib
    https://github.com/madler/zlib/releases/download/v1.3.1/zlib-1.3.1.tar.gz
    9a93b2b7dfdac77ceba5a558a580e74667dd6fede4585b91eefb60f03b72df23)
  enable_language(C)
  file(GLOB zlib_sources "${zlib_SOURCE_DIR}/*.c")
  add_library(easy_diffusion_zlib STATIC ${zlib_sources})
  target_include_directories(easy_diffusion_zlib SYSTEM PUBLIC "${zlib_SOURCE_DIR}")
  target_compile_definitions(easy_diffusion_zlib PRIVATE HAVE_UNISTD_H HAVE_STDARG_H)
  target_compile_options(easy_diffusion_zlib PRIVATE -w)
  set_target_properties(easy_diffusion_zlib PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(easy_diffusion_dependency_zlib INTERFACE easy_diffusion_zlib)
endif()

# --- giflib --------------------------------------------------------------------------------------------------
easy_diffusion_dependency(gif)
if(gif_installed_wanted)
  find_package(GIF 5 QUIET)
endif()
if(TARGET GIF::GIF)
  target_link_libraries(easy_diffusion_dependency_gif INTERFACE GIF::GIF)
else()
  easy_diffusion_download(gif
    https://downloads.sourceforge.net/project/giflib/giflib-5.2.2.tar.gz
    be7ffbd057cadebe2aa144542fd90c6838c6a083b5e8a9048b8ee3b66b29d5fb)
  enable_language(C)
  set(gif_sources)
  foreach(part dgif_lib egif_lib gifalloc gif_err gif_hash openbsd-reallocarray quantize)
    list(APPEND gif_sources "${gif_SOURCE_DIR}/${part}.c")
  endforeach()
  add_library(easy_diffusion_gif STATIC ${gif_sources})
  target_include_directories(easy_diffusion_gif SYSTEM PUBLIC "${gif_SOURCE_DIR}")
  target_compile_options(easy_diffusion_gif PRIVATE -w)
  set_target_properties(easy_diffusion_gif PROPERTIES C_STANDARD 99 POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(easy_diffusion_dependency_gif INTERFACE easy_diffusion_gif)
endif()

# --- libpng and libjpeg --------------------------------------------------------------------------------------
# Not downloaded: every system has them, and libjpeg-turbo is not built from a list of files.
foreach(format PNG JPEG)
  string(TOLOWER ${format} name)
  easy_diffusion_dependency(${name})
  find_package(${format} QUIET)
  if(NOT TARGET ${format}::${format})
    message(FATAL_ERROR "easy_diffusion: lib${name} is not installed; the package is lib${name}-dev "
                        "(scripts/setup.sh installs it)")
  endif()
  target_link_libraries(easy_diffusion_dependency_${name} INTERFACE ${format}::${format})
endforeach()

# --- OpenMP and threads --------------------------------------------------------------------------------------
easy_diffusion_dependency(openmp)
find_package(OpenMP QUIET COMPONENTS CXX)
if(TARGET OpenMP::OpenMP_CXX)
  target_link_libraries(easy_diffusion_dependency_openmp INTERFACE OpenMP::OpenMP_CXX)
else()
  message(STATUS "easy_diffusion: no OpenMP with this compiler (clang: package libomp-dev); loops run serially")
endif()
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_package(Threads REQUIRED)
target_link_libraries(easy_diffusion_dependency_openmp INTERFACE Threads::Threads)

# A project that takes this one in by add_subdirectory links to the library from above this folder, where
# imported targets are seen only if they are global.
foreach(target Eigen3::Eigen xsimd nlohmann_json::nlohmann_json ZLIB::ZLIB GIF::GIF PNG::PNG JPEG::JPEG OpenMP::OpenMP_CXX Threads::Threads)
  if(TARGET ${target})
    get_target_property(imported ${target} IMPORTED)
    get_target_property(folder ${target} SOURCE_DIR)
    if(imported AND folder STREQUAL CMAKE_CURRENT_SOURCE_DIR)
      set_target_properties(${target} PROPERTIES IMPORTED_GLOBAL ON)
    endif()
  endif()
endforeach()

set(easy_diffusion_dependencies)
foreach(name eigen xsimd stb json zlib gif png jpeg openmp)
  list(APPEND easy_diffusion_dependencies easy_diffusion_dependency_${name})
endforeach()

# --- for programs and tests only -----------------------------------------------------------------------------
if(EASY_DIFFUSION_EXAMPLES OR EASY_DIFFUSION_BENCHMARKS OR EASY_DIFFUSION_TOOLS)
  easy_diffusion_dependency(cli11)
  if(cli11_installed_wanted)
    find_package(CLI11 QUIET)
  endif()
  if(TARGET CLI11::CLI11)
    target_link_libraries(easy_diffusion_dependency_cli11 INTERFACE CLI11::CLI11)
  else()
    easy_diffusion_download(cli11
      https://github.com/CLIUtils/CLI11/archive/v2.4.2.tar.gz
      f2d893a65c3b1324c50d4e682c0cdc021dd0477ae2c048544f39eed6654b699a)
    target_include_directories(easy_diffusion_dependency_cli11 SYSTEM INTERFACE "${cli11_SOURCE_DIR}/include")
  endif()
endif()

# FreeType and pugixml serve one tool, and are not downloaded: without them it is not built.
set(EASY_DIFFUSION_EMOJI_TOOL OFF)
if(EASY_DIFFUSION_TOOLS)
  find_package(Freetype QUIET)
  find_package(pugixml QUIET)
  if(TARGET Freetype::Freetype AND TARGET pugixml::pugixml)
    set(EASY_DIFFUSION_EMOJI_TOOL ON)
    add_library(easy_diffusion_dependency_emoji INTERFACE)
    target_link_libraries(easy_diffusion_dependency_emoji INTERFACE Freetype::Freetype pugixml::pugixml)
  else()
    message(STATUS "easy_diffusion: make_emoji_dataset is not built: it needs libfreetype-dev and libpugixml-dev "
                   "(scripts/setup.sh --emoji)")
  endif()
endif()

if(EASY_DIFFUSION_TESTS)
  easy_diffusion_dependency(catch2)
  if(catch2_installed_wanted)
    find_package(Catch2 QUIET)
  endif()
  if(TARGET Catch2::Catch2)
    target_link_libraries(easy_diffusion_dependency_catch2 INTERFACE Catch2::Catch2)
  else()
    easy_diffusion_download(catch2
      https://github.com/catchorg/Catch2/archive/v2.13.10.tar.gz
      d54a712b7b1d7708bc7a819a8e6e47b2fde9536f487b89ccbca295072a7d9943)
    target_include_directories(easy_diffusion_dependency_catch2 SYSTEM INTERFACE
      "${catch2_SOURCE_DIR}/single_include")
  endif()
endif()

# Checks of headers, as targets of the build.
#
# easy_diffusion_lone_headers(<target> <include folder> LINK <libraries>...)
#     Compiles every *.hpp under <include folder> alone, and twice in a row: a header that leans on what its
#     includer happened to include first, or that lacks an include guard, is an error of the build.
#
# easy_diffusion_every_header(<file> <include folder>)
#     Writes a header that includes every *.hpp under <include folder>.
#
# easy_diffusion_link_twice(<target> <include folder> LINK <libraries>...)
#     A program of two translation units, both with every header: a function that is not inline is an error
#     of the linker.

include_guard(GLOBAL)

function(easy_diffusion_header_names variable folder)
  file(GLOB_RECURSE names CONFIGURE_DEPENDS RELATIVE "${folder}" "${folder}/*.hpp")
  set(${variable} "${names}" PARENT_SCOPE)
endfunction()

# Writes the file only where the text differs, so that nothing is compiled again for nothing.
function(easy_diffusion_write_if_different path text)
  if(EXISTS "${path}")
    file(READ "${path}" old)
    if(old STREQUAL text)
      return()
    endif()
  endif()
  file(WRITE "${path}" "${text}")
endfunction()

function(easy_diffusion_every_header file folder)
  easy_diffusion_header_names(names "${folder}")
  set(text "#pragma once\n")
  foreach(name IN LISTS names)
    string(APPEND text "#include \"${name}\"\n")
  endforeach()
  easy_diffusion_write_if_different("${file}" "${text}")
endfunction()

function(easy_diffusion_lone_headers target folder)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  easy_diffusion_header_names(names "${folder}")
  set(sources)
  foreach(name IN LISTS names)
    string(REGEX REPLACE "\\.hpp$" ".cpp" source "${CMAKE_CURRENT_BINARY_DIR}/${target}_sources/${name}")
    easy_diffusion_write_if_different("${source}" "#include \"${name}\"\n#include \"${name}\"\n")
    list(APPEND sources "${source}")
  endforeach()
  if(NOT sources)
    easy_diffusion_write_if_different("${CMAKE_CURRENT_BINARY_DIR}/${target}_sources/none.cpp" "")
    set(sources "${CMAKE_CURRENT_BINARY_DIR}/${target}_sources/none.cpp")
  endif()
  add_library(${target} OBJECT ${sources})
  target_include_directories(${target} PRIVATE "${folder}")
  target_link_libraries(${target} PRIVATE ${arg_LINK})
  target_compile_options(${target} PRIVATE -O0)
endfunction()

function(easy_diffusion_link_twice target folder)
  cmake_parse_arguments(arg "" "" "LINK" ${ARGN})
  set(place "${CMAKE_CURRENT_BINARY_DIR}/${target}_sources")
  easy_diffusion_every_header("${place}/every_header.hpp" "${folder}")
  set(text "#include \"every_header.hpp\"\n")
  easy_diffusion_write_if_different("${place}/first.cpp" "${text}\nint main() { return 0; }\n")
  easy_diffusion_write_if_different("${place}/second.cpp" "${text}")
  add_executable(${target} "${place}/first.cpp" "${place}/second.cpp")
  target_include_directories(${target} PRIVATE "${folder}")
  target_link_libraries(${target} PRIVATE ${arg_LINK})
  target_compile_options(${target} PRIVATE -O0)
endfunction()

# easy_diffusion_must_not_compile(<name> <source> <regex> [LINK <libraries>...] [OPTIONS <compiler options>...])
#
# Registers the test must_not_compile_<name>. It passes only when <source>, compiled with MUST_NOT_COMPILE
# defined, fails with a message that matches <regex> (as CMake spells them). Where <source> names
# MUST_NOT_COMPILE, it is compiled once more without it and must then succeed: so the file is known to fail
# for the guarded lines and for nothing else. OPTIONS go with MUST_NOT_COMPILE: where the source is right and they are
# not, a comment names the macro.

include_guard(GLOBAL)

function(easy_diffusion_must_not_compile name source regex)
  cmake_parse_arguments(arg "" "" "LINK;OPTIONS" ${ARGN})
  get_filename_component(source "${source}" ABSOLUTE)
  if(NOT EXISTS "${source}")
    message(FATAL_ERROR "easy_diffusion_must_not_compile(${name}): there is no ${source}")
  endif()
  if(NOT arg_LINK)
    set(arg_LINK easy_diffusion)
  endif()

  set(commands -D "BUILD=${CMAKE_BINARY_DIR}" -D "BROKEN=must_not_compile_${name}_broken" -D "REGEX=${regex}")
  set(kinds broken)
  file(READ "${source}" text)
  if(text MATCHES "MUST_NOT_COMPILE")
    list(APPEND kinds control)
    list(APPEND commands -D "CONTROL=must_not_compile_${name}_control")
  endif()
  foreach(kind IN LISTS kinds)
    set(target must_not_compile_${name}_${kind})
    add_library(${target} OBJECT EXCLUDE_FROM_ALL "${source}")
    target_compile_features(${target} PRIVATE cxx_std_20)
    target_include_directories(${target} PRIVATE "${PROJECT_SOURCE_DIR}/tests")
    target_link_libraries(${target} PRIVATE ${arg_LINK})
    target_compile_options(${target} PRIVATE -O0)
    set_target_properties(${target} PROPERTIES CXX_CLANG_TIDY "")
    if(kind STREQUAL "broken")
      target_compile_definitions(${target} PRIVATE MUST_NOT_COMPILE)
      target_compile_options(${target} PRIVATE ${arg_OPTIONS})
    endif()
  endforeach()

  add_test(NAME must_not_compile_${name}
    COMMAND "${CMAKE_COMMAND}" ${commands} -P "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/RunMustNotCompile.cmake")
  set_tests_properties(must_not_compile_${name} PROPERTIES
    LABELS check RESOURCE_LOCK build_folder TIMEOUT 300)
endfunction()

include_guard(GLOBAL)

# The headers of other projects that take longest to parse, parsed once for all programs.
function(easy_diffusion_program_pch target)
  if(TARGET ${target})
    return()
  endif()
  set(source "${PROJECT_BINARY_DIR}/program_pch.cpp")
  file(WRITE "${source}" "")
  add_library(${target} OBJECT "${source}")
  target_link_libraries(${target} PRIVATE
    ${easy_diffusion_for_programs} easy_diffusion_warnings easy_diffusion_dependency_cli11)
  target_compile_options(${target} PRIVATE ${easy_diffusion_pch_options} ${ARGN})
  target_precompile_headers(${target} PRIVATE <CLI/CLI.hpp> <nlohmann/json.hpp>)
endfunction()

# easy_diffusion_programs(<folder> [EXCEPT <name>...] [COMPUTE <name>...])
#
# Every <folder>/NAME.cpp becomes the program NAME. Sub-folders hold helper headers, found as "support/x.hpp".
# Those of COMPUTE have loops of their own; what the others compute is compiled in the library of operations and models, so that
# under the sanitizers, where optimising takes minutes, they need none.
# Sets <folder>_programs in the calling scope to the names.
function(easy_diffusion_programs folder)
  cmake_parse_arguments(PARSE_ARGV 1 argument "" "" "EXCEPT;COMPUTE")
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*.cpp")
  easy_diffusion_program_pch(easy_diffusion_program_pch)
  if(EASY_DIFFUSION_SANITIZE)
    easy_diffusion_program_pch(easy_diffusion_program_pch_O0 -O0)
  endif()
  set(names)
  foreach(source IN LISTS sources)
    get_filename_component(name "${source}" NAME_WE)
    if(name IN_LIST argument_EXCEPT)
      continue()
    endif()
    list(APPEND names ${name})
    add_executable(${name} "${source}")
    set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${PROJECT_BINARY_DIR}/${folder}")
    target_include_directories(${name} PRIVATE "${PROJECT_SOURCE_DIR}/${folder}")
    target_link_libraries(${name} PRIVATE
      ${easy_diffusion_for_programs} easy_diffusion_warnings easy_diffusion_dependency_cli11)
    target_compile_options(${name} PRIVATE ${easy_diffusion_pch_options})
    if(EASY_DIFFUSION_SANITIZE AND NOT name IN_LIST argument_COMPUTE)
      target_compile_options(${name} PRIVATE -O0)
      target_precompile_headers(${name} REUSE_FROM easy_diffusion_program_pch_O0)
    else()
      target_precompile_headers(${name} REUSE_FROM easy_diffusion_program_pch)
    endif()
  endforeach()
  set(${folder}_programs "${names}" PARENT_SCOPE)
endfunction()

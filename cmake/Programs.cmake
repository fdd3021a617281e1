include_guard(GLOBAL)

# The headers of other projects that take longest to parse, parsed once for all programs.
function(easy_diffusion_program_pch)
  if(TARGET easy_diffusion_program_pch)
    return()
  endif()
  set(source "${PROJECT_BINARY_DIR}/program_pch.cpp")
  file(WRITE "${source}" "")
  add_library(easy_diffusion_program_pch OBJECT "${source}")
  target_link_libraries(easy_diffusion_program_pch PRIVATE
    ${easy_diffusion_for_programs} easy_diffusion_warnings easy_diffusion_dependency_cli11)
  target_compile_options(easy_diffusion_program_pch PRIVATE ${easy_diffusion_pch_options})
  target_precompile_headers(easy_diffusion_program_pch PRIVATE <CLI/CLI.hpp> <nlohmann/json.hpp>)
endfunction()

# easy_diffusion_programs(<folder> [EXCEPT <name>...])
#
# Every <folder>/NAME.cpp becomes the program NAME. Sub-folders hold helper headers, found as "support/x.hpp".
# Sets <folder>_programs in the calling scope to the names.
function(easy_diffusion_programs folder)
  cmake_parse_arguments(PARSE_ARGV 1 argument "" "" EXCEPT)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*.cpp")
  easy_diffusion_program_pch()
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
    target_precompile_headers(${name} REUSE_FROM easy_diffusion_program_pch)
  endforeach()
  set(${folder}_programs "${names}" PARENT_SCOPE)
endfunction()

# easy_diffusion_programs(<folder> [EXCEPT <name>...])
#
# Every <folder>/NAME.cpp becomes the program NAME. Sub-folders hold helper headers, found as "support/x.hpp".
# Sets <folder>_programs in the calling scope to the names.
function(easy_diffusion_programs folder)
  cmake_parse_arguments(PARSE_ARGV 1 argument "" "" EXCEPT)
  file(GLOB sources CONFIGURE_DEPENDS "${PROJECT_SOURCE_DIR}/${folder}/*.cpp")
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
  endforeach()
  set(${folder}_programs "${names}" PARENT_SCOPE)
endfunction()

# easy_diffusion_snippets(<target> <root> LINK <libraries>... DOCUMENTS <files>...)
#
# Compiles the C++ code blocks of the documents (tools/extract_snippets says which and how). A block with a
# main function is linked too.

include_guard(GLOBAL)

function(easy_diffusion_snippets target root)
  cmake_parse_arguments(arg "" "" "LINK;DOCUMENTS" ${ARGN})
  set(extractor "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/../tools/extract_snippets")
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${arg_DOCUMENTS} "${extractor}")
  execute_process(
    COMMAND "${Python3_EXECUTABLE}" "${extractor}" --root "${root}"
            --out "${CMAKE_CURRENT_BINARY_DIR}/${target}_sources" ${arg_DOCUMENTS}
    OUTPUT_VARIABLE output RESULT_VARIABLE result OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "the code blocks of the documents could not be read")
  endif()
  string(REPLACE "\n" ";" lines "${output}")
  add_custom_target(${target} ALL)
  foreach(line IN LISTS lines)
    if(NOT line MATCHES "^(object|program) (.*)$")
      continue()
    endif()
    set(kind "${CMAKE_MATCH_1}")
    set(source "${CMAKE_MATCH_2}")
    get_filename_component(name "${source}" NAME_WE)
    if(kind STREQUAL "program")
      add_executable(${target}_${name} "${source}")
    else()
      add_library(${target}_${name} OBJECT "${source}")
    endif()
    target_link_libraries(${target}_${name} PRIVATE ${arg_LINK})
    target_compile_options(${target}_${name} PRIVATE -O0)
    add_dependencies(${target} ${target}_${name})
  endforeach()
endfunction()

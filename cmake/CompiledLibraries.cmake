# The small compiled libraries beside the headers.
#
#   easy_diffusion_stb     what is used of the stb headers, hidden behind names of this library; linked by the interface target
#   easy_diffusion_pictures  what reads PNG, JPEG and GIF; linked by the interface target
#   easy_diffusion_models  explicit instantiations of operations and models (cmake/compiled/models/*.cpp). A program that links it is compiled with
#                          EASY_DIFFUSION_EXTERN_TEMPLATES and takes the models' code from here: it compiles
#                          fast. It is for the programs of this build and is not installed.

add_library(easy_diffusion_stb STATIC "${CMAKE_CURRENT_LIST_DIR}/compiled/stb.cpp")
add_library(easy_diffusion::stb ALIAS easy_diffusion_stb)
set_target_properties(easy_diffusion_stb PROPERTIES
  POSITION_INDEPENDENT_CODE ON
  EXPORT_NAME stb
  CXX_CLANG_TIDY "")
target_compile_features(easy_diffusion_stb PRIVATE cxx_std_17)
target_compile_options(easy_diffusion_stb PRIVATE -w)
target_include_directories(easy_diffusion_stb PRIVATE "${CMAKE_CURRENT_LIST_DIR}/../include")
target_link_libraries(easy_diffusion_stb PRIVATE "$<BUILD_INTERFACE:easy_diffusion_dependency_stb>")
target_link_libraries(easy_diffusion INTERFACE easy_diffusion_stb)

add_library(easy_diffusion_pictures STATIC "${CMAKE_CURRENT_LIST_DIR}/compiled/pictures.cpp")
add_library(easy_diffusion::pictures ALIAS easy_diffusion_pictures)
set_target_properties(easy_diffusion_pictures PROPERTIES
  POSITION_INDEPENDENT_CODE ON
  EXPORT_NAME pictures)
target_compile_features(easy_diffusion_pictures PRIVATE cxx_std_20)
target_include_directories(easy_diffusion_pictures PRIVATE "${PROJECT_SOURCE_DIR}/include")
target_link_libraries(easy_diffusion_pictures PRIVATE
  "$<BUILD_INTERFACE:easy_diffusion_warnings>"
  "$<BUILD_INTERFACE:easy_diffusion_dependency_png>"
  "$<BUILD_INTERFACE:easy_diffusion_dependency_jpeg>"
  "$<BUILD_INTERFACE:easy_diffusion_dependency_gif>")
target_link_libraries(easy_diffusion INTERFACE easy_diffusion_pictures)

# What the programs of this build link: the models where they exist, the bare headers otherwise.
set(easy_diffusion_for_programs easy_diffusion)
if(EASY_DIFFUSION_MODELS)
  file(GLOB easy_diffusion_models_sources CONFIGURE_DEPENDS "${CMAKE_CURRENT_LIST_DIR}/compiled/models/*.cpp")
  add_library(easy_diffusion_models STATIC ${easy_diffusion_models_sources})
  add_library(easy_diffusion::models ALIAS easy_diffusion_models)
  set_target_properties(easy_diffusion_models PROPERTIES POSITION_INDEPENDENT_CODE ON)
  target_link_libraries(easy_diffusion_models PUBLIC easy_diffusion PRIVATE easy_diffusion_warnings)
  # It instantiates most of the public headers: they are quiet for whoever compiles with these too.
  target_compile_options(easy_diffusion_models PRIVATE -Wconversion -Wsign-conversion)
  # In its own files too: a model takes the operations from the file that instantiates them.
  target_compile_definitions(easy_diffusion_models PUBLIC EASY_DIFFUSION_EXTERN_TEMPLATES)
  set(easy_diffusion_for_programs easy_diffusion_models)
endif()

# easy_diffusion_native(<target>)
#
# Compiles <target>, and nothing that links to it, for the processor of this machine. The library itself
# exports no such flag: its kernels live in namespaces named by instruction set, so that translation units
# built with and without it can be linked into one program.

include_guard(GLOBAL)
include(CheckCXXCompilerFlag)

check_cxx_compiler_flag(-march=native EASY_DIFFUSION_HAS_MARCH_NATIVE)

function(easy_diffusion_native target)
  if(EASY_DIFFUSION_HAS_MARCH_NATIVE)
    target_compile_options(${target} PRIVATE -march=native)
  else()
    message(STATUS "easy_diffusion: this compiler has no -march=native; ${target} is built without it")
  endif()
endfunction()

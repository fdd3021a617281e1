# Configures, builds and runs the consumer project SOURCE in BINARY, with GENERATOR and CXX: against the package that
# BUILD installs into a folder of its own, or with the sources in VENDORED added to it.

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what}: ${result}\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE "${BINARY}")
if(VENDORED)
  set(whence -D "EASY_DIFFUSION_SOURCE=${VENDORED}")
else()
  run("install" "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${BINARY}/prefix")
  set(whence -D "CMAKE_PREFIX_PATH=${BINARY}/prefix")
endif()
run("configure" "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BINARY}/build" -G "${GENERATOR}"
    -D "CMAKE_CXX_COMPILER=${CXX}" ${whence})
run("build" "${CMAKE_COMMAND}" --build "${BINARY}/build")
run("run" "${BINARY}/build/consumer")

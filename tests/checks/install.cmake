# Installs the build into a folder of its own, then configures, builds and runs the consumer project against
# it: BUILD, SOURCE, BINARY, GENERATOR, CXX.

function(run what)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "${what}: ${result}\n${output}")
  endif()
endfunction()

file(REMOVE_RECURSE "${BINARY}")
run("install" "${CMAKE_COMMAND}" --install "${BUILD}" --prefix "${BINARY}/prefix")
run("configure" "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BINARY}/build" -G "${GENERATOR}"
    -D "CMAKE_CXX_COMPILER=${CXX}" -D "CMAKE_PREFIX_PATH=${BINARY}/prefix")
run("build" "${CMAKE_COMMAND}" --build "${BINARY}/build")
run("run" "${BINARY}/build/consumer")

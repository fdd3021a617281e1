# The run of one test of MustNotCompile.cmake: BUILD, BROKEN, REGEX, and CONTROL where there is one.

set(ENV{LC_ALL} C)  # messages in English

if(CONTROL)
  execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BUILD}" --target ${CONTROL}
    RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "does not compile even without MUST_NOT_COMPILE:\n${output}")
  endif()
endif()

execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BUILD}" --target ${BROKEN}
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(result EQUAL 0)
  message(FATAL_ERROR "compiles, although it must not")
endif()
if(NOT output MATCHES "${REGEX}")
  message(FATAL_ERROR "fails to compile, as it must, but without the message '${REGEX}':\n${output}")
endif()

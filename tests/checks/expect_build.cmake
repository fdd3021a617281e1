# Configures the small project in broken/ and builds one target of it: SOURCE, BINARY, CASE, TARGET, GENERATOR,
# CXX, PYTHON. REGEX empty: it must succeed. Otherwise it must fail with a message that matches.

set(ENV{LC_ALL} C)  # messages in English

execute_process(
  COMMAND "${CMAKE_COMMAND}" -S "${SOURCE}" -B "${BINARY}" -G "${GENERATOR}" -D "CMAKE_CXX_COMPILER=${CXX}"
          -D "CASE=${CASE}" -D "Python3_EXECUTABLE=${PYTHON}"
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(NOT result EQUAL 0)
  message(FATAL_ERROR "the small project cannot be configured:\n${output}")
endif()
execute_process(COMMAND "${CMAKE_COMMAND}" --build "${BINARY}" --target "${TARGET}"
  RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
if(REGEX STREQUAL "")
  if(NOT result EQUAL 0)
    message(FATAL_ERROR "'${CASE}' is whole and must build:\n${output}")
  endif()
elseif(result EQUAL 0)
  message(FATAL_ERROR "'${CASE}' is broken on purpose, and nobody noticed")
elseif(NOT output MATCHES "${REGEX}")
  message(FATAL_ERROR "'${CASE}' fails, as it must, but without the message '${REGEX}':\n${output}")
endif()

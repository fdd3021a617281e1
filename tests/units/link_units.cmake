# cmake -D CXX=<compiler> [-D LAUNCHER=<ccache>] -D LEVEL=<-O0> -D "FLAGS=<a>|<b>|<c>" -D SOURCE=<this folder>
#       -D INCLUDES=<folders> -D OUT=<folder> -P link_units.cmake
#
# Compiles unit.cc three times, each time with other flags, links the three in every order and runs each program: all
# must compute what is right.

set(ENV{LC_ALL} C)
file(MAKE_DIRECTORY "${OUT}")
set(options -std=c++20 -fno-math-errno -fopenmp ${LEVEL} "-I${SOURCE}")
foreach(folder IN LISTS INCLUDES)
  list(APPEND options "-I${folder}")
endforeach()

function(run)
  execute_process(COMMAND ${ARGN} RESULT_VARIABLE result OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT result EQUAL 0)
    string(REPLACE ";" " " command "${ARGN}")
    message(FATAL_ERROR "${command}: ${result}\n${output}")
  endif()
endfunction()

run(${LAUNCHER} "${CXX}" ${options} -c "${SOURCE}/main.cc" -o "${OUT}/main.o")
string(REPLACE "|" ";" flags "${FLAGS}")
foreach(i RANGE 2)
  list(GET flags ${i} some)
  separate_arguments(some)
  string(REPLACE ";" " " words "${some}")
  run(${LAUNCHER} "${CXX}" ${options} ${some} -DUNIT_NUMBER=${i} -DUNIT_NAME=unit_${i}
      "-DUNIT_FLAGS=\"${words}\"" -c "${SOURCE}/unit.cc"
      -o "${OUT}/unit_${i}.o")
endforeach()
foreach(order 012 021 102 120 201 210)
  string(REGEX MATCHALL "." order "${order}")
  set(objects)
  foreach(i IN LISTS order)
    list(APPEND objects "${OUT}/unit_${i}.o")
  endforeach()
  # The program's own object comes last: the copies that the linker keeps are those of the units.
  run("${CXX}" -fopenmp ${objects} "${OUT}/main.o" -o "${OUT}/program")
  run("${OUT}/program")
endforeach()

# Installs the headers, the small compiled libraries and a config package. Dependencies are found again by the package
# itself (cmake/easy_diffusion-config.cmake.in), whichever way this build came by them.

include(CMakePackageConfigHelpers)

set(package_dir "${CMAKE_INSTALL_LIBDIR}/cmake/easy_diffusion")

install(DIRECTORY "${PROJECT_SOURCE_DIR}/include/" DESTINATION "${CMAKE_INSTALL_INCLUDEDIR}"
  FILES_MATCHING PATTERN "*.hpp")
install(TARGETS easy_diffusion easy_diffusion_stb easy_diffusion_pictures EXPORT easy_diffusion-targets
  ARCHIVE DESTINATION "${CMAKE_INSTALL_LIBDIR}")
install(EXPORT easy_diffusion-targets NAMESPACE easy_diffusion:: DESTINATION "${package_dir}")

configure_package_config_file(
  "${CMAKE_CURRENT_LIST_DIR}/easy_diffusion-config.cmake.in"
  "${PROJECT_BINARY_DIR}/easy_diffusion-config.cmake"
  INSTALL_DESTINATION "${package_dir}"
  NO_SET_AND_CHECK_MACRO NO_CHECK_REQUIRED_COMPONENTS_MACRO)
write_basic_package_version_file(
  "${PROJECT_BINARY_DIR}/easy_diffusion-config-version.cmake"
  COMPATIBILITY SameMinorVersion)
install(FILES
  "${PROJECT_BINARY_DIR}/easy_diffusion-config.cmake"
  "${PROJECT_BINARY_DIR}/easy_diffusion-config-version.cmake"
  "${CMAKE_CURRENT_LIST_DIR}/EasyDiffusionNative.cmake"
  DESTINATION "${package_dir}")

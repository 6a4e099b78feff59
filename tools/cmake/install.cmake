# cmake --install: the library with its headers, the tools, the presets, and a package for find_package(agon).
include(CMakePackageConfigHelpers)

install(TARGETS agon EXPORT agonTargets)
foreach(tool agon_cli agon_bench)
  if(TARGET ${tool})
    install(TARGETS ${tool})
  endif()
endforeach()

# Headers keep their rooms, so "engine/fleet.h" means the same inside and outside; what a back end needs stays home.
foreach(room kernels engine datasets algorithms)
  install(DIRECTORY ${PROJECT_SOURCE_DIR}/${room} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/agon
          FILES_MATCHING PATTERN "*.h" PATTERN "${room}/cpu" EXCLUDE PATTERN "${room}/cuda" EXCLUDE
          PATTERN "${room}/presets" EXCLUDE)
endforeach()
install(DIRECTORY ${PROJECT_SOURCE_DIR}/algorithms/presets DESTINATION ${CMAKE_INSTALL_DATADIR}/agon
        FILES_MATCHING PATTERN "*.toml")

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/agon)
install(EXPORT agonTargets NAMESPACE agon:: DESTINATION ${package_dir})
configure_package_config_file(${CMAKE_CURRENT_LIST_DIR}/agonConfig.cmake.in ${PROJECT_BINARY_DIR}/agonConfig.cmake
                              INSTALL_DESTINATION ${package_dir})
write_basic_package_version_file(${PROJECT_BINARY_DIR}/agonConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/agonConfig.cmake ${PROJECT_BINARY_DIR}/agonConfigVersion.cmake
        DESTINATION ${package_dir})

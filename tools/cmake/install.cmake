# cmake --install: the library with its headers, the tools, the presets, and a package for find_package(agon).
include(CMakePackageConfigHelpers)

install(TARGETS agon EXPORT agonTargets)
# `cmake --build build --target programs` builds what is installed, without the tests.
add_custom_target(programs)
foreach(program agon_cli agon_bench agon_cuda agon_mpi agon_nccl)
  if(TARGET ${program})
    # Plug-ins go beside libagon.so, where they are looked for.
    install(TARGETS ${program} LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
    add_dependencies(programs ${program})
  endif()
endforeach()

# Headers keep their rooms, so "engine/fleet.h" means the same inside and outside; a back end's own stay home.
file(GLOB_RECURSE headers RELATIVE ${PROJECT_SOURCE_DIR} CONFIGURE_DEPENDS
     kernels/*.h engine/*.h datasets/*.h algorithms/*.h)
list(FILTER headers EXCLUDE REGEX "^kernels/[^/]+/")
foreach(header ${headers})
  get_filename_component(folder ${header} DIRECTORY)
  install(FILES ${PROJECT_SOURCE_DIR}/${header} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/agon/${folder})
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

# What a plug-in and the program must have in common: the version, and the headers that both were compiled with.
set(abi_headers kernels/device.h kernels/error.h kernels/ops.h kernels/plugin.h kernels/sharing.h
                engine/comm/carrier.h engine/comm/communicator.h)
set(abi_text "")
foreach(header ${abi_headers})
  file(READ ${PROJECT_SOURCE_DIR}/${header} text)
  string(APPEND abi_text "${text}")
endforeach()
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${abi_headers})
string(SHA256 abi_hash "${abi_text}")
string(SUBSTRING ${abi_hash} 0 12 abi_hash)
set(AGON_PLUGIN_ABI "${PROJECT_VERSION} (${abi_hash})")

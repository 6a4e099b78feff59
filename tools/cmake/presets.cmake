# Compiles algorithms/presets/*.toml into the library, so that one binary is enough. A new file is a new preset.
file(GLOB preset_files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/algorithms/presets/*.toml)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${preset_files})
set(preset_rows "")
foreach(file ${preset_files})
  get_filename_component(name ${file} NAME_WLE)
  file(READ ${file} text)
  string(APPEND preset_rows "    {\"${name}\", R\"toml(${text})toml\"},\n")
endforeach()
# Written through a copy, which leaves an unchanged file (and its object) alone.
file(WRITE ${PROJECT_BINARY_DIR}/generated/preset_files.cpp.new
"#include \"algorithms/preset_files.h\"

namespace agon {
namespace {
constexpr PresetFile kFiles[] = {
${preset_rows}};
}  // namespace
std::span<const PresetFile> preset_files() { return kFiles; }
}  // namespace agon
")
configure_file(${PROJECT_BINARY_DIR}/generated/preset_files.cpp.new ${PROJECT_BINARY_DIR}/generated/preset_files.cpp COPYONLY)
target_sources(agon PRIVATE ${PROJECT_BINARY_DIR}/generated/preset_files.cpp)

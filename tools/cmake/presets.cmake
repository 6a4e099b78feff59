# Compiles algorithms/presets/*.toml and algorithms/sweeps/*.toml into the library, so that one binary is enough. A new
# file is a new preset, or a new sweep.
function(agon_toml_rows folder rows)
  file(GLOB files CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/algorithms/${folder}/*.toml)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${files})
  set(text "")
  foreach(file ${files})
    get_filename_component(name ${file} NAME_WLE)
    file(READ ${file} toml)
    string(APPEND text "    {\"${name}\", R\"toml(${toml})toml\"},\n")
  endforeach()
  set(${rows} "${text}" PARENT_SCOPE)
endfunction()
agon_toml_rows(presets preset_rows)
agon_toml_rows(sweeps sweep_rows)
# Written through a copy, which leaves an unchanged file (and its object) alone.
file(WRITE ${PROJECT_BINARY_DIR}/generated/preset_files.cpp.new
"#include \"algorithms/preset_files.h\"

namespace agon {
namespace {
constexpr PresetFile kFiles[] = {
${preset_rows}};
constexpr PresetFile kSweeps[] = {
${sweep_rows}};
}  // namespace
std::span<const PresetFile> preset_files() { return kFiles; }
std::span<const PresetFile> sweep_files() { return kSweeps; }
}  // namespace agon
")
configure_file(${PROJECT_BINARY_DIR}/generated/preset_files.cpp.new ${PROJECT_BINARY_DIR}/generated/preset_files.cpp COPYONLY)
target_sources(agon PRIVATE ${PROJECT_BINARY_DIR}/generated/preset_files.cpp)

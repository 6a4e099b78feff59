#pragma once

#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/reader.h"
#include "engine/safetensors.h"

namespace agon {

/// The packed form of one split, a .safetensors file: `images` U8 [N, C, H, W] (or F32 [N, C, 1, 1] points), `labels`
/// I32 [N] when labelled, `centres` F32 [modes, C] for mixtures; metadata format, source, class_names, split, checksum.
/// It is memory-mapped. A checksum is verified when the file has at most 1 GiB; larger ones are not read through. Files
/// by other programs need only `images`; their labels may also be U8 or I64.
Dataset read_packed(const std::string& path);
/// The same from a file that is open already, e.g. in memory, which `storage` keeps alive.
Dataset read_packed(const SafetensorsFile& file, std::shared_ptr<const void> storage);

/// Packs a data set, or only the items listed in `subset`, in their order. `split` is a word such as "train".
void write_packed(const std::string& path, const Dataset& data, const std::string& split,
                  const std::vector<int32_t>* subset = nullptr);
/// The same into a file that is open already and is committed by the caller.
void write_packed(AtomicFile& file, const Dataset& data, const std::string& split,
                  const std::vector<int32_t>* subset = nullptr);
/// Packs while decoding, so that the set need not fit into memory.
void write_packed(AtomicFile& file, const RawSplit& data, const std::string& split);

/// Where the test split of a packed training set lies: mnist.safetensors -> mnist-test.safetensors.
std::string test_sibling(const std::string& path);

}  // namespace agon

#pragma once

#include <string>
#include <vector>

#include "datasets/dataset.h"
#include "datasets/partition.h"
#include "datasets/reader.h"
#include "datasets/synthetic.h"

// What `agon data ...` does, apart from the command line.

namespace agon {

/// Packs the data set at `source`, of format `kind`, into `destination` (a .safetensors path), and its test split, if
/// it has one, into the "-test" sibling. Returns the files written. Error(kData) for bad data, (kUsage) for an unknown
/// kind, (kRun) when it cannot write; nothing half-written stays.
std::vector<std::string> convert(const std::string& kind, const std::string& source, const std::string& destination,
                                 const ReadOptions& options = {});

/// Writes a built-in data set as convert() does. Returns the files written.
std::vector<std::string> synth(const std::string& name, const std::string& destination,
                               const SyntheticOptions& options = {});

/// For people: size, classes, how many items each has, checksum.
std::string describe(const DataSource& source);

struct PreviewOptions {
  int64_t per_class = 16;  ///< pictures of each class, one row a class
  int64_t unlabelled = 256;
};

/// Writes a PNG: a contact sheet with a row for each class (of at most 64), or a map of the points.
void preview(const Dataset& data, const std::string& path, const PreviewOptions& options = {});

/// How many items of each class each worker holds, as text.
std::string class_table(const Dataset& data, const Partition& partition);

/// Deals the data to workers and writes one packed file for each, worker-0.safetensors and so on, into `folder`; none
/// for an empty `folder`. Returns the class_table().
std::string split(const Dataset& data, const std::string& folder, int64_t workers, const PartitionOptions& options);

}  // namespace agon

#include "engine/torch_layout.h"

#include <cstring>

namespace agon {
namespace {

std::string torch_name(const Network::Step& step, const Parameter& parameter) {
  return step.index < 0 ? "embedding." + parameter.name : fmt::format("{}.{}", step.index, parameter.name);
}

std::vector<int64_t> torch_shape(const Parameter& p) {
  std::vector<int64_t> shape;
  for (int dimension : p.to_torch) shape.push_back(p.dims[static_cast<size_t>(dimension)]);
  return shape;
}

/// Visits the elements in PyTorch's order: visit(torch position, arena position).
template <class Visit>
void each_element(const Parameter& p, Visit visit) {
  const size_t rank = p.dims.size();
  std::vector<int64_t> arena_stride(rank, 1);
  for (size_t d = rank - 1; d > 0; --d) arena_stride[d - 1] = arena_stride[d] * p.dims[d];
  const std::vector<int64_t> shape = torch_shape(p);
  std::vector<int64_t> index(rank, 0);
  int64_t arena = 0;
  for (int64_t position = 0, size = p.size(); position < size; ++position) {
    visit(static_cast<size_t>(position), static_cast<size_t>(arena));
    for (size_t d = rank; d-- > 0;) {  // the next index, fastest dimension last
      const int64_t stride = arena_stride[static_cast<size_t>(p.to_torch[d])];
      arena += stride;
      if (++index[d] < shape[d]) break;
      arena -= stride * shape[d];
      index[d] = 0;
    }
  }
}

template <class Visit>
void each_parameter(const Network& network, Visit visit) {
  for (const Network::Step& step : network.steps())
    for (size_t i = 0; i < step.parameters.size(); ++i)
      visit(step, step.parameters[i], static_cast<size_t>(step.offsets[i]));
}

}  // namespace

std::vector<TorchArray> to_torch(const Network& network, std::span<const float> weights, std::span<const float> state) {
  std::vector<TorchArray> arrays;
  each_parameter(network, [&](const Network::Step& step, const Parameter& p, size_t offset) {
    const float* from = (p.trained() ? weights : state).data() + offset;
    TorchArray array{torch_name(step, p), torch_shape(p), std::vector<float>(static_cast<size_t>(p.size()))};
    each_element(p, [&](size_t torch, size_t arena) { array.values[torch] = from[arena]; });
    arrays.push_back(std::move(array));
  });
  return arrays;
}

void from_torch(const Network& network, const SafetensorsFile& file, std::vector<float>& weights,
                std::vector<float>& state, const std::string& prefix) {
  weights.assign(static_cast<size_t>(network.parameters()), 0.f);
  state.assign(static_cast<size_t>(network.state()), 0.f);
  each_parameter(network, [&](const Network::Step& step, const Parameter& p, size_t offset) {
    const SafeTensor& tensor = file.at(prefix + torch_name(step, p), "F32", torch_shape(p));
    float* to = (p.trained() ? weights : state).data() + offset;
    each_element(p, [&](size_t torch, size_t arena) {
      std::memcpy(to + arena, tensor.data + torch * sizeof(float), sizeof(float));
    });
  });
}

}  // namespace agon

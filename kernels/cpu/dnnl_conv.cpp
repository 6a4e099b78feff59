// Convolutions by oneDNN's direct kernels.
#include "kernels/cpu/dnnl_conv.h"

#include <omp.h>

#include <string>

#include "kernels/cpu/baseline.h"
#include "kernels/cpu/bfloat.h"
#include "kernels/cpu/open.h"
#include "kernels/error.h"

namespace agon::cpu {

using Direction = ops::Convolution::Direction;

namespace {

/// oneDNN's names of x, w and y.
struct Arguments {
  int image, weights, map;
};

Arguments arguments(Direction direction) {
  switch (direction) {
    case Direction::kForward:
      return {DNNL_ARG_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DST};
    case Direction::kInputGrad:
      return {DNNL_ARG_DIFF_SRC, DNNL_ARG_WEIGHTS, DNNL_ARG_DIFF_DST};
    default:
      return {DNNL_ARG_SRC, DNNL_ARG_DIFF_WEIGHTS, DNNL_ARG_DIFF_DST};
  }
}

}  // namespace

std::string libraries() {
  const dnnl_version_t* version = dnnl_version();
  return fmt::format("oneDNN {}.{}.{}", version->major, version->minor, version->patch);
}

DnnlConv::DnnlConv(const ConvShape& s) : shape_(s) {
  using namespace dnnl;
  using memory = dnnl::memory;
  using tag = memory::format_tag;
  constexpr auto kF32 = memory::data_type::f32;
  const auto operand = s.precision == Precision::kBf16 ? memory::data_type::bf16 : kF32;
  const auto type = [&](Direction output) { return s.direction == output ? kF32 : operand; };

  const auto image = [&](memory::data_type t) {
    return memory::desc({s.batch, s.in_channels, s.height, s.width}, t, tag::nhwc);
  };
  const auto weights = [&](memory::data_type t) {
    return memory::desc({s.out_channels, s.in_channels, s.kernel, s.kernel}, t, tag::any);
  };
  const auto map = [&](memory::data_type t) {
    return memory::desc({s.batch, s.out_channels, s.out_height, s.out_width}, t, tag::nhwc);
  };
  const memory::desc x = image(type(Direction::kInputGrad)), w = weights(type(Direction::kWeightGrad)),
                     y = map(type(Direction::kForward));
  const memory::dims strides{s.stride, s.stride}, pads{s.pad, s.pad};
  constexpr auto kDirect = algorithm::convolution_direct;
  primitive_attr attributes;
  attributes.set_scratchpad_mode(scratchpad_mode::user);

  const bool is_forward = s.direction == Direction::kForward;  // otherwise a hint, of operands' types alone
  const auto forward = dnnl_describe<convolution_forward>(
      attributes, prop_kind::forward_training, kDirect, is_forward ? x : image(operand),
      is_forward ? w : weights(operand), is_forward ? y : map(operand), strides, pads, pads);
  const auto keep = [&](const auto& desc, const memory::desc& chosen) {
    w_ = chosen;
    scratchpad_ = desc.scratchpad_desc();
    reference_ = std::string(desc.impl_info_str()).find("ref") != std::string::npos;
  };
  if (is_forward) {
    keep(forward, forward.weights_desc());
    primitive_ = convolution_forward(forward);
  } else if (s.direction == Direction::kInputGrad) {
    const auto desc =
        dnnl_describe_backward<convolution_backward_data>(forward, attributes, kDirect, x, w, y, strides, pads, pads);
    keep(desc, desc.weights_desc());
    primitive_ = convolution_backward_data(desc);
  } else {
    const auto desc = dnnl_describe_backward<convolution_backward_weights>(forward, attributes, kDirect, x, w, y,
                                                                           strides, pads, pads);
    keep(desc, desc.diff_weights_desc());
    primitive_ = convolution_backward_weights(desc);
  }
  x_ = x, y_ = y;
  plain_ = memory::desc({s.out_channels, s.in_channels, s.kernel, s.kernel}, kF32, tag::hwio);
  const memory plain(plain_, dnnl_engine(), nullptr), packed(w_, dnnl_engine(), nullptr);
  if (s.direction == Direction::kWeightGrad)
    unpack_ = reorder(packed, plain);
  else
    pack_ = reorder(plain, packed);
}

std::shared_ptr<const DnnlConv> DnnlConv::make(const ConvShape& shape) try {
  const auto conv = std::shared_ptr<const DnnlConv>(new DnnlConv(shape));
  return conv->reference_ ? nullptr : conv;
} catch (const dnnl::error&) {
  return nullptr;  // not implemented for this shape, or for bf16 on this processor
}

std::shared_ptr<const DnnlConv> DnnlConv::get(const ConvShape& shape) {
  static PlanCache<ConvShape, DnnlConv> cache;
  return cache.get(shape, make);
}

dnnl::memory DnnlConv::activations(int slot, const dnnl::memory::desc& desc, Direction output,
                                   const float* from) const {
  if (shape_.precision == Precision::kFp32 || shape_.direction == output) return dnnl_memory(desc, from);
  const int64_t count = static_cast<int64_t>(desc.get_size() / sizeof(Bfloat16));
  float* const to = scratch(slot, (count + 1) / 2);
  to_bfloat16(from, reinterpret_cast<Bfloat16*>(to), count);
  return dnnl_memory(desc, to);
}

void DnnlConv::run(float* x, float* w, float* y) const {
  const bool weight_grad = shape_.direction == Direction::kWeightGrad, as_is = w_ == plain_;
  dnnl::memory plain = dnnl_memory(plain_, w);
  dnnl::memory packed =
      as_is ? plain : dnnl_memory(w_, scratch(kScratchA, static_cast<int64_t>(w_.get_size() / sizeof(float)) + 1));
  if (!weight_grad && !as_is) pack_.execute(dnnl_stream(), plain, packed);

  const auto [image, weights, map] = arguments(shape_.direction);
  primitive_.execute(dnnl_stream(), {{image, activations(kScratchB, x_, Direction::kInputGrad, x)},
                                     {weights, packed},
                                     {map, activations(kScratchC, y_, Direction::kForward, y)},
                                     {DNNL_ARG_SCRATCHPAD, dnnl_scratchpad(scratchpad_)}});
  if (weight_grad && !as_is) unpack_.execute(dnnl_stream(), packed, plain);
}

std::function<void()> plain_dnnl(const ops::Convolution& op) {
  const auto conv = DnnlConv::get(ConvShape::of(op));
  if (!conv) return nullptr;
  return [=] {
    omp_set_num_threads(1);
    conv->run(op.x.at(0), op.w.at(0), op.y.at(0));
  };
}

}  // namespace agon::cpu

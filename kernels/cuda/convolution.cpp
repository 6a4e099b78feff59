// Convolutions: which ways there are to compute a shape.
#include "kernels/cuda/context.h"
#include "kernels/cuda/dnn.h"
#include "kernels/cuda/implicit_convolution.h"
#include "kernels/cuda/unfolded_convolution.h"
#include "kernels/inputs.h"

namespace agon::cuda {
namespace {

constexpr int64_t kMostUnfolded = int64_t{1} << 30;  // bytes that patches may take

}  // namespace

void launch(Context& context, const ops::Convolution& op) {
  check_map_size(op);
  if (op.replicas == 0 || op.batch == 0) return;
  std::vector<Way> ways{{"implicit", [&] { convolve_implicitly(context, op); }}};
  if (unfolded_bytes(op) <= kMostUnfolded) ways.push_back({"unfolded", [&] { convolve_unfolded(context, op); }});
  if (context.choices().may_take("cudnn"))
    if (const DnnPlan* plan = context.dnn_plans().plan(context, op))
      ways.push_back({"cudnn", [&, plan] { convolve_by_dnn(context, *plan, op); }});
  context.choices().run(fmt::format("R{} {}", op.replicas, shape_of(op)), ways, context, !context.capturing);
}

}  // namespace agon::cuda

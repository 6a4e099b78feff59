// Class embedding: how a label enters a generator. y = table[label] * x, element by element, so that a conditional
// generator keeps the shape of its latent vector (ACGAN; Odena et al. 2017).
//   x [R, B, F]   labels [R, B]   table [R, classes, F]   y [R, B, F]
#include "engine/layer.h"

namespace agon {
namespace {

class ClassEmbedding final : public Layer {
 public:
  ClassEmbedding(int64_t classes, bool learned) : classes_(classes), learned_(learned) {}

  Shape output(const Shape& in) const override { return in; }
  std::vector<Parameter> parameters(const Shape& in) const override {
    // A fixed table is state: it travels with the model, but no optimiser touches it.
    return {{"weight",
             learned_ ? Parameter::Role::kTable : Parameter::Role::kFixedTable,
             {classes_, in.size()},
             {0, 1},
             classes_,
             in.size()}};
  }
  bool takes_labels() const override { return true; }

  void forward(const LayerCall& c) const override {
    c.device.run(ops::Embedding{.replicas = c.replicas,
                                .batch = c.batch,
                                .cols = c.x.row_size(),
                                .classes = classes_,
                                .labels = c.labels,
                                .table = c.parameters[0],
                                .x = c.x.block(),
                                .y = c.y.block(),
                                .split = c.split});
  }
  void backward(const LayerCall& c) const override {
    const bool learn = !c.gradients.empty() && learned_;
    if (!learn && !c.dx) return;
    c.device.run(ops::EmbeddingGrad{.replicas = c.replicas,
                                    .batch = c.batch,
                                    .cols = c.x.row_size(),
                                    .classes = classes_,
                                    .labels = c.labels,
                                    .table = c.parameters[0],
                                    .x = c.x.block(),
                                    .dy = c.dy.block(),
                                    .dtable = learn ? c.gradients[0] : Floats{},
                                    .dx = c.dx.block(),
                                    .split = c.split});
  }

 private:
  int64_t classes_;
  bool learned_;
};

const LayerRegistration registration{{"class_embedding",
                                      {"classes", "learned"},
                                      "the input times its class's vector: classes, learned = 1",
                                      [](const LayerSpec& spec) -> std::unique_ptr<Layer> {
                                        return std::make_unique<ClassEmbedding>(spec.integer("classes", 1),
                                                                                spec.number("learned", 1) != 0);
                                      }}};

}  // namespace
}  // namespace agon

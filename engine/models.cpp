// The papers' networks by name, as the layer lists that a TOML file could give instead.
// "heads" is the discriminator's number of outputs: 1 real/fake, and one per class for an ACGAN.
#include <nlohmann/json.hpp>

#include "engine/network.h"
#include "engine/text.h"

namespace agon {
namespace {

// Six 3x3 convolutions of 16 .. 512 filters with strides 2, 1, 2, 1, 2, 1: MD-GAN's discriminator for every data set of
// pictures (Hardy et al. 2019, section V.A.b). `before_head` is where its mini-batch discrimination goes.
std::string md_gan_discriminator(const std::string& before_head = "") {
  std::string layers = "[";
  for (int filters = 16, stride = 2; filters <= 512; filters *= 2, stride = 3 - stride)
    layers += fmt::format(R"({{"layer":"conv2d","filters":{},"kernel":3,"stride":{},"pad":1}},"leaky_relu 0.2",)",
                          filters, stride);
  return layers + R"("flatten",)" + before_head + R"("dense heads"])";
}

// A 5x5 transposed convolution that doubles the side.
std::string up(int filters) {
  return fmt::format(R"({{"layer":"conv_transpose2d","filters":{},"kernel":5,"stride":2,"pad":2,"output_pad":1}})",
                     filters);
}

std::vector<Model> make_models() {
  const std::string mbd = R"({"layer":"minibatch_discrimination","kernels":50,"dims":5},)";
  const std::string mnist_cnn = R"(["dense 6272","relu",{"layer":"reshape","height":7,"width":7,"channels":128},)" +
                                up(32) + R"(,"relu",)" + up(1) + R"(,"tanh"])";
  const std::string cifar = R"(["dense 6144","relu",{"layer":"reshape","height":4,"width":4,"channels":384},)" +
                            up(192) + R"(,"relu",)" + up(96) + R"(,"relu",)" + up(3) + R"(,"tanh"])";
  const std::string celeba = R"(["dense 16384","relu",{"layer":"reshape","height":32,"width":32,"channels":16},)" +
                             up(128) + R"(,"relu",)" + up(3) + R"(,"tanh"])";
  return {
      {"mnist-mlp", "MD-GAN's MLPs for 28x28 pictures: 716,560 and 670,219 parameters",
       R"(["dense 512","leaky_relu 0.2","dense 512","leaky_relu 0.2","dense 784","tanh",
           {"layer":"reshape","height":28,"width":28,"channels":1}])",
       R"(["flatten","dense 512","leaky_relu 0.2","dense 512","leaky_relu 0.2","dense heads"])"},
      {"mnist-cnn", "MD-GAN's CNNs for 28x28 pictures, without mini-batch discrimination", mnist_cnn,
       md_gan_discriminator()},
      {"mnist-cnn-mbd", "MD-GAN's CNNs for 28x28 pictures, with mini-batch discrimination", mnist_cnn,
       md_gan_discriminator(mbd)},
      {"cifar10-cnn", "MD-GAN's CNNs for 32x32 pictures: 2,932,035 and 1,662,891 parameters, as in Table IV", cifar,
       md_gan_discriminator()},
      {"cifar10-cnn-mbd", "MD-GAN's CNNs for 32x32 pictures, with mini-batch discrimination", cifar,
       md_gan_discriminator(mbd)},
      {"celeba-cnn", "MD-GAN's CNNs for 128x128 pictures", celeba, md_gan_discriminator()},
      {"lipizzaner-mnist-mlp",
       "Lipizzaner's MLPs for 28x28 pictures: 283,920 and 267,009 parameters with 64 latent numbers",
       R"(["dense 256","leaky_relu 0.2","dense 256","leaky_relu 0.2","dense 784","tanh",
           {"layer":"reshape","height":28,"width":28,"channels":1}])",
       R"(["flatten","dense 256","leaky_relu 0.2","dense 256","leaky_relu 0.2","dense heads"])"},
      {"ring-mlp", "small MLPs for points in the plane (ring, grid)",
       R"(["dense 128","relu","dense 128","relu","dense 2"])",
       R"(["dense 128","leaky_relu 0.2","dense 128","leaky_relu 0.2","dense heads"])"},
  };
}

}  // namespace

const std::vector<Model>& models() {
  static const std::vector<Model> list = make_models();
  return list;
}

const Model& model(const std::string& name) {
  std::vector<std::string> names;
  for (const Model& candidate : models()) {
    if (candidate.name == name) return candidate;
    names.push_back(candidate.name);
  }
  fail(Fault::kUsage, "unknown network \"{}\"; did you mean \"{}\"?", name, nearest(name, names));
}

}  // namespace agon

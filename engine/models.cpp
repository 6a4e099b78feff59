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

// DCGAN's blocks (Radford et al. 2016): no biases beside batch norm; `norm` is missing at the ends.
std::string dcgan_up(int filters, int stride, int pad) {
  return fmt::format(R"({{"layer":"conv_transpose2d","filters":{},"kernel":4,"stride":{},"pad":{},"bias":0}},)",
                     filters, stride, pad);
}
std::string dcgan_down(int filters, bool norm = true) {
  return fmt::format(R"({{"layer":"conv2d","filters":{},"kernel":4,"stride":2,"pad":1,"bias":0}},{}"leaky_relu 0.2",)",
                     filters, norm ? R"("batch_norm",)" : "");
}

// 64x64 pictures of `channels` channels: with three, the 3,576,704 and 2,765,568 parameters of Ren et al. (2021).
Model dcgan64(const std::string& name, const std::string& meaning, int channels) {
  std::string G = "[", D = "[";
  D += dcgan_down(64, false);
  for (int filters = 512; filters >= 64; filters /= 2)
    G += dcgan_up(filters, filters == 512 ? 1 : 2, filters == 512 ? 0 : 1) + R"("batch_norm","relu",)";
  for (int filters = 128; filters <= 512; filters *= 2) D += dcgan_down(filters);
  return {name, meaning, G + dcgan_up(channels, 2, 1) + R"("tanh"])",
          D + R"("flatten",{"layer":"dense","units":"heads","bias":0}])"};
}

std::vector<Model> make_models() {
  const std::string mbd = R"({"layer":"minibatch_discrimination","kernels":50,"dims":5},)";
  const std::string mnist_cnn = R"(["dense 6272","relu",{"layer":"reshape","height":7,"width":7,"channels":128},)" +
                                up(32) + R"(,"relu",)" + up(1) + R"(,"tanh"])";
  const std::string cifar = R"(["dense 6144","relu",{"layer":"reshape","height":4,"width":4,"channels":384},)" +
                            up(192) + R"(,"relu",)" + up(96) + R"(,"relu",)" + up(3) + R"(,"tanh"])";
  const std::string celeba = R"(["dense 16384","relu",{"layer":"reshape","height":32,"width":32,"channels":16},)" +
                             up(128) + R"(,"relu",)" + up(3) + R"(,"tanh"])";
  const auto up4 = [](int filters) { return dcgan_up(filters, 2, 1) + R"("batch_norm","relu",)"; };
  const std::string tfgan_generator =
      R"([{"layer":"dense","units":1024,"bias":0},"batch_norm","relu",{"layer":"dense","units":6272,"bias":0},
          "batch_norm","relu",{"layer":"reshape","height":7,"width":7,"channels":128},)" +
      up4(64) + up4(32) + R"({"layer":"conv2d","filters":1,"kernel":5,"pad":2},"tanh"])";
  const std::string tfgan_discriminator =
      R"([{"layer":"conv2d","filters":64,"kernel":4,"stride":2,"pad":1},"leaky_relu 0.01",
          {"layer":"conv2d","filters":128,"kernel":4,"stride":2,"pad":1},"leaky_relu 0.01","flatten",
          {"layer":"dense","units":1024,"bias":0},"layer_norm","leaky_relu 0.01","dense heads"])";
  // Four layers each; the paper (Davoudi 2019) says no more, so that widths and kernels are DCGAN's for this size.
  const std::string mnist_dcgan_generator =
      R"([{"layer":"conv_transpose2d","filters":256,"kernel":7,"bias":0},"batch_norm","relu",)" + up4(128) + up4(64) +
      R"({"layer":"conv2d","filters":1,"kernel":3,"pad":1},"tanh"])";
  const std::string mnist_dcgan_discriminator =
      std::string("[").append(dcgan_down(64, false)) + dcgan_down(128) +
      R"({"layer":"conv2d","filters":256,"kernel":3,"stride":2,"pad":1,"bias":0},"batch_norm","leaky_relu 0.2",)" +
      R"("flatten","dense heads"])";
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
      {"mnist-tfgan", "TF-GAN's networks for 28x28 pictures (Hardy et al. 2018); the last kernel is 5x5, there 4x4",
       tfgan_generator, tfgan_discriminator},
      {"mnist-dcgan", "DCGANs of four layers for 28x28 pictures (Davoudi 2019)", mnist_dcgan_generator,
       mnist_dcgan_discriminator},
      dcgan64("dcgan-64", "DCGANs for 64x64 colour pictures: 3,576,704 and 2,765,568 parameters (Ren et al. 2021)", 3),
      dcgan64("dcgan-64-grey", "the same for grey pictures", 1),
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

// Layer lists: how they are read, every sentence that refuses one, and the parameter counts of the papers' networks.
#include "engine/network.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/data_files.h"

namespace agon {
namespace {

Network network_of(const std::string& layers, const Shape& input, int64_t heads = 11) {
  return Network("generator", input, parse_layers(nlohmann::json::parse(layers), "generator", heads));
}

TEST(Layers, ShortAndLongFormsAreTheSame) {
  const Shape input{8, 8, 2};
  const Network brief = network_of(R"(["max_pool2d 2","flatten","dense 5","leaky_relu 0.1","dense heads"])", input);
  const Network full = network_of(
      R"([{"layer":"max_pool2d","kernel":2},{"layer":"flatten"},{"layer":"dense","units":5,"bias":true},
          {"layer":"leaky_relu","slope":0.1},{"layer":"dense","units":"heads"}])",
      input);
  EXPECT_EQ(brief.signature(), full.signature());
  EXPECT_EQ(brief.output(), (Shape{1, 1, 11}));
  EXPECT_EQ(brief.parameters(), (32 * 5 + 5) + (5 * 11 + 11));
  EXPECT_NE(brief.summary().find("dense"), std::string::npos);
  EXPECT_NE(network_of(R"(["dense 5"])", {1, 1, 3}).signature(),
            network_of(R"([{"layer":"dense","units":5,"bias":false}])", {1, 1, 3}).signature());
}

TEST(Layers, EveryRefusalIsASentence) {
  struct Row {
    std::string layers;
    std::string says;
    Shape input = {4, 6, 3};
  };
  const Row rows[] = {
      {R"({})", "expected a list such as"},
      {R"([])", "expected a list such as"},
      {R"([3])", "layer 1 of the generator: expected a string or a table, found 3"},
      {R"([""])", "is not a layer; write \"dense 512\""},
      {R"(["dense 5 6"])", "\"dense 5 6\" is not a layer; write \"dense 512\""},
      {R"(["flatten","dens 5"])", "layer 2 \"dens\" of the generator: unknown layer \"dens\"; did you mean \"dense\"?"},
      {R"(["flatten 3"])", "\"flatten\" takes no number"},
      {R"(["dense x"])", "\"x\" is not a number"},
      {R"(["dense 1e999"])", "is not a number"},
      {R"(["dense"])", "needs \"units\""},
      {R"(["dense 5"])", "expected a flat input, got 4x6x3; put \"flatten\" before it"},
      {R"(["flatten","dense 2.5"])", "\"units\" is 2.5, expected a whole number of at least 1"},
      {R"(["flatten","dense 0"])", "\"units\" is 0, expected a whole number of at least 1"},
      {R"(["flatten","dense -3"])", "\"units\" is -3"},
      {R"(["flatten","dense 99999999999"])", "\"units\" is 99999999999, expected at most 16777216"},
      {R"([{"units":5}])", "expected {layer = \"dense\", units = 512}, found {\"units\":5}"},
      {R"([{"layer":"conv2d","filter":5,"kernel":3}])", "unknown setting \"filter\"; did you mean \"filters\"?"},
      {R"([{"layer":"relu","slope":5}])", "\"slope\" is not a setting of relu, which has none"},
      {R"([{"layer":"conv2d","filters":"many","kernel":3}])", "\"filters\" is \"many\", expected a number"},
      {R"([{"layer":"conv2d","filters":5}])", "needs \"kernel\""},
      {R"([{"layer":"conv2d","filters":5,"kernel":7}])", "a 7x7 kernel with pad 0 does not fit into an input of 4x6x3"},
      {R"([{"layer":"conv2d","filters":5,"kernel":3,"pad":3}])", "\"pad\" is 3, expected less than the kernel's 3"},
      {R"([{"layer":"conv2d","filters":5,"kernel":3,"stride":0}])", "\"stride\" is 0"},
      {R"([{"layer":"conv_transpose2d","filters":5,"kernel":3,"stride":2,"output_pad":2}])",
       "\"output_pad\" is 2, expected less than the stride's 2"},
      {R"([{"layer":"conv_transpose2d","filters":5,"kernel":5,"pad":4}])", "nothing is left of an input of 4x6x3"},
      {R"([{"layer":"max_pool2d","kernel":5}])", "a 5x5 window does not fit into an input of 4x6x3"},
      {R"([{"layer":"max_pool2d","kernel":3,"pad":2}])", "\"pad\" is 2, expected at most half of the kernel's 3"},
      {R"(["flatten",{"layer":"reshape","height":5,"width":5,"channels":3}])",
       "5x5x3 cannot be made of an input of 72 features"},
      {R"([{"layer":"reshape","height":6,"width":4,"channels":3}])", "expected a flat input, got 4x6x3"},
      {R"(["flatten",{"layer":"reshape","height":16777216,"width":16777216,"channels":16777216}])",
       "cannot be made of"},
      {R"(["flatten","minibatch_discrimination 0"])", "\"kernels\" is 0"},
      {R"(["minibatch_discrimination"])", "put \"flatten\" before it"},
      {R"(["dropout 1"])", "\"rate\" is 1, expected 0 or more and below 1"},
      {R"(["leaky_relu -0.2"])", "\"slope\" is -0.2, expected 0 or more"},
      {R"(["batch_norm 2"])", "\"momentum\" is 2, expected 0 to 1"},
      {R"([{"layer":"layer_norm","epsilon":0}])", "\"epsilon\" is 0"},
      {R"(["upsample 16777216"])", "is too large"},
      {R"(["flatten","dense 16777216","dense 16777216"])", "weights are too many"},
      {R"([{"layer":"conv2d","filters":16777216,"kernel":16777216,"pad":16777215}])", "too"},
  };
  for (const Row& row : rows)
    expect_refused({{row.layers, [&] { network_of(row.layers, row.input); }, row.says, Fault::kUsage}});
  nlohmann::json many = nlohmann::json::array();
  for (uint32_t i = 0; i <= Network::kMostLayers; ++i) many.push_back("relu");
  expect_refused({{"too many layers",
                   [&] {
                     network_of(many.dump(), {1, 1, 3});
                   },
                   "at most 256", Fault::kUsage},
                  {"init", [] { parse_init("xavier"); }, "expected glorot, torch or normal", Fault::kUsage},
                  {"model", [] { model("mnist-mpl"); }, "did you mean \"mnist-mlp\"?", Fault::kUsage}});
}

TEST(Layers, ArchitecturesHaveSignaturesOfTheirOwn) {
  const Shape input{8, 8, 4};
  const std::string base = network_of(R"(["flatten","dense 4","relu"])", input).signature();
  for (const char* other : {R"(["flatten","dense 5","relu"])", R"(["flatten","dense 4","tanh"])",
                            R"(["flatten","dense 4"])", R"(["flatten","dense 4","relu","relu"])"})
    EXPECT_NE(network_of(other, input).signature(), base) << other;
  EXPECT_NE(network_of(R"(["flatten","dense 4","relu"])", {8, 8, 3}).signature(), base);
}

struct CountRow {
  std::string name, layers;
  Shape input, output;
  int64_t parameters, state = 0;
  int64_t heads = 11;
};

// Ren et al. 2021: a DCGAN for 64x64 pictures, no biases, batch norm on all layers but G's last, D's first and last.
const char* const kDcganGenerator = R"([
  {"layer":"reshape","height":1,"width":1,"channels":100},
  {"layer":"conv_transpose2d","filters":512,"kernel":4,"bias":0},"batch_norm","relu",
  {"layer":"conv_transpose2d","filters":256,"kernel":4,"stride":2,"pad":1,"bias":0},"batch_norm","relu",
  {"layer":"conv_transpose2d","filters":128,"kernel":4,"stride":2,"pad":1,"bias":0},"batch_norm","relu",
  {"layer":"conv_transpose2d","filters":64,"kernel":4,"stride":2,"pad":1,"bias":0},"batch_norm","relu",
  {"layer":"conv_transpose2d","filters":3,"kernel":4,"stride":2,"pad":1,"bias":0},"tanh"])";
const char* const kDcganDiscriminator = R"([
  {"layer":"conv2d","filters":64,"kernel":4,"stride":2,"pad":1,"bias":0},"leaky_relu 0.2",
  {"layer":"conv2d","filters":128,"kernel":4,"stride":2,"pad":1,"bias":0},"batch_norm","leaky_relu 0.2",
  {"layer":"conv2d","filters":256,"kernel":4,"stride":2,"pad":1,"bias":0},"batch_norm","leaky_relu 0.2",
  {"layer":"conv2d","filters":512,"kernel":4,"stride":2,"pad":1,"bias":0},"batch_norm","leaky_relu 0.2",
  {"layer":"conv2d","filters":1,"kernel":4,"bias":0},"flatten"])";

TEST(Network, CountsThePapersParameters) {
  const Shape latent{1, 1, 100}, mnist{28, 28, 1}, cifar{32, 32, 3}, celeba{128, 128, 3};
  const CountRow rows[] = {
      {"MD-GAN's MLP, G", model("mnist-mlp").generator, latent, mnist, 716560},
      {"MD-GAN's MLP, D", model("mnist-mlp").discriminator, mnist, {1, 1, 11}, 670219},
      {"MD-GAN's CIFAR-10 CNN, G", model("cifar10-cnn").generator, latent, cifar, 2932035},
      {"MD-GAN's CIFAR-10 CNN, D", model("cifar10-cnn").discriminator, cifar, {1, 1, 11}, 1662891},
      {"MD-GAN's CIFAR-10 CNN with mini-batch discrimination, D",
       model("cifar10-cnn-mbd").discriminator,
       cifar,
       {1, 1, 11},
       1662891 + 8192 * 250 + 50 * 11},
      {"MD-GAN's MNIST CNN, G", model("mnist-cnn").generator, latent, mnist,
       100 * 6272 + 6272 + (25 * 32 * 128 + 32) + (25 * 32 + 1)},
      {"MD-GAN's MNIST CNN, D", model("mnist-cnn").discriminator, mnist, {1, 1, 11}, 1662891 - 2 * 9 * 16},
      {"MD-GAN's CelebA CNN, G", model("celeba-cnn").generator, latent, celeba,
       100 * 16384 + 16384 + (25 * 128 * 16 + 128) + (25 * 3 * 128 + 3)},
      {"DCGAN of Ren et al., G", kDcganGenerator, latent, {64, 64, 3}, 3576704, 2 * (512 + 256 + 128 + 64)},
      {"DCGAN of Ren et al., D", kDcganDiscriminator, {64, 64, 3}, {1, 1, 1}, 2765568, 2 * (128 + 256 + 512)},
  };
  for (const CountRow& row : rows) {
    const Network network = network_of(row.layers, row.input, row.heads);
    EXPECT_EQ(network.parameters(), row.parameters) << row.name;
    EXPECT_EQ(network.state(), row.state) << row.name;
    EXPECT_EQ(network.output(), row.output) << row.name;
  }
}

TEST(Network, CountsTablesAndOperations) {
  const Network conditional = network_of(R"([{"layer":"class_embedding","classes":10},"dense 7","tanh"])", {1, 1, 100});
  EXPECT_EQ(conditional.table_parameters(), 1000);
  EXPECT_EQ(conditional.parameters(), 1000 + 707);
  EXPECT_TRUE(conditional.takes_labels());
  EXPECT_EQ(conditional.flops(), 2 * 100 * 7);
  EXPECT_EQ(conditional.steps()[0].index, -1);
  EXPECT_EQ(conditional.steps()[1].index, 0) << "the embedding is a module of its own in PyTorch";
  const Network fixed =
      network_of(R"([{"layer":"class_embedding","classes":10,"learned":false},"dense 7"])", {1, 1, 100});
  EXPECT_EQ(fixed.table_parameters(), 0);
  EXPECT_EQ(fixed.state(), 1000);
  const Network conv = network_of(R"([{"layer":"conv2d","filters":4,"kernel":3,"stride":2,"pad":1}])", {5, 7, 2});
  EXPECT_EQ(conv.output(), (Shape{3, 4, 4}));
  EXPECT_EQ(conv.flops(), 2 * (3 * 4 * 4) * (3 * 3 * 2));
  const Network back = network_of(R"([{"layer":"conv_transpose2d","filters":4,"kernel":3,"stride":2}])", {5, 7, 2});
  EXPECT_EQ(back.output(), (Shape{11, 15, 4}));
  EXPECT_EQ(back.flops(), 2 * (5 * 7 * 2) * (3 * 3 * 4));
}

}  // namespace
}  // namespace agon

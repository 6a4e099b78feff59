// Settings: values, canonical TOML, and every way a user can get a key wrong.
#include "engine/settings.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <random>

#include "kernels/error.h"

namespace agon {
namespace {

Settings example() {
  Settings settings;
  settings.declare({{"run.seed", "1", "seed of everything random"},
                    {"run.threads", "0", "threads, 0 = all"},
                    {"run.precision", "\"fp32\"", "arithmetic", {"fp32", "bf16"}},
                    {"data.path", "\"\"", "data set"},
                    {"algorithm.batch", "10", "b"},
                    {"algorithm.kappa", "1", "k", {"log"}},
                    {"algorithm.rate", "2e-4", "learning rate"},
                    {"algorithm.distinct", "false", "distinct batches"},
                    {"generator.layers", "[]", "its layers"},
                    {"world.network", "{}", "links"}});
  return settings;
}

std::string message(const std::function<void()>& act) {
  try {
    act();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit_code(), 2);
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos) << error.what();
    return error.what();
  }
  return "no error";
}

TEST(Settings, DefaultsThenFileThenCommandLine) {
  Settings settings = example();
  EXPECT_EQ(settings.integer("algorithm.batch"), 10);
  settings.read_toml("about = 'x'\nalgorithm.batch = 100\n[run]\nseed = 7\n", "my.toml");
  EXPECT_EQ(settings.integer("algorithm.batch"), 100);
  settings.set("algorithm.batch=40");
  EXPECT_EQ(settings.integer("algorithm.batch"), 40);
  EXPECT_EQ(settings.integer("run.seed"), 7);
  EXPECT_FALSE(settings.is_default("run.seed"));
  EXPECT_TRUE(settings.is_default("run.threads"));
  EXPECT_TRUE(settings.has("data.path"));
  EXPECT_FALSE(settings.has("data.pathh"));
}

TEST(Settings, CommandLineTakesBareWordsNumbersAndLists) {
  Settings settings = example();
  settings.set("algorithm.kappa=log");
  EXPECT_TRUE(settings.is_text("algorithm.kappa"));
  EXPECT_EQ(settings.text("algorithm.kappa"), "log");
  settings.set("algorithm.kappa = 3");
  EXPECT_EQ(settings.integer("algorithm.kappa"), 3);
  settings.set("algorithm.rate=1");
  EXPECT_EQ(settings.number("algorithm.rate"), 1.0);
  settings.set("algorithm.rate=3e-4");
  EXPECT_EQ(settings.number("algorithm.rate"), 3e-4);
  settings.set("run.seed=5e4");
  EXPECT_EQ(settings.integer("run.seed"), 50000);
  settings.set("run.precision=bf16");
  EXPECT_EQ(settings.text("run.precision"), "bf16");
  settings.set("data.path=../a b/2024.idx=x");
  EXPECT_EQ(settings.text("data.path"), "../a b/2024.idx=x");
  settings.set("data.path=10");
  EXPECT_EQ(settings.text("data.path"), "10");
  settings.set("data.path=\"q\"");
  EXPECT_EQ(settings.text("data.path"), "q");
  settings.set("data.path=");
  EXPECT_EQ(settings.text("data.path"), "");
  settings.set("algorithm.distinct=true");
  EXPECT_TRUE(settings.flag("algorithm.distinct"));
  settings.set(R"(generator.layers=["dense 16", {layer = "conv2d", kernel = 3}])");
  EXPECT_EQ(settings.raw("generator.layers")[1]["kernel"], 3);
}

TEST(Settings, ErrorsNameKeyPlaceAndWhatWasExpected) {
  const auto file = [](const std::string& text) { return message([&] { example().read_toml(text, "my.toml"); }); };
  const auto set = [](const std::string& text) { return message([&] { example().set(text); }); };
  EXPECT_EQ(file("[algorithm]\n\nkapa = 1"),
            "unknown key \"algorithm.kapa\" in my.toml line 3; did you mean \"algorithm.kappa\"?");
  EXPECT_EQ(file("batch = 1"), "unknown key \"batch\" in my.toml line 1; did you mean \"algorithm.batch\"?");
  EXPECT_EQ(file("[algoritm]\nbatch = 1"),
            "unknown key \"algoritm.batch\" in my.toml line 2; did you mean \"algorithm.batch\"?");
  EXPECT_EQ(file("[algoritm]"), "unknown section [algoritm] in my.toml line 1; did you mean [algorithm]?");
  EXPECT_EQ(file("size = 1"), "unknown key \"size\" in my.toml line 1; `agon presets NAME --all` prints every key");
  EXPECT_EQ(file("about = 3"), "about is 3, expected a text in quotes (my.toml line 1)");
  EXPECT_EQ(file("[algorithm]\nbatch = \"ten\""), "algorithm.batch is \"ten\", expected an integer (my.toml line 2)");
  EXPECT_EQ(file("algorithm.batch = 1.5"), "algorithm.batch is 1.5, expected an integer (my.toml line 1)");
  EXPECT_EQ(file("algorithm.batch = 1e30"),
            "algorithm.batch is 1e+30, expected an integer of at most 9007199254740992 (my.toml line 1)");
  EXPECT_EQ(file("algorithm.batch = nan"), "algorithm.batch is nan, expected an integer (my.toml line 1)");
  EXPECT_EQ(file("algorithm.rate = inf"), "algorithm.rate is inf, expected a finite number (my.toml line 1)");
  EXPECT_EQ(file("algorithm.kappa = true"), "algorithm.kappa is true, expected an integer or \"log\" (my.toml line 1)");
  EXPECT_EQ(file("algorithm.distinct = 1"), "algorithm.distinct is 1, expected true or false (my.toml line 1)");
  EXPECT_EQ(file("data.path = 1"), "data.path is 1, expected a text in quotes (my.toml line 1)");
  EXPECT_EQ(file("generator.layers = \"dense\""),
            "generator.layers is \"dense\", expected a list, [...] (my.toml line 1)");
  EXPECT_EQ(file("run.precision = \"fp16\""),
            "run.precision is \"fp16\", expected \"fp32\" or \"bf16\" (my.toml line 1); did you mean \"fp32\"?");
  EXPECT_NE(file("run.seed = 2024-01-01").find("run.seed is a date or a time"), std::string::npos);
  EXPECT_NE(file("[run]\nseed = 1\nseed = 2").find("my.toml line 3"), std::string::npos);
  EXPECT_NE(file("[run\nseed = 1").find("is not valid TOML"), std::string::npos);
  EXPECT_NE(file("run.seed = 99999999999999999999").find("is not valid TOML"), std::string::npos);
  EXPECT_EQ(set("algorithm.kapa=1"), "unknown key \"algorithm.kapa\" in --set; did you mean \"algorithm.kappa\"?");
  EXPECT_EQ(set("algorithm.kappa"), "--set expects key=value, found \"algorithm.kappa\"");
  EXPECT_EQ(set("=1"), "--set expects key=value, found \"=1\"");
  EXPECT_EQ(
      set("data.path=d\xe9j\xe0"),
      "data.path is \"d\xe9j\xe0\", expected a text in UTF-8; a file of another name may have a link to it (--set)");
  EXPECT_EQ(set("algorithm.batch=ten"), "algorithm.batch is \"ten\", expected an integer (--set)");
  EXPECT_EQ(set("algorithm.batch="), "algorithm.batch is \"\", expected an integer (--set)");
  EXPECT_NE(set("algorithm.batch=1\nrun.seed=2").find("expected an integer"), std::string::npos);
  EXPECT_NE(set("generator.layers=[1").find("is not valid TOML"), std::string::npos);
}

TEST(Settings, BoundsAreCheckedWhereTheyAreKnown) {
  Settings settings = example();
  settings.set("algorithm.batch=0");
  EXPECT_EQ(message([&] { settings.integer("algorithm.batch", 1); }), "algorithm.batch is 0, expected at least 1");
  EXPECT_EQ(message([&] { settings.integer("algorithm.batch", -9, -1); }), "algorithm.batch is 0, expected at most -1");
  EXPECT_EQ(message([&] { settings.number("algorithm.rate", 1.0); }), "algorithm.rate is 0.0002, expected at least 1");
  settings.set("algorithm.kappa=log");
  EXPECT_EQ(message([&] { settings.integer("algorithm.kappa"); }), "algorithm.kappa is \"log\", expected an integer");
  EXPECT_EQ(message([&] { settings.integer("run.sead"); }), "unknown key \"run.sead\"; did you mean \"run.seed\"?");
}

TEST(Settings, KeysWithoutMeaningArePassedOver) {
  Settings settings = example();
  settings.pass_over({{"algorithm.grid", "3", "of another algorithm"}, {"algorithm.batch", "1", "declared already"}});
  settings.read_toml("algorithm.grid = 3\nalgorithm.batch = 5", "my.toml");
  settings.set("algorithm.grid=x");
  EXPECT_FALSE(settings.has("algorithm.grid"));
  EXPECT_EQ(settings.integer("algorithm.batch"), 5);
  EXPECT_NE(message([&] { settings.set("algorithm.grod=1"); }).find("unknown key"), std::string::npos);
}

TEST(Settings, AFailedReadKeepsTheOldValue) {
  Settings settings = example();
  settings.set("algorithm.batch=33");
  EXPECT_THROW(settings.set("algorithm.batch=x"), Error);
  EXPECT_EQ(settings.integer("algorithm.batch"), 33);
}

TEST(Settings, AnAlgorithmMayDeclareItsOwnDefault) {
  Settings settings = example();
  settings.declare({{"algorithm.batch", "64", "larger"}});
  EXPECT_EQ(settings.integer("algorithm.batch"), 64);
  settings.set("algorithm.batch=3");
  settings.declare({{"algorithm.batch", "20", "again"}});
  EXPECT_EQ(settings.integer("algorithm.batch"), 3);
  EXPECT_EQ(settings.options().size(), example().options().size());
}

TEST(Settings, TomlReadsBackToTheSameBits) {
  std::mt19937_64 random(5);
  for (int round = 0; round < 300; ++round) {
    Settings settings = example();
    double value = 0;
    do {
      const uint64_t bits = random();
      std::memcpy(&value, &bits, sizeof(value));
    } while (!std::isfinite(value));
    if (round == 0) value = std::numeric_limits<double>::denorm_min();
    if (round == 1) value = std::numeric_limits<double>::max();
    if (round == 2) value = -0.0;
    if (round == 3) value = 3.0;
    if (round == 4) value = 0.1 + 0.2;
    settings.set(fmt::format("algorithm.rate={:.17e}", value));
    const double kept = settings.number("algorithm.rate", -INFINITY, INFINITY);
    EXPECT_EQ(std::memcmp(&kept, &value, sizeof(value)), 0) << value;
    Settings copy = example();
    copy.read_toml(settings.to_toml(round % 2 == 0), "copy");
    const double again = copy.number("algorithm.rate", -INFINITY, INFINITY);
    EXPECT_EQ(std::memcmp(&again, &value, sizeof(value)), 0) << value;
  }
}

TEST(Settings, TomlIsGroupedAndKeepsTextsListsAndTables) {
  Settings settings = example();
  settings.set_text("data.path", "tab\t quote\" back\\ line\n bell\a é");
  settings.set_integer("run.seed", INT64_MIN);
  settings.set(R"(generator.layers=["a", {layer = "b", "odd key" = [1, 2.5, true]}, []])");
  settings.set("world.network={up = 1, down = {rate = 2.0}}");
  settings.set("algorithm.kappa=log");
  const std::string toml = settings.to_toml();
  EXPECT_EQ(toml.find("[run]\nseed = -9223372036854775808\nthreads = 0\nprecision = \"fp32\"\n\n[data]\n"), 0u) << toml;
  Settings copy = example();
  copy.read_toml(toml, "copy");
  EXPECT_EQ(copy.to_json(), settings.to_json());
  EXPECT_EQ(copy.to_toml(), toml);
  EXPECT_NE(settings.to_toml(true).find("# arithmetic (fp32 or bf16)\nprecision"), std::string::npos);
}

TEST(Settings, HostileTextsEndInOneSentence) {
  std::string dotted = "a";
  for (int i = 0; i < 100000; ++i) dotted += ".a";
  const auto read = [](const std::string& text) { return message([&] { example().read_toml(text, "my.toml"); }); };
  EXPECT_NE(read(dotted + " = 1").find("more than 64 parts"), std::string::npos);
  EXPECT_NE(read("x = {" + dotted + " = 1}").find("more than 64 parts"), std::string::npos);
  EXPECT_NE(read("[" + dotted + "]").find("more than 64 parts"), std::string::npos);
  EXPECT_NE(read("generator.layers = " + std::string(100000, '[')).find("my.toml line 1"), std::string::npos);
  EXPECT_NE(read("generator.layers = " + std::string(100, '[') + std::string(100, ']')).find("nested"),
            std::string::npos);
  EXPECT_NE(read("data.path = \"" + std::string(1 << 20, 'x') + "\"").find("expected settings of at most"),
            std::string::npos);
  EXPECT_NE(read(std::string("a\0b = 1", 7)).find("my.toml line 1"), std::string::npos);
  EXPECT_NE(read("data.path = \"\xff\xfe\"").find("my.toml line 1"), std::string::npos);
  EXPECT_NE(read(std::string(5000, 'k') + " = 1").find("unknown key"), std::string::npos);
  EXPECT_NE(read("run.seed = \xc9\x85x").find("ASCII"), std::string::npos);
  EXPECT_NE(read("x = [%un]").find("is not valid TOML"), std::string::npos);
  EXPECT_NE(read("[%un]").find("is not valid TOML"), std::string::npos);
  EXPECT_EQ(read("# é\ndata.path = \"\"\"\"é\"\n\\\" #\"\"\"\"\" # \" é\nrun.seed = 1"), "no error");
  EXPECT_EQ(read("# " + std::string(500, '.') + "\nrun.seed = 1"), "no error");
}

}  // namespace
}  // namespace agon

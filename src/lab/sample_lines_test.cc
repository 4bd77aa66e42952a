#include "lab/sample_lines.h"

#include <gtest/gtest.h>

#include "lab/host.h"

namespace ferry::lab {
namespace {

TEST(SampleLines, SurviveTheWay) {
    const SampleLine line{Quantity::ContainerMemory, "a \"b\"\n", 1.5e9};
    const std::string text = to_text(line);
    EXPECT_EQ(text.find('\n'), std::string::npos);
    const auto back = sample_line_from(text);
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, line);
}

TEST(SampleLines, RefuseWhatIsNone) {
    for (const char* text : {"", "Welcome to Debian", "[]", "[\"cpu\",\"host\",\"1\"]",
                             "[\"nonsense\",\"host\",1]", "{\"cpu\":1}"}) {
        EXPECT_FALSE(sample_line_from(text)) << text;
    }
}

TEST(ShellWords, ReachTheProgramAsTheyWere) {
    const std::vector<std::string> words = {"it's", "$HOME `id` \\", "", "a\nb", "*"};
    std::vector<std::string> command = {"printf", "%s|"};
    command.insert(command.end(), words.begin(), words.end());
    const auto printed =
        Host::here().run_checked({"sh", "-c", shell_words(command)}, std::chrono::seconds(10));
    ASSERT_TRUE(printed) << printed.error().message();
    EXPECT_EQ(*printed, "it's|$HOME `id` \\||a\nb|*|");
}

TEST(Host, HereHasNoOtherRootAndNoOtherNetwork) {
    const Host here = Host::here();
    EXPECT_FALSE(here.is_remote());
    EXPECT_EQ(here.path("/etc"), "/etc");
    EXPECT_TRUE(here.enter_network());
}

}  // namespace
}  // namespace ferry::lab

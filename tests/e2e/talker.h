// A service that talks to the lab's Redis all the time, over one connection, and notices whatever
// is lost, doubled or broken.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "lab/container.h"

namespace ferry::lab {

inline constexpr const char* kTalker = R"(
use IO::Socket::IP;
$SIG{TERM} = sub { exit 0 };
my ($own, $file, $peer, $key) = @ARGV;
my $redis;
for (1 .. 100) {
    last if $redis = IO::Socket::IP->new(PeerHost => $peer, PeerPort => 6379, LocalHost => $own,
                                         Timeout => 1);
    select(undef, undef, undef, 0.1);
}
open(my $said, ">", $file);
sub say_once { my ($text) = @_; sysseek($said, 0, 0); syswrite($said, sprintf("%-60s", $text)); }
sub broken { say_once("BROKEN: @_"); select(undef, undef, undef, 0.1) while 1; }
broken("no connection") unless $redis;
for (my $i = 1;; $i++) {
    syswrite($redis, "INCR $key\r\n") or broken("write: $!");
    my $answer = <$redis>;
    broken("read: $!") unless defined $answer;
    broken("$i: $answer") unless $answer eq ":$i\r\n";
    say_once($i);
    select(undef, undef, undef, 0.001);
})";

// Counts by INCR from its own address, and says in `file` how far it has come, or what broke.
inline std::vector<std::string> talker(const std::string& own_address, const std::string& file,
                                       const std::string& peer = "10.77.1.100",
                                       const std::string& key = "n") {
    return {"perl", "-e", kTalker, own_address, file, peer, key};
}

inline std::string said_in(const std::string& file) {
    std::ifstream stream(file);
    std::string text;
    std::getline(stream, text);
    return text;
}

inline void expect_talking(const std::string& file) {
    const int wanted = std::atoi(said_in(file).c_str()) + 50;
    const auto now = [&] { return std::atoi(said_in(file).c_str()); };
    for (int i = 0; i < 300 && now() < wanted; ++i) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    EXPECT_THAT(said_in(file), testing::Not(testing::HasSubstr("BROKEN")));
    EXPECT_GE(now(), wanted);
}

// A container of its own for it.
inline ContainerPlan talker_plan() {
    return {.name = "talker",
            .bundle = {},
            .directory = {},
            .bridge = {},
            .address = "10.77.1.101/24",
            .mac = "02:fe:77:00:01:65"};
}

}  // namespace ferry::lab

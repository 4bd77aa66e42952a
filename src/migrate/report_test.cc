#include "migrate/report.h"

#include <gtest/gtest.h>

#include "migrate/session.h"

namespace ferry::migrate {
namespace {

TEST(Report, SurvivesJson) {
    Report report;
    report.session = "s1";
    report.rounds = {{.number = 1, .pages = 7, .bytes = 28672}, {.number = 2, .in_freeze = true}};
    report.frozen_ms = 12.5;
    report.objects_before.sockets = 51;
    const Result<Report> back = report_from_json(to_json(report));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(to_json(*back), to_json(report));
    EXPECT_EQ(back->rounds.at(1).in_freeze, true);
}

TEST(Report, RefusesWhatIsNotJson) {
    EXPECT_EQ(report_from_json("{nonsense").error().kind(), Error::Kind::Corrupt);
}

TEST(SessionState, NamesAreReversible) {
    EXPECT_EQ(session_state_from(name_of(SessionState::Committed)), SessionState::Committed);
    EXPECT_EQ(session_state_from("else"), std::nullopt);
}

}  // namespace
}  // namespace ferry::migrate

// Asks a network who has the addresses of an identity, before anything is frozen.
//
// Source relied upon: RFC 5227 section 2.1.1, RFC 4862 section 5.4.2, packet(7).
#pragma once

#include <memory>

#include "base/error.h"
#include "handover/network_identity.h"
#include "handover/rtnetlink.h"

namespace ferry::handover {

// Sends ARP probes and neighbour solicitations through `base`, a device of the calling thread's
// namespace, and listens for some ten milliseconds; where nobody answers up to 150, or 2,500 if
// that refuses the service. Unsupported: an answer came from another MAC than the identity's own,
// so the address is taken; or nobody answers, and the source's network must be this one. Otherwise
// that is only warned about.
Result<> check_unclaimed(const NetworkIdentity& identity, const Link& base, bool must_be_joined);

// For an identity that nobody has at the moment: asked when there is other work to do, looked at
// when that is done.
class UnclaimedQuestion {
  public:
    static Result<UnclaimedQuestion> ask(const NetworkIdentity& identity, const Link& base);
    UnclaimedQuestion(UnclaimedQuestion&&) noexcept;
    UnclaimedQuestion& operator=(UnclaimedQuestion&&) noexcept;
    ~UnclaimedQuestion();

    // Unsupported: somebody has answered since, the identity's own MAC included. Waits until some
    // ten milliseconds after the question at least.
    Result<> expect_silence();

  private:
    struct State;
    explicit UnclaimedQuestion(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

// The question about one address, and the answer in a received frame, if it is one: who has which
// address. Exposed for tests.
[[nodiscard]] std::vector<std::byte> probe_frame(const MacAddress& asker, const IpAddress& address);
struct Claim {
    IpAddress address;
    MacAddress mac{};
    bool operator==(const Claim&) const = default;
};
[[nodiscard]] std::optional<Claim> claim_in(std::span<const std::byte> frame);

}  // namespace ferry::handover

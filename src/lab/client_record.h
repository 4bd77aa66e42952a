// From what clients measured (client_results.h) to what a run's record keeps (run_record.h). Pure.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lab/client_results.h"
#include "lab/run_record.h"

namespace ferry::lab {

// All clients of one site, or of several that move together, over the same span.
struct ClientFigures {
    std::vector<HttpResult> http;        // one for each site
    std::vector<UdpResult> udp;          // one for each site
    std::vector<CommentCheck> comments;  // one for each site; none: not looked for yet
};

// Counts are sums over the sites, the longest of anything is that of the site that fared worst.
// What there are no results of stays absent. At least one of http and udp must be there.
ClientRecord client_record(const ClientFigures& figures, const RunClock& clock);

// Requests, throughput, delay and failures in the samples' interval.
std::vector<Series> http_series(const HttpResult& result, const RunClock& clock,
                                const std::string& subject);
// Delay and jitter of every datagram, at the moment it was sent; lost ones per second, in
// intervals of 100 ms.
std::vector<Series> udp_series(const UdpResult& result, const RunClock& clock,
                               const std::string& subject);

}  // namespace ferry::lab

// A real redis-server as a daemon inside a host, listening on an address that can move: an
// interface of its own (a macvlan on eth0 with its own MAC), made for it.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"
#include "lab/redis_connection.h"
#include "lab/world.h"

namespace ferry::lab {

struct ServiceInterface {
    std::string name = "svc0";
    std::string mac = "02:fe:77:00:01:64";
    std::string address = "10.77.1.100/24";
};
Result<> add_service_interface(const Host& host, const ServiceInterface& interface);

struct RedisOptions {
    RedisAddress address{"10.77.1.100", 6379};
    std::string directory;           // exists, or is made
    std::vector<std::string> extra;  // further arguments
};

// The process id inside the host. Redis has answered a PING when this returns.
Result<Pid> start_redis(const Host& host, const RedisOptions& options);

// How many live processes of this name run in the host.
Result<std::vector<Pid>> processes_named(const Host& host, const std::string& name);

}  // namespace ferry::lab

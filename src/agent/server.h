// The agent's doors: gRPC on its Unix socket, and on TCP where it is configured. gRPC stays inside
// server.cc.
#pragma once

#include <memory>
#include <string>

#include "agent/agent.h"
#include "base/error.h"

namespace ferry::agent {

class Server {
  public:
    // Opens both doors. Invalid if another agent has the socket, if the keys cannot be used, or if
    // an address cannot be bound. A socket file whose agent is dead is replaced.
    static Result<std::unique_ptr<Server>> start(Agent& agent, const AgentConfig& config);
    Server(const Server&) = delete;
    Server& operator=(const Server&) = delete;
    // Closes the doors and removes the socket.
    ~Server();

    // Calls that run end with their sessions; new ones are refused. The agent must be idle.
    void stop();
    // Removes the socket's file and nothing else: for an agent that ends without waiting.
    void forget_socket();

  private:
    struct State;
    explicit Server(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace ferry::agent

#include "arch/signal_frame.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

namespace ferry::arch {
namespace {

constexpr std::uint64_t kNone = ~std::uint64_t{0};

Registers stopped_in_call(long number, long result) {
    Registers r;
    r.raw.rip = 0x401000;
    r.raw.orig_rax = static_cast<std::uint64_t>(number);
    r.raw.rax = static_cast<std::uint64_t>(result);
    return r;
}

XState made_up_xstate(std::size_t size, std::uint64_t features, std::uint64_t in_use) {
    XState x;
    x.area.resize(size);
    std::memcpy(x.area.data() + 464, &features, 8);
    std::memcpy(x.area.data() + 512, &in_use, 8);
    return x;
}

template <class T>
T at(const BorrowedStack& stack, std::uint64_t address) {
    T value;
    std::memcpy(&value, stack.bytes.data() + (address - stack.address), sizeof(value));
    return value;
}

TEST(ResolveRestart, IssuesAnInterruptedCallAgain) {
    for (const long code : {-512L, -513L, -514L}) {
        const Registers r = resolve_restart(stopped_in_call(0, code));
        EXPECT_EQ(r.raw.rip, 0x400ffeu);
        EXPECT_EQ(r.raw.rax, 0u);
        EXPECT_EQ(r.raw.orig_rax, kNone);
    }
}

TEST(ResolveRestart, IssuesARememberedCallAgain) {
    const Registers poll = resolve_restart(stopped_in_call(7, -516));
    EXPECT_EQ(poll.raw.rip, 0x400ffeu);
    EXPECT_EQ(poll.raw.rax, 7u);
    EXPECT_EQ(poll.raw.orig_rax, kNone);
    Registers sleep = stopped_in_call(35, -516);
    sleep.raw.rdi = 1000;
    EXPECT_EQ(resolve_restart(sleep).raw.rdi, 1000u);
    sleep.raw.rsi = 2000;
    EXPECT_EQ(resolve_restart(sleep).raw.rdi, 2000u);
}

TEST(ResolveRestart, FindsTheNumberOfAContinuedCallInItsText) {
    const unsigned char text[] = {0xb8, 0x07, 0x00, 0x00, 0x00, 0x0f, 0x05};
    const Registers r = resolve_restart(stopped_in_call(219, -516), std::as_bytes(std::span(text)));
    EXPECT_EQ(r.raw.rip, 0x400ffeu);
    EXPECT_EQ(r.raw.rax, 7u);
}

TEST(ResolveRestart, MakesAContinuedCallThatNobodyKnowsReturnEintr) {
    const unsigned char text[] = {0x48, 0x89, 0xf8, 0x90, 0x90, 0x0f, 0x05};
    for (const auto before : {std::span<const unsigned char>(text), {}}) {
        const Registers r = resolve_restart(stopped_in_call(219, -516), std::as_bytes(before));
        EXPECT_EQ(r.raw.rip, 0x401000u);
        EXPECT_EQ(static_cast<long>(r.raw.rax), -EINTR);
        EXPECT_EQ(r.raw.orig_rax, kNone);
    }
}

TEST(ResolveRestart, LeavesAThreadInUserspaceAlone) {
    Registers r = stopped_in_call(-1, -512);  // -512 is an ordinary value there.
    EXPECT_EQ(resolve_restart(r), r);
    EXPECT_FALSE(in_restartable_call(r));
}

TEST(ResolveRestart, KeepsTheResultOfAFinishedCall) {
    const Registers r = resolve_restart(stopped_in_call(1, 42));
    EXPECT_EQ(r.raw.rip, 0x401000u);
    EXPECT_EQ(r.raw.rax, 42u);
}

TEST(LeaveSection, GoesToTheAbortAddressOnlyFromInside) {
    const RestartableSection section = {.start = 0x1000, .length = 0x10, .abort = 0x2000};
    Registers r;
    for (const auto& [ip, expected] :
         {std::pair{0xfffu, 0xfffu}, {0x1000u, 0x2000u}, {0x100fu, 0x2000u}, {0x1010u, 0x1010u}}) {
        r.raw.rip = ip;
        EXPECT_EQ(leave_section(r, section).raw.rip, expected);
    }
}

TEST(FindGadgets, FindsThemAcrossPiecesOfText) {
    const unsigned char first[] = {0x90, 0x58, 0xc3, 0x0f, 0x05, 0x48};
    const unsigned char second[] = {0xb8, 0x27, 0,    0, 0, 0x0f, 0x05, 0xc3, 0x48,
                                    0xc7, 0xc0, 0x0f, 0, 0, 0x00, 0x0f, 0x05};
    Gadgets found;
    find_gadgets(std::as_bytes(std::span(first)), 0x1000, found);
    EXPECT_EQ(found.call, 0u);
    EXPECT_EQ(found.pop_rax, 0x1001u);
    EXPECT_FALSE(found.complete());
    find_gadgets(std::as_bytes(std::span(second)), 0x2000, found);
    EXPECT_EQ(found.call, 0x2005u);
    EXPECT_EQ(found.sigreturn, 0x2008u);
    EXPECT_TRUE(found.complete());
}

TEST(BorrowStack, LeavesTheRedZoneAndAlignsTheXsaveArea) {
    Registers home;
    home.raw.rsp = 0x7ffc00001238;
    const Gadgets gadgets = {
        .call = 0x10, .sigreturn = 0x20, .pop_rax = 0, .store_rsi = 0, .store_rdx = 0};
    const auto stack = borrow_stack(home, made_up_xstate(2696, 0x207, 7), 0x55, gadgets);
    ASSERT_TRUE(stack);
    EXPECT_LE(stack->end(), home.raw.rsp - 128);
    EXPECT_EQ(at<std::uint64_t>(*stack, stack->stack_pointer), 0x20u);
    // sigcontext's fpstate pointer: behind return address, flags, link, stack_t and 23 words.
    const auto fpstate = at<std::uint64_t>(*stack, stack->stack_pointer + 8 + 40 + 23 * 8);
    EXPECT_EQ(fpstate % 64, 0u);
    EXPECT_EQ(at<std::uint32_t>(*stack, fpstate + 464), 0x46505853u);
    EXPECT_EQ(at<std::uint32_t>(*stack, fpstate + 468), 2700u);
    EXPECT_EQ(at<std::uint64_t>(*stack, fpstate + 472), 0x207u);
    EXPECT_EQ(at<std::uint32_t>(*stack, fpstate + 480), 2696u);
    EXPECT_EQ(at<std::uint32_t>(*stack, fpstate + 2696), 0x46505845u);
    EXPECT_EQ(at<std::uint64_t>(*stack, stack->stack_pointer + 8 + 40 + 256), 0x55u);
    EXPECT_LE(fpstate + 2700, stack->scratch);
}

TEST(BorrowStack, ReturnsThroughPopWhenTheTextHasNoSigreturn) {
    Registers home;
    home.raw.rsp = 0x7ffc00001000;
    const Gadgets gadgets = {
        .call = 0x10, .sigreturn = 0, .pop_rax = 0x30, .store_rsi = 0, .store_rdx = 0};
    const auto stack = borrow_stack(home, made_up_xstate(832, 7, 7), 0, gadgets);
    ASSERT_TRUE(stack);
    EXPECT_EQ(at<std::uint64_t>(*stack, stack->stack_pointer), 0x30u);
    EXPECT_EQ(at<std::uint64_t>(*stack, stack->stack_pointer + 8), 15u);
    EXPECT_EQ(at<std::uint64_t>(*stack, stack->stack_pointer + 16), 0x10u);
}

TEST(BorrowStack, CutsOffTilesThatTheTaskNeverUsed) {
    Registers home;
    home.raw.rsp = 0x7ffc00001000;
    const Gadgets gadgets = {
        .call = 0x10, .sigreturn = 0x20, .pop_rax = 0, .store_rsi = 0, .store_rdx = 0};
    const auto stack = borrow_stack(home, made_up_xstate(11008, 0x602e7, 7), 0, gadgets);
    ASSERT_TRUE(stack);
    const auto fpstate = at<std::uint64_t>(*stack, stack->stack_pointer + 8 + 40 + 23 * 8);
    EXPECT_EQ(at<std::uint64_t>(*stack, fpstate + 472), 0x2e7u);
    EXPECT_EQ(at<std::uint32_t>(*stack, fpstate + 480), 2752u);
}

TEST(BorrowStack, RefusesAnAreaThatIsTooShort) {
    const Gadgets gadgets = {
        .call = 0x10, .sigreturn = 0x20, .pop_rax = 0, .store_rsi = 0, .store_rdx = 0};
    XState x;
    x.area.resize(512);
    EXPECT_FALSE(borrow_stack(Registers{}, x, 0, gadgets));
}

TEST(ChainCalls, LeadsFromEachCallToTheNextAndHome) {
    Registers home;
    home.raw.rsp = 0x7ffc00010000;
    for (const std::uint64_t sigreturn : {0x20u, 0u}) {
        const Gadgets gadgets = {.call = 0x10,
                                 .sigreturn = sigreturn,
                                 .pop_rax = 0x30,
                                 .store_rsi = 0x40,
                                 .store_rdx = 0};
        const auto stack = borrow_stack(home, made_up_xstate(832, 7, 7), 0, gadgets);
        ASSERT_TRUE(stack);
        const Call calls[] = {{.number = 1}, {.number = 2, .result = 0x99}, {.number = 3}};
        const CallChain chain = chain_calls(home, *stack, gadgets, calls, ~0ull, 0x77);
        EXPECT_EQ(chain.end(), stack->stack_pointer);
        const auto word = [&](std::uint64_t address) {
            std::uint64_t value = 0;
            std::memcpy(&value, chain.bytes.data() + (address - chain.address), 8);
            return value;
        };
        // Plays the processor: rsp after each call's `ret`s up to rt_sigreturn.
        std::uint64_t rsp = chain.stack_pointer;
        for (const std::uint64_t number : {2u, 3u}) {
            if (word(rsp) == 0x40) rsp += 8;
            if (sigreturn == 0) {
                EXPECT_EQ(word(rsp), 0x30u);
                EXPECT_EQ(word(rsp + 8), 15u);
                rsp += 16;
            }
            EXPECT_EQ(word(rsp), sigreturn != 0 ? sigreturn : 0x10u);
            const std::uint64_t context = rsp + 8 + 40;
            EXPECT_EQ(word(context + 13 * 8), number);                   // ax
            EXPECT_EQ(word(context + 9 * 8), number == 2 ? 0x99u : 0u);  // si
            EXPECT_EQ(word(context + 16 * 8), 0x10u);                    // ip
            EXPECT_EQ(word(context + 256), number == 3 ? 0x77u : ~0ull);
            EXPECT_GT(word(context + 15 * 8), rsp);  // sp
            rsp = word(context + 15 * 8);
        }
        EXPECT_EQ(rsp, stack->stack_pointer);
    }
}

TEST(LoadCalls, LeadsFromEachCallToTheNextAndHome) {
    const Gadgets gadgets = {.call = 0x10,
                             .sigreturn = 0x20,
                             .pop_rax = 0x30,
                             .store_rsi = 0x40,
                             .store_rdx = 0,
                             .pop_rdi = 0x50,
                             .pop_rsi = 0x60};
    BorrowedStack stack;
    stack.stack_pointer = 0x7ffc00010000;
    const Call calls[] = {{.number = 1, .arguments = {5}, .result = 0x88},
                          {.number = 2, .arguments = {6, 7}},
                          {.number = 3, .arguments = {8}, .result = 0x99}};
    const auto chain = load_calls(stack, gadgets, calls);
    ASSERT_TRUE(chain);
    EXPECT_EQ(chain->end(), stack.stack_pointer);
    EXPECT_EQ(chain->stack_pointer, chain->address);
    std::vector<std::uint64_t> words(chain->bytes.size() / 8);
    std::memcpy(words.data(), chain->bytes.data(), chain->bytes.size());
    const std::vector<std::uint64_t> expected = {0x40, 0x30, 2,    0x50, 6,    0x60, 7,    0x10,
                                                 0x30, 3,    0x50, 8,    0x60, 0x99, 0x10, 0x40};
    EXPECT_EQ(words, expected);
}

TEST(LoadCalls, RefusesWhatItCannotLoad) {
    Gadgets gadgets = {.call = 0x10,
                       .sigreturn = 0x20,
                       .pop_rax = 0x30,
                       .store_rsi = 0x40,
                       .store_rdx = 0,
                       .pop_rdi = 0x50,
                       .pop_rsi = 0x60};
    BorrowedStack stack;
    stack.stack_pointer = 0x7ffc00010000;
    const Call three[] = {{.number = 1, .arguments = {1, 2, 3}}};
    EXPECT_FALSE(load_calls(stack, gadgets, three));
    const Call result[] = {{.number = 1, .arguments = {1, 2}, .result = 0x99}};
    EXPECT_FALSE(load_calls(stack, gadgets, result));
    const Call two[] = {{.number = 1, .arguments = {1, 2}}};
    EXPECT_TRUE(load_calls(stack, gadgets, two));
    gadgets.pop_rsi = 0;
    EXPECT_FALSE(load_calls(stack, gadgets, two));
}

TEST(CallRegisters, KeepSegmentsAndBasesOfTheThread) {
    Registers home;
    home.raw.fs_base = 0x1234;
    home.raw.rsp = 0x7ffc00001000;
    const Gadgets gadgets = {
        .call = 0x10, .sigreturn = 0x20, .pop_rax = 0, .store_rsi = 0, .store_rdx = 0};
    const auto stack = borrow_stack(home, made_up_xstate(832, 7, 7), 0, gadgets);
    const Registers r = call_registers(home, stack->stack_pointer, gadgets,
                                       {.number = 39, .arguments = {1, 2, 3, 4, 5, 6}});
    EXPECT_EQ(r.raw.fs_base, 0x1234u);
    EXPECT_EQ(r.raw.rip, 0x10u);
    EXPECT_EQ(r.raw.orig_rax, kNone);
    EXPECT_EQ(r.raw.r10, 4u);
}

}  // namespace
}  // namespace ferry::arch

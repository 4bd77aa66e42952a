#include "image/xstate_codec.h"

#include <fmt/format.h>

#include <cstring>
#include <span>
#include <type_traits>

#include "arch/xstate.h"
#include "base/limits.h"

namespace ferry::image {

namespace {

using arch::XComponent;
using arch::XStateLayout;

// Offsets in the legacy region (Intel SDM volume 1, table 10-2).
constexpr std::size_t kFcw = 0, kFsw = 2, kFtw = 4, kFop = 6, kFip = 8, kFdp = 16, kMxcsr = 24,
                      kMxcsrMask = 28, kSt = 32, kXmm = 160;
constexpr std::size_t kStWords = 32, kXmmWords = 64;
// x87 and SSE: always there.
constexpr std::uint64_t kLegacyFeatures = 3;
constexpr std::uint32_t kInitialControlWord = 0x37f, kInitialMxcsr = 0x1f80;

template <class T>
T load(std::span<const std::byte> area, std::size_t offset) {
    T value;
    std::memcpy(&value, area.data() + offset, sizeof(value));
    return value;
}

template <class T>
void store(std::span<std::byte> area, std::size_t offset, T value) {
    std::memcpy(area.data() + offset, &value, sizeof(value));
}

template <class Field>
void load_words(std::span<const std::byte> area, std::size_t offset, std::size_t count,
                Field& into) {
    using Word = typename Field::value_type;
    into.Resize(static_cast<int>(count), 0);
    std::memcpy(into.mutable_data(), area.data() + offset, count * sizeof(Word));
}

template <class Field>
Result<> store_words(std::span<std::byte> area, std::size_t offset, std::size_t count,
                     const Field& from, const char* name) {
    using Word = typename Field::value_type;
    if (static_cast<std::size_t>(from.size()) != count) {
        return fail(
            Error::corrupt(fmt::format("{} has {} words, not {}", name, from.size(), count)));
    }
    std::memcpy(area.data() + offset, from.data(), count * sizeof(Word));
    return {};
}

// Leaves the field empty where this CPU, or this area, does not have the component.
template <class Field>
void load_component(const XStateLayout& layout, std::span<const std::byte> area,
                    XComponent component, Field& into) {
    const XStateLayout::Place* place = layout.find(component);
    if (place == nullptr || place->offset + place->size > area.size()) return;
    load_words(area, place->offset, place->size / sizeof(typename Field::value_type), into);
}

// A component that this CPU lacks is skipped: the caller has checked that it is not in use, and
// CRIU writes such parts as zeros.
template <class Field>
Result<> store_component(const XStateLayout& layout, std::span<std::byte> area,
                         XComponent component, const Field& from, const char* name) {
    const XStateLayout::Place* place = layout.find(component);
    if (place == nullptr || from.empty()) return {};
    return store_words(area, place->offset, place->size / sizeof(typename Field::value_type), from,
                       name);
}

constexpr std::uint64_t bit(XComponent component) {
    return std::uint64_t{1} << static_cast<unsigned>(component);
}

constexpr std::uint64_t kCarried = kLegacyFeatures | bit(XComponent::Avx) |
                                   bit(XComponent::Opmask) | bit(XComponent::ZmmUpper) |
                                   bit(XComponent::Hi16Zmm) | bit(XComponent::ProtectionKeys);

std::vector<std::byte> initial_area(const XStateLayout& layout) {
    std::vector<std::byte> area(layout.bytes);
    store(area, kFcw, static_cast<std::uint16_t>(kInitialControlWord));
    store(area, kMxcsr, kInitialMxcsr);
    store(area, arch::kXsaveFeaturesOffset, layout.features);
    return area;
}

}  // namespace

Result<> xstate_to_wire(const arch::XState& state, wire::X86FpRegisters& into) {
    const XStateLayout& layout = XStateLayout::of_this_cpu();
    std::vector<std::byte> initial;
    std::span<const std::byte> area = state.area;
    if (area.empty()) {
        initial = initial_area(layout);
        area = initial;
    }
    if (area.size() < arch::kXsaveLegacyBytes + arch::kXsaveHeaderBytes ||
        area.size() > limits::kXsaveBytesMax) {
        return fail(Error::invalid(fmt::format("an XSAVE area of {} bytes", area.size())));
    }
    into.set_cwd(load<std::uint16_t>(area, kFcw));
    into.set_swd(load<std::uint16_t>(area, kFsw));
    into.set_twd(load<std::uint16_t>(area, kFtw));
    into.set_fop(load<std::uint16_t>(area, kFop));
    into.set_rip(load<std::uint64_t>(area, kFip));
    into.set_rdp(load<std::uint64_t>(area, kFdp));
    into.set_mxcsr(load<std::uint32_t>(area, kMxcsr));
    into.set_mxcsr_mask(load<std::uint32_t>(area, kMxcsrMask));
    load_words(area, kSt, kStWords, *into.mutable_st_space());
    load_words(area, kXmm, kXmmWords, *into.mutable_xmm_space());

    wire::X86Xsave& xsave = *into.mutable_xsave();
    const auto in_use = load<std::uint64_t>(area, arch::kXstateBvOffset);
    if ((in_use & ~kCarried) != 0) {
        return fail(Error::unsupported(
            fmt::format("CPU state of components {:#x} (AMX, shadow stack)", in_use & ~kCarried)));
    }
    xsave.set_xstate_bv(in_use);
    load_component(layout, area, XComponent::Avx, *xsave.mutable_ymmh_space());
    load_component(layout, area, XComponent::Opmask, *xsave.mutable_opmask_reg());
    load_component(layout, area, XComponent::ZmmUpper, *xsave.mutable_zmm_upper());
    load_component(layout, area, XComponent::Hi16Zmm, *xsave.mutable_hi16_zmm());
    load_component(layout, area, XComponent::ProtectionKeys, *xsave.mutable_pkru());
    return {};
}

Result<arch::XState> xstate_from_wire(const wire::X86FpRegisters& from) {
    const XStateLayout& layout = XStateLayout::of_this_cpu();
    arch::XState state = {.area = initial_area(layout)};
    const std::span<std::byte> area = state.area;
    store(area, kFcw, static_cast<std::uint16_t>(from.cwd()));
    store(area, kFsw, static_cast<std::uint16_t>(from.swd()));
    store(area, kFtw, static_cast<std::uint16_t>(from.twd()));
    store(area, kFop, static_cast<std::uint16_t>(from.fop()));
    store(area, kFip, from.rip());
    store(area, kFdp, from.rdp());
    store(area, kMxcsr, from.mxcsr());
    store(area, kMxcsrMask, from.mxcsr_mask());
    TRY(store_words(area, kSt, kStWords, from.st_space(), "x87"));
    TRY(store_words(area, kXmm, kXmmWords, from.xmm_space(), "SSE"));
    if (!from.has_xsave()) {
        store(area, arch::kXstateBvOffset, kLegacyFeatures);
        return state;
    }
    const wire::X86Xsave& xsave = from.xsave();
    const std::uint64_t in_use = xsave.xstate_bv();
    if ((in_use & ~(kCarried & layout.features)) != 0) {
        return fail(Error::unsupported(fmt::format(
            "CPU state that this machine's CPU does not have: components {:#x} of {:#x}",
            in_use & ~layout.features, in_use)));
    }
    store(area, arch::kXstateBvOffset, in_use);
    TRY(store_component(layout, area, XComponent::Avx, xsave.ymmh_space(), "AVX"));
    TRY(store_component(layout, area, XComponent::Opmask, xsave.opmask_reg(), "opmask"));
    TRY(store_component(layout, area, XComponent::ZmmUpper, xsave.zmm_upper(), "ZMM upper"));
    TRY(store_component(layout, area, XComponent::Hi16Zmm, xsave.hi16_zmm(), "high ZMM"));
    TRY(store_component(layout, area, XComponent::ProtectionKeys, xsave.pkru(), "PKRU"));
    return state;
}

}  // namespace ferry::image

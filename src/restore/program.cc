#include "restore/program.h"

#include <fmt/format.h>

#include <algorithm>

namespace ferry::restore {

Op Program::call(const char* name, long number, std::initializer_list<Argument> arguments,
                 Expectation expectation) {
    CHECK(arguments.size() <= abi::kArguments);
    abi::Op op = {};
    op.kind = abi::OpKind::Call;
    op.expect = expectation.kind;
    op.expected = expectation.value;
    op.number = static_cast<std::uint32_t>(number);
    std::ranges::fill(op.sources, abi::kLiteral);
    std::size_t i = 0;
    for (const Argument& argument : arguments) {
        const bool is_result = argument.source_ < abi::kLoad32;
        if (is_result) CHECK(argument.source_ < ops_.size());
        op.args[i] = argument.literal_;
        op.sources[i] = argument.source_;
        ++i;
    }
    ops_.push_back(op);
    names_.push_back(name);
    return Op{static_cast<std::uint32_t>(ops_.size() - 1)};
}

Op Program::spawn(Data clone_arguments, std::uint64_t size, RemoteAddr slot, Argument socket,
                  Expectation expectation) {
    const Op op = call("clone3", 0, {clone_arguments, size, slot, socket}, expectation);
    ops_[op.index].kind = abi::OpKind::Spawn;
    return op;
}

Data Program::add(std::span<const std::byte> bytes) {
    const Data data{data_.size()};
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    data_.resize((data_.size() + 7) & ~std::size_t{7});
    return data;
}

Data Program::add_text(std::string_view text) {
    const Data data{data_.size()};
    const auto bytes = std::as_bytes(std::span(text.data(), text.size()));
    data_.insert(data_.end(), bytes.begin(), bytes.end());
    data_.resize((data_.size() + 8) & ~std::size_t{7});
    return data;
}

void Program::point(Data at, std::uint64_t offset, Data target) {
    CHECK(at.offset + offset + sizeof(std::uint64_t) <= data_.size());
    pointers_.push_back({.at = at.offset + offset, .target = target.offset});
}

void Program::clear() {
    ops_.clear();
    names_.clear();
    data_.clear();
    pointers_.clear();
}

void Program::load(std::span<std::byte> area, RemoteAddr address) const {
    CHECK(bytes() <= area.size());
    auto* out = area.data();
    for (abi::Op op : ops_) {
        for (std::size_t i = 0; i < abi::kArguments; ++i) {
            if (op.sources[i] == abi::kData || op.sources[i] == abi::kLoad32) {
                op.args[i] += ops_bytes();
            }
        }
        std::memcpy(out, &op, sizeof(op));
        out += sizeof(op);
    }
    if (!data_.empty()) std::memcpy(out, data_.data(), data_.size());
    for (const Pointer& pointer : pointers_) {
        const std::uint64_t target = address.value + ops_bytes() + pointer.target;
        std::memcpy(out + pointer.at, &target, sizeof(target));
    }
}

void Program::collect(std::span<const std::byte> area) {
    CHECK(bytes() <= area.size());
    for (std::size_t i = 0; i < ops_.size(); ++i) {
        abi::Op op;
        std::memcpy(&op, area.data() + i * sizeof(op), sizeof(op));
        ops_[i].result = op.result;
    }
    if (!data_.empty()) std::memcpy(data_.data(), area.data() + ops_bytes(), data_.size());
}

std::string Program::describe(std::size_t index) const {
    const abi::Op& op = ops_.at(index);
    std::string text = names_.at(index);
    text += '(';
    // Trailing zero arguments are most often none at all.
    std::size_t count = abi::kArguments;
    while (count > 0 && op.args[count - 1] == 0 && op.sources[count - 1] == abi::kLiteral) --count;
    for (std::size_t i = 0; i < count; ++i) {
        if (i > 0) text += ", ";
        const std::uint64_t literal = op.args[i];
        switch (op.sources[i]) {
            case abi::kLiteral:
                text += literal < 4096 ? fmt::format("{}", literal) : fmt::format("{:#x}", literal);
                break;
            case abi::kData:
                text += fmt::format("data+{}", literal);
                break;
            case abi::kLoad32:
                text += fmt::format("load+{}", literal);
                break;
            default:
                text += fmt::format("result of {}", op.sources[i]);
                break;
        }
    }
    return text + ')';
}

}  // namespace ferry::restore

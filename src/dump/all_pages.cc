#include "dump/all_pages.h"

#include <fmt/format.h>

#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "dump/parent_images.h"
#include "dump/shared_dump.h"
#include "image/page_files.h"
#include "os/fd.h"

namespace ferry::dump {
namespace {

// The pages of a process or of a shared memory, and where they go.
struct PageJob {
    std::function<Result<>(const ParentPages* parent, image::PagemapWriter&)> dump;
    std::optional<ParentPages> parent;
    image::PagemapWriter writer;
    std::uint64_t* written;  // grows by the pages written
    std::uint64_t* in_parent;
    Result<> done = {};
};

// Takes jobs until none is left or somebody has failed.
void dump_jobs(std::span<PageJob> jobs, std::atomic<std::size_t>& next) {
    for (std::size_t i = next++; i < jobs.size(); i = next++) {
        PageJob& job = jobs[i];
        job.done = job.dump(job.parent ? &*job.parent : nullptr, job.writer);
        if (!job.done) next = jobs.size();
    }
}

class Jobs {
  public:
    static Result<Jobs> open(image::DirectoryStore& store, const std::string& parent,
                             Stillness stillness) {
        Jobs jobs(store, stillness);
        if (parent.empty()) return jobs;
        jobs.parent_.emplace(TRY(ParentImages::open(store, parent)));
        TRY(image::link_parent(store, parent));
        return jobs;
    }

    Result<> add(const model::Process& process, Pid inside, PageFigures& figures) {
        std::vector<AddrRange>& guards = figures.guards[process.pid];
        const auto dump = [this, &process, &guards](const ParentPages* parent,
                                                    image::PagemapWriter& into) {
            Result<> dumped = dump_pages(process, stillness_, parent, into, guards);
            return with_context(unless_gone(std::move(dumped), into),
                                fmt::format("pages of process {}", process.pid));
        };
        return add(image::PagemapId::process(inside), dump, figures.process_pages,
                   figures.process_pages_in_parent);
    }
    Result<> add(const model::SharedMemory& memory, PageFigures& figures) {
        const auto dump = [this, &memory](const ParentPages* parent, image::PagemapWriter& into) {
            return with_context(unless_gone(dump_shared_memory(memory, parent, into), into),
                                fmt::format("shared memory {:#x}", memory.id));
        };
        return add(image::PagemapId::shared(memory.label), dump, figures.shared_pages,
                   figures.shared_pages_in_parent);
    }

    Result<> run() {
        std::atomic<std::size_t> next{0};
        {
            std::optional<std::jthread> helper;
            if (jobs_.size() > 1) helper.emplace([&] { dump_jobs(jobs_, next); });
            dump_jobs(jobs_, next);
        }
        for (PageJob& job : jobs_) {
            TRY(std::move(job.done));
            *job.written += job.writer.pages_written();
            *job.in_parent += job.writer.pages_in_parent();
            TRY(std::move(job.writer).finish(*store_));
        }
        return {};
    }

  private:
    Jobs(image::DirectoryStore& store, Stillness stillness)
        : store_(&store), stillness_(stillness) {}

    Result<> add(image::PagemapId id, decltype(PageJob::dump) dump, std::uint64_t& written,
                 std::uint64_t& in_parent) {
        std::optional<ParentPages> parent;
        if (parent_) parent = TRY(parent_->find(id));
        const auto number = static_cast<std::uint32_t>(jobs_.size() + 1);
        jobs_.push_back({.dump = std::move(dump),
                         .parent = std::move(parent),
                         .writer = TRY(image::PagemapWriter::create(*store_, id, number)),
                         .written = &written,
                         .in_parent = &in_parent});
        return {};
    }
    // What has ended while it ran has no pages.
    Result<> unless_gone(Result<> done, const image::PagemapWriter& into) const {
        const bool is_missed =
            stillness_ == Stillness::Runs && !done && done.error().kind() == Error::Kind::Gone;
        return is_missed ? os::ftruncate(into.pages_fd(), 0) : done;
    }

    image::DirectoryStore* store_;
    Stillness stillness_;
    std::optional<ParentImages> parent_;
    std::vector<PageJob> jobs_;
};

}  // namespace

Result<PageFigures> write_all_pages(const SourceTree& tree, const model::Checkpoint& checkpoint,
                                    Stillness stillness, const std::string& parent,
                                    image::DirectoryStore& store) {
    PageFigures figures;
    Jobs jobs = TRY(Jobs::open(store, parent, stillness));
    for (const model::Process& process : checkpoint.processes) {
        if (process.is_zombie) continue;
        const auto inside = tree.number_from_inside(process.pid);
        if (!inside && stillness == Stillness::Runs && inside.error().kind() == Error::Kind::Gone) {
            continue;
        }
        TRY(jobs.add(process, TRY(inside), figures));
    }
    const std::vector<model::SharedMemory> shared = checkpoint.shared_memory();
    for (const model::SharedMemory& memory : shared) TRY(jobs.add(memory, figures));
    TRY(jobs.run());
    return figures;
}

}  // namespace ferry::dump

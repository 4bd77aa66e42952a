// Ids, groups and capabilities of a service that gave up being root, and that it cannot get them
// back.
#include <grp.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <cerrno>
#include <cstring>

#include "victim.h"

namespace {

__user_cap_data_struct g_capabilities[2];

void read_capabilities(__user_cap_data_struct* into) {
    __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    syscall(SYS_capget, &header, into);
}

}  // namespace

int main() {
    victim::arm();
    const gid_t groups[] = {7, 4242};
    setgroups(2, groups);
    prctl(PR_CAPBSET_DROP, CAP_SYS_BOOT);
    prctl(PR_SET_KEEPCAPS, 1);
    setresgid(1001, 1002, 1003);
    setresuid(1004, 1005, 1006);
    __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
    __user_cap_data_struct wanted[2] = {};
    wanted[0].permitted = wanted[0].effective = wanted[0].inheritable = 1u << CAP_NET_BIND_SERVICE;
    if (syscall(SYS_capset, &header, wanted) != 0) victim::fail("capset: %s", std::strerror(errno));
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_DUMPABLE, 1);
    read_capabilities(g_capabilities);
    victim::wait_for_end();
    uid_t uids[3] = {};
    gid_t gids[3] = {};
    getresuid(&uids[0], &uids[1], &uids[2]);
    getresgid(&gids[0], &gids[1], &gids[2]);
    if (uids[0] != 1004 || uids[1] != 1005 || uids[2] != 1006) victim::fail("uids");
    if (gids[0] != 1001 || gids[1] != 1002 || gids[2] != 1003) victim::fail("gids");
    gid_t now[8] = {};
    if (getgroups(8, now) != 2 || now[0] != 7 || now[1] != 4242) victim::fail("groups");
    __user_cap_data_struct capabilities[2];
    read_capabilities(capabilities);
    if (std::memcmp(capabilities, g_capabilities, sizeof(capabilities)) != 0) {
        victim::fail("capabilities %#x", capabilities[0].permitted);
    }
    if (prctl(PR_CAPBSET_READ, CAP_SYS_BOOT) != 0) victim::fail("the bounding set");
    if (prctl(PR_CAPBSET_READ, CAP_KILL) != 1) victim::fail("the bounding set shrank");
    if (prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) != 1) victim::fail("no_new_privs");
    if (prctl(PR_GET_DUMPABLE) != 1) victim::fail("dumpable is %d", prctl(PR_GET_DUMPABLE));
    if (prctl(PR_GET_KEEPCAPS) != 1) victim::fail("securebits");
    if (setuid(0) == 0) victim::fail("root again");
    victim::pass();
}

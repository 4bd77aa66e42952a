"""Two platforms and a client of namespaces on this machine, for tools/try-software: each platform with
its own network, mounts, pids, control groups and ferryd. When the first process of the outermost pid
namespace ends, everything in it ends."""
import contextlib
import json
import os
import pathlib
import re
import resource
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
BINARIES = pathlib.Path(os.environ.get("FERRY_BIN", ROOT / "build" / "bin"))
RUNC_ROOT = "/run/ferry/runc"
KEYS = "/run/lab/keys"
GROUPS = "/sys/fs/cgroup"
INSIDE = "FERRY_SOFTWARE_INSIDE"
# Docker's default set: what servers that are started as root expect.
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
                "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
                "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]


def enter(argv):
    """Goes on as the child of the first process of new namespaces."""
    if INSIDE in os.environ:
        subprocess.run("mount -t tmpfs -o mode=755 tmpfs /run; mkdir -p /run/lab /run/ferry; ip link set lo up;"
                       "ip link add br0 type bridge stp_state 0 forward_delay 0; ip link set br0 up",
                       shell=True, check=True)
        return
    environment = dict(os.environ, **{INSIDE: "1"})
    os.execvpe("unshare", ["unshare", "--pid", "--net", "--mount", "--fork", "--kill-child", "--mount-proc",
                           "--", sys.executable, *argv], environment)


class Host:
    def __init__(self, name, address):
        self.name, self.address = name, address
        self.group = f"soft-{os.getpid()}-{time.time_ns()}-{name}"
        self.group_paths = []
        for line in pathlib.Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, own = line.split(":", 2)
            if controllers in ("cpuset", "freezer"):
                continue
            directory = "unified" if not controllers else controllers.replace("name=", "")
            path = pathlib.Path(GROUPS) / directory / own.strip("/") / self.group
            if path.parent.is_dir():
                path.mkdir()
                self.group_paths.append(path)
        self.init = subprocess.Popen(
            ["unshare", "--pid", "--net", "--mount", "--uts", "--fork", "--kill-child", "--mount-proc", "--",
             sys.executable, "-c", "import signal\nwhile True: signal.pause()"
             if name == "client" else REAPER], stderr=subprocess.DEVNULL)
        self.pid = child_of(self.init.pid)
        script = f"""
            hostname {name}; mount --make-rprivate /
            mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts; mount --bind /dev/pts/ptmx /dev/ptmx
            mount -t tmpfs -o mode=700 tmpfs /run/ferry; mount -t sysfs sysfs /sys
            mount -t tmpfs -o mode=755 tmpfs {GROUPS}"""
        for line in pathlib.Path("/proc/mounts").read_text().splitlines():
            _, target, kind, options, *_ = line.split()
            if kind.startswith("cgroup") and target.startswith(GROUPS + "/"):
                wanted = ",".join(o for o in options.split(",") if o not in ("rw", "relatime", "nosuid", "nodev", "noexec"))
                script += f"\nmkdir {target}; mount -t {kind} {'-o ' + wanted if wanted else ''} {kind} {target}"
        subprocess.run(f"ip link add {name} type veth peer name eth0 netns {self.pid} && "
                       f"ip link set {name} master br0 up", shell=True, check=True)
        device = "eth0"
        if name != "client":
            device = "lan"
            script += "\nip link add lan type bridge stp_state 0 forward_delay 0; ip link set lan up; ip link set eth0 master lan"
        script += f"\nip link set lo up; ip link set eth0 up; ip addr add {address}/16 dev {device}"
        self.run(["sh", "-ec", script], check=True)

    def command(self, arguments):
        return ["nsenter", f"--target={self.pid}", "--pid", "--net", "--mount", "--uts", "--wd=/", "--", *arguments]

    def _join(self):
        for path in self.group_paths:
            (path / "cgroup.procs").write_text("0")

    def start(self, arguments, **options):
        return subprocess.Popen(self.command(arguments), preexec_fn=self._join, start_new_session=True,
                                stdin=subprocess.DEVNULL, **options)

    def run(self, arguments, timeout=120, check=False):
        done = subprocess.run(self.command(arguments), preexec_fn=self._join, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=timeout, check=False)
        if check and done.returncode != 0:
            raise RuntimeError(f"{self.name}: {arguments}: {done.stdout}{done.stderr}")
        return done

    def path(self, path):
        return pathlib.Path(f"/proc/{self.pid}/root{path}")

    def end(self):
        subprocess.run(["ip", "link", "del", self.name], check=True)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        # What entered it has become our child, and is waited for by its end.
        while self.init.poll() is None:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(-1, os.WNOHANG)
            time.sleep(0.01)
        for path in self.group_paths:
            for inner in sorted(path.rglob("*"), reverse=True):
                if inner.is_dir():
                    with contextlib.suppress(OSError):
                        inner.rmdir()
            with contextlib.suppress(OSError):
                path.rmdir()


REAPER = ("import os, signal\n"
          "signal.signal(signal.SIGCHLD, lambda *a: None)\n"
          "while True:\n"
          "    try:\n"
          "        os.wait()\n"
          "    except ChildProcessError:\n"
          "        signal.sigtimedwait([signal.SIGCHLD], 0.2)\n")


def child_of(pid):
    for _ in range(500):
        text = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if text and b"python" in pathlib.Path(f"/proc/{text[0]}/cmdline").read_bytes():
            return int(text[0])
        time.sleep(0.01)
    raise RuntimeError("no child")


class Hosts:
    def __init__(self):
        self.platforms = [Host("platform1", "10.77.0.11"), Host("platform2", "10.77.0.12")]
        self.client = Host("client", "10.77.1.2")
        first = self.platforms[0]
        if not pathlib.Path(KEYS).exists():
            first.run([BINARIES / "ferry", "pki", "init", "--dir", KEYS], check=True)
            for host in self.platforms:
                first.run([BINARIES / "ferry", "pki", "issue", host.name, "--also", host.address, "--dir", KEYS],
                          check=True)
        # So that pids do not meet.
        self.platforms[1].run(["sh", "-c", "echo 20000 > /proc/sys/kernel/ns_last_pid"])
        for host in self.platforms:
            log = open(host.path("/run/ferry/ferryd.log"), "w")
            host.start([BINARIES / "ferryd", "--name", host.name, "--listen", host.address, "--pki-dir", KEYS,
                        "--state-dir", "/run/ferry/state", "--runtime-root", RUNC_ROOT],
                       stdout=log, stderr=log)
        for host in self.platforms:
            for _ in range(200):
                if host.run([BINARIES / "ferry", "status"]).returncode == 0:
                    break
                time.sleep(0.05)

    def end(self):
        for host in [self.client, *self.platforms]:
            host.end()


@contextlib.contextmanager
def hosts():
    made = Hosts()
    try:
        yield made
    finally:
        made.end()


SCRIPT = "export D={data} IP={address} HOME={data} LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin; cd $D\n"


class Service:
    """A program that runs at one of the platforms; `root()` is its first process as that platform sees it."""

    def __init__(self, platforms, directory, program):
        self.hosts, self.directory, self.program = platforms, directory, program
        self.at = 0

    def host(self):
        return self.hosts.platforms[self.at]

    def write_script(self, inside):
        self.data.mkdir(parents=True, exist_ok=True)
        self.data.chmod(0o755)
        for name, text in self.program.files.items():
            (self.data / name).write_text(text)
        (self.data / "start.sh").write_text(SCRIPT.format(data=inside, address=self.address) + self.program.script)

    def migrate(self, source, target, options):
        done = self.hosts.platforms[source].run(
            [BINARIES / "ferry", "migrate", str(self.name()), "--to", self.hosts.platforms[target].address, *options],
            timeout=180)
        if done.returncode == 0:
            self.at = target
        return done


class Plain(Service):
    address = "10.77.1.100"

    def __init__(self, platforms, directory, program):
        super().__init__(platforms, directory, program)
        self.data = directory
        self.pid = None

    def start(self):
        self.write_script(self.data)
        self.host().run(["sh", "-ec", "ip link add srv0 link lan address 02:fe:77:00:01:64 type macvlan mode bridge;"
                         f"ip link set srv0 up; ip addr add {self.address}/16 dev srv0"], check=True)
        # The shell in between ends, so that the program is init's child.
        self.host().run(["sh", "-c", f"setsid sh {self.data}/start.sh < /dev/null > {self.data}/stdout.out 2>&1 & "
                         f"echo $! > {self.data}/pid"], check=True)
        self.pid = int((self.data / "pid").read_text())

    def name(self):
        if self.program.pidfile:
            return int((self.data / self.program.pidfile).read_text())
        return self.pid

    def root(self):
        return self.name()

    def stop(self):
        pid = self.name()
        self.host().run(["kill", f"-{self.program.stop_signal}", str(pid)], check=True)
        for _ in range(600):
            if not self.host().path(f"/proc/{pid}").exists():
                return
            time.sleep(0.05)
        raise RuntimeError("does not end")

    def kill(self):
        pass


class Container(Service):
    address = "10.77.1.100"

    def __init__(self, platforms, directory, program):
        super().__init__(platforms, directory, program)
        self.rootfs = directory / "rootfs"
        self.data = self.rootfs / "data"

    def name(self):
        return "soft"

    def start(self):
        make = "set -e; cd {0}; mkdir -p usr proc dev sys tmp run var/lib var/log var/cache var/tmp root; chmod 1777 tmp var/tmp;" \
               "ln -s ../run var/run; for i in bin lib lib64 sbin; do ln -s usr/$i $i; done; cp -a /etc etc; " \
               "find /var/lib /var/log /var/cache /var/spool -maxdepth 1 -type d | while read d; do " \
               "mkdir -p .$d; chown --reference $d .$d; chmod --reference $d .$d; done"
        self.rootfs.mkdir(exist_ok=True)
        subprocess.run(["sh", "-c", make.format(self.rootfs)], check=True)
        (self.rootfs / "etc/hosts").write_text("127.0.0.1 localhost\n10.77.1.100 soft\n")
        (self.rootfs / "etc/resolv.conf").write_text("")
        self.write_script("/data")
        host = self.host()
        host.run(["runc", "spec", "--bundle", str(self.directory)], check=True)
        path = self.directory / "config.json"
        config = json.loads(path.read_text())
        process = config["process"]
        process["terminal"] = False
        process["args"] = [*self.program.init, "sh", "-c", "exec sh /data/start.sh > /data/stdout.out 2>&1"]
        process["cwd"] = "/data"
        for kind in ("bounding", "effective", "permitted"):
            process["capabilities"][kind] = CAPABILITIES + self.program.capabilities
        files = min(65536, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
        process["rlimits"] = [{"type": "RLIMIT_NOFILE", "hard": files, "soft": files}]
        config["root"]["readonly"] = False
        config["hostname"] = "soft"
        config["linux"]["cgroupsPath"] = "soft"
        config["mounts"].append({"destination": "/usr", "type": "bind", "source": "/usr", "options": ["bind", "ro"]})
        config["mounts"] += self.program.mounts
        path.write_text(json.dumps(config, indent=2))
        done = host.run(["sh", "-c", f"runc --root {RUNC_ROOT} create --bundle {self.directory} soft"
                         f" < /dev/null > {self.directory}/runc.log 2>&1"])
        if done.returncode != 0:
            raise RuntimeError((self.directory / "runc.log").read_text())
        pid = self.root()
        host.run(["sh", "-ec", f"ip link add v-soft type veth peer name eth0 netns {pid};"
                  "ip link set v-soft master lan up; nsenter --net=/proc/%d/ns/net sh -ec '"
                  "ip link set lo up; ip link set eth0 address 02:fe:77:00:01:64; ip link set eth0 up;"
                  "ip addr add %s/16 dev eth0'" % (pid, self.address)], check=True)
        host.run(["runc", "--root", RUNC_ROOT, "start", "soft"], check=True)

    def state(self):
        done = self.host().run(["runc", "--root", RUNC_ROOT, "state", "soft"])
        return json.loads(done.stdout) if done.returncode == 0 else {"status": "absent", "pid": 0}

    def root(self):
        return self.state()["pid"]

    def stop(self):
        self.host().run(["runc", "--root", RUNC_ROOT, "kill", "soft", self.program.stop_signal], check=True)
        for _ in range(600):
            if self.state()["status"] != "running":
                return
            time.sleep(0.05)
        raise RuntimeError("does not end")

    def kill(self):
        for host in self.hosts.platforms:
            host.run(["runc", "--root", RUNC_ROOT, "delete", "--force", "soft"])


# --- what a tree looks like in /proc, with what is told apart only by chance left out ---

def tree(host, root):
    """The pids of a tree in order of their creation, as the host sees them."""
    found, queue = [], [root]
    while queue:
        pid = queue.pop(0)
        found.append(pid)
        base = host.path(f"/proc/{pid}/task")
        with contextlib.suppress(OSError):
            for task in sorted(base.iterdir(), key=lambda p: int(p.name)):
                queue += [int(c) for c in (task / "children").read_text().split()]
    return found


def text(path):
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def link(path):
    try:
        return re.sub(r"\[\d+\]", "[]", os.readlink(path))
    except OSError:
        return "?"


STATUS = re.compile(r"^(Umask|Uid|Gid|Groups|Cap\w+|Sig\w+|Shd\w+|NoNewPrivs|Seccomp\w*|Threads|FDSize):[ \t]*(.*)$", re.MULTILINE)


def snapshot(host, root):
    """{what: value} of every process: names, states, descriptors, mappings, limits."""
    seen = {}
    for number, pid in enumerate(tree(host, root)):
        base = host.path(f"/proc/{pid}")
        who = f"{number} {text(base / 'comm').strip()}"
        seen[f"{who} cmdline"] = text(base / "cmdline").replace("\0", " ").strip()[:80]
        for key, value in STATUS.findall(text(base / "status")):
            if key not in ("SigQ", "SigPnd", "FDSize"):
                seen[f"{who} {key}"] = value
        for name in ("limits", "oom_score_adj", "timerslack_ns", "loginuid", "personality"):
            if name != "loginuid":
                seen[f"{who} {name}"] = text(base / name)
        for name in ("cwd", "root", "exe"):
            seen[f"{who} {name}"] = link(base / name)
        with contextlib.suppress(OSError):
            for fd in (base / "fd").iterdir():
                info = text(base / "fdinfo" / fd.name)
                flags = re.search(r"flags:\s*(\d+)", info)
                watched = len(re.findall(r"^(tfd|inotify wd)", info, re.MULTILINE))
                seen[f"{who} fd {fd.name}"] = f"{link(fd)} {flags.group(1) if flags else ''} {watched or ''}".strip()
        with contextlib.suppress(OSError):
            for task_number, task in enumerate(sorted((base / "task").iterdir(), key=lambda p: int(p.name))):
                blocked = re.search(r"SigBlk:\s*(\w+)", text(task / "status"))
                seen[f"{who} thread {task_number}"] = f"{text(task / 'comm').strip()} {blocked and blocked.group(1)}"
        seen.update(mappings(who, base))
    return seen


def mappings(who, base):
    seen = {}
    for line in text(base / "smaps").splitlines():
        words = line.split()
        if re.match(r"^[0-9a-f]+-[0-9a-f]+ ", line):
            place = f"{who} map {words[0]}"
            name = re.sub(r"\d+", "#", words[5]) if len(words) > 5 and words[4] == "0" else " ".join(words[5:])
            seen[place] = f"{words[1]} {name}"
        elif words and words[0] == "VmFlags:":
            # mr, mw, me, ms may change by mprotect; sd is soft-dirty, um/uw a userfaultfd.
            seen[place] += " " + " ".join(w for w in words[1:] if w not in ("sd",))
    return seen


def cpu_ticks(host, root):
    ticks = {}
    for pid in tree(host, root):
        fields = text(host.path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
        if len(fields) > 13:
            ticks[pid] = int(fields[11]) + int(fields[12])
    return ticks

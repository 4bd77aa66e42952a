"""The programs that tools/try-software takes across: how each is started, and what its clients do.

As a program (software.py NAME ADDRESS COUNTS) it is the clients: each keeps one connection, asks over it
all the time, knows what the answer must be, and ends the whole with a line when it is another."""
import dataclasses
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
from typing import Callable

NOTHING = re.compile(r"(?!)")
PROGRAMS = {}


@dataclasses.dataclass
class Program:
    name: str
    script: str                       # of the shell; $D is its directory, $IP its address
    client: Callable = None           # (number, address) -> a function that asks once
    files: dict = dataclasses.field(default_factory=dict)
    clients: int = 4
    init: tuple = ()                  # in front of the shell, in a container
    kinds: tuple = ("container", "plain")
    pidfile: str = ""                 # where a program that goes into the background says its pid (plain)
    stop_signal: str = "TERM"
    harmless: re.Pattern = NOTHING    # lines with words of ERRORS that say nothing bad
    strict: bool = True
    capabilities: list = dataclasses.field(default_factory=list)
    mounts: list = dataclasses.field(default_factory=list)
    options: tuple = ()               # of ferry migrate
    patience: float = 60              # seconds until it serves
    settle: float = 1
    think: float = 0.005              # between two requests of a client


def program(name, script, **options):
    def add(client):
        PROGRAMS[name] = Program(name, script, client, **options)
        return client
    return add


def connect(address, port, timeout=60):
    stream = socket.create_connection((address, port), timeout=timeout)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream, stream.makefile("rb")


def expect(got, wanted):
    if got != wanted:
        raise AssertionError(f"got {got!r} instead of {wanted!r}")


def http(address, port, path="/", body=None, method=None):
    """Asks over one connection; gives the answer's text."""
    import http.client
    connection = http.client.HTTPConnection(address, port, timeout=60)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    local = connection.sock.getsockname()

    def ask(path=path, body=body):
        connection.request(method or ("POST" if body else "GET"), path, body)
        answer = connection.getresponse()
        text = answer.read()
        if connection.sock is None or connection.sock.getsockname() != local:
            raise AssertionError(f"the connection was closed: {answer.status} {answer.getheaders()}")
        if answer.status not in (200, 204):
            raise AssertionError(f"{answer.status}: {text[:200]!r}")
        return text
    return ask


# --- databases and caches ---

@program("postgresql", """
    mkdir -p db run; chown -R postgres . ; B=/usr/lib/postgresql/15/bin
    setpriv --reuid postgres --regid postgres --clear-groups $B/initdb -D db -A trust > /dev/null
    echo "host all all 0.0.0.0/0 trust" >> db/pg_hba.conf
    exec setpriv --reuid postgres --regid postgres --clear-groups $B/postgres -D db -h $IP -k $D/run \
        -c log_min_messages=info -c autovacuum_naptime=1s -c checkpoint_timeout=30s""",
         stop_signal="INT", harmless=re.compile("FATAL:  the database system is (starting|shutting)|aborting any active|already exists|^STATEMENT"))
def postgresql(number, address):
    import psycopg2
    session = psycopg2.connect(host=address, user="postgres", dbname="postgres")
    session.autocommit = True
    cursor = session.cursor()
    cursor.execute(f"CREATE TABLE t{number}(n bigint PRIMARY KEY, text text)")
    cursor.execute(f"PREPARE add AS INSERT INTO t{number} VALUES ($1, repeat('x', 300))")
    cursor.execute("CREATE TEMP TABLE own(n bigint); LISTEN news")
    done = 0

    def ask():
        nonlocal done
        done += 1
        cursor.execute("EXECUTE add(%s)", (done,))
        cursor.execute(f"SELECT count(*), max(n), pg_sleep(0.001) FROM t{number}")
        expect(cursor.fetchone()[:2], (done, done))
    return ask


@program("memcached", "exec memcached -u nobody -l $IP -m 64 -t 4 -v 2> log.out")
def memcached(number, address):
    stream, lines = connect(address, 11211)
    done = 0

    def ask():
        nonlocal done
        done += 1
        value = b"%d" % done * 50
        stream.sendall(b"set k%d 0 0 %d\r\n%s\r\nget k%d\r\n" % (number, len(value), value, number))
        expect(lines.readline(), b"STORED\r\n")
        expect(lines.readline(), b"VALUE k%d 0 %d\r\n" % (number, len(value)))
        expect(lines.readline(), value + b"\r\n")
        expect(lines.readline(), b"END\r\n")
    return ask


@program("redis", "exec redis-server --bind $IP --protected-mode no --dir $D --appendonly yes --save '5 1' --logfile $D/redis.log "
         "--io-threads 3")
def redis(number, address):
    stream, lines = connect(address, 6379)
    done = 0

    def ask():
        nonlocal done
        done += 1
        stream.sendall(b"INCR n%d\r\n" % number)
        expect(lines.readline(), b":%d\r\n" % done)
    return ask


MARIADB = """
    mkdir -p db; chown -R mysql .
    mariadb-install-db --no-defaults --datadir=$D/db --user=mysql --skip-test-db --auth-root-authentication-method=normal > install.txt 2>&1
    exec mariadbd --no-defaults --datadir=$D/db --user=mysql --bind-address=$IP --socket=$D/sock --skip-grant-tables %s"""


@program("mariadb", MARIADB % "--innodb-use-native-aio=0", harmless=re.compile("error.log|log-error|errmsg|Aborted connection"))
def mariadb(number, address):
    import pymysql
    session = pymysql.connect(host=address, user="root", autocommit=True)
    cursor = session.cursor()
    cursor.execute("SET SESSION wait_timeout = 600")
    cursor.execute(f"CREATE TABLE mysql.t{number}(n bigint PRIMARY KEY, t varchar(300))")
    cursor.execute(f"PREPARE put FROM 'INSERT INTO mysql.t{number} VALUES (?, repeat(\"x\", 200))'")
    done = 0

    def ask():
        nonlocal done
        done += 1
        cursor.execute(f"SET @n = {done}")
        cursor.execute("EXECUTE put USING @n")
        cursor.execute(f"SELECT count(*), max(n) FROM mysql.t{number}")
        expect(cursor.fetchone(), (done, done))
    return ask


@program("slapd", """
    mkdir -p db run; cat > slapd.conf <<END
include /etc/ldap/schema/core.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile $D/run/pid
database mdb
maxsize 67108864
suffix dc=x
rootdn cn=admin,dc=x
rootpw secret
directory $D/db
END
    printf 'dn: dc=x\\nobjectClass: dcObject\\nobjectClass: organization\\no: x\\ndc: x\\n' | slapadd -f slapd.conf
    chown -R openldap .; exec slapd -u openldap -g openldap -h ldap://$IP -f slapd.conf -d 256 2> log.out""",
         harmless=re.compile("err=0|err=68|nentries"))
def slapd(number, address):
    stream, _ = connect(address, 389)
    reader = stream.makefile("rb")

    def message(body):
        stream.sendall(bytes([0x30, len(body)]) + body)
        head = reader.read(2)
        length = head[1]
        if length & 0x80:
            length = int.from_bytes(reader.read(length & 0x7f), "big")
        return reader.read(length)

    def string(tag, text):
        return bytes([tag, len(text)]) + text
    bind = b"\x02\x01\x03" + string(4, b"cn=admin,dc=x") + string(0x80, b"secret")
    answer = message(b"\x02\x01\x01" + bytes([0x60, len(bind)]) + bind)
    expect(b"\x0a\x01\x00" in answer, True)
    done = 0

    def ask():
        nonlocal done
        done += 1
        # Add organizationalUnit ou=N, then compare it.
        name = b"u%d-%d" % (number, done)
        dn = string(4, b"ou=" + name + b",dc=x")

        def attribute(kind, value):
            values = string(4, value)
            return string(0x30, string(4, kind) + bytes([0x31, len(values)]) + values)
        attributes = attribute(b"objectClass", b"organizationalUnit") + attribute(b"ou", name)
        add = dn + string(0x30, attributes)
        expect(b"\x0a\x01\x00" in message(b"\x02\x01\x02" + string(0x68, add)), True)
        compare = dn + string(0x30, string(4, b"ou") + string(4, name))
        expect(b"\x0a\x01\x06" in message(b"\x02\x01\x03" + string(0x6e, compare)), True)
    return ask


@program("influxdb", """
    cat > conf <<END
reporting-disabled = true
[meta]
dir = "$D/meta"
[data]
dir = "$D/data"
wal-dir = "$D/wal"
[http]
bind-address = "$IP:8086"
log-enabled = false
END
    exec influxd -config conf 2> log.out""", harmless=re.compile("error-level|error_handl|lvl=info"))
def influxdb(number, address):
    if number == 0:
        http(address, 8086, "/query?q=CREATE+DATABASE+d", "x")()
    else:
        time.sleep(1)
    ask_http = http(address, 8086)
    done = 0

    def ask():
        nonlocal done
        done += 1
        ask_http("/write?db=d&consistency=all", f"m{number} v={done} {done}")
        text = ask_http(f"/query?db=d&q=SELECT+count(v)+FROM+m{number}", None)
        expect(f",{done}]" in text.decode(), True)
    return ask


@program("prometheus", """
    printf 'global:\\n  scrape_interval: 1s\\nscrape_configs:\\n- job_name: self\\n  static_configs:\\n  - targets: ["'$IP':9090"]\\n' > prometheus.yml
    exec prometheus --config.file=prometheus.yml --web.listen-address=$IP:9090 --storage.tsdb.path=$D/tsdb --log.level=info 2> log.out""")
def prometheus(number, address):
    ask_http = http(address, 9090, "/api/v1/query?query=up")

    def ask():
        expect(b'"success"' in ask_http(), True)
    return ask


@program("beanstalkd", "exec beanstalkd -l $IP -b $D", init=("tini", "--"))
def beanstalkd(number, address):
    stream, lines = connect(address, 11300)
    stream.sendall(b"use t%d\r\nwatch t%d\r\n" % (number, number))
    lines.readline(), lines.readline()

    def ask():
        stream.sendall(b"put 0 0 60 3\r\nabc\r\nreserve\r\n")
        number = lines.readline().split()[-1]
        expect(lines.readline(), b"RESERVED " + number + b" 3\r\n")
        expect(lines.readline(), b"abc\r\n")
        stream.sendall(b"delete " + number + b"\r\n")
        expect(lines.readline(), b"DELETED\r\n")
    return ask


# --- web servers and proxies ---

APACHE = """
    mkdir -p www run; dd if=/dev/zero bs=1000 count=10 2>/dev/null | tr '\\0' x > www/index.html
    cat > conf <<END
ServerRoot $D
ServerName soft
Listen $IP:80
PidFile $D/run/pid
Mutex %s
User www-data
Group www-data
LoadModule mpm_%s_module /usr/lib/apache2/modules/mod_mpm_%s.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule dir_module /usr/lib/apache2/modules/mod_dir.so
LoadModule alias_module /usr/lib/apache2/modules/mod_alias.so
LoadModule cgid_module /usr/lib/apache2/modules/mod_cgid.so
LoadModule status_module /usr/lib/apache2/modules/mod_status.so
ScriptSock $D/run/cgisock
ScriptAlias /cgi /data/cgi
DocumentRoot $D/www
ErrorLog $D/error.log
CustomLog "|/bin/cat >> $D/access.txt" "%%r %%>s"
KeepAlive On
MaxKeepAliveRequests 0
KeepAliveTimeout 60
END
    exec apache2 -f $D/conf -DFOREGROUND"""
NO_APACHE_ERRORS = re.compile("error.log|AH00094|AH00292|AH00169|AH00491|AH00489|AH00163")


def page(number, address, port=80, wanted=b"x" * 10000):
    ask_http = http(address, port)

    def ask():
        expect(ask_http(), wanted)
    return ask


@program("apache-event", APACHE % ("default", "event", "event"), harmless=NO_APACHE_ERRORS)
def apache_event(number, address):
    return page(number, address)


@program("apache-prefork", APACHE % ("sysvsem", "prefork", "prefork"), harmless=NO_APACHE_ERRORS)
def apache_prefork(number, address):
    return page(number, address)


@program("nginx", """
    mkdir www; dd if=/dev/zero bs=1000 count=10 2>/dev/null | tr '\\0' x > www/index.html
    cat > conf <<END
daemon off; pid $D/pid; error_log $D/error.log info; worker_processes 2; user www-data;
events { worker_connections 1000; }
http { access_log $D/access.txt; keepalive_requests 100000000; server { listen $IP:80 reuseport; root $D/www; } }
END
    exec nginx -c $D/conf""", stop_signal="QUIT")
def nginx(number, address):
    return page(number, address)


BACKEND = """
import http.server
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "10000")
        self.send_header("Cache-Control", "max-age=1")
        self.end_headers()
        self.wfile.write(b"x" * 10000)
    def log_message(self, *a): pass
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), H).serve_forever()
"""


@program("haproxy", """
    cat > conf <<END
global
    nbthread 3
    tune.bufsize 32768
    stats socket $D/sock level admin expose-fd listeners
    user haproxy
    log stdout format raw local0
defaults
    mode http
    log global
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend f
    bind $IP:80
    default_backend b
backend b
    server s 127.0.0.1:8000 check inter 500
frontend itself
    bind 127.0.0.1:8000
    http-request return status 200 content-type text/plain string $(head -c 10000 /dev/zero | tr '\\0' x)
END
    exec haproxy -W -f $D/conf > log.out 2>&1""", harmless=re.compile("exit"))
def haproxy(number, address):
    return page(number, address)


@program("varnish", """
    python3 backend.py & printf 'vcl 4.1; backend b { .host = "127.0.0.1"; .port = "8000"; .probe = { .url = "/"; .interval = 1s; } }' > v.vcl
    sleep 1; export TMPDIR=/tmp; exec varnishd -F -n $D/n -a $IP:80 -f $D/v.vcl -s malloc,32m -T none -p thread_pools=1 -p timeout_idle=60 -j none > log.out 2>&1""",
         files={"backend.py": BACKEND}, patience=60, harmless=re.compile("got SIGTERM"))
def varnish(number, address):
    return page(number, address)


# --- brokers ---

@program("mosquitto", "printf 'listener 1883 '$IP'\\nallow_anonymous true\\npersistence true\\npersistence_location '$D'/\\nuser nobody\\n' > conf; "
         "chown nobody .; exec mosquitto -c conf -v 2> log.out")
def mosquitto(number, address):
    stream, reader = connect(address, 1883)
    name = b"c%d" % number
    variable = b"\0\4MQTT\4\2\0\x0a" + len(name).to_bytes(2, "big") + name
    stream.sendall(bytes([0x10, len(variable)]) + variable)
    expect(reader.read(4), b"\x20\2\0\0")
    topic = b"t%d" % number
    subscribe = b"\0\1" + len(topic).to_bytes(2, "big") + topic + b"\1"
    stream.sendall(bytes([0x82, len(subscribe)]) + subscribe)
    expect(reader.read(5), b"\x90\3\0\1\1")
    done = 0

    def ask():
        nonlocal done
        done = done % 60000 + 1
        publish = len(topic).to_bytes(2, "big") + topic + done.to_bytes(2, "big") + b"%d" % done
        stream.sendall(bytes([0x32, len(publish)]) + publish)
        acknowledged = received = None
        while not (acknowledged and received):
            kind, length = reader.read(2)
            body = reader.read(length)
            if kind == 0x40:
                acknowledged = body
            elif kind & 0xf6 == 0x32:
                received = body[2 + len(topic) + 2:]
                stream.sendall(b"\x40\2" + body[2 + len(topic):][:2])
        expect((acknowledged, received), (done.to_bytes(2, "big"), b"%d" % done))
    return ask


@program("rabbitmq", """
    mkdir -p db; grep -q ' soft$' /etc/hosts || true
    export RABBITMQ_MNESIA_BASE=$D/db RABBITMQ_LOG_BASE=$D RABBITMQ_NODE_IP_ADDRESS=$IP RABBITMQ_NODENAME=soft@localhost \
        RABBITMQ_LOGS=- HOME=$D ERL_EPMD_ADDRESS=127.0.0.1 RABBITMQ_PID_FILE=$D/pid RABBITMQ_CONFIG_FILE=$D/rabbitmq RABBITMQ_ENABLED_PLUGINS_FILE=$D/plugins
    echo 'loopback_users = none' > rabbitmq.conf; echo '[].' > plugins
    chown -R rabbitmq .; exec setpriv --reuid rabbitmq --regid rabbitmq --clear-groups /usr/lib/rabbitmq/bin/rabbitmq-server""",
         patience=120, harmless=re.compile("error_logger|\\[info\\]|Error handler|error_handl|shutdown|\\{\\w+,|supervisor: "))
def rabbitmq(number, address):
    import pika
    session = pika.BlockingConnection(pika.ConnectionParameters(address, heartbeat=5))
    channel = session.channel()
    channel.confirm_delivery()
    channel.queue_declare(f"q{number}", durable=True)
    done = 0

    def ask():
        nonlocal done
        done += 1
        channel.basic_publish("", f"q{number}", str(done).encode(), pika.BasicProperties(delivery_mode=2))
        method, _, body = channel.basic_get(f"q{number}", auto_ack=True)
        expect((method is not None, body), (True, str(done).encode()))
    return ask


@program("nats", "exec nats-server -a $IP -l $D/nats.log")
def nats(number, address):
    stream, lines = connect(address, 4222)
    expect(lines.readline()[:4], b"INFO")
    stream.sendall(b'CONNECT {"verbose":false}\r\nSUB t%d 1\r\n' % number)

    def line():
        while True:
            text = lines.readline()
            if text != b"PING\r\n":
                return text
            stream.sendall(b"PONG\r\n")

    def ask():
        stream.sendall(b"PUB t%d 3\r\nabc\r\n" % number)
        expect(line(), b"MSG t%d 1 3\r\n" % number)
        expect(lines.readline(), b"abc\r\n")
    return ask


# --- runtimes ---

def counter(number, address, port=8000):
    """A line "NUMBER" is answered by "NUMBER sum", whatever the runtime."""
    stream, lines = connect(address, port)
    done = 0

    def ask():
        nonlocal done
        done += 1
        stream.sendall(b"%d\n" % done)
        expect(lines.readline(), b"%d\n" % (done * 2))
    return ask


JAVA = """
import java.io.*; import java.net.*; import java.util.*; import java.util.concurrent.*; import java.util.concurrent.atomic.*;
public class S {
  static AtomicLong ticks = new AtomicLong();
  static volatile Object[] keep = new Object[20000];
  public static void main(String[] a) throws Exception {
    ScheduledExecutorService timer = Executors.newScheduledThreadPool(2);
    timer.scheduleAtFixedRate(() -> ticks.incrementAndGet(), 10, 10, TimeUnit.MILLISECONDS);
    for (int t = 0; t < 2; t++) new Thread(() -> { Random r = new Random();
      while (true) { for (int i = 0; i < 2000; i++) keep[r.nextInt(keep.length)] = new byte[r.nextInt(2000)];
        try { Thread.sleep(5); } catch (InterruptedException e) {} } }).start();
    Process child = new ProcessBuilder("cat").start();
    ServerSocket s = new ServerSocket(8000, 50, InetAddress.getByName(a[0]));
    while (true) { Socket c = s.accept(); c.setTcpNoDelay(true); new Thread(() -> { try {
      BufferedReader in = new BufferedReader(new InputStreamReader(c.getInputStream()));
      OutputStream out = c.getOutputStream();
      long before = ticks.get(), at = System.nanoTime();
      for (String line; (line = in.readLine()) != null;) {
        synchronized (child) { child.getOutputStream().write((line + "\\n").getBytes()); child.getOutputStream().flush();
          StringBuilder b = new StringBuilder(); int ch; while ((ch = child.getInputStream().read()) != '\\n') b.append((char) ch); line = b.toString(); }
        if (System.nanoTime() - at > 5000000000L) { if (ticks.get() - before < 100) line = "-1"; before = ticks.get(); at = System.nanoTime(); }
        try { Object o = null; if (line.endsWith("7")) o.hashCode(); } catch (NullPointerException e) {}
        out.write((Long.parseLong(line) * 2 + "\\n").getBytes()); } } catch (Exception e) { e.printStackTrace(); } }).start(); }
  } }
"""
for collector in ("G1", "Z", "Parallel", "Shenandoah"):
    PROGRAMS[f"java-{collector}"] = Program(
        f"java-{collector}", f"exec java -XX:+Use{collector}GC -Xmx256m -Xlog:safepoint:file=safepoint.txt S.java $IP 2> log.out",
        counter, files={"S.java": JAVA}, harmless=re.compile("Picked up"), settle=3)

NODE = """
const { Worker, isMainThread, parentPort } = require('worker_threads');
if (!isMainThread) { parentPort.on('message', m => parentPort.postMessage([m[0], m[1] * 2])); return; }
const net = require('net'), fs = require('fs'), child = require('child_process'), crypto = require('crypto');
const workers = [0, 1].map(() => new Worker(__filename)); const waiting = new Map(); let id = 0, ticks = 0;
for (const w of workers) w.on('message', m => { waiting.get(m[0])(m[1]); waiting.delete(m[0]); });
const cat = child.spawn('cat'); const lines = [];
let rest = ''; cat.stdout.on('data', d => { rest += d; let at; while ((at = rest.indexOf('\\n')) >= 0) { lines.shift()(rest.slice(0, at)); rest = rest.slice(at + 1); } });
fs.watch(process.cwd(), () => {});
setInterval(() => { ticks++; if (ticks % 20 == 0) { child.exec('true', e => { if (e) console.error('error ' + e); }); fs.writeFileSync('touched', String(ticks)); } }, 10);
setInterval(() => { crypto.randomBytes(16, () => {}); fs.readFile(__filename, () => {}); global.junk = Array.from({ length: 20000 }, (_, i) => ({ i })); }, 20);
net.createServer(c => { c.setNoDelay(); let rest = ''; c.on('data', d => { rest += d; let at; while ((at = rest.indexOf('\\n')) >= 0) { const n = rest.slice(0, at); rest = rest.slice(at + 1);
  cat.stdin.write(n + '\\n'); lines.push(n => { const i = id++; waiting.set(i, r => c.write(r + '\\n')); workers[i % 2].postMessage([i, Number(n)]); }); } }); c.on('error', e => console.error('error ' + e)); }).listen(8000, process.argv[2]);
"""
PROGRAMS["node"] = Program("node", "exec node S.js $IP 2> log.out", counter, files={"S.js": NODE}, init=("tini", "--"))

PYTHON = """
import asyncio, multiprocessing, os, sys, concurrent.futures, threading, time
def double(n): return n * 2
def worker(inbox, outbox):
    for n in iter(inbox.get, None): outbox.put(n * 2)
async def main():
    loop = asyncio.get_running_loop()
    pool = concurrent.futures.ProcessPoolExecutor(2)
    inbox, outbox = multiprocessing.Queue(), multiprocessing.Queue()
    multiprocessing.Process(target=worker, args=(inbox, outbox), daemon=True).start()
    lock = asyncio.Lock()
    cat = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
    shared = multiprocessing.Value("i", 0); event = multiprocessing.Event()
    async def spawn():
        while True:
            p = await asyncio.create_subprocess_exec("sh", "-c", "exit 3")
            if await p.wait() != 3: print("error: status", flush=True)
            await asyncio.sleep(0.1)
    async def serve(r, w):
        while line := await r.readline():
            async with lock:
                cat.stdin.write(line); line = await cat.stdout.readline()
                inbox.put(int(line)); n = await loop.run_in_executor(None, outbox.get)
            n2 = await loop.run_in_executor(pool, double, int(line))
            if n != n2: print("error", n, n2, flush=True)
            with shared.get_lock(): shared.value += 1
            w.write(b"%d\\n" % n)
    asyncio.create_task(spawn())
    async with await asyncio.start_server(serve, sys.argv[1], 8000) as s: await s.serve_forever()
if __name__ == "__main__":
    if len(sys.argv) > 2: asyncio.set_child_watcher(asyncio.PidfdChildWatcher())
    if len(sys.argv) > 2: asyncio.get_child_watcher().attach_loop(None)
    asyncio.run(main())
"""
PROGRAMS["python"] = Program("python", "exec python3 S.py $IP > log.out 2>&1", counter, files={"S.py": PYTHON}, init=("tini", "--"),
                             harmless=re.compile("Connection reset|ConnectionReset|never retrieved"))
# Its child watcher holds pidfds.
PROGRAMS["python-pidfd"] = Program("python-pidfd", "exec python3 S.py $IP pidfd > log.out 2>&1", counter, files={"S.py": PYTHON})

GO = """package main
import ("bufio"; "fmt"; "io"; "net"; "os"; "os/exec"; "os/signal"; "runtime"; "strconv"; "strings"; "sync"; "sync/atomic"; "syscall"; "time")
var ticks int64
func main() {
  term := make(chan os.Signal, 1); signal.Notify(term, syscall.SIGTERM)
  go func() { for range time.Tick(10 * time.Millisecond) { atomic.AddInt64(&ticks, 1) } }()
  for i := 0; i < 2; i++ { go func() { keep := make([][]byte, 10000); for n := 0; ; n++ { keep[n%10000] = make([]byte, n%3000); if n%2000 == 0 { time.Sleep(5 * time.Millisecond) }; if n%100000 == 0 { runtime.GC() } } }() }
  go func() { for { if err := exec.Command("true").Run(); err != nil { fmt.Println("error", err) }; time.Sleep(100 * time.Millisecond) } }()
  cat := exec.Command("cat"); in, _ := cat.StdinPipe(); out, _ := cat.StdoutPipe(); cat.Start(); lines := bufio.NewReader(out); var lock sync.Mutex
  l, err := net.Listen("tcp", os.Args[1]+":8000"); if err != nil { panic(err) }
  go func() { for { c, _ := l.Accept(); go func() { r := bufio.NewReader(c); for { s, err := r.ReadString('\\n'); if err != nil { if err != io.EOF { fmt.Println("error", err) }; return }
    lock.Lock(); io.WriteString(in, s); s, _ = lines.ReadString('\\n'); lock.Unlock(); n, _ := strconv.Atoi(strings.TrimSpace(s)); fmt.Fprintf(c, "%d\\n", n*2) } }() } }()
  <-term
}
"""
PROGRAMS["go"] = Program("go", "export GOCACHE=$D/cache GOPATH=$D GOFLAGS=-mod=mod; go build -o S.bin S.go && exec ./S.bin $IP > log.out 2>&1", counter,
                         files={"S.go": GO}, patience=180, harmless=re.compile("reset by peer"))

PUMA = """
run ->(env) { n = env["QUERY_STRING"].to_i; [200, { "content-type" => "text/plain" }, [(n * 2).to_s]] }
"""


@program("puma", "mkdir -p tmp; exec puma -w 2 -t 2:4 -b tcp://$IP:8000 config.ru > log.out 2>&1", files={"config.ru": PUMA}, clients=3,
         harmless=re.compile("shutdown"))
def puma(number, address):
    ask_http = None
    done = 0

    def ask():
        nonlocal done, ask_http
        # Puma closes a connection after a number of requests when others wait (max_fast_inline).
        ask_http = ask_http or http(address, 8000)
        done += 1
        expect(ask_http(f"/?{done}"), str(done * 2).encode())
    return ask


ERLANG = """-module(s). -export([start/1]).
start([A]) -> {ok, I} = inet:parse_address(atom_to_list(A)), P = open_port({spawn, "cat"}, [{line, 1000}, binary]), register(port_owner, self()),
  {ok, L} = gen_tcp:listen(8000, [{ip, I}, {packet, line}, {active, false}, {nodelay, true}, binary, {reuseaddr, true}]),
  timer:apply_interval(10, erlang, garbage_collect, []), Me = self(), spawn(fun() -> accept(L, Me) end), loop(P).
loop(P) -> receive {ask, From, Line} -> port_command(P, Line), receive {P, {data, {eol, X}}} -> From ! {answer, X} end, loop(P) end.
accept(L, M) -> {ok, S} = gen_tcp:accept(L), gen_tcp:controlling_process(S, spawn(fun() -> serve(S, M) end)), accept(L, M).
serve(S, M) -> case gen_tcp:recv(S, 0) of {ok, Line} -> M ! {ask, self(), Line}, receive {answer, X} -> gen_tcp:send(S, [integer_to_list(binary_to_integer(X) * 2), 10]), serve(S, M) end; _ -> ok end.
"""
PROGRAMS["erlang"] = Program("erlang", "erlc s.erl && exec erl -noinput -s s start $IP > log.out 2>&1", counter, files={"s.erl": ERLANG}, patience=90)


# --- names, mail, logins, supervision ---

def name_query_tcp(address):
    stream, reader = connect(address, 53)
    query = b"\0\7\1\0\0\1\0\0\0\0\0\0" + b"\4soft\4test\0\0\1\0\1"

    def ask():
        stream.sendall(len(query).to_bytes(2, "big") + query)
        answer = reader.read(int.from_bytes(reader.read(2), "big"))
        expect(bytes([192, 0, 2, 7]) in answer, True)
    return ask


def name_client(number, address):
    if number % 2:
        return name_query_tcp(address)
    stream = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    stream.connect((address, 53))
    stream.settimeout(1)
    done = 0

    def ask():
        nonlocal done
        done = (done + 1) & 0xffff
        answer = b""
        for _ in range(10):  # a datagram may be lost; resolvers repeat theirs
            stream.send(done.to_bytes(2, "big") + b"\1\0\0\1\0\0\0\0\0\0" + b"\4soft\4test\0\0\1\0\1")
            try:
                while (answer := stream.recv(2000))[:2] != done.to_bytes(2, "big"):
                    pass
                break
            except (socket.timeout, ConnectionRefusedError):
                continue
        expect(bytes([192, 0, 2, 7]) in answer, True)
    return ask


PROGRAMS["bind9"] = Program("bind9", """
    cat > conf <<END
options { directory "$D"; listen-on { $IP; }; listen-on-v6 { none; }; recursion no; pid-file none; session-keyfile "$D/k"; tcp-idle-timeout 600; tcp-keepalive-timeout 600; };
zone "test" { type master; file "$D/zone"; };
END
    printf '$TTL 60\\n@ SOA a b 1 1 1 1 1\\n NS soft\\nsoft A 192.0.2.7\\n' > zone; chown -R bind .; exec named -u bind -c $D/conf -n 2 -g 2> log.out""", name_client,
                            harmless=re.compile("errno2result|managed-keys|crypto|empty zone|tls"))
PROGRAMS["unbound"] = Program("unbound", """
    cat > conf <<END
server:
  interface: $IP
  access-control: 0.0.0.0/0 allow
  num-threads: 3
  use-syslog: no
  logfile: "$D/unbound.log"
  chroot: ""
  do-daemonize: no
  username: unbound
  directory: "$D"
  pidfile: ""
  tcp-idle-timeout: 60000
  local-zone: "test." static
  local-data: "soft.test. A 192.0.2.7"
remote-control:
  control-enable: no
END
    chown unbound .; exec unbound -d -c conf""", name_client)


@program("dovecot", """
    mkdir -p run mail; printf 'u:{PLAIN}p:65534:65534::'$D'/mail\\n' > users; chown 65534:65534 mail; cat > conf <<END
base_dir = $D/run
state_dir = $D/run
log_path = $D/dovecot.log
protocols = imap
listen = $IP
ssl = no
disable_plaintext_auth = no
auth_mechanisms = plain
mail_location = maildir:~/Maildir
passdb {
  driver = passwd-file
  args = $D/users
}
userdb {
  driver = passwd-file
  args = $D/users
}
END
    exec dovecot -F -c $D/conf""", harmless=re.compile("Warning"))
def dovecot(number, address):
    stream, lines = connect(address, 143)
    lines.readline()
    done = 0

    def command(text, literal=b""):
        nonlocal done
        done += 1
        tag = b"a%d" % done
        stream.sendall(tag + b" " + text + b"\r\n")
        said = []
        while True:
            line = lines.readline()
            if line.startswith(b"+"):
                stream.sendall(literal + b"\r\n")
                continue
            said.append(line)
            if not line or line.startswith(tag):
                break
        if not said[-1].startswith(tag + b" OK"):
            raise AssertionError(said)
        return said
    command(b"LOGIN u p")
    command(b"CREATE box%d" % number)
    command(b"SELECT box%d" % number)
    count = 0

    def ask():
        nonlocal count
        if count < 200:
            count += 1
            command(b"APPEND box%d {20}" % number, b"Subject: x\r\n\r\nhello\r\n"[:20])
        said = command(b"STATUS INBOX (MESSAGES)")
        said = command(b"NOOP")
        command(b"FETCH 1:* FLAGS")
    return ask


@program("postfix", """
    mkdir -p conf spool lib; cp /etc/postfix/postfix-files conf/ 2>/dev/null; cat > conf/main.cf <<END
compatibility_level = 3.6
queue_directory = $D/spool
data_directory = $D/lib
inet_interfaces = $IP
inet_protocols = ipv4
mynetworks = 0.0.0.0/0
myhostname = soft.test
mydestination = soft.test
local_recipient_maps =
alias_maps =
default_transport = discard
local_transport = discard
maillog_file = $D/mail.log
maillog_file_prefixes = $D
smtpd_junk_command_limit = 100000000
END
    sed 's/^\\(smtp  *inet  *n  *-  *\\)y/\\1n/' /usr/share/postfix/master.cf.dist > conf/master.cf
    echo 'postlog   unix-dgram n  -       n       -       1       postlogd' >> conf/master.cf
    chown postfix lib; postfix -c $D/conf set-permissions > perm.txt 2>&1; exec postfix -c $D/conf start-fg""", kinds=("container",), clients=2)
def postfix(number, address):
    stream, lines = connect(address, 25)

    def command(text, wanted):
        if text:
            stream.sendall(text + b"\r\n")
        line = lines.readline()
        while line[3:4] == b"-":
            line = lines.readline()
        if not line.startswith(wanted):
            raise AssertionError(line)
    command(b"", b"220")
    command(b"EHLO x", b"250")
    done = 0

    def ask():
        nonlocal done
        done += 1
        if done % 20:
            return command(b"RSET", b"250")
        command(b"MAIL FROM:<a@x.test>", b"250")
        command(b"RCPT TO:<b@y.test>", b"250")
        command(b"DATA", b"354")
        return command(b"Subject: x\r\n\r\nhello\r\n.", b"250")
    return ask


SHELL = "while read n; do echo $((n * 2)); done"


def dialogue(process):
    """Numbers are doubled by what `process` leads to."""
    done = 0

    def ask():
        nonlocal done
        done += 1
        process.stdin.write(b"%d\n" % done)
        process.stdin.flush()
        while True:
            line = process.stdout.readline()
            if line == b"":
                raise AssertionError(f"the session has ended: {process.poll()}")
            if line.strip() == b"%d" % (done * 2):
                return
            # Its terminal repeats what it is sent; its shell has something to say first.
            if line.strip().isdigit() and line.strip() != b"%d" % done:
                raise AssertionError(line)
    return ask


@program("sshd", """
    mkdir -p /run/sshd; [ -e host ] || ssh-keygen -q -t ed25519 -N '' -f host; chown root . ; cat > conf <<END
ListenAddress $IP
Port 2222
HostKey $D/host
PidFile none
AuthorizedKeysFile $D/keys
UsePAM no
StrictModes no
PermitRootLogin yes
ClientAliveInterval 2
LogLevel VERBOSE
END
    cp ssh-key.pub keys; exec /usr/sbin/sshd -D -e -f $D/conf 2> log.out""", think=0.02, clients=3,
         harmless=re.compile("disconnect|logout\\(\\) returned"))
def sshd(number, address):
    terminal = ["-tt"] if number % 2 else ["-T"]
    process = subprocess.Popen(["ssh", "-F", "none", "-q", *terminal, "-p", "2222", "-i", "/run/lab/ssh-key", "-o", "StrictHostKeyChecking=no",
                                "-o", "UserKnownHostsFile=/dev/null", "-o", "ServerAliveInterval=2", f"root@{address}", SHELL],
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    return dialogue(process)


SUPERVISED = """
import socket, os, sys
s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); s.bind((sys.argv[1], 8000)); s.listen(50)
while True:
    c, _ = s.accept()
    if os.fork() == 0:
        f = c.makefile("rwb", buffering=0)
        for line in f:
            f.write(b"%d\\n" % (int(line) * 2))
            print("served", line, flush=True)
        os._exit(0)
    c.close()
"""
PROGRAMS["supervisord"] = Program("supervisord", """
    cat > conf <<END
[supervisord]
nodaemon=true
logfile=$D/supervisord.log
pidfile=$D/pid
[unix_http_server]
file=$D/sock
[program:server]
command=python3 $D/S.py $IP
stdout_logfile=$D/server.txt
redirect_stderr=true
[program:often]
command=sh -c 'sleep 0.3'
startsecs=0
autorestart=true
exitcodes=0
END
    exec supervisord -c conf""", counter, files={"S.py": SUPERVISED}, harmless=re.compile("exited|exit status 0"))

COUNTING = "exec python3 S.py $IP > log.out 2>&1"
for init in ("tini", "dumb-init"):
    PROGRAMS[init] = Program(init, COUNTING, counter, files={"S.py": SUPERVISED}, init=(init, "--"), kinds=("container",))

PROGRAMS["tmux"] = Program("tmux", """
    export TMUX_TMPDIR=$D SHELL=/bin/sh TERM=screen; tmux -f /dev/null new-session -d -s one "python3 $D/S.py $IP" ; tmux new-window -t one 'top'; tmux new-window -t one 'sh'
    tmux split-window -t one 'sh -c "while sleep 0.1; do date; done"'; exec sleep 100000""", counter, files={"S.py": SUPERVISED}, kinds=("container",), stop_signal="KILL")


# --- systemd ---

PROGRAMS["systemd"] = Program("systemd", """
    printf '[Unit]\\nDefaultDependencies=no\\n[Service]\\nExecStart=python3 '$D'/S.py '$IP'\\nRestart=always\\n' > /etc/systemd/system/server.service
    rm -f /etc/systemd/system/*.wants/*; ln -sf /etc/systemd/system/server.service /etc/systemd/system/default.target
    printf '[Unit]\\nRequires=server.service\\nAfter=server.service\\n' > /etc/systemd/system/soft.target
    export container=oci; exec /lib/systemd/systemd --unit=soft.target --show-status=1 > systemd.out 2>&1""", counter, files={"S.py": SUPERVISED},
                              kinds=("container",), stop_signal="RTMIN+3", capabilities=["CAP_SYS_ADMIN"],
                              mounts=[{"destination": "/run", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                                      {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}])


def main():
    name, address, counts = sys.argv[1:]
    program = PROGRAMS[name]
    done = [0] * program.clients

    def client(number):
        try:
            end = time.monotonic() + program.patience
            while True:
                try:
                    ask = program.client(number, address)
                    ask()
                    break
                except Exception:
                    if time.monotonic() > end:
                        raise
                    time.sleep(0.1)
            while True:
                ask()
                done[number] += 1
                time.sleep(program.think)
        except BaseException as failure:
            print(f"client {number} after {done[number]}: {type(failure).__name__}: {failure}", flush=True)
            os._exit(1)
    for number in range(program.clients):
        threading.Thread(target=client, args=(number,), daemon=True).start()
    import signal
    signal.signal(signal.SIGTERM, lambda *a: os._exit(0))
    while True:
        temporary = pathlib.Path(counts + ".new")
        temporary.write_text(" ".join(map(str, done)))
        temporary.replace(counts)
        time.sleep(0.05)


if __name__ == "__main__":
    main()

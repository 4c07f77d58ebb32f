"""PID 1 of the lab's and of every host's PID namespace: starts, reaps and restarts services.

Runs as `/usr/bin/python3 -SE supervisor.py SOCKET LOG_FOLDER [LISTEN_FD]` with nothing but the
standard library. It restarts a service that died one second later, as systemd would, and takes
orders on the unix socket SOCKET: one JSON object a line, one JSON answer a line.

    {"op": "define", "name": N, "argv": [...], "env": {...}, "restart": true,
     "pass_listener": false, "stop_patience": seconds from SIGTERM to SIGKILL, default 10}
    {"op": "start"|"stop"|"kill"|"freeze"|"thaw"|"forget", "name": N}
    {"op": "status"}
        -> {"ok": true, "services": {N: {"state": S, "pid": P, "restarts": K, …}}}

States: running, stopped (by order), waiting (died, restart pending), dead (died, not restarted),
frozen. Only the service's own process is signalled, never its children: a libvirtd that goes
leaves its QEMUs, as under systemd's KillMode=process.

The socket doubles as the namespace's identity card: whoever connects reads this process's pid,
as its own /proc shows it, from SO_PEERCRED; a refused connection means it is gone.
"""

import errno
import fcntl
import heapq
import json
import os
import selectors
import signal
import socket
import sys
import time

RESTART_DELAY_S = 1.0
STOP_PATIENCE_S = 10.0


class Service:
    def __init__(self, spec):
        self.name = spec["name"]
        self.argv = spec["argv"]
        self.env = spec.get("env") or {}
        self.restart = spec.get("restart", True)
        self.pass_listener = spec.get("pass_listener", False)
        self.stop_patience = spec.get("stop_patience") or STOP_PATIENCE_S
        self.pid = 0
        self.since = None  # when that process was started, seconds of the wall clock
        self.state = "stopped"
        self.restarts = 0
        self.waiters = []  # connections whose stop order waits for the exit
        self.generation = 0  # outdates timers of an earlier incarnation


def suspended(pid):
    """Whether it was stopped by a signal, whoever sent it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat:
            return stat.read().rpartition(b")")[2].split()[0] == b"T"
    except (OSError, IndexError):
        return False


class Supervisor:
    def __init__(self, socket_path, log_folder, listener_fd):
        self.log_folder = log_folder
        self.listener_fd = listener_fd
        self.services = {}
        self.timers = []
        self.timer_count = 0
        self.selector = selectors.DefaultSelector()
        self.wake_r, self.wake_w = os.pipe()
        os.set_blocking(self.wake_w, False)
        os.set_blocking(self.wake_r, False)
        signal.set_wakeup_fd(self.wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
        self.server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        if os.path.exists(socket_path):
            os.unlink(socket_path)
        self.server.bind(socket_path)
        os.chmod(socket_path, 0o600)
        self.server.listen(64)
        self.server.setblocking(False)
        # Who holds this lock is who we are: to be asked of the kernel, also while we are frozen.
        self.lock = os.open(socket_path + ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.lockf(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.selector.register(self.server, selectors.EVENT_READ, self.accept)
        self.selector.register(self.wake_r, selectors.EVENT_READ, self.drain_wakeups)

    # --- the loop

    def run(self):
        while True:
            self.reap()
            self.fire_timers()
            pause = max(0.0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, _ in self.selector.select(pause):
                key.data(key.fileobj)

    def drain_wakeups(self, fd):
        try:
            while os.read(fd, 4096):
                pass
        except BlockingIOError:
            return

    def after(self, seconds, call):
        self.timer_count += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.timer_count, call))

    def fire_timers(self):
        while self.timers and self.timers[0][0] <= time.monotonic():
            heapq.heappop(self.timers)[2]()

    # --- processes

    def log(self, text):
        line = "{} {}\n".format(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), text)
        with open(os.path.join(self.log_folder, "supervisor.log"), "a") as log:
            log.write(line)

    def spawn(self, service):
        log_path = os.path.join(self.log_folder, service.name + ".log")
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, log_path, flags, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ]
        if service.pass_listener and self.listener_fd is not None:
            actions.append((os.POSIX_SPAWN_DUP2, self.listener_fd, 3))
        environment = {**os.environ, **service.env}
        try:
            service.pid = os.posix_spawnp(
                service.argv[0],
                service.argv,
                environment,
                file_actions=actions,
                setsid=True,
                setsigdef=[signal.SIGPIPE, signal.SIGCHLD, signal.SIGTERM],
            )
        except OSError as error:
            self.log(f"{service.name}: cannot start {service.argv[0]}: {error}")
            service.pid, service.state = 0, "dead"
            return
        service.generation += 1
        service.state, service.since = "running", time.time()
        self.log(f"{service.name}: started, pid {service.pid}")

    def reap(self):
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            for service in self.services.values():
                if service.pid == pid:
                    self.ended(service, status)

    def ended(self, service, status):
        code = os.waitstatus_to_exitcode(status)
        self.log(f"{service.name}: pid {service.pid} ended, {code}")
        service.pid = 0
        service.generation += 1
        waiters, service.waiters = service.waiters, []
        if service.state == "stopping":
            service.state = "stopped"
        elif service.restart:
            service.state = "waiting"
            service.restarts += 1
            generation = service.generation
            self.after(RESTART_DELAY_S, lambda: self.restart_if_waiting(service, generation))
        else:
            service.state = "dead"
        for connection in waiters:
            self.answer(connection, {"ok": True, "state": service.state})

    def restart_if_waiting(self, service, generation):
        if service.state == "waiting" and service.generation == generation:
            self.spawn(service)

    # --- orders

    def accept(self, server):
        connection, _ = server.accept()
        connection.setblocking(True)
        buffer = bytearray()
        self.selector.register(
            connection, selectors.EVENT_READ, lambda conn: self.read_orders(conn, buffer)
        )

    def read_orders(self, connection, buffer):
        try:
            data = connection.recv(65536)
        except OSError:
            data = b""
        if not data:
            self.drop(connection)
            return
        buffer += data
        while b"\n" in buffer:
            line, _, rest = bytes(buffer).partition(b"\n")
            buffer[:] = rest
            self.obey(connection, json.loads(line))

    def drop(self, connection):
        try:
            self.selector.unregister(connection)
        except KeyError:
            return
        for service in self.services.values():
            service.waiters = [w for w in service.waiters if w is not connection]
        connection.close()

    def answer(self, connection, reply):
        try:
            connection.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            self.drop(connection)

    def obey(self, connection, order):
        operation, name = order["op"], order.get("name")
        if operation == "status":
            self.answer(connection, {"ok": True, "services": self.describe()})
            return
        if operation == "define":
            known = self.services.get(name)
            if known is not None and known.pid:
                known.argv, known.env = order["argv"], order.get("env") or {}
                known.stop_patience = order.get("stop_patience") or STOP_PATIENCE_S
            else:
                self.services[name] = Service(order)
            self.answer(connection, {"ok": True})
            return
        service = self.services.get(name)
        if service is None:
            self.answer(connection, {"ok": False, "error": f"no service {name}"})
            return
        reply = getattr(self, "order_" + operation)(connection, service)
        if reply is not None:
            self.answer(connection, reply)

    def describe(self):
        return {
            s.name: {
                "state": s.state,
                "pid": s.pid,
                "restarts": s.restarts,
                "since": s.since if s.pid else None,
                "suspended": suspended(s.pid),
            }
            for s in self.services.values()
        }

    def signal(self, service, number):
        if service.pid:
            try:
                os.kill(service.pid, number)
            except OSError as error:
                if error.errno != errno.ESRCH:
                    raise

    def order_start(self, _connection, service):
        if service.state not in ("running", "frozen", "stopping"):
            self.spawn(service)
        return {"ok": service.state in ("running", "frozen"), "state": service.state}

    def order_stop(self, connection, service):
        if not service.pid:
            service.state = "stopped"
            return {"ok": True, "state": "stopped"}
        service.state = "stopping"
        service.waiters.append(connection)
        self.signal(service, signal.SIGTERM)
        self.signal(service, signal.SIGCONT)
        generation = service.generation

        def lose_patience():
            if service.generation == generation:
                self.signal(service, signal.SIGKILL)

        self.after(service.stop_patience, lose_patience)
        return None

    def order_kill(self, connection, service):
        if not service.pid:
            return {"ok": False, "error": f"{service.name} is not running"}
        service.waiters.append(connection)
        self.signal(service, signal.SIGKILL)
        return None

    def order_freeze(self, _connection, service):
        if not service.pid:
            return {"ok": False, "error": f"{service.name} is not running"}
        self.signal(service, signal.SIGSTOP)
        service.state = "frozen"
        return {"ok": True, "state": "frozen"}

    def order_thaw(self, _connection, service):
        if service.state == "frozen":
            service.state = "running"
        self.signal(service, signal.SIGCONT)
        return {"ok": True, "state": service.state}

    def order_forget(self, _connection, service):
        if service.pid:
            return {"ok": False, "error": f"{service.name} runs"}
        del self.services[service.name]
        return {"ok": True}


if __name__ == "__main__":
    listener = None
    if len(sys.argv) > 3:
        # out of the way of the numbers that services see, and closed in all but the relay
        listener = fcntl.fcntl(int(sys.argv[3]), fcntl.F_DUPFD_CLOEXEC, 100)
        os.close(int(sys.argv[3]))
    Supervisor(sys.argv[1], sys.argv[2], listener).run()

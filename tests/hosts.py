"""Hosts on this machine: each has a network, processes, /tmp, /dev/shm, a home and an sshd.

Everything hangs on a host's first process: when that ends, and it does with this one, the kernel
takes its processes, mounts and network away. Needs root, and what MISSING looks for.
"""

import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

TOP = Path(__file__).parents[1]
HOME = "/mnt/home"
MISSING = [
    *(["root"] if os.geteuid() else []),
    *(tool for tool in ("ip", "rsync", "ssh", "/usr/sbin/sshd") if not shutil.which(tool)),
]
"""What this machine lacks to make hosts."""
MEMORY_GIB = {
    "MemTotal": 6,
    "MemFree": 5,
    "MemAvailable": 5,
    "Buffers": 0,
    "Cached": 0,
} | dict.fromkeys(
    ("Active", "Inactive", "SwapTotal", "SwapFree", "Shmem", "Slab", "SReclaimable"), 0
)
"""What a server says of its memory."""
BOOT = """
set -e
hostname $1
mount -t tmpfs tmpfs /mnt
mkdir /mnt/home /mnt/handray /mnt/packages /mnt/checkout
mount --bind $2/$1 /mnt/home
mount --bind $2/shared /mnt/handray
mount --bind $2/passwd /etc/passwd
mount --bind $2/meminfo /proc/meminfo
mount -t tmpfs tmpfs /sys/fs/cgroup
mount --bind $3 /mnt/packages
mount --bind $4 /mnt/checkout
mount -t tmpfs tmpfs /run
mkdir /run/sshd
mount -t tmpfs -o size=64m tmpfs /dev/shm
mount -t tmpfs tmpfs /var/tmp
mount -t tmpfs tmpfs /tmp
ip link set lo up
exec /usr/sbin/sshd -D -f /dev/null -h /mnt/home/host_key -o PidFile=none
"""


class Host:
    """One host; its home, in ``folder``, outlives it as a disk does."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.home = name, folder, folder / name
        self.home.mkdir()
        ssh = self.home / ".ssh"
        ssh.mkdir(mode=0o700)
        for file in ("id_ed25519", "authorized_keys"):
            shutil.copy(folder / file, ssh)
        make_key(self.home / "host_key")
        shutil.copy("/etc/skel/.bashrc", self.home)
        install(self.home / "handray/.venv")

    def boot(self) -> None:
        """Switch it on."""
        own = ("--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc")
        known = [self.name, str(self.folder), sysconfig.get_path("purelib"), str(TOP)]
        first = ["setpriv", "--pdeathsig", "KILL", "unshare", *own, "sh", "-c", BOOT, "boot"]
        self.process = subprocess.Popen([*first, *known], start_new_session=True)
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        while not (found := children.read_text().split()):
            time.sleep(0.01)
        self.init = int(found[0])

    def kill(self) -> None:
        """Switch it off, as a power cut does."""
        os.kill(self.init, signal.SIGKILL)
        self.process.wait()

    def inside(self, *command: str) -> list[str]:
        """What runs a command there, in the checkout, as its user would."""
        known = [f"HOME={HOME}", "USER=ubuntu", "TERM=dumb", "LANG=C.UTF-8"]
        path = f"PATH={HOME}/handray/.venv/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        enter = ["nsenter", "--target", str(self.init), "--net", "--mount", "--uts", "--pid"]
        return [*enter, "--wdns=/mnt/checkout", "env", "-i", *known, path, *command]

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Start a command there."""
        return subprocess.Popen(
            self.inside(*command),
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def run(self, *command: str) -> tuple[int, str]:
        """Exit code and output of a command there."""
        process = self.start(*command)
        output, _ = process.communicate(timeout=280)
        return process.returncode, output

    def processes(self, kind: str) -> list[int]:
        """Its processes of a kind, by their command line."""
        network = Path(f"/proc/{self.init}/ns/net").readlink()
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended since
                here = (entry / "ns/net").readlink() == network
                if here and kind.encode() in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
        return found


class Hosts:
    """A laptop, and servers at addresses of one network that leads nowhere else."""

    def __init__(self, addresses: list[str], folder: Path) -> None:
        self.folder = folder
        (folder / "shared").mkdir()
        make_key(folder / "id_ed25519")
        shutil.copy(folder / "id_ed25519.pub", folder / "authorized_keys")
        # The user of cluster.yaml, who may also read this machine's Python, wherever it lies.
        users = Path("/etc/passwd").read_text().split("\n")
        others = [user for user in users if not user.startswith("root:")]
        me = f"ubuntu:x:0:0::{HOME}:/bin/bash"
        (folder / "passwd").write_text("\n".join([me, *others]))
        # Of this machine's memory each server would take two fifths for its object store.
        (folder / "meminfo").write_text(
            "".join(f"{name}: {gib << 20} kB\n" for name, gib in MEMORY_GIB.items())
        )
        self.laptop = Host("laptop", folder)
        self.servers = {address: Host(address, folder) for address in addresses}

    def __enter__(self) -> Self:
        """Switch all on and connect them."""
        try:
            self.laptop.boot()
            self._ip("link", "add", "switch", "type", "bridge")
            self._ip("link", "set", "switch", "up")
            network = next(iter(self.servers)).rpartition(".")[0]
            self._ip("address", "add", f"{network}.254/24", "dev", "switch")
            for address in self.servers:
                self.boot(address)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        """Switch all off."""
        for host in (*self.servers.values(), self.laptop):
            if hasattr(host, "process") and host.process.poll() is None:
                host.kill()

    def boot(self, address: str) -> None:
        """Switch a server on and plug it in."""
        host = self.servers[address]
        host.boot()
        cable = f"to-{address.rpartition('.')[2]}"
        peer = ("type", "veth", "peer", "name", "eth0", "netns", str(host.init))
        self._ip("link", "add", cable, *peer)
        self._ip("link", "set", cable, "master", "switch", "up")
        ip(host, "address", "add", f"{address}/24", "dev", "eth0")
        ip(host, "link", "set", "eth0", "up")

    def plug(self, address: str, state: str) -> None:
        """Put a server's cable ``up`` or ``down``."""
        self._ip("link", "set", f"to-{address.rpartition('.')[2]}", state)

    def _ip(self, *words: str) -> None:
        ip(self.laptop, *words)


def ip(host: Host, *words: str) -> None:
    """Change a host's network."""
    subprocess.run(["nsenter", "-t", str(host.init), "-n", "ip", *words], check=True)


def make_key(path: Path) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)


def install(venv: Path) -> None:
    """A virtual environment with the packages of this one, and handray from beside it.

    The set-up of cluster.yaml finds it installed, and downloads nothing.
    """
    home = f"{HOME}/handray"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(venv)], check=True)
    packages = next((venv / "lib").glob("python3*/site-packages"))
    (packages / "here.pth").write_text(f"/mnt/packages\n{home}\n")
    for tool in ("ray", "mlflow"):
        lines = (Path(sys.executable).parent / tool).read_text().split("\n")
        script = venv / "bin" / tool
        script.write_text("\n".join([f"#!{home}/.venv/bin/python", *lines[1:]]))
        script.chmod(0o755)
    (venv / ".installed").touch()
